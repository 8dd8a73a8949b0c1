package app

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"example.com/curfew/internal/config"
	"example.com/curfew/internal/keyring"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/store/pgtest"
	"example.com/curfew/internal/store/sqlstore"
)

// copyConfig is a copy between databases whose key-encryption key is known.
func copyConfig(from, to string, kek []byte) config.Copy {
	return config.Copy{Tools: config.Tools{Store: config.Store{Database: config.Database(from), KeyEncryptionKey: kek}}, To: config.Database(to)}
}

// A full database moves to the other engine and back. Each copy goes on where the
// source ended: sessions, users, services, keys, settings and audit are what they
// were.
func TestCopyThereAndBack(t *testing.T) {
	origin := "sqlite:" + t.TempDir() + "/origin.db"
	f := fillFixture(t, origin)
	clock := newFixtureClock(f.Now)
	addresses := []string{origin, pgtest.DSN(t), "sqlite:" + t.TempDir() + "/back.db", pgtest.DSN(t)}
	var before Copied
	for i, to := range addresses[1:] {
		from := addresses[i]
		tables := map[string]int64{}
		copied, err := Copy(t.Context(), copyConfig(from, to, f.KEK), Copying{Now: clock.now, Progress: func(table string, done, total int64) {
			if tables[table] = done; done > total {
				t.Errorf("%s: %d of %d", table, done, total)
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		// Each copy is noted in the audit of the copy, and not in that of its source.
		if i > 0 && copied.Rows != before.Rows+1 {
			t.Errorf("%d rows, want %d and one more", copied.Rows, before.Rows)
		}
		if copied.Epoch <= before.Epoch || copied.Epoch.Time().Before(f.Now) {
			t.Errorf("the clock is %v, was %v at %v", copied.Epoch, before.Epoch, f.Now)
		}
		if copied.Tables < 12 || tables["users"] != 6 || tables["audit"] < 20 || tables["signing_keys"] < 2 || tables["providers"] != 1 || tables["identities"] != 1 ||
			tables["sign_in_methods"] != 1 || tables["ended_provider_sessions"] != 1 || tables["logout_tokens"] != 1 {
			t.Errorf("%d tables: %v", copied.Tables, tables)
		}
		before = copied
	}
	for _, database := range addresses[1:] {
		checkFixture(runFixture(t, database, f.KEK, newFixtureClock(f.Now.Add(time.Minute))), f)
	}
}

// Nothing is copied where something is, from where a server runs, or without the key.
func TestCopyRefuses(t *testing.T) {
	origin := "sqlite:" + t.TempDir() + "/origin.db"
	f := fillFixture(t, origin)
	onPostgres := pgtest.DSN(t)
	if _, err := Copy(t.Context(), copyConfig(origin, onPostgres, f.KEK), Copying{}); err != nil {
		t.Fatal(err)
	}
	foreign := pgtest.DSN(t)
	pgtest.Load(t, foreign, `CREATE TABLE users (id text)`)
	fresh := func(t *testing.T) string { return "sqlite:" + t.TempDir() + "/copy.db" }
	used := func(t *testing.T) string {
		path := t.TempDir() + "/copy.db"
		if err := os.WriteFile(path, []byte("something"), 0o600); err != nil {
			t.Fatal(err)
		}
		return "sqlite:" + path
	}
	same := func(address string) func(*testing.T) string { return func(*testing.T) string { return address } }
	for _, c := range []struct {
		name, from string
		to         func(*testing.T) string
		kek        []byte
		want       error
		says       string
	}{
		{"a file exists", origin, used, f.KEK, store.ErrConflict, "already exists"},
		{"into itself, a file", origin, same(origin), f.KEK, store.ErrConflict, "already exists"},
		{"into itself, PostgreSQL", onPostgres, same(onPostgres), f.KEK, store.ErrConflict, "empty database"},
		{"data of Curfew", origin, same(onPostgres), f.KEK, store.ErrConflict, "empty database"},
		{"another program", origin, same(foreign), f.KEK, store.ErrForeign, "another program"},
		{"no such database", origin, same("postgres://127.0.0.1:1/curfew?sslmode=disable"), f.KEK, store.ErrUnavailable, "the destination, PostgreSQL database"},
		{"no source", "sqlite:" + t.TempDir() + "/none.db", fresh, f.KEK, store.ErrNotFound, "none.db"},
		{"another key", origin, fresh, make([]byte, 32), keyring.ErrWrongKEK, "of no use without its signing keys"},
		{"no key", origin, fresh, nil, nil, "origin.db.key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			to := c.to(t)
			_, err := Copy(t.Context(), copyConfig(c.from, to, c.kek), Copying{})
			if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want %v and %q", err, c.want, c.says)
			}
			if path, ok := strings.CutPrefix(to, "sqlite:"); ok && !errors.Is(c.want, store.ErrConflict) {
				if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("something is at %s: %v", path, err)
				}
			}
		})
	}
	for name, database := range map[string]string{"sqlite": origin, "postgres": onPostgres} {
		t.Run("a server runs on "+name, func(t *testing.T) {
			runFixture(t, database, f.KEK, newFixtureClock(f.Now.Add(time.Minute)))
			_, err := Copy(t.Context(), copyConfig(database, fresh(t), f.KEK), Copying{})
			if !errors.Is(err, ErrInUse) {
				t.Errorf("%v, want ErrInUse", err)
			}
		})
	}
}

// A node that was killed leaves its row: the copy waits for a lease, and goes on.
func TestCopyAfterAKilledNode(t *testing.T) {
	dsn := pgtest.DSN(t)
	f := fillFixture(t, dsn)
	s, err := sqlstore.Open(t.Context(), sqlstore.Config{URL: dsn})
	if err != nil {
		t.Fatal(err)
	}
	killed := store.Node{ID: "n", Name: "killed:8420", Beat: 7, LeaseMS: 100}
	if err := s.Update(t.Context(), func(tx store.Tx) error { return tx.PutNode(t.Context(), killed, false) }); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	note := ""
	_, err = Copy(t.Context(), copyConfig(dsn, "sqlite:"+t.TempDir()+"/copy.db", f.KEK), Copying{Note: func(text string) { note = text }})
	if err != nil || !strings.Contains(note, "killed:8420") {
		t.Errorf("%v; it noted %q", err, note)
	}
}

// A copy that is broken off, or changed on its way, leaves nothing behind, and can be
// begun again.
func TestCopyIsAllOrNothing(t *testing.T) {
	origin := "sqlite:" + t.TempDir() + "/origin.db"
	f := fillFixture(t, origin)
	file := t.TempDir() + "/copy.db"
	for name, to := range map[string]string{"sqlite": "sqlite:" + file, "postgres": pgtest.DSN(t)} {
		t.Run(name, func(t *testing.T) {
			for _, table := range []string{"audit", "sessions", "users"} {
				ctx, cancel := context.WithCancel(t.Context())
				_, err := Copy(ctx, copyConfig(origin, to, f.KEK), Copying{Progress: func(at string, _, _ int64) {
					if at == table {
						cancel()
					}
				}})
				cancel()
				if err == nil {
					t.Fatalf("broken off at %s: no error", table)
				}
				if _, err := os.Lstat(file); name == "sqlite" && !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("broken off at %s: the file is there: %v", table, err)
				}
				if name == "postgres" {
					expectNothing(t, to)
				}
			}
			if _, err := Copy(t.Context(), copyConfig(origin, to, f.KEK), Copying{}); err != nil {
				t.Errorf("begun again: %v", err)
			}
		})
	}
	t.Run("changed on its way", func(t *testing.T) {
		dsn := pgtest.DSN(t)
		s, err := sqlstore.Open(t.Context(), sqlstore.Config{URL: dsn, Create: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		pgtest.Load(t, dsn, `
			CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.disabled := 1 - NEW.disabled; RETURN NEW; END $$;
			CREATE TRIGGER spoil BEFORE INSERT ON users FOR EACH ROW WHEN (NEW.name = 'carol') EXECUTE FUNCTION spoil();`)
		_, err = Copy(t.Context(), copyConfig(origin, dsn, f.KEK), Copying{})
		if !errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), "the table users differs") {
			t.Errorf("%v, want ErrCorrupt", err)
		}
		expectNothing(t, dsn)
	})
}

// expectNothing fails unless a database has no data of Curfew.
func expectNothing(t *testing.T, dsn string) {
	t.Helper()
	s, err := sqlstore.Open(t.Context(), sqlstore.Config{URL: dsn})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Installation(t.Context()); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("there is an installation: %v", err)
	}
	users, err := s.CountUsers(t.Context())
	clock, cerr := s.Clock(t.Context())
	if err = errors.Join(err, cerr); err != nil || users != 0 || clock != 0 {
		t.Errorf("%d users, clock %v: %v", users, clock, err)
	}
}
