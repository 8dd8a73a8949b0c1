package sqlstore_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"example.com/curfew/internal/store"
	"example.com/curfew/internal/store/sqlstore"
)

// A migration that takes something away waits until no node of another version is
// alive. Migrations after it do not wait, and nothing else does.
func TestContractionWaitsForOlderNodes(t *testing.T) {
	for _, engine := range engines {
		t.Run(engine.name, func(t *testing.T) {
			url := engine.empty(t)
			node := func(s store.Store, n store.Node) {
				t.Helper()
				noErr(t, s.Update(t.Context(), func(tx store.Tx) error { return tx.PutNode(t.Context(), n, false) }))
			}
			older := store.Node{ID: "o", Name: "a:8420", Version: "1", Beat: 1, LeaseMS: 3_600_000}
			first := open(t, url)
			node(first, older)
			noErr(t, first.Close())
			release := func(t *testing.T) {
				sqlstore.AddMigrations(t, map[string]string{
					"00997_expand.sql":   "CREATE TABLE doomed (id bigint NOT NULL PRIMARY KEY);",
					"00998_contract.sql": "CREATE TABLE oldest_schema (version bigint NOT NULL);\nINSERT INTO oldest_schema VALUES (997);\nDROP TABLE doomed;",
					"00999_later.sql":    "CREATE TABLE later (id bigint NOT NULL PRIMARY KEY); -- oldest_schema stays",
				})
			}
			var log bytes.Buffer
			logger := slog.New(slog.NewTextHandler(&log, nil))
			there := func(s store.Store, table string) bool { return sqlstore.HasTable(t, s, table) }
			t.Run("the next version", func(t *testing.T) {
				release(t)
				s := openWith(t, sqlstore.Config{URL: url, Version: "2", Logger: logger})
				sqlite := s.Engine() == "sqlite" // one server: there is no other node
				waits := func(what string, want bool) {
					t.Helper()
					noErr(t, s.(*sqlstore.Store).Contract(t.Context(), logger))
					if there(s, "doomed") != want || there(s, "oldest_schema") == want || !there(s, "later") {
						t.Errorf("%s: waits %v, want %v\n%s", what, there(s, "doomed"), want, log.String())
					}
				}
				waits("an older node", !sqlite)
				if waited := strings.Contains(log.String(), `node="a:8420 (1)"`); waited == sqlite {
					t.Errorf("the log names the node: %v\n%s", waited, log.String())
				}
				// Commands work meanwhile.
				tool, err := sqlstore.Open(t.Context(), sqlstore.Config{URL: url, Logger: logger})
				noErr(t, err)
				noErr(t, tool.Close())
				older.Beat, older.LeaseMS = 2, 1_000_000
				node(s, older)
				waits("it is alive", !sqlite)
				older.Beat, older.LeaseMS = 3, 0
				node(s, older)
				node(s, store.Node{ID: "n", Name: "b:8420", Version: "2", Beat: 1, LeaseMS: 3_600_000})
				waits("it was killed, and its lease is over", false)
				waits("again", false)
				// What is new is complete, and a copy has all of it.
				if fresh := openWith(t, sqlstore.Config{URL: engine.empty(t), Logger: logger}); there(fresh, "doomed") || !there(fresh, "oldest_schema") {
					t.Error("a new database is not complete")
				}
			})
			_, err := sqlstore.Open(t.Context(), sqlstore.Config{URL: url, Create: true, Version: "1", Logger: logger})
			is(t, err, store.ErrNewerSchema)
		})
	}
}
