package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"example.com/curfew/internal/store"
)

const (
	// applicationID in the header of a file says that it is Curfew's: "Curf".
	applicationID    = 0x43757266
	setApplicationID = `PRAGMA application_id = 1131770470`

	// busyTimeout is how long a writer waits for one of another process.
	busyTimeout = 5 * time.Second

	sqlitePollInterval = 100 * time.Millisecond
)

// sqliteDSN returns a data source name for a file.
//
// The program never opens the file itself while SQLite has it open: closing any
// descriptor of a file drops all POSIX locks that the process holds on it.
func sqliteDSN(path, mode string, options url.Values) string {
	abs, err := filepath.Abs(path)
	if err == nil {
		path = abs
	}
	query := url.Values{"mode": {mode}, "_error_rc": {"1"}}
	for name, values := range options {
		query[name] = values
	}
	if !query.Has("_busy_timeout") {
		query.Set("_busy_timeout", strconv.FormatInt(busyTimeout.Milliseconds(), 10))
	}
	return (&url.URL{Scheme: "file", Path: path, OmitHost: true, RawQuery: query.Encode()}).String()
}

// openSQLitePool returns a pool of at most n connections, which are kept: opening
// one reads the schema anew.
func openSQLitePool(dsn string, n int) (*sqlx.DB, error) {
	db, err := sqlx.Open("sqlite", dsn)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	return db, nil
}

// durable are the options under which an acknowledged write is on disk.
func durable() url.Values {
	return url.Values{
		"_journal_mode": {"WAL"},
		"_synchronous":  {"FULL"},
		"_foreign_keys": {"1"},
		"_pragma":       {"journal_size_limit(67108864)", "temp_store(MEMORY)"},
	}
}

func openSQLite(ctx context.Context, path string, c Config) (store.Store, error) {
	opened := func(err error) error { return fmt.Errorf("%s: %w", path, err) }
	if path == "" {
		return nil, errors.New("sqlite: takes the path of a file, as in sqlite:curfew.db")
	}
	for tries := 0; ; tries++ {
		before, err := existingFile(path)
		if errors.Is(err, store.ErrNotFound) && c.Create {
			// Another process may have been faster.
			if err := createSQLite(ctx, path); err != nil && !errors.Is(err, fs.ErrExist) {
				return nil, opened(err)
			}
			before, err = existingFile(path)
		}
		if err != nil {
			return nil, opened(err)
		}
		s, err := openExisting(ctx, path, c.Create)
		// It is held now, so that `curfew restore` keeps off. If that came just
		// before, what is open here is no longer what the path means.
		if after, serr := os.Stat(path); serr == nil && os.SameFile(before, after) {
			if err != nil {
				return nil, opened(err)
			}
			return s, nil
		}
		if err == nil {
			_ = s.Close()
		}
		if tries == 2 {
			return nil, opened(fmt.Errorf("%w: %s", store.ErrUnavailable, replaced))
		}
	}
}

const replaced = "the file was replaced or moved away while it was open; start again"

func openExisting(ctx context.Context, path string, create bool) (*Store, error) {
	depth := checkHeader
	if create {
		depth = checkStart
	}
	if err := checkSQLite(ctx, path, depth); err != nil {
		return nil, err
	}
	return connectSQLite(ctx, path, create)
}

// sqliteHeader is the length of what every SQLite database begins with.
const sqliteHeader = 100

var errNotSQLite = errors.New("the file is not an SQLite database, or it is damaged where it begins; if there should be one, restore a backup with `curfew restore`")

// existingFile looks at the file without opening it.
func existingFile(path string) (fs.FileInfo, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: there is no database here; start `curfew serve` first, which makes one", store.ErrNotFound)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", store.ErrUnavailable, errors.Unwrap(err))
	case info.IsDir():
		return nil, fmt.Errorf("%w: it is a directory; name a file in it", store.ErrForeign)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%w: it is not a regular file", store.ErrForeign)
	case info.Size() == 0:
		return nil, fmt.Errorf("%w: the file is empty; if nothing was ever in it, remove it and start `curfew serve`, which makes a new one; else restore a backup",
			store.ErrForeign)
	case info.Size() < sqliteHeader:
		return nil, fmt.Errorf("%w: %w", store.ErrForeign, errNotSQLite)
	}
	return info, nil
}

// How much of a file checkSQLite reads.
const (
	checkHeader = iota // what tells whose it is
	checkStart         // all, or if that would take long, all tables that decide who gets in
	checkWhole         // all
)

// checkStartWhole is the size in bytes up to which a server that starts reads the
// whole file, which takes about 2 s for each GiB.
var checkStartWhole int64 = 1 << 30

// decisive are the tables that decide who gets in.
var decisive = []string{"clock", "installation", "settings", "signing_keys", "revocations", "users", "clients"}

// checkSQLite looks at a file, reading only, before anything else is done to it.
func checkSQLite(ctx context.Context, path string, depth int) error {
	db, err := openSQLitePool(sqliteDSN(path, "ro", nil), 1)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	fail := func(err error) error {
		err, _ = sqliteDialect.explain(ctx, "open", err)
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
		return fmt.Errorf("%w: the file is an SQLite database of another program; give Curfew a file of its own", store.ErrForeign)
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
	version, err := schemaVersion(ctx, db.DB)
	if err != nil {
		return fail(err)
	}
	if err := checkSchema(version); err != nil && !(depth != checkHeader && errors.Is(err, store.ErrOlderSchema)) {
		return err
	}
	return nil
}

// wholePages fails if a file ends within a page. SQLite takes what is missing for
// zeros. A write-ahead log may make up for it after a crash; without one, nothing
// does.
func wholePages(ctx context.Context, db *sqlx.DB, path string) error {
	if log, err := os.Stat(path + "-wal"); err == nil && log.Size() > 0 {
		return nil
	}
	var size int64
	if err := db.GetContext(ctx, &size, `PRAGMA page_size`); err != nil {
		err, _ = sqliteDialect.explain(ctx, "open", err)
		return err
	}
	if info, err := os.Stat(path); err == nil && info.Size()%size != 0 {
		return fmt.Errorf("%w: the file ends in the middle of a page; restore a backup with `curfew restore`", store.ErrCorrupt)
	}
	return nil
}

// connectSQLite opens a sound database for use.
func connectSQLite(ctx context.Context, path string, create bool) (*Store, error) {
	options := durable()
	options.Set("_txlock", "immediate")
	write, err := openSQLitePool(sqliteDSN(path, "rw", options), 1)
	if err != nil {
		return nil, err
	}
	options = durable()
	options.Set("_query_only", "1")
	read, err := openSQLitePool(sqliteDSN(path, "rw", options), max(4, runtime.GOMAXPROCS(0)))
	if err != nil {
		return nil, errors.Join(err, write.Close())
	}
	s := newStore(sqliteDialect, write, read)
	s.hub = newHub(func(ctx context.Context, wake func()) { pollSQLite(ctx, path, wake) })
	s.backup = func(ctx context.Context, file string) error { return backupSQLite(ctx, path, file) }
	s.warn = func(context.Context) []string { return warnSQLite(path) }
	if err := s.prepareSQLite(ctx, create); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// prepareSQLite takes the write lock once, to learn whether it can be had, and
// brings an old schema up to date if that is asked for.
func (s *Store) prepareSQLite(ctx context.Context, create bool) error {
	err := func() error {
		tx, err := s.write.BeginTxx(ctx, nil)
		if err != nil {
			return err
		}
		if err := tx.Rollback(); err != nil || !create {
			return err
		}
		version, err := schemaVersion(ctx, s.read.DB)
		if err != nil || checkSchema(version) == nil {
			return err
		}
		return migrate(ctx, goose.DialectSQLite3, s.write.DB)
	}()
	if err != nil {
		err, _ = s.d.explain(ctx, "open", err)
	}
	return err
}

// code returns the primary result code of SQLite that err holds, or 0.
func code(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code() & 0xff
	}
	return 0
}

func diagnoseSQLite(err error) diagnosis {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return diagnosis{}
	}
	if e.Code() == sqlite3.SQLITE_READONLY_DBMOVED {
		return diagnosis{sentinel: store.ErrUnavailable, text: replaced}
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
		return diagnosis{sentinel: store.ErrUnavailable, text: "the disk is full"}
	}
	return diagnosis{sentinel: store.ErrUnavailable, text: e.Error()}
}

// pollSQLite wakes when another connection, of whichever process, has changed
// the file: PRAGMA data_version then differs from what the same connection saw.
func pollSQLite(ctx context.Context, path string, wake func()) {
	var conn *sql.Conn
	db, err := openSQLitePool(sqliteDSN(path, "rw", url.Values{"_query_only": {"1"}}), 1)
	if err != nil {
		return // the same name has been opened before
	}
	defer func() { _ = db.Close() }()
	ticker := time.NewTicker(sqlitePollInterval)
	defer ticker.Stop()
	var seen int64
	for {
		var version int64
		var err error
		if conn == nil {
			conn, err = db.Conn(ctx)
		}
		if err == nil {
			err = conn.QueryRowContext(ctx, `PRAGMA data_version`).Scan(&version)
		}
		switch {
		case err == nil && version != seen: // also the first time, and after an error
			seen = version
			wake()
		case err != nil:
			seen = 0
			if conn != nil {
				_ = conn.Close()
				conn = nil
			}
		}
		select {
		case <-ctx.Done():
			if conn != nil {
				_ = conn.Close()
			}
			return
		case <-ticker.C:
		}
	}
}

func warnSQLite(path string) []string {
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	return []string{fmt.Sprintf("others on this machine may open %s (mode %04o), which holds password hashes: chmod 600", path, info.Mode().Perm())}
}
