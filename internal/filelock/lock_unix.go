//go:build unix

package filelock

import (
	"errors"
	"os"
	"syscall"
)

// errLocked is the error of tryLock if another process has the lock.
const errLocked = syscall.EWOULDBLOCK

// tryLock locks a file for this process until the file is closed.
func tryLock(file *os.File) error {
	return syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) // #nosec G115 -- a file descriptor
}

// removeLock removes the file while it is locked: a process that opened it meanwhile
// finds that it has another.
func removeLock(file *os.File) error { return errors.Join(os.Remove(file.Name()), file.Close()) }
