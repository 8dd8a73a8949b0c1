//go:build !linux

package sqlstore

import (
	"syscall"
	"time"
)

// setUserTimeout does nothing: only keepalive notices a lost peer.
func setUserTimeout(string, syscall.RawConn, time.Duration) error { return nil }
