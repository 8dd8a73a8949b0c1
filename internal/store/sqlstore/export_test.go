package sqlstore

import (
	"context"
	"io/fs"
	"strconv"
	"testing"
	"testing/fstest"
	"time"
)

// CheckDecisiveOnly has every file count as too large to be read whole at a start.
func CheckDecisiveOnly(tb testing.TB) {
	before := checkStartWhole
	checkStartWhole = 0
	tb.Cleanup(func() { checkStartWhole = before })
}

// GiveTime has a store give each reading and each Update so much time.
func GiveTime(s any, budget time.Duration) { s.(*Store).setBudget(budget) }

// LimitPages has a store of SQLite find the disk full at so many pages.
func LimitPages(tb testing.TB, s any, pages int) {
	tb.Helper()
	if _, err := s.(*Store).write.ExecContext(tb.Context(), `PRAGMA max_page_count = `+strconv.Itoa(pages)); err != nil {
		tb.Fatal(err)
	}
}

// Exec runs a statement past everything, as an earlier release would.
func Exec(tb testing.TB, s any, statement string) {
	tb.Helper()
	if _, err := s.(*Store).write.ExecContext(tb.Context(), statement); err != nil {
		tb.Fatal(err)
	}
}

// PostgresTLS returns how the connections of a URL are encrypted, the URL that the
// listener gets, and the warning.
func PostgresTLS(url string) (mode, dsn, warning string, err error) {
	a, err := parsePostgres(url)
	return string(a.config.SSLMode), a.dsn, a.warnTLS(), err
}

// PostgresKeepalives returns the limits of the connections of a URL.
func PostgresKeepalives(url string) (idle, interval time.Duration, count int, userTimeout time.Duration, err error) {
	a, err := parsePostgres(url)
	k := a.server.keepAlive
	return k.Idle, k.Interval, k.Count, a.server.userTimeout, err
}

// Walk looks at every user.
func Walk(ctx context.Context, s any) error {
	var n int64
	return s.(*Store).get(ctx, "walk", &n, `SELECT count(*) FROM users WHERE name LIKE '%nobody%'`)
}

// ForgetNetworks makes all session rows such as the version before wrote.
func ForgetNetworks(tb testing.TB, s any) {
	tb.Helper()
	if _, err := s.(*Store).write.ExecContext(tb.Context(), `UPDATE sessions SET network = ''`); err != nil {
		tb.Fatal(err)
	}
}

// NewestSchema returns the version of the newest migration.
func NewestSchema() (int64, error) { return newestSchema() }

// OpenWithin sets how long opening waits for the schema, until the end of the test.
func OpenWithin(tb testing.TB, d time.Duration) {
	before := openTimeout
	openTimeout = d
	tb.Cleanup(func() { openTimeout = before })
}

// AddMigrations adds migrations to those of the program, until the end of the test.
func AddMigrations(tb testing.TB, texts map[string]string) {
	tb.Helper()
	before := migrations
	files := fstest.MapFS{}
	entries, err := fs.ReadDir(before, ".")
	if err != nil {
		tb.Fatal(err)
	}
	for _, entry := range entries {
		content, err := fs.ReadFile(before, entry.Name())
		if err != nil {
			tb.Fatal(err)
		}
		files[entry.Name()] = &fstest.MapFile{Data: content}
	}
	for name, text := range texts {
		files[name] = &fstest.MapFile{Data: []byte("-- +goose Up\n" + text)}
	}
	migrations = files
	tb.Cleanup(func() { migrations = before })
}

// HasTable reports whether a database has a table.
func HasTable(tb testing.TB, s any, table string) bool {
	tb.Helper()
	var n int64
	store := s.(*Store)
	if err := store.read.QueryRowContext(tb.Context(), store.d.countTables, table).Scan(&n); err != nil {
		tb.Fatal(err)
	}
	return n > 0
}
