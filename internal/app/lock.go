package app

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// ErrInUse means that a server runs on the database.
var ErrInUse = errors.New("a server is running on this database")

// A fileLock says that one process at a time serves a SQLite database. It is an
// advisory lock (flock) on a file of its own beside the database, and not on the
// database itself: closing that file would also give up SQLite's own locks. The
// kernel gives it up when the process ends, however it ends.
type fileLock struct{ file *os.File }

// lockDatabase locks the database at path. ErrInUse if another process has it.
func lockDatabase(path string) (*fileLock, error) {
	// By its true name, which SQLite uses too: a symbolic link is no way around.
	if name, err := filepath.EvalSymlinks(path); err == nil {
		path = name
	}
	name := path + ".lock"
	for {
		file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600) // #nosec G304 -- beside the database
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("the database directory %q does not exist; create it first", filepath.Dir(path))
		}
		if err != nil {
			return nil, fmt.Errorf("lock the database: %w", err)
		}
		if err = tryLock(file); err != nil {
			_ = file.Close()
			if errors.Is(err, errLocked) {
				return nil, fmt.Errorf("%w: %s is locked; SQLite supports one server, use PostgreSQL for several", ErrInUse, name)
			}
			return nil, fmt.Errorf("lock %s: %w", name, err)
		}
		if stands(file, name) {
			return &fileLock{file: file}, nil
		}
		_ = file.Close() // its last owner removed it while we took it
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

// unlock gives the lock up and removes its file. A nil lock has nothing to give up.
func (l *fileLock) unlock() error {
	if l == nil {
		return nil
	}
	return removeLock(l.file)
}
