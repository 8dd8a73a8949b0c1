package sqlstore_test

import (
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"example.com/curfew/internal/await"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/store/pgtest"
	"example.com/curfew/internal/store/sqlstore"
	"example.com/curfew/revocation"
)

func must(tb testing.TB) func(string, error) string {
	return func(out string, err error) string {
		tb.Helper()
		noErr(tb, err)
		return strings.TrimSpace(out)
	}
}

func TestPostgresRefuses(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{})
	for _, name := range []string{"foreign", "newer", "older", "empty"} {
		noErr(t, server.CreateDatabase(name))
	}
	do := func(database, statement string) { t.Helper(); must(t)(server.ExecIn(database, statement)) }
	do("foreign", `CREATE TABLE users (id text)`)
	do("postgres", `CREATE DATABASE ascii ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0`)
	for database, change := range map[string]string{
		"newer": contracted,
		"older": `DELETE FROM curfew_schema WHERE version_id > 0`,
	} {
		noErr(t, open(t, server.DSN(database)).Close())
		do(database, change)
	}
	closed, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	noErr(t, err)
	nobody := "postgres://curfew:s3cret@" + closed.Addr().String() + "/curfew?sslmode=disable"
	noErr(t, closed.Close())

	for _, c := range []struct {
		name, url string
		create    bool
		want      error
		says      string
	}{
		{"an empty database", server.DSN("empty"), false, store.ErrNotFound, "curfew serve"},
		{"tables of another program", server.DSN("foreign"), true, store.ErrForeign, "another program"},
		{"tables of another program", server.DSN("foreign"), false, store.ErrForeign, "another program"},
		{"another encoding", server.DSN("ascii"), true, store.ErrForeign, "UTF8"},
		{"a newer schema", server.DSN("newer"), true, store.ErrNewerSchema, "998"},
		{"a newer schema", server.DSN("newer"), false, store.ErrNewerSchema, "998"},
		{"an older schema", server.DSN("older"), false, store.ErrOlderSchema, "curfew serve"},
		{"no such database", server.DSN("none"), true, store.ErrUnavailable, "createdb"},
		{"no server", nobody, true, store.ErrUnavailable, "refused"},
		{"no such host", "postgres://curfew:s3cret@nowhere.invalid/curfew", true, store.ErrUnavailable, "nowhere.invalid"},
		{"what is no URL", "postgres://curfew:s3cret/slash@localhost/curfew", true, nil, "%-escapes"},
		{"another engine", "mysql://curfew:s3cret@localhost/curfew", true, nil, "sqlite:PATH"},
		{"an option that is none", "postgres://curfew:s3cret@localhost/curfew?sslmode=perhaps", true, nil, "sslmode"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := sqlstore.Open(t.Context(), sqlstore.Config{URL: c.url, Create: c.create})
			if err == nil {
				_ = s.Close()
				t.Fatal("it was opened")
			}
			if c.want != nil {
				is(t, err, c.want)
			}
			if !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("the error %q is not one line that says %q and no password", err, c.says)
			}
		})
	}
	if n := must(t)(server.ExecIn("empty", `SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace`)); n != "0" {
		t.Errorf("%s things were made in a database that was to be left alone", n)
	}
	err = open(t, server.DSN("empty")).Backup(t.Context(), "x")
	if err == nil || !strings.Contains(err.Error(), "pg_dump") {
		t.Errorf("the error %v does not name pg_dump", err)
	}
}

// TestPostgresStartsTogether: of several first starts at the same time, all go on
// with one schema.
func TestPostgresStartsTogether(t *testing.T) {
	t.Parallel()
	eachWay(t, pgtest.Options{}, func(t *testing.T, p *pooled, url func(string) string) {
		startsTogether(t, url(p.database(t)))
	})
}

func startsTogether(t *testing.T, url string) {
	t.Helper()
	var running sync.WaitGroup
	for range 5 {
		running.Go(func() {
			s, err := sqlstore.Open(t.Context(), sqlstore.Config{URL: url, Create: true})
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			if _, err := revokeAt(t.Context(), s, noon, revocation.Everyone()); err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
	e, err := open(t, url).Clock(t.Context())
	noErr(t, err)
	if want := revocation.Epoch(noon.UnixMicro() + 4); e != want {
		t.Errorf("clock %d, want %d", e, want)
	}
}

// TestPostgresSeveralHosts: the first host that answers is used, whatever the
// others do, and a read-only one is skipped.
func TestPostgresSeveralHosts(t *testing.T) {
	t.Parallel()
	primary := pgtest.Start(t, pgtest.Options{TCP: true})
	standby := primary.Standby(t, pgtest.Options{TCP: true})
	noErr(t, primary.CreateDatabase("curfew"))
	silent, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0") // takes connections and says nothing
	noErr(t, err)
	defer silent.Close()
	_, port, err := net.SplitHostPort(silent.Addr().String())
	noErr(t, err)
	address, err := url.Parse(primary.DSNVia(primary.Addr(), "curfew"))
	noErr(t, err)
	for ports, hosts := range map[string]string{
		fmt.Sprintf("%s,%d", port, primary.Port()):           "127.0.0.1,127.0.0.1",
		fmt.Sprintf("%d,%d", standby.Port(), primary.Port()): "127.0.0.1,127.0.0.1",
	} {
		address.Host = hosts
		query := address.Query()
		query.Set("port", ports)
		query.Set("target_session_attrs", "read-write")
		address.RawQuery = query.Encode()
		s := open(t, address.String())
		_, err = revokeAt(t.Context(), s, noon)
		noErr(t, err)
		noErr(t, s.Close())
	}
	address.Host, address.RawQuery = standby.Addr(), "sslmode=disable"
	_, err = sqlstore.Open(t.Context(), sqlstore.Config{URL: address.String(), Create: true})
	is(t, err, store.ErrUnavailable)
	if !strings.Contains(err.Error(), "standby") {
		t.Errorf("the error %q does not say that it is a standby", err)
	}
}

func TestPostgresWarnings(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{Fsync: true, Settings: map[string]string{"full_page_writes": "on"}})
	noErr(t, server.CreateDatabase("curfew"))
	s := open(t, server.DSN("curfew"))
	// The connections of the store learn of a change one by one.
	warned := func(when string, want ...string) {
		t.Helper()
		var got []string
		if !await.Holds(await.Limit, func() bool {
			got = s.Warnings(t.Context())
			ok := len(got) == len(want)
			for i := range want {
				ok = ok && strings.Contains(got[i], want[i])
			}
			return ok
		}) {
			t.Errorf("%s: warnings %q, want %q", when, got, want)
		}
	}
	set := func(name, value string) {
		t.Helper()
		must(t)(server.Exec(`ALTER SYSTEM SET ` + name + ` = ` + value))
		must(t)(server.Exec(`SELECT pg_reload_conf()`))
	}
	warned("a server as it should be")
	set("fsync", "off")
	set("full_page_writes", "off")
	warned("nothing is synced", "fsync=off", "full_page_writes=off")
	set("fsync", "on")
	set("full_page_writes", "on")
	server.Standby(t, pgtest.Options{})
	await.Until(t, "the standby streams", func() bool {
		return must(t)(server.Exec(`SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'`)) != "0"
	})
	warned("a replica", "synchronous")
	set("synchronous_standby_names", "'*'")
	warned("a synchronous replica")
	set("synchronous_standby_names", "''")
}

// TestPostgresIsolation: the server's default isolation has no effect. Under
// another level, a transaction that waited for the epoch clock would have to begin
// anew.
func TestPostgresIsolation(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{Settings: map[string]string{"default_transaction_isolation": "serializable"}})
	noErr(t, server.CreateDatabase("curfew"))
	s := open(t, server.DSN("curfew"))
	var running sync.WaitGroup
	var runs atomic.Int64
	for range 8 {
		running.Go(func() {
			for range 10 {
				if err := s.Update(t.Context(), func(tx store.Tx) error {
					runs.Add(1)
					_, err := tx.Advance(t.Context(), noon)
					return err
				}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	running.Wait()
	e, err := s.Clock(t.Context())
	noErr(t, err)
	if want := revocation.Epoch(noon.UnixMicro() + 79); e != want {
		t.Errorf("clock %d, want %d", e, want)
	}
	if n := runs.Load(); n != 80 {
		t.Errorf("80 transactions were run %d times", n)
	}
}

// TestPostgresLogsNoPassword: log lines about a lost connection, and all errors,
// leave the password out.
func TestPostgresLogsNoPassword(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{TCP: true})
	noErr(t, server.CreateDatabase("curfew"))
	address, err := url.Parse(server.DSNVia(server.Addr(), "curfew"))
	noErr(t, err)
	password, _ := address.User.Password()
	if password == "" {
		t.Fatal("the server admits every client: this tries nothing")
	}
	var log lockedBuffer
	s, err := sqlstore.Open(t.Context(), sqlstore.Config{URL: address.String(), Create: true, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	noErr(t, err)
	defer s.Close()
	watch := s.Watch(t.Context())
	<-watch
	noErr(t, server.Stop(pgtest.Immediate))
	await.Until(t, "the log says that notifications are interrupted", func() bool { return strings.Contains(log.String(), "interrupted") })
	_, err = s.Clock(t.Context())
	is(t, err, store.ErrUnavailable)
	address.User = url.UserPassword("postgres", "wr0ng-"+password)
	noErr(t, server.Start())
	_, wrong := sqlstore.Open(t.Context(), sqlstore.Config{URL: address.String()})
	is(t, wrong, store.ErrUnavailable)
	await.Until(t, "the log says that they are restored", func() bool { return strings.Contains(log.String(), "restored") })
	said := log.String()
	if strings.Count(said, "\n") != 2 {
		t.Errorf("the log should have one line when it was lost and one when it was found again:\n%s", said)
	}
	for _, text := range []string{said, err.Error(), wrong.Error()} {
		if strings.Contains(text, password) {
			t.Errorf("the password is in %q", strings.ReplaceAll(text, password, "PASSWORD"))
		}
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
