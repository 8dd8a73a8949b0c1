//go:build !linux

package sqlstore

import (
	"syscall"
	"time"
)

// setUserTimeout does nothing: keepalive alone notices that a peer is gone.
func setUserTimeout(string, syscall.RawConn, time.Duration) error { return nil }
