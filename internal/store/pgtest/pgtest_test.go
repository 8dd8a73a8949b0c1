package pgtest

import (
	"net/url"
	"os"
	"strings"
	"testing"
)

func TestDSNIsAFreshDatabase(t *testing.T) {
	first, second := DSN(t), DSN(t)
	if first == second {
		t.Fatalf("two calls got the same database %s", first)
	}
	query(t, first, "CREATE TABLE only_here (n INT)", "")
	query(t, first, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", "1")
	query(t, second, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", "0")
}

func TestCopy(t *testing.T) {
	server, err := sharedServer()
	must(t, err)
	prepares := 0
	prepare := func(dsn string) error {
		prepares++
		_, err := server.psql(dsn, "CREATE TABLE filled AS SELECT 1 AS n")
		return err
	}
	first, second := Copy(t, prepare), Copy(t, prepare)
	query(t, first, "DELETE FROM filled", "")
	query(t, second, "SELECT n FROM filled", "1")
	query(t, DSN(t), "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", "0")
	if prepares != 1 {
		t.Errorf("prepared %d times, want once", prepares)
	}
}

func TestDSNIsAURLOfASocket(t *testing.T) {
	parsed, err := url.Parse(DSN(t))
	if err != nil {
		t.Fatal(err)
	}
	if parsed.Scheme != "postgres" || parsed.Host != "" {
		t.Errorf("got %s, want postgres:///…: no host but the socket's directory", parsed)
	}
	info, err := os.Stat(parsed.Query().Get("host"))
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o700 {
		t.Errorf("the socket's directory has mode %o; every client that reaches it is trusted: want 700", got)
	}
	query(t, DSN(t), "SHOW listen_addresses", "")
}

func TestDSNDatabaseGoesWithTheTest(t *testing.T) {
	var name string
	t.Run("uses it", func(t *testing.T) {
		parsed, err := url.Parse(DSN(t))
		if err != nil {
			t.Fatal(err)
		}
		name = strings.TrimPrefix(parsed.Path, "/")
	})
	query(t, DSN(t), "SELECT count(*) FROM pg_database WHERE datname = '"+name+"'", "0")
}

// query fails the test unless psql prints want.
func query(t *testing.T, dsn, sql, want string) {
	t.Helper()
	server, err := sharedServer()
	if err != nil {
		t.Fatal(err)
	}
	got, err := server.psql(dsn, sql)
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("%s: got %q, want %q", sql, got, want)
	}
}
