//go:build unix

package inbound

import (
	"net"
	"syscall"
)

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
