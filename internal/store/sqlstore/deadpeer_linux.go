package sqlstore

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// setUserTimeout makes TCP close a connection when sent data has not been
// acknowledged for timeout (TCP_USER_TIMEOUT, RFC 5482).
func setUserTimeout(network string, raw syscall.RawConn, timeout time.Duration) error {
	if network == "unix" {
		return nil
	}
	var failed error
	err := raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(timeout.Milliseconds())) // #nosec G115 -- a file descriptor
	})
	if err != nil {
		return err
	}
	return failed
}
