package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/pressly/goose/v3"

	"example.com/curfew/internal/fileperm"
	"example.com/curfew/internal/store"
)

const (
	// applicationID in a file's header marks it as Curfew's: "Curf".
	applicationID    = 0x43757266
	setApplicationID = `PRAGMA application_id = 1131770470`

	// busyTimeout is how long a writer waits for a writer of another process.
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
	maps.Copy(query, options)
	if !query.Has("_busy_timeout") {
		query.Set("_busy_timeout", strconv.FormatInt(busyTimeout.Milliseconds(), 10))
	}
	return (&url.URL{Scheme: "file", Path: path, OmitHost: true, RawQuery: query.Encode()}).String()
}

// openSQLitePool returns a pool of at most n connections. They are kept, because
// opening one reads the schema again.
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

func openSQLite(ctx context.Context, path string, c Config) (*Store, error) {
	opened := func(err error) error { return fmt.Errorf("%s: %w", path, err) }
	if path == "" {
		return nil, errors.New("sqlite: requires the path of a file, such as sqlite:curfew.db")
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
		// The database is now open, so `curfew restore` refuses it. If a restore
		// came just before, the open file may no longer be the one at path.
		if after, serr := os.Stat(path); serr == nil && os.SameFile(before, after) {
			if err == nil && c.Create { // a server: the file holds password hashes and sessions
				if _, err = fileperm.Check(path, after); err != nil {
					_ = s.Close()
				}
			}
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

// prepareSQLite takes the write lock once to check that it is available, and
// migrates an old schema if requested.
func (s *Store) prepareSQLite(ctx context.Context, create bool) error {
	err := func() error {
		tx, err := s.write.BeginTxx(ctx, nil)
		if err != nil {
			return err
		}
		if err := tx.Rollback(); err != nil || !create {
			return err
		}
		if _, err := checkSchema(ctx, s.read.DB, s.d); !errors.Is(err, store.ErrOlderSchema) {
			return err
		}
		return migrate(ctx, goose.DialectSQLite3, s.write.DB)
	}()
	if err != nil {
		_, err = s.d.explain(ctx, "open", err)
	}
	return err
}
