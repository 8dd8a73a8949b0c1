package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/jmoiron/sqlx"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"example.com/curfew/internal/store"
)

// sqliteHeader is the length of the header of every SQLite database.
const sqliteHeader = 100

var errNotSQLite = errors.New("the file is not an SQLite database, or its header is damaged; if it should be one, restore a backup with `curfew restore`")

// existingFile checks the file without opening it.
func existingFile(path string) (fs.FileInfo, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: there is no database here; start `curfew serve` first, which creates one", store.ErrNotFound)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", store.ErrUnavailable, errors.Unwrap(err))
	case info.IsDir():
		return nil, fmt.Errorf("%w: it is a directory; name a file in it", store.ErrForeign)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%w: it is not a regular file", store.ErrForeign)
	case info.Size() == 0:
		return nil, fmt.Errorf("%w: the file is empty; if it never had data, delete it and start `curfew serve`, which creates a new one; otherwise restore a backup",
			store.ErrForeign)
	case info.Size() < sqliteHeader:
		return nil, fmt.Errorf("%w: %w", store.ErrForeign, errNotSQLite)
	}
	return info, nil
}

// How much of a file checkSQLite reads.
const (
	checkHeader = iota // the header that identifies the program
	checkStart         // all, or if that would take long, all tables that decide who gets in
	checkWhole         // all
)

// checkStartWhole is the maximum size in bytes of a file that a starting server
// reads as a whole, which takes about 2 s for each GiB.
var checkStartWhole int64 = 1 << 30

// decisive are the tables that decide whether a token is accepted.
var decisive = []string{"clock", "installation", "settings", "signing_keys", "revocations", "users", "clients"}

// checkSQLite checks a file, only reading, before any other access.
func checkSQLite(ctx context.Context, path string, depth int) error {
	db, err := openSQLitePool(sqliteDSN(path, "ro", nil), 1)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	fail := func(err error) error {
		_, err = sqliteDialect.explain(ctx, "open", err)
		return err
	}
	var id int64
	if err := db.GetContext(ctx, &id, `PRAGMA application_id`); err != nil {
		if code(err) == sqlite3.SQLITE_NOTADB {
			return fmt.Errorf("%w: %w", store.ErrForeign, errNotSQLite)
		}
		return fail(err)
	}
	if id != applicationID {
		return fmt.Errorf("%w: the file is an SQLite database of another program; use a separate file for Curfew", store.ErrForeign)
	}
	if err := wholePages(ctx, db, path); err != nil {
		return err
	}
	var checks []string
	if info, err := os.Stat(path); depth == checkStart && err == nil && info.Size() > checkStartWhole {
		for _, table := range decisive {
			checks = append(checks, `PRAGMA quick_check('`+table+`')`)
		}
	} else if depth != checkHeader {
		checks = []string{`PRAGMA quick_check(1)`}
	}
	for _, check := range checks {
		var report string
		if err := db.GetContext(ctx, &report, check); err != nil {
			return fail(err)
		}
		if report != "ok" {
			lines := strings.Split(strings.TrimSpace(report), "\n")
			return fmt.Errorf("%w: %s; restore a backup with `curfew restore`", store.ErrCorrupt, lines[len(lines)-1])
		}
	}
	_, err = checkSchema(ctx, db.DB, sqliteDialect)
	if depth != checkHeader && errors.Is(err, store.ErrOlderSchema) {
		return nil
	}
	if err != nil && !isOurs(err) {
		return fail(err)
	}
	return err
}

// wholePages returns an error if a file ends within a page. SQLite treats missing
// bytes as zeros. A write-ahead log may restore them after a crash; without one
// they are lost.
func wholePages(ctx context.Context, db *sqlx.DB, path string) error {
	if log, err := os.Stat(path + "-wal"); err == nil && log.Size() > 0 {
		return nil
	}
	var size int64
	if err := db.GetContext(ctx, &size, `PRAGMA page_size`); err != nil {
		_, err = sqliteDialect.explain(ctx, "open", err)
		return err
	}
	if info, err := os.Stat(path); err == nil && info.Size()%size != 0 {
		return fmt.Errorf("%w: the file ends in the middle of a page; restore a backup with `curfew restore`", store.ErrCorrupt)
	}
	return nil
}

// code returns the primary result code of SQLite that err holds, or 0.
func code(err error) int {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code() & 0xff
	}
	return 0
}

func diagnoseSQLite(err error) diagnosis {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return diagnosis{}
	}
	switch e.Code() {
	case sqlite3.SQLITE_READONLY_DBMOVED:
		return diagnosis{sentinel: store.ErrUnavailable, text: replaced}
	case sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC,
		sqlite3.SQLITE_IOERR_TRUNCATE, sqlite3.SQLITE_IOERR_SHMSIZE:
		return diagnosis{sentinel: store.ErrDisk, text: "it fails: " + e.Error()}
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_CONSTRAINT:
		return diagnosis{sentinel: store.ErrConflict, text: e.Error()}
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return diagnosis{sentinel: store.ErrLocked, text: fmt.Sprintf("waited %v for it; end what holds it, or try again later", busyTimeout)}
	case sqlite3.SQLITE_CORRUPT:
		return diagnosis{sentinel: store.ErrCorrupt, text: e.Error() + "; restore a backup with `curfew restore`"}
	case sqlite3.SQLITE_NOTADB:
		return diagnosis{sentinel: store.ErrCorrupt, text: "the file is no longer an SQLite database; restore a backup with `curfew restore`"}
	case sqlite3.SQLITE_READONLY:
		return diagnosis{sentinel: store.ErrUnavailable, text: "it is read-only; Curfew must be able to write the file and to make files beside it"}
	case sqlite3.SQLITE_CANTOPEN:
		return diagnosis{sentinel: store.ErrUnavailable, text: "the file cannot be opened; Curfew must be able to read and write it and to make files beside it"}
	case sqlite3.SQLITE_FULL:
		return diagnosis{sentinel: store.ErrDisk, text: "the disk is full"}
	}
	return diagnosis{sentinel: store.ErrUnavailable, text: e.Error()}
}
