package sqlstore_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.com/curfew/internal/await"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/store/pgtest"
	"example.com/curfew/internal/store/sqlstore"
)

// released are the migrations that databases in use have run, with the beginnings of
// their SHA-256 hashes. A new migration is added here with its own commit. A hash
// that is here never changes.
var released = map[string]string{
	"00001_begin.sql":                "f107f675fe7389fd",
	"00002_begun_by.sql":             "d8463e4f4a5c9244",
	"00003_look_alikes.sql":          "c01a288b7655b1e5",
	"00004_networks.sql":             "f41e6f0dc569b752",
	"00005_streaks.sql":              "63fd040e6e517078",
	"00006_clients_by_epoch.sql":     "92e50262ddfec11a",
	"00007_groups.sql":               "694898208d8e23b8",
	"00008_search.sql":               "f6a297e2c0293f3d",
	"00009_receipts.sql":             "6d6c05a56cc0b89c",
	"00011_deleted_users.sql":        "e3d52b99e4c9c582",
	"00012_former_issuers.sql":       "ca151902589e7f81",
	"00013_must_change_password.sql": "d83fa51f2c1bcdb3",
	"00014_last_used.sql":            "05b18e918cd2d4cd",
	"00015_providers.sql":            "1f9de7bcc9f9bc0f",
	"00016_authentication.sql":       "5c8a90994ce9d7f2",
}

// A migration that has run somewhere does not run again: a change of its text would
// give new databases another schema than old ones.
func TestMigrationsAreAppendOnly(t *testing.T) {
	files, err := filepath.Glob("migrations/*.sql")
	noErr(t, err)
	for _, file := range files {
		name := filepath.Base(file)
		content, err := os.ReadFile(file)
		noErr(t, err)
		sum := sha256.Sum256(content)
		hash, ok := released[name]
		switch got := hex.EncodeToString(sum[:8]); {
		case ok && got != hash:
			t.Errorf("%s was changed: put the change into a new migration", name)
		case !ok:
			t.Errorf("%s is new: add it, with %q", name, got)
		}
		delete(released, name)
	}
	for name := range released {
		t.Errorf("%s was removed: new databases would lack it", name)
	}
}

// contracting are statements that take away what an older version of Curfew uses, or
// that fail for the rows that it writes.
var contracting = regexp.MustCompile(`(?i)\b(DROP|RENAME|TRUNCATE|DELETE|SET NOT NULL|ALTER COLUMN|ADD CONSTRAINT|CREATE UNIQUE INDEX|CREATE TRIGGER)\b`)

// A migration only expands the schema, unless it says which schema a program must
// know (the table oldest_schema): the version before works beside the new one.
func TestMigrationsOnlyExpand(t *testing.T) {
	files, err := filepath.Glob("migrations/*.sql")
	noErr(t, err)
	for _, file := range files[1:] { // the first one has no version before it
		content, err := os.ReadFile(file)
		noErr(t, err)
		for _, problem := range contractions(string(content)) {
			t.Errorf("%s: %s: an older version may fail; see upgrading.md", file, problem)
		}
	}
	for text, want := range map[string]int{
		"-- DROP nothing\nALTER TABLE users ADD COLUMN a ctext NOT NULL DEFAULT '';":                                    0,
		"ALTER TABLE users ADD COLUMN a ctext NOT NULL;":                                                                1,
		"ALTER TABLE users DROP COLUMN email;":                                                                          1,
		"ALTER TABLE users RENAME COLUMN email TO address;":                                                             1,
		"CREATE UNIQUE INDEX one ON users (email);":                                                                     1,
		"CREATE TABLE fresh (id bigint NOT NULL);\nCREATE UNIQUE INDEX u ON fresh (id);":                                0,
		"CREATE TABLE oldest_schema (version bigint NOT NULL);\nINSERT INTO oldest_schema VALUES (9);\nDROP TABLE old;": 0,
		"DELETE FROM users;": 1,
	} {
		if got := contractions(text); len(got) != want {
			t.Errorf("%q: %q, want %d", text, got, want)
		}
	}
}

var (
	comment    = regexp.MustCompile(`--[^\n]*`)
	addColumn  = regexp.MustCompile(`(?i)\bADD COLUMN\b`)
	withoutNot = regexp.MustCompile(`(?i)\bNOT NULL\b`)
	newTable   = regexp.MustCompile(`(?i)CREATE TABLE (\w+)`)
	indexOn    = regexp.MustCompile(`(?i)CREATE UNIQUE INDEX \w+ ON (\w+)`)
)

// contractions returns the statements of a migration that contract the schema.
func contractions(text string) []string {
	text = comment.ReplaceAllString(text, "")
	if strings.Contains(text, "oldest_schema") {
		return nil
	}
	fresh := map[string]bool{}
	for _, m := range newTable.FindAllStringSubmatch(text, -1) {
		fresh[m[1]] = true
	}
	var found []string
	for statement := range strings.SplitSeq(text, ";") {
		statement = strings.TrimSpace(statement)
		if m := indexOn.FindStringSubmatch(statement); m != nil && fresh[m[1]] {
			continue
		}
		without := addColumn.MatchString(statement) && withoutNot.MatchString(statement) && !strings.Contains(strings.ToUpper(statement), "DEFAULT")
		if without || contracting.MatchString(statement) {
			found = append(found, statement)
		}
	}
	return found
}

// expanded is what a newer version that has only expanded the schema leaves behind;
// contracted, one that has taken something away.
const (
	expanded = `INSERT INTO curfew_schema (version_id, is_applied) VALUES (999, true);
		ALTER TABLE users ADD COLUMN fresh bigint NOT NULL DEFAULT 7`
	contracted = `INSERT INTO curfew_schema (version_id, is_applied) VALUES (999, true);
		CREATE TABLE oldest_schema (version bigint NOT NULL);
		INSERT INTO oldest_schema VALUES (998)`
)

// A version starts again on a database that the next one has migrated.
func TestStartsAfterANewerVersion(t *testing.T) {
	newest, err := sqlstore.NewestSchema()
	noErr(t, err)
	for _, engine := range engines {
		t.Run(engine.name, func(t *testing.T) {
			url := engine.empty(t)
			s := open(t, url)
			sqlstore.Exec(t, s, expanded)
			noErr(t, s.Close())
			var log bytes.Buffer
			s = openWith(t, sqlstore.Config{URL: url, Logger: slog.New(slog.NewTextHandler(&log, nil))})
			noErr(t, s.Update(t.Context(), func(tx store.Tx) error {
				return tx.InsertUser(t.Context(), store.User{ID: "u", Name: "u", NameKey: "u"})
			}))
			_, err := s.User(t.Context(), "u")
			noErr(t, err)
			if !strings.Contains(log.String(), "a newer version of Curfew has migrated") || !strings.Contains(log.String(), "schema=999") {
				t.Errorf("the log does not say so: %s", log.String())
			}
			sqlstore.Exec(t, s, `CREATE TABLE oldest_schema (version bigint NOT NULL)`)
			for _, c := range []struct {
				oldest int64
				want   error
			}{{newest - 1, nil}, {newest, nil}, {newest + 1, store.ErrNewerSchema}} {
				sqlstore.Exec(t, s, `DELETE FROM oldest_schema`)
				sqlstore.Exec(t, s, `INSERT INTO oldest_schema VALUES (`+strconv.FormatInt(c.oldest, 10)+`)`)
				again, err := sqlstore.Open(t.Context(), sqlstore.Config{URL: url, Create: true, Logger: slog.New(slog.DiscardHandler)})
				if !errors.Is(err, c.want) {
					t.Errorf("requires %d: %v, want %v", c.oldest, err, c.want)
				}
				if err == nil {
					noErr(t, again.Close())
				}
			}
		})
	}
}

// A migration may take longer than a node waits for another one: it is not cut off.
func TestLongMigration(t *testing.T) {
	sqlstore.OpenWithin(t, time.Second)
	server := pgtest.Start(t, pgtest.Options{})
	noErr(t, server.CreateDatabase("curfew"))
	url := server.DSN("curfew")
	noErr(t, open(t, url).Close())
	first, err := os.ReadFile("migrations/00001_begin.sql")
	noErr(t, err)
	must(t)(server.ExecIn("curfew", `
		DO $$ DECLARE name text; BEGIN
			FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'curfew_schema' LOOP
				EXECUTE 'DROP TABLE ' || quote_ident(name) || ' CASCADE';
			END LOOP;
		END $$;
		DELETE FROM curfew_schema WHERE version_id > 1;`+string(first)))

	db, err := sql.Open("postgres", url)
	noErr(t, err)
	defer db.Close()
	holding, err := db.BeginTx(t.Context(), nil)
	noErr(t, err)
	_, err = holding.ExecContext(t.Context(), `LOCK TABLE sessions`)
	noErr(t, err)
	opened := make(chan error)
	go func() { // ends when the migration has
		s, err := sqlstore.Open(context.WithoutCancel(t.Context()), sqlstore.Config{URL: url, Create: true, Logger: slog.New(slog.DiscardHandler)})
		if err == nil {
			err = s.Close()
		}
		opened <- err
	}()
	waiting := func() bool {
		n := must(t)(server.Exec(`SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'relation'`))
		return n != "0"
	}
	await.Until(t, "the migration waits for the table", waiting)
	// Another node gives up, and says that it may try again.
	_, err = sqlstore.Open(t.Context(), sqlstore.Config{URL: url, Create: true, Logger: slog.New(slog.DiscardHandler)})
	is(t, err, store.ErrNotReady)
	if !waiting() {
		t.Error("the migration was cut off")
	}
	noErr(t, holding.Rollback())
	noErr(t, <-opened)
}

// Migrations that were written beside each other come to a database in any order.
func TestMissingMigrationsRun(t *testing.T) {
	for _, engine := range engines {
		t.Run(engine.name, func(t *testing.T) {
			url := engine.empty(t)
			s := open(t, url)
			sqlstore.Exec(t, s, `ALTER TABLE users DROP COLUMN member_of`)
			sqlstore.Exec(t, s, `DELETE FROM curfew_schema WHERE version_id = 7`)
			noErr(t, s.Close())
			_, err := sqlstore.Open(t.Context(), sqlstore.Config{URL: url, Logger: slog.New(slog.DiscardHandler)})
			is(t, err, store.ErrOlderSchema)
			s = open(t, url)
			noErr(t, s.Update(t.Context(), func(tx store.Tx) error {
				return tx.InsertUser(t.Context(), store.User{ID: "u", Name: "u", NameKey: "u", Groups: []string{"staff"}})
			}))
		})
	}
}
