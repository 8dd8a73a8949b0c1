package sqlstore_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"example.com/curfew/internal/await"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/store/pgtest"
	"example.com/curfew/internal/store/sqlstore"
	"example.com/curfew/revocation"
)

// slowness is how many times as long as promised an operation may take in a test,
// where the processors are shared with other tests. An operation that waits for a
// hanging server without a bound takes longer.
const slowness = 10

// saysUnavailable fails unless the store says that it is unavailable, whatever it is
// asked. The promise is two seconds.
func saysUnavailable(t *testing.T, s store.Store) {
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
				if d := time.Since(began); d > slowness*2*time.Second {
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

// heals waits until reading and writing work again.
func heals(t *testing.T, s store.Store) {
	t.Helper()
	var err error
	if !await.Holds(await.Limit, func() bool {
		if _, err = revokeAt(t.Context(), s, noon); err == nil {
			_, err = s.Clock(t.Context())
		}
		return err == nil
	}) {
		t.Fatalf("it does not work again: %v", err)
	}
}

// woken waits until a watcher is woken.
func woken(t *testing.T, what string, watch <-chan struct{}) {
	t.Helper()
	select {
	case <-watch:
	case <-time.After(await.Limit):
		t.Fatalf("%s: not woken", what)
	}
}

// quiet takes the wake-ups that a watcher has got until now. No event says that no
// more are on their way: a later one can make a test pass, not fail.
func quiet(watch <-chan struct{}) {
	for {
		select {
		case <-watch:
		case <-time.After(300 * time.Millisecond):
			return
		}
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
			heals(t, s)
			answersWell(t, s)
			goroutines := runtime.NumGoroutine()

			c.hang()
			saysUnavailable(t, s)
			saysUnavailable(t, s)
			// Of each pool, 8 backends may be waited for.
			bound := goroutines + 4 + 16
			await.Until(t, fmt.Sprintf("there are %d goroutines at most", bound), func() bool { return runtime.NumGoroutine() <= bound })
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			began := time.Now()
			_, err := s.Clock(ctx)
			is(t, err, context.DeadlineExceeded)
			if d := time.Since(began); d > slowness*time.Second {
				t.Errorf("a deadline of 100 ms was kept after %v", d)
			}
			drain(watch)
			c.mend()
			heals(t, s)
			answersWell(t, s)
			woken(t, "when it was over", watch)
			if c.connections {
				await.Until(t, "the server has noticed which connections are gone", func() bool {
					n, err := strconv.Atoi(must(t)(server.Exec(`SELECT count(*) FROM pg_stat_activity WHERE datname = 'curfew'`)))
					noErr(t, err)
					return n <= 17
				})
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

func drain(watch <-chan struct{}) {
	select {
	case <-watch:
	default:
	}
}

// TestPostgresClosesWhileItHangs: Close does not wait for a server that does not
// answer.
func TestPostgresClosesWhileItHangs(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{})
	noErr(t, server.CreateDatabase("curfew"))
	s := open(t, server.DSN("curfew"))
	s.Watch(t.Context())
	answersWell(t, s)
	noErr(t, server.Pause())
	// Until the connection that listens waits for the answer to its ping. A server
	// that stands still cannot say that it was asked.
	time.Sleep(1500 * time.Millisecond)
	began := time.Now()
	noErr(t, s.Close())
	if d := time.Since(began); d > slowness*time.Second {
		t.Errorf("closed after %v", d)
	}
	began = time.Now()
	_, err := sqlstore.Open(t.Context(), sqlstore.Config{URL: server.DSN("curfew")})
	is(t, err, store.ErrUnavailable)
	if d := time.Since(began); d > slowness*3*time.Second {
		t.Errorf("refused to open after %v", d)
	}
	noErr(t, server.Resume())
}

// TestPostgresRestarts: connections from before a restart are replaced without an
// error.
func TestPostgresRestarts(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{TCP: true})
	noErr(t, server.CreateDatabase("curfew"))
	for _, way := range []struct{ name, url string }{
		{"socket", server.DSN("curfew")}, {"TCP", server.DSNVia(server.Addr(), "curfew")},
	} {
		t.Run(way.name, func(t *testing.T) {
			s := open(t, way.url)
			// Thirty connections that are made at once take a busy machine more than two
			// seconds, after which the store would rightly say that it is unavailable.
			sqlstore.GiveTime(s, await.Limit)
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
				woken(t, name, watch)
			}
			noErr(t, server.Stop(pgtest.Fast))
			_, err := s.Clock(t.Context())
			is(t, err, store.ErrUnavailable)
			is(t, s.Update(t.Context(), func(store.Tx) error { return nil }), store.ErrUnavailable)
			noErr(t, server.Start())
			heals(t, s)
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
	for i := range 3 {
		await.Until(t, "a connection listens", func() bool { return must(t)(server.Exec(`SELECT count(*) `+listening)) != "0" })
		quiet(watch)
		if n := must(t)(server.Exec(`SELECT count(pg_terminate_backend(pid)) ` + listening)); n == "0" {
			t.Fatal("no listener")
		}
		woken(t, fmt.Sprint("lost and found, ", i), watch)
		quiet(watch)
		_, err := revokeAt(t.Context(), other, noon)
		noErr(t, err)
		woken(t, fmt.Sprint("by another, ", i), watch)
	}
}

// TestPostgresResets: a connection that is reset when it is used next, as by a
// firewall that has forgotten it, is replaced without an error.
func TestPostgresResets(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{TCP: true})
	noErr(t, server.CreateDatabase("curfew"))
	proxy := startProxy(t, server.Addr())
	s := open(t, server.DSNVia(proxy.addr(), "curfew"))
	for range 3 {
		answersWell(t, s)
		_, err := revokeAt(t.Context(), s, noon)
		noErr(t, err)
		// Until no connection is being made: database/sql does not say when.
		time.Sleep(200 * time.Millisecond)
		proxy.forget()
		answersWell(t, s)
		_, err = revokeAt(t.Context(), s, noon)
		noErr(t, err)
	}
}

// TestPostgresCommitUnanswered: when the answer to a commit is lost, it may have
// happened: unavailable, never done. Watchers are woken to read again.
func TestPostgresCommitUnanswered(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{TCP: true})
	noErr(t, server.CreateDatabase("curfew"))
	proxy := startProxy(t, server.Addr())
	s := open(t, server.DSNVia(proxy.addr(), "curfew"))
	watch := s.Watch(t.Context())
	before, err := revokeAt(t.Context(), s, noon)
	noErr(t, err)
	quiet(watch)
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
	woken(t, "after a commit that was not answered", watch)
	proxy.pass()
	heals(t, s)
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
	if d := time.Since(began); d > slowness*2*time.Second {
		t.Errorf("answered after %v", d)
	}
	_, err = s.Clock(t.Context()) // reading goes on
	noErr(t, err)
	heals(t, s)
	other.kill()
}
