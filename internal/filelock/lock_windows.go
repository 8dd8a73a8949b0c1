package filelock

import (
	"os"

	"golang.org/x/sys/windows"
)

// errLocked is the error of tryLock if another process has the lock.
const errLocked = windows.ERROR_LOCK_VIOLATION

// tryLock locks a file for this process until the file is closed.
func tryLock(file *os.File) error {
	return windows.LockFileEx(windows.Handle(file.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, new(windows.Overlapped))
}

// removeLock gives the lock up. Windows does not remove a file that is open, and after
// closing it may be another process's: the file stays.
func removeLock(file *os.File) error { return file.Close() }
