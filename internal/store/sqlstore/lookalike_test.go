package sqlstore_test

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"example.com/curfew/internal/store"
	"example.com/curfew/internal/store/pgtest"
	"example.com/curfew/internal/store/sqlstore"
)

// Names that an earlier release wrote are compared at the next start; those that
// pass for another are kept, and logged until one of the two is renamed.
func TestNamesOfAnEarlierRelease(t *testing.T) {
	t.Parallel()
	for engine, url := range map[string]string{
		"sqlite": "sqlite:" + filepath.Join(t.TempDir(), "curfew.db"), "postgres": pgtest.DSN(t),
	} {
		t.Run(engine, func(t *testing.T) {
			start := func() (store.Store, string) {
				t.Helper()
				var log bytes.Buffer
				s, err := sqlstore.Open(t.Context(), sqlstore.Config{URL: url, Create: true, Logger: slog.New(slog.NewTextHandler(&log, nil))})
				noErr(t, err)
				t.Cleanup(func() { noErr(t, s.Close()) })
				return s, log.String()
			}
			insert := func(s store.Store, u store.User) error {
				return s.Update(t.Context(), func(tx store.Tx) error { return tx.InsertUser(t.Context(), u) })
			}
			s, _ := start()
			for _, u := range []store.User{
				{ID: "1", Name: "admin", NameKey: "admin"}, {ID: "2", Name: "two", NameKey: "two"},
				{ID: "3", Name: "three", NameKey: "three"}, {ID: "4", Name: "four", NameKey: "four"},
			} {
				noErr(t, insert(s, u))
			}
			sqlstore.Exec(t, s, `UPDATE users SET name_skeleton = '', id_skeleton = '', skeleton_of = ''`)
			sqlstore.Exec(t, s, "UPDATE users SET name_key = 'adm\u0131n' WHERE id = '2'")
			sqlstore.Exec(t, s, "UPDATE users SET name_key = '4' WHERE id = '3'")

			for range 2 {
				var log string
				s, log = start()
				if n := strings.Count(log, "level=WARN"); n != 2 || !strings.Contains(log, "id=2 other_name=admin other_id=1") ||
					!strings.Contains(log, "id=4 other_name=three other_id=3") {
					t.Errorf("%d warnings, want two about both of each pair:\n%s", n, log)
				}
			}
			is(t, insert(s, store.User{ID: "5", NameKey: "f\u043eur"}), store.ErrConflict)
			is(t, insert(s, store.User{ID: "three", NameKey: "six"}), nil) // the name was given up

			noErr(t, s.Update(t.Context(), func(tx store.Tx) error {
				for _, id := range []string{"2", "3"} {
					if err := tx.UpdateUser(t.Context(), store.User{ID: id, NameKey: "renamed " + id}); err != nil {
						return err
					}
				}
				return nil
			}))
			if _, log := start(); strings.Contains(log, "level=WARN") {
				t.Errorf("after the renaming: %s", log)
			}
		})
	}
}
