package app

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"example.com/curfew/internal/filelock"
)

// ErrInUse means that a server runs on the database.
var ErrInUse = errors.New("a server is running on this database")

// lockDatabase lets one process at a time serve the SQLite database at path. ErrInUse if
// another process does. The lock is on a file beside the database, and not on the
// database itself: closing that file would also give up SQLite's own locks.
func lockDatabase(path string) (*filelock.Lock, error) {
	// By its true name, which SQLite uses too: a symbolic link is no way around.
	if name, err := filepath.EvalSymlinks(path); err == nil {
		path = name
	}
	lock, err := filelock.Try(path + ".lock")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("the database directory %q does not exist; create it first", filepath.Dir(path))
	case errors.Is(err, filelock.ErrLocked):
		return nil, fmt.Errorf("%w: %s.lock is locked; stop the server first (SQLite supports one server, PostgreSQL several)", ErrInUse, path)
	case err != nil:
		return nil, fmt.Errorf("lock the database: %w", err)
	}
	return lock, nil
}
