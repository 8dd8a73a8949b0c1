package sqlstore_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

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
	server := pgtest.Start(t, pgtest.Options{})
	for _, name := range []string{"foreign", "newer", "older", "empty"} {
		noErr(t, server.CreateDatabase(name))
	}
	do := func(database, statement string) { t.Helper(); must(t)(server.ExecIn(database, statement)) }
	do("foreign", `CREATE TABLE users (id text)`)
	do("postgres", `CREATE DATABASE ascii ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0`)
	for database, change := range map[string]string{
		"newer": `INSERT INTO curfew_schema (version_id, is_applied) VALUES (999, true)`,
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
		{"a newer schema", server.DSN("newer"), true, store.ErrNewerSchema, "999"},
		{"a newer schema", server.DSN("newer"), false, store.ErrNewerSchema, "999"},
		{"an older schema", server.DSN("older"), false, store.ErrOlderSchema, "curfew serve"},
		{"no such database", server.DSN("none"), true, store.ErrUnavailable, "createdb"},
		{"nobody there", nobody, true, store.ErrUnavailable, "refused"},
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
	url := pgtest.DSN(t)
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

// answersWithin fails unless the store says within two seconds that it is
// unavailable, whoever asks what.
func answersWithin(t *testing.T, s store.Store) {
	t.Helper()
	var running sync.WaitGroup
	for name, ask := range map[string]func(context.Context) error{
		"clock":   func(ctx context.Context) error { _, err := s.Clock(ctx); return err },
		"changes": func(ctx context.Context) error { _, err := s.ChangesAfter(ctx, 0, 10); return err },
		"audit":   func(ctx context.Context) error { _, err := s.Audits(ctx, store.AuditFilter{}, 10); return err },
		"revoke":  func(ctx context.Context) error { _, err := revokeAt(ctx, s, noon, revocation.Everyone()); return err },
	} {
		for range 25 { // more than there are connections
			running.Go(func() {
				began := time.Now()
				err := ask(t.Context())
				if d := time.Since(began); d > 2*time.Second {
					t.Errorf("%s: answered after %v", name, d)
				}
				if !errors.Is(err, store.ErrUnavailable) {
					t.Errorf("%s: error %v, want %v", name, err, store.ErrUnavailable)
				}
			})
		}
	}
	running.Wait()
}

// healsWithin waits until reading and writing work again.
func healsWithin(t *testing.T, s store.Store, d time.Duration) {
	t.Helper()
	began := time.Now()
	for {
		_, err := revokeAt(t.Context(), s, noon)
		if err == nil {
			if _, err = s.Clock(t.Context()); err == nil {
				return
			}
		}
		if time.Since(began) > d {
			t.Fatalf("after %v still: %v", d, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestPostgresHangs(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{TCP: true})
	noErr(t, server.CreateDatabase("curfew"))
	proxy := startProxy(t, server.Addr())
	for _, c := range []struct {
		name        string
		url         string
		hang, mend  func()
		connections bool
	}{
		{"a server that is stopped", server.DSN("curfew"), func() { noErr(t, server.Pause()) }, func() { noErr(t, server.Resume()) }, true},
		{"a link that is a black hole", server.DSNVia(proxy.addr(), "curfew"), proxy.swallow, proxy.pass, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t, c.url)
			watch := s.Watch(t.Context())
			healsWithin(t, s, time.Second)
			answersWell(t, s)
			goroutines := runtime.NumGoroutine()

			c.hang()
			answersWithin(t, s)
			answersWithin(t, s)
			if n := settled(goroutines + 4); n > goroutines+4 {
				t.Errorf("%d goroutines, %d before", n, goroutines)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			began := time.Now()
			_, err := s.Clock(ctx)
			is(t, err, context.DeadlineExceeded)
			if d := time.Since(began); d > time.Second {
				t.Errorf("a deadline of 100 ms was kept after %v", d)
			}
			drain(watch)
			c.mend()
			healsWithin(t, s, 3*time.Second)
			answersWell(t, s)
			select {
			case <-watch:
			case <-time.After(5 * time.Second):
				t.Error("nobody was woken when it was over")
			}
			if c.connections {
				time.Sleep(200 * time.Millisecond) // until the server has noticed who is gone
				n := must(t)(server.Exec(`SELECT count(*) FROM pg_stat_activity WHERE datname = 'curfew'`))
				if len(n) > 2 || len(n) == 2 && n > "17" {
					t.Errorf("%s connections", n)
				}
			}
		})
	}
}

// answersWell fails if one of many questions at the same time is not answered.
func answersWell(t *testing.T, s store.Store) {
	t.Helper()
	var running sync.WaitGroup
	for range 30 {
		running.Go(func() {
			if _, err := s.Clock(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
}

// settled waits for the number of goroutines to go down to n, and returns it.
func settled(n int) int {
	for range 100 {
		if runtime.NumGoroutine() <= n {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	return runtime.NumGoroutine()
}

func drain(watch <-chan struct{}) {
	select {
	case <-watch:
	default:
	}
}

// TestPostgresClosesWhileItHangs: nobody who ends waits for a server that does
// not answer.
func TestPostgresClosesWhileItHangs(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{})
	noErr(t, server.CreateDatabase("curfew"))
	s := open(t, server.DSN("curfew"))
	s.Watch(t.Context())
	answersWell(t, s)
	noErr(t, server.Pause())
	time.Sleep(1500 * time.Millisecond) // until the connection that listens waits for an answer
	began := time.Now()
	noErr(t, s.Close())
	if d := time.Since(began); d > time.Second {
		t.Errorf("closed after %v", d)
	}
	began = time.Now()
	_, err := sqlstore.Open(t.Context(), sqlstore.Config{URL: server.DSN("curfew")})
	is(t, err, store.ErrUnavailable)
	if d := time.Since(began); d > 3*time.Second {
		t.Errorf("refused to open after %v", d)
	}
	noErr(t, server.Resume())
}

// TestPostgresSeveralHosts: the first that answers is taken, whatever the others
// do, and one that may not be written to is passed over.
func TestPostgresSeveralHosts(t *testing.T) {
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

// TestPostgresRestarts: connections from before a restart are replaced without
// anybody noticing.
func TestPostgresRestarts(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{TCP: true})
	noErr(t, server.CreateDatabase("curfew"))
	for _, way := range []struct{ name, url string }{
		{"socket", server.DSN("curfew")}, {"TCP", server.DSNVia(server.Addr(), "curfew")},
	} {
		t.Run(way.name, func(t *testing.T) {
			s := open(t, way.url)
			watch := s.Watch(t.Context())
			for name, restart := range map[string]func() error{
				"fast":      func() error { return server.Restart(pgtest.Fast) },
				"immediate": func() error { return server.Restart(pgtest.Immediate) },
				"killed":    func() error { return errors.Join(server.Kill(), server.Start()) },
			} {
				answersWell(t, s)
				before, err := revokeAt(t.Context(), s, noon, revocation.Everyone())
				noErr(t, err)
				drain(watch)
				noErr(t, restart())
				answersWell(t, s)
				after, err := revokeAt(t.Context(), s, noon)
				noErr(t, err)
				if after != before+1 {
					t.Errorf("%s: epoch %d after %d", name, after, before)
				}
				select {
				case <-watch:
				case <-time.After(5 * time.Second):
					t.Errorf("%s: nobody was woken", name)
				}
			}
			noErr(t, server.Stop(pgtest.Fast))
			_, err := s.Clock(t.Context())
			is(t, err, store.ErrUnavailable)
			is(t, s.Update(t.Context(), func(store.Tx) error { return nil }), store.ErrUnavailable)
			noErr(t, server.Start())
			healsWithin(t, s, 3*time.Second)
		})
	}
}

// TestPostgresListeningIsLost: a connection that listened and is gone is replaced,
// and what was missed meanwhile wakes.
func TestPostgresListeningIsLost(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{})
	noErr(t, server.CreateDatabase("curfew"))
	s, other := open(t, server.DSN("curfew")), open(t, server.DSN("curfew"))
	watch := s.Watch(t.Context())
	listening := `FROM pg_stat_activity WHERE query LIKE 'LISTEN%' OR query = ''  AND application_name = 'curfew' AND state = 'idle'`
	woken := func(what string) {
		t.Helper()
		select {
		case <-watch:
		case <-time.After(5 * time.Second):
			t.Fatalf("%s: not woken", what)
		}
	}
	for i := range 3 {
		for must(t)(server.Exec(`SELECT count(*) `+listening)) == "0" {
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(300 * time.Millisecond)
		drain(watch)
		if n := must(t)(server.Exec(`SELECT count(pg_terminate_backend(pid)) ` + listening)); n == "0" {
			t.Fatal("nobody listens")
		}
		woken(fmt.Sprint("lost and found, ", i))
		time.Sleep(300 * time.Millisecond)
		drain(watch)
		_, err := revokeAt(t.Context(), other, noon)
		noErr(t, err)
		woken(fmt.Sprint("by another, ", i))
	}
}

// TestPostgresResets: a connection that is reset when it is used next, as by a
// firewall that has forgotten it, is replaced without anybody noticing.
func TestPostgresResets(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{TCP: true})
	noErr(t, server.CreateDatabase("curfew"))
	proxy := startProxy(t, server.Addr())
	s := open(t, server.DSNVia(proxy.addr(), "curfew"))
	for range 3 {
		answersWell(t, s)
		_, err := revokeAt(t.Context(), s, noon)
		noErr(t, err)
		time.Sleep(200 * time.Millisecond) // until no connection is being made
		proxy.forget()
		answersWell(t, s)
		_, err = revokeAt(t.Context(), s, noon)
		noErr(t, err)
	}
}

// TestPostgresCommitUnanswered: when the answer to a commit is lost, it may have
// happened: unavailable, never done. Whoever watches is woken to look.
func TestPostgresCommitUnanswered(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{TCP: true})
	noErr(t, server.CreateDatabase("curfew"))
	proxy := startProxy(t, server.Addr())
	s := open(t, server.DSNVia(proxy.addr(), "curfew"))
	watch := s.Watch(t.Context())
	before, err := revokeAt(t.Context(), s, noon)
	noErr(t, err)
	time.Sleep(300 * time.Millisecond)
	drain(watch)
	runs := 0
	err = s.Update(t.Context(), func(tx store.Tx) error {
		runs++
		_, err := tx.Advance(t.Context(), noon)
		proxy.swallowAnswers()
		return err
	})
	is(t, err, store.ErrUnavailable)
	if runs != 1 {
		t.Errorf("run %d times", runs)
	}
	select {
	case <-watch:
	case <-time.After(time.Second):
		t.Error("nobody was woken")
	}
	proxy.pass()
	healsWithin(t, s, 3*time.Second)
	after, err := s.Clock(t.Context())
	noErr(t, err)
	if after != before+2 { // that one, and the one of healing
		t.Errorf("clock %d, want %d: it had happened", after, before+2)
	}
}

// TestPostgresNodeStopsInTransaction: a node that stands still while it holds the
// epoch clock holds it for some seconds only.
func TestPostgresNodeStopsInTransaction(t *testing.T) {
	url := pgtest.DSN(t)
	s := open(t, url)
	other := startChild(t, "stop", url, nil)
	began := time.Now()
	_, err := revokeAt(t.Context(), s, noon)
	is(t, err, store.ErrUnavailable)
	if d := time.Since(began); d > 2*time.Second {
		t.Errorf("answered after %v", d)
	}
	_, err = s.Clock(t.Context()) // reading goes on
	noErr(t, err)
	healsWithin(t, s, 10*time.Second)
	other.kill()
}

func TestPostgresWarnings(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{Fsync: true, Settings: map[string]string{"full_page_writes": "on"}})
	noErr(t, server.CreateDatabase("curfew"))
	s := open(t, server.DSN("curfew"))
	warned := func(when string, want ...string) {
		t.Helper()
		got := s.Warnings(t.Context())
		ok := len(got) == len(want)
		for i := range want {
			ok = ok && strings.Contains(got[i], want[i])
		}
		if !ok {
			t.Errorf("%s: warnings %q, want %q", when, got, want)
		}
	}
	set := func(name, value string) {
		t.Helper()
		must(t)(server.Exec(`ALTER SYSTEM SET ` + name + ` = ` + value))
		must(t)(server.Exec(`SELECT pg_reload_conf()`))
		for must(t)(server.Exec(`SELECT setting FROM pg_settings WHERE name = '`+name+`'`)) != strings.Trim(value, "'") {
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(100 * time.Millisecond) // until the other connections know
	}
	warned("a server as it should be")
	set("fsync", "off")
	set("full_page_writes", "off")
	warned("nothing is synced", "fsync=off", "full_page_writes=off")
	set("fsync", "on")
	set("full_page_writes", "on")
	server.Standby(t, pgtest.Options{})
	for must(t)(server.Exec(`SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'`)) == "0" {
		time.Sleep(20 * time.Millisecond)
	}
	warned("a replica", "synchronous")
	set("synchronous_standby_names", "'*'")
	warned("a synchronous replica")
	set("synchronous_standby_names", "''")
}

// TestPostgresCommitsAreSynced: whatever the server's default is, commits of ours
// wait for the disk; a stronger default stays.
func TestPostgresCommitsAreSynced(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{})
	noErr(t, server.CreateDatabase("curfew"))
	s := open(t, server.DSN("curfew"))
	noErr(t, s.Close())
	for setting, want := range map[string]string{"off": "on", "local": "on", "remote_write": "on", "on": "on", "remote_apply": "remote_apply"} {
		must(t)(server.Exec(`ALTER DATABASE curfew SET synchronous_commit = ` + setting))
		must(t)(server.ExecIn("curfew", `CREATE OR REPLACE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
			BEGIN NEW.reason = current_setting('synchronous_commit'); RETURN NEW; END $$;
			CREATE OR REPLACE TRIGGER note BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION note()`))
		s := open(t, server.DSN("curfew"))
		_, err := revokeAt(t.Context(), s, noon)
		noErr(t, err)
		entries, err := s.Audits(t.Context(), store.AuditFilter{}, 1)
		noErr(t, err)
		if entries[0].Reason != want {
			t.Errorf("with the default %s, a commit is %s, want %s", setting, entries[0].Reason, want)
		}
		noErr(t, s.Close())
	}
}

// TestPostgresIsolation: the server's default isolation is not what decides. Under
// another one, whoever waited for the epoch clock would have to begin anew.
func TestPostgresIsolation(t *testing.T) {
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

// proxy stands between a store and its server.
type proxy struct {
	listener net.Listener
	to       string
	running  sync.WaitGroup

	mu      sync.Mutex
	mended  chan struct{} // closed while bytes pass
	answers chan struct{} // the same, for what the server says
	conns   []net.Conn
	forgot  map[net.Conn]bool // clients that are reset when they say something
}

func startProxy(t *testing.T, to string) *proxy {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	noErr(t, err)
	p := &proxy{listener: listener, to: to}
	p.pass()
	p.running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", p.to)
			if err != nil {
				_ = client.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, client, server)
			p.mu.Unlock()
			p.running.Go(func() { p.copy(server, client, false) })
			p.running.Go(func() { p.copy(client, server, true) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		p.pass()
		p.mu.Lock()
		for _, c := range p.conns {
			_ = c.Close()
		}
		p.mu.Unlock()
		p.running.Wait()
	})
	return p
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

// copy hands on bytes while they may pass, and loses them otherwise: what a black
// hole took does not come out again.
func (p *proxy) copy(to, from net.Conn, answers bool) {
	defer to.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		p.mu.Lock()
		if tcp, ok := from.(*net.TCPConn); ok && p.forgot[from] {
			_ = tcp.SetLinger(0)
			_ = tcp.Close()
		}
		gate := p.mended
		if answers {
			gate = p.answers
		}
		p.mu.Unlock()
		select {
		case <-gate:
		default:
			continue
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

func (p *proxy) set(pass, answers bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mended, p.answers = make(chan struct{}), make(chan struct{})
	if pass {
		close(p.mended)
	}
	if answers {
		close(p.answers)
	}
}

func (p *proxy) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forgot = map[net.Conn]bool{}
	for _, c := range p.conns {
		p.forgot[c] = true
	}
}

func (p *proxy) pass()           { p.set(true, true) }
func (p *proxy) swallow()        { p.set(false, false) }
func (p *proxy) swallowAnswers() { p.set(true, false) }

// TestPostgresLogsNoPassword: what is logged about a lost connection, and every
// error, leaves the password out.
func TestPostgresLogsNoPassword(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{TCP: true})
	noErr(t, server.CreateDatabase("curfew"))
	address, err := url.Parse(server.DSNVia(server.Addr(), "curfew"))
	noErr(t, err)
	password, _ := address.User.Password()
	if password == "" {
		t.Fatal("the server takes everybody: this tries nothing")
	}
	var log lockedBuffer
	s, err := sqlstore.Open(t.Context(), sqlstore.Config{URL: address.String(), Create: true, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	noErr(t, err)
	defer s.Close()
	watch := s.Watch(t.Context())
	<-watch
	noErr(t, server.Stop(pgtest.Immediate))
	for deadline := time.Now().Add(5 * time.Second); !strings.Contains(log.String(), "lost") && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	_, err = s.Clock(t.Context())
	is(t, err, store.ErrUnavailable)
	address.User = url.UserPassword("postgres", "wr0ng-"+password)
	noErr(t, server.Start())
	_, wrong := sqlstore.Open(t.Context(), sqlstore.Config{URL: address.String()})
	is(t, wrong, store.ErrUnavailable)
	for deadline := time.Now().Add(5 * time.Second); !strings.Contains(log.String(), "again") && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
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
