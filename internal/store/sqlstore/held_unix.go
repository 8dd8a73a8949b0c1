//go:build unix

package sqlstore

import (
	"io"
	"os"
	"syscall"
)

// heldElsewhere reports whether another process holds a SQLite lock on a file,
// readable or not. Do not call it while this process has the file open.
func heldElsewhere(path string) bool {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return false
	}
	defer func() { _ = file.Close() }()
	// The pending byte, the reserved byte and the shared bytes, at 1 GiB.
	lock := syscall.Flock_t{Type: syscall.F_WRLCK, Whence: io.SeekStart, Start: 0x40000000, Len: 512}
	err = syscall.FcntlFlock(file.Fd(), syscall.F_GETLK, &lock)
	return err == nil && lock.Type != syscall.F_UNLCK
}
