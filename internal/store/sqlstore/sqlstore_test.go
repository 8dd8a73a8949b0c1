package sqlstore_test

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"example.com/curfew/internal/await"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/store/migrated"
	"example.com/curfew/internal/store/pgtest"
	"example.com/curfew/internal/store/sqlstore"
	"example.com/curfew/internal/store/storetest"
)

func TestMain(m *testing.M) {
	if does := os.Getenv(childDoes); does != "" {
		if err := children[does](os.Getenv(childOn)); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// engines makes databases of each engine: an empty one, and one with the schema.
var engines = []struct {
	name            string
	empty, migrated func(tb testing.TB) string
}{
	{"sqlite", func(tb testing.TB) string { return "sqlite:" + filepath.Join(tb.TempDir(), "curfew.db") }, migrated.SQLite},
	{"postgres", pgtest.DSN, migrated.Postgres},
}

func TestStore(t *testing.T) {
	for _, engine := range engines {
		t.Run(engine.name, func(t *testing.T) {
			t.Parallel()
			storetest.Run(t, func(t *testing.T) storetest.Open {
				url := engine.migrated(t)
				return func(t *testing.T) store.Store { return patient(open(t, url)) }
			})
		})
	}
}

// patient gives a store all the time that its database takes: the tests are about
// results, and a busy machine is no server that hangs.
func patient(s store.Store) store.Store {
	sqlstore.GiveTime(s, await.Limit)
	return s
}

// open opens a database that ends with the test, made if it is not there.
func open(tb testing.TB, url string) store.Store {
	tb.Helper()
	return openWith(tb, sqlstore.Config{URL: url})
}

// openWith is open with a configuration, of which Create is set, and Logger unless
// there is one.
func openWith(tb testing.TB, config sqlstore.Config) store.Store {
	tb.Helper()
	config.Create = true
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	s, err := sqlstore.Open(tb.Context(), config)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

func is(tb testing.TB, err, want error) {
	tb.Helper()
	if !errors.Is(err, want) {
		tb.Fatalf("error %v, want an error that wraps %q", err, want)
	}
}

func noErr(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
