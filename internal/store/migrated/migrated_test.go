package migrated

import (
	"path/filepath"
	"testing"
	"time"

	"example.com/curfew/internal/store"
	"example.com/curfew/internal/store/pgtest"
	"example.com/curfew/internal/store/sqlstore"
)

// A copy is what the migrations make: a program that does not migrate takes it, and the
// clock stands where it stands in a new database.
func TestCopies(t *testing.T) {
	for name, engine := range map[string]struct{ migrated, new func(testing.TB) string }{
		"sqlite":   {SQLite, func(tb testing.TB) string { return "sqlite:" + filepath.Join(tb.TempDir(), "curfew.db") }},
		"postgres": {Postgres, pgtest.DSN},
	} {
		t.Run(name, func(t *testing.T) {
			first, second := open(t, engine.migrated(t), false), open(t, engine.migrated(t), false)
			want, err := open(t, engine.new(t), true).Clock(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			err = first.Update(t.Context(), func(tx store.Tx) error {
				_, err := tx.Advance(t.Context(), time.Now())
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			got, err := second.Clock(t.Context())
			if err != nil || got != want {
				t.Errorf("the clock of a copy is %v (%v), want %v: that of a new database", got, err, want)
			}
		})
	}
}

func open(t *testing.T, url string, create bool) store.Store {
	t.Helper()
	s, err := sqlstore.Open(t.Context(), sqlstore.Config{URL: url, Create: create})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}
