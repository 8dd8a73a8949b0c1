//go:build unix

package longpoll

import (
	"errors"
	"net"
	"os"
	"syscall"
)

// writeNow writes what the buffers of a connection take, without waiting. On an
// encrypted connection it writes nothing.
func writeNow(conn net.Conn, b []byte) (int, error) {
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return 0, nil
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return 0, err
	}
	n := 0
	var failed error
	err = raw.Control(func(fd uintptr) {
		for n < len(b) {
			more, err := syscall.Write(int(fd), b[n:])
			switch {
			case err == syscall.EINTR:
			case err == syscall.EAGAIN:
				return
			case err != nil:
				failed = os.NewSyscallError("write", err)
				return
			default:
				n += more
			}
		}
	})
	return n, errors.Join(err, failed)
}

// gone reports whether the other side has closed a connection on which nothing is
// to be read. It waits for nothing, and takes nothing out.
func gone(conn net.Conn) bool {
	if under, ok := conn.(interface{ NetConn() net.Conn }); ok { // TLS
		conn = under.NetConn()
	}
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return true // it is closed here
	}
	over := false
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		switch err {
		case nil:
			over = n == 0
		case syscall.EAGAIN, syscall.EINTR:
		default:
			over = true
		}
	})
	return over || err != nil
}
