// Package migrated gives tests databases with the current schema and no rows.
//
// The migrations run once in a test process for each engine, and every database is a
// copy of the result: that takes a twentieth of the time. Tests of the migrations
// themselves begin with a file that does not exist, or with [pgtest.DSN].
package migrated

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"example.com/curfew/internal/await"
	"example.com/curfew/internal/store/pgtest"
	"example.com/curfew/internal/store/sqlstore"
)

// SQLite returns the URL of a database in a directory that goes with the test.
func SQLite(tb testing.TB) string {
	tb.Helper()
	file := filepath.Join(tb.TempDir(), "curfew.db")
	content, err := sqliteFile()
	if err == nil {
		err = os.WriteFile(file, content, 0o600)
	}
	if err != nil {
		tb.Fatalf("make a database for a test: %v", err)
	}
	return "sqlite:" + file
}

// Postgres returns the URL of a database on the test process's own server, as
// [pgtest.DSN] does. It goes with the test.
func Postgres(tb testing.TB) string {
	tb.Helper()
	return pgtest.Copy(tb, migrate)
}

// sqliteFile returns the content of a migrated database.
var sqliteFile = sync.OnceValues(func() (content []byte, err error) {
	dir, err := os.MkdirTemp("", "curfew-migrated-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	file := filepath.Join(dir, "curfew.db")
	if err := migrate("sqlite:" + file); err != nil {
		return nil, err
	}
	// Closing moved the content of the write-ahead log into the file.
	return os.ReadFile(file)
})

func migrate(url string) error {
	s, err := sqlstore.Open(context.Background(), sqlstore.Config{URL: url, Create: true, Budget: await.Limit})
	if err != nil {
		return err
	}
	return s.Close()
}
