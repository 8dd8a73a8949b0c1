package sqlstore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/pressly/goose/v3"

	"example.com/curfew/internal/store"
)

// createSQLite creates a new database. One rename puts it in place when it is
// complete and on disk. A crash leaves no partial database, and two processes that
// create one at the same time both continue with the same.
func createSQLite(ctx context.Context, path string) error {
	return inPlace(path, false, func(temporary string) error { return initSQLite(ctx, temporary, nil) })
}

// initSQLite makes the schema in an empty file, and has it filled unless fill is nil.
// The file is complete when it returns, and not yet on disk.
func initSQLite(ctx context.Context, path string, fill func(*sql.DB) error) error {
	db, err := openSQLitePool(sqliteDSN(path, "rw", url.Values{
		"_synchronous": {"OFF"}, "_pragma": {"journal_mode(MEMORY)"},
	}), 1)
	if err != nil {
		return err
	}
	err = func() error {
		if _, err := db.ExecContext(ctx, setApplicationID); err != nil {
			return err
		}
		if err := migrate(ctx, goose.DialectSQLite3, db.DB); err != nil {
			return err
		}
		if fill != nil {
			if err := fill(db.DB); err != nil {
				return err
			}
		}
		_, err := db.ExecContext(ctx, `PRAGMA journal_mode = WAL`)
		return err
	}()
	if err = errors.Join(err, db.Close()); err != nil {
		_, err = sqliteDialect.explain(ctx, "make a database", err)
	}
	return err
}

// inPlace writes a file under a temporary name, syncs it, and moves it to path.
// With replace it overwrites an existing file. Without it, the existing file stays
// and the error wraps fs.ErrExist.
func inPlace(path string, replace bool, write func(temporary string) error) (err error) {
	dir := filepath.Dir(path)
	temporary := filepath.Join(dir, "."+filepath.Base(path)+"."+rand.Text()[:8])
	file, err := os.OpenFile(temporary, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("%w: make a file in %s: %w", store.ErrUnavailable, dir, errors.Unwrap(err))
	}
	defer func() {
		for _, suffix := range []string{"", "-journal", "-wal", "-shm"} {
			if rerr := os.Remove(temporary + suffix); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
				err = errors.Join(err, rerr)
			}
		}
	}()
	if err := file.Close(); err != nil {
		return err
	}
	if err := write(temporary); err != nil {
		return err
	}
	if err := syncPath(temporary); err != nil {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	if replace {
		err = os.Rename(temporary, path)
	} else {
		err = os.Link(temporary, path) // fails if the file exists
		if _, gone := os.Lstat(path); err != nil && errors.Is(gone, fs.ErrNotExist) {
			err = os.Rename(temporary, path) // a file system without links
		}
	}
	if err != nil {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	if err := syncPath(dir); err != nil {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	return nil
}

// syncPath writes a file or a directory to disk.
func syncPath(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

// backupSQLite writes a consistent copy to a new file. Readers and writers continue
// meanwhile.
func backupSQLite(ctx context.Context, path, file string) error {
	if _, err := os.Lstat(file); err == nil {
		return errExists(file)
	}
	err := inPlace(file, false, func(temporary string) error { return vacuumInto(ctx, path, temporary) })
	if errors.Is(err, fs.ErrExist) {
		return errExists(file)
	}
	if err != nil {
		return fmt.Errorf("back up to %s: %w", file, err)
	}
	return nil
}

func errExists(file string) error {
	return fmt.Errorf("%s: %w: the file already exists; choose another name", file, store.ErrConflict)
}

// vacuumInto copies the last committed state of a database into an empty file.
func vacuumInto(ctx context.Context, path, into string) error {
	db, err := openSQLitePool(sqliteDSN(path, "ro", nil), 1)
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, `VACUUM INTO ?`, into)
	if err = errors.Join(err, db.Close()); err != nil {
		_, err = sqliteDialect.explain(ctx, "copy", err)
	}
	return err
}
