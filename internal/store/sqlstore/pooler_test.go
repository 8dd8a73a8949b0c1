package sqlstore_test

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"example.com/curfew/internal/await"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/store/pgtest"
	"example.com/curfew/internal/store/sqlstore"
	"example.com/curfew/internal/store/storetest"
	"example.com/curfew/revocation"
)

// pooled is a server behind a PgBouncer.
type pooled struct {
	server  *pgtest.Server
	bouncer *pgtest.Bouncer
	made    atomic.Int64
}

func startPooled(t *testing.T, mode pgtest.PoolMode, settings map[string]string) *pooled {
	t.Helper()
	server := pgtest.Start(t, pgtest.Options{Settings: settings})
	return &pooled{server: server, bouncer: server.Bouncer(t, mode)}
}

// database makes a database that goes with the test, and returns its name.
func (p *pooled) database(t *testing.T) string {
	t.Helper()
	name := fmt.Sprintf("curfew_%d", p.made.Add(1))
	noErr(t, p.server.CreateDatabase(name))
	t.Cleanup(func() { noErr(t, p.server.DropDatabase(name)) })
	return name
}

// TestStorePooled: the promise holds behind PgBouncer in transaction mode, with a
// direct address to listen at.
func TestStorePooled(t *testing.T) {
	t.Parallel()
	p := startPooled(t, pgtest.PoolTransactions, map[string]string{"autovacuum": "off", "deadlock_timeout": "50ms"})
	storetest.Run(t, func(t *testing.T) storetest.Open {
		name := p.database(t)
		return func(t *testing.T) store.Store {
			return patient(openWith(t, sqlstore.Config{URL: p.bouncer.DSN(name), ListenURL: p.server.DSN(name)}))
		}
	})
}

// ways are the ways to a database that promise the same.
var ways = []struct {
	name string
	mode pgtest.PoolMode // "" for none
}{{"direct", ""}, {"session", pgtest.PoolSessions}, {"transaction", pgtest.PoolTransactions}}

// eachWay runs test with each way to the databases of one server. url returns the
// address of a database on that way.
func eachWay(t *testing.T, options pgtest.Options, test func(t *testing.T, p *pooled, url func(name string) string)) {
	server := pgtest.Start(t, options)
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			p := &pooled{server: server}
			if way.mode == "" {
				test(t, p, server.DSN)
				return
			}
			p.bouncer = server.Bouncer(t, way.mode)
			test(t, p, p.bouncer.DSN)
		})
	}
}

// TestCommitsAreSyncedOnEveryWay: whatever the server's default is, each of many
// commits waits for the disk, and a stronger default stays. A trigger that runs in
// the COMMIT reads the value in force.
func TestCommitsAreSyncedOnEveryWay(t *testing.T) {
	t.Parallel()
	eachWay(t, pgtest.Options{}, func(t *testing.T, p *pooled, url func(string) string) {
		for setting, want := range map[string]string{
			"off": "30|on", "local": "30|on", "remote_write": "30|on", "on": "30|on", "remote_apply": "30|remote_apply",
		} {
			name := p.database(t)
			must(t)(p.server.Exec(`ALTER DATABASE ` + name + ` SET synchronous_commit = ` + setting))
			s := patient(open(t, url(name)))
			must(t)(p.server.ExecIn(name, `CREATE TABLE seen (setting text);
				CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
				BEGIN INSERT INTO seen VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$;
				CREATE CONSTRAINT TRIGGER note AFTER INSERT ON audit DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note()`))
			var running sync.WaitGroup
			for range 6 {
				running.Go(func() {
					for range 5 {
						if _, err := revokeAt(t.Context(), s, noon); err != nil {
							t.Error(err)
						}
					}
				})
			}
			running.Wait()
			if got := must(t)(p.server.ExecIn(name, `SELECT count(*), setting FROM seen GROUP BY setting`)); got != want {
				t.Errorf("with the default %s, commits are %q, want %q", setting, got, want)
			}
			noErr(t, s.Close())
		}
	})
}

// TestWeakCommitIsRefused: a transaction whose synchronous_commit was changed to
// what a crash or a failover may lose is not committed.
func TestWeakCommitIsRefused(t *testing.T) {
	t.Parallel()
	eachWay(t, pgtest.Options{}, func(t *testing.T, p *pooled, url func(string) string) {
		name := p.database(t)
		s := open(t, url(name))
		before, err := revokeAt(t.Context(), s, noon, revocation.Everyone())
		noErr(t, err)
		for setting, want := range map[string]error{
			"off": store.ErrUnavailable, "local": store.ErrUnavailable, "remote_write": store.ErrUnavailable, "on": nil, "remote_apply": nil,
		} {
			must(t)(p.server.ExecIn(name, `CREATE OR REPLACE FUNCTION weaken() RETURNS trigger LANGUAGE plpgsql AS $$
				BEGIN PERFORM set_config('synchronous_commit', '`+setting+`', true); RETURN NEW; END $$;
				CREATE OR REPLACE TRIGGER weaken BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION weaken()`))
			after, err := revokeAt(t.Context(), s, noon, revocation.Everyone())
			if want == nil {
				noErr(t, err)
				before = after
				continue
			}
			is(t, err, want)
			if !strings.Contains(err.Error(), "synchronous_commit="+setting) {
				t.Errorf("the error %q does not name the setting", err)
			}
			clock, err := s.Clock(t.Context())
			noErr(t, err)
			if clock != before {
				t.Errorf("with %s the clock is %d after %d: it was committed", setting, clock, before)
			}
		}
	})
}

// TestSchemaLockIsNotLeftBehind: when a start is over, no connection of a pooler
// holds the lock that the next start waits for.
func TestSchemaLockIsNotLeftBehind(t *testing.T) {
	t.Parallel()
	eachWay(t, pgtest.Options{}, func(t *testing.T, p *pooled, url func(string) string) {
		name := p.database(t)
		open(t, url(name))
		if n := must(t)(p.server.Exec(`SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'`)); n != "0" {
			t.Errorf("%s advisory locks are held after the start", n)
		}
	})
}

// TestPoolerRefusesParameters: what PgBouncer says of a parameter that it does not
// take is passed on, with what to do.
func TestPoolerRefusesParameters(t *testing.T) {
	t.Parallel()
	p := startPooled(t, pgtest.PoolTransactions, nil)
	for name, value := range map[string]string{"options": "-c%20jit%3Doff", "search_path": "curfew"} {
		_, err := sqlstore.Open(t.Context(), sqlstore.Config{URL: p.bouncer.DSN(p.database(t)) + "&" + name + "=" + value, Create: true})
		is(t, err, store.ErrUnavailable)
		for _, want := range []string{name, "ignore_startup_parameters"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("the error %q does not name %s", err, want)
			}
		}
	}
}

// TestNotificationsThatDoNotComeBack: a node notices on which ways its own
// notifications come back, and says what to do if they do not.
func TestNotificationsThatDoNotComeBack(t *testing.T) {
	t.Parallel()
	transactions := startPooled(t, pgtest.PoolTransactions, nil)
	name, another := transactions.database(t), transactions.database(t)
	sessions := transactions.server.Bouncer(t, pgtest.PoolSessions)
	direct, pooled := transactions.server.DSN(name), transactions.bouncer.DSN(name)
	for _, c := range []struct {
		name, url, listen string
		advice            string // "" if notifications come back
	}{
		{"direct", direct, "", ""},
		{"session pooling", sessions.DSN(name), "", ""},
		{"transaction pooling", pooled, "", "set --database-listen"},
		{"transaction pooling, listening directly", pooled, direct, ""},
		{"listening through transaction pooling", direct, pooled, "--database-listen must"},
		{"listening at another database", direct, transactions.server.DSN(another), "--database-listen must"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var log lockedBuffer
			logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			s := openWith(t, sqlstore.Config{URL: c.url, ListenURL: c.listen, Logger: logger})
			noErr(t, s.WatchError())
			watch := s.Watch(t.Context())
			if c.advice == "" {
				await.Until(t, "a notification comes back", func() bool { return strings.Contains(log.String(), "came back") })
				noErr(t, s.WatchError())
				other := openWith(t, sqlstore.Config{URL: c.url, ListenURL: c.listen})
				drain(watch)
				_, err := revokeAt(t.Context(), other, noon)
				noErr(t, err)
				<-watch // nothing else wakes
				if said := log.String(); strings.Contains(said, "level=WARN") {
					t.Errorf("the log says %q", said)
				}
				return
			}
			await.Until(t, "two notifications are missed", func() bool { return s.WatchError() != nil })
			if said := s.WatchError().Error(); !strings.Contains(said, "polls") {
				t.Errorf("the error %q does not say that polling goes on", said)
			}
			await.Until(t, "the log warns", func() bool { return strings.Contains(log.String(), "level=WARN") })
			if said := log.String(); strings.Count(said, "level=WARN") != 1 || !strings.Contains(said, c.advice) {
				t.Errorf("the log %q is not one warning that says %q", said, c.advice)
			}
		})
	}
}
