// Package filelock lets one process at a time use something, by an advisory lock on a
// file of its own. The kernel gives the lock up when the process ends, however it ends.
package filelock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// ErrLocked means that another process, or another Lock of this one, has the lock.
var ErrLocked = errors.New("locked by another process")

// A Lock is a lock that is held.
type Lock struct{ file *os.File }

// Try takes the lock of the file with a name, which it makes if there is none. The error
// is ErrLocked if the lock is held. The directory must exist.
func Try(name string) (*Lock, error) {
	for {
		file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600) // #nosec G304 -- beside a file that the operator names
		if err != nil {
			return nil, err
		}
		if err = tryLock(file); err != nil {
			_ = file.Close()
			if errors.Is(err, errLocked) {
				return nil, fmt.Errorf("%w: %s", ErrLocked, name)
			}
			return nil, fmt.Errorf("lock %s: %w", name, err)
		}
		if stands(file, name) {
			return &Lock{file: file}, nil
		}
		_ = file.Close() // its last owner removed it while we took it
	}
}

// retry is the interval at which Wait tries again.
const retry = 20 * time.Millisecond

// Wait is Try that waits while the lock is held, until ctx ends.
func Wait(ctx context.Context, name string) (*Lock, error) {
	ticker := time.NewTicker(retry)
	defer ticker.Stop()
	for {
		l, err := Try(name)
		if !errors.Is(err, ErrLocked) {
			return l, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-ticker.C:
		}
	}
}

// stands reports whether name is still the name of the open file.
func stands(file *os.File, name string) bool {
	open, err := file.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(name)
	return err == nil && os.SameFile(open, named)
}

// Release gives the lock up and removes its file, where the system allows that. A nil
// Lock has nothing to give up.
func (l *Lock) Release() error {
	if l == nil {
		return nil
	}
	return removeLock(l.file)
}
