//go:build torture

package sqlstore_test

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/curfew/internal/await"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/store/pgtest"
	"example.com/curfew/revocation"
)

// startSynchronous starts a primary that waits for a standby at each commit.
func startSynchronous(t *testing.T, settings map[string]string) (primary, standby *pgtest.Server) {
	t.Helper()
	primary = pgtest.Start(t, pgtest.Options{TCP: true, Settings: settings})
	standby = primary.Standby(t, pgtest.Options{TCP: true})
	must(t)(primary.Exec(`ALTER SYSTEM SET synchronous_standby_names = '*'`))
	must(t)(primary.Exec(`SELECT pg_reload_conf()`))
	await.Until(t, "the standby is synchronous", func() bool {
		return must(t)(primary.Exec(`SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'`)) == "1"
	})
	return primary, standby
}

// TestStandbyHangs: while the synchronous standby hangs, commits that are given up
// leave no backends behind: a node never has more than its two pools and the
// connection that listens, and others still get theirs. Commits that are given up
// are cancelled; if that does not get through, they keep their slots. When the
// standby goes on, so does the node.
func TestStandbyHangs(t *testing.T) {
	primary, standby := startSynchronous(t, map[string]string{"max_connections": "30", "superuser_reserved_connections": "0"})
	// Not through PgBouncer: 1.18 was seen to vanish under so many cancellations.
	t.Run("direct", func(t *testing.T) { hangs(t, primary, standby, primary.DSN, true) })
	t.Run("cancellations are lost", func(t *testing.T) {
		proxy := startProxy(t, primary.Addr())
		proxy.loseCancels()
		hangs(t, primary, standby, func(name string) string { return primary.DSNVia(proxy.addr(), name) }, false)
	})
}

func hangs(t *testing.T, primary, standby *pgtest.Server, url func(name string) string, cancelled bool) {
	t.Helper()
	const maxBackends = 8 + 8 + 1
	name := fmt.Sprintf("curfew_%d", time.Now().UnixNano())
	noErr(t, primary.CreateDatabase(name))
	s := open(t, url(name))
	s.Watch(t.Context())
	before, err := revokeAt(t.Context(), s, noon, revocation.Everyone())
	noErr(t, err)
	backends := func(where string) int {
		n, err := primary.Exec(`SELECT count(*) FROM pg_stat_activity WHERE datname = '` + name + `'` + where)
		if err != nil {
			t.Errorf("another client gets no connection: %v", err)
		}
		count, _ := strconv.Atoi(n)
		return count
	}
	waitsForStandby := func() int { return backends(` AND wait_event = 'SyncRep'`) }

	noErr(t, standby.Pause())
	resume := sync.OnceFunc(func() { noErr(t, standby.Resume()) })
	defer resume()
	done := make(chan struct{})
	var clients, watching sync.WaitGroup
	for i := range 16 {
		clients.Go(func() {
			for n := range 5 {
				err := s.Update(t.Context(), func(tx store.Tx) error {
					if i < 4 { // these wait for one row, the others do not
						_, err := tx.Advance(t.Context(), noon)
						return err
					}
					return tx.PutNode(t.Context(), store.Node{ID: fmt.Sprint(i, "-", n)}, true)
				})
				if !errors.Is(err, store.ErrUnavailable) {
					t.Errorf("a commit that no standby has: error %v, want %v", err, store.ErrUnavailable)
				}
			}
		})
	}
	looks, most := 0, 0
	watching.Go(func() {
		for over := false; !over && !t.Failed(); looks++ {
			select {
			case <-done:
				over = true
			default:
			}
			most = max(most, backends(""))
			if _, err := s.Clock(t.Context()); err != nil {
				t.Errorf("reading does not go on: %v", err)
			}
		}
	})
	stopWatching := sync.OnceFunc(func() {
		close(done)
		watching.Wait()
	})
	defer stopWatching()
	clients.Wait()
	if !cancelled && waitsForStandby() == 0 {
		t.Error("no commit waits for the standby: this tries nothing")
	}
	// A cancellation may get lost on a machine that is short of processors; without
	// any, as many commits wait as the pool has connections.
	if cancelled && !await.Holds(2*time.Minute, func() bool { return waitsForStandby() < 4 }) {
		t.Errorf("%d commits that were given up still wait for the standby", waitsForStandby())
	}
	stopWatching()
	// A connection that was closed in order makes room at once, though its process
	// takes a moment to end: one in each pool.
	if most > maxBackends+2 || looks < 3 {
		t.Errorf("the node had up to %d backends in %d looks, want at most %d and two that are ending", most, looks, maxBackends)
	}

	resume()
	heals(t, s)
	after, err := revokeAt(t.Context(), s, noon)
	noErr(t, err)
	if after <= before {
		t.Errorf("the clock is %d after %d", after, before)
	}
}

// TestCancelledCommitIsNotAcknowledged: the server answers COMMIT when its wait for
// the standby is cancelled, as an administrator may do. The commit is on one disk
// only then: its outcome is unknown.
func TestCancelledCommitIsNotAcknowledged(t *testing.T) {
	primary, standby := startSynchronous(t, nil)
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			url := primary.DSN
			if way.mode != "" {
				url = primary.Bouncer(t, way.mode).DSN
			}
			name := "curfew_" + way.name
			noErr(t, primary.CreateDatabase(name))
			s := open(t, url(name))
			before, err := revokeAt(t.Context(), s, noon)
			noErr(t, err)
			noErr(t, standby.Pause())
			resume := sync.OnceFunc(func() { noErr(t, standby.Resume()) })
			defer resume()

			var answered sync.WaitGroup
			answered.Go(func() { _, err = revokeAt(t.Context(), s, noon) })
			await.Until(t, "a commit waits for the standby", func() bool {
				return must(t)(primary.Exec(`SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity
					WHERE wait_event = 'SyncRep' AND datname = '`+name+`'`)) != "0"
			})
			answered.Wait()
			is(t, err, store.ErrUnavailable)
			if want := "not known to be safe"; !strings.Contains(err.Error(), want) && !strings.Contains(err.Error(), "no answer in time") {
				t.Errorf("the error %q does not say %q", err, want)
			}
			resume()
			clock, err := s.Clock(t.Context())
			noErr(t, err)
			if fmt.Sprint(clock) != fmt.Sprint(before+1) {
				t.Errorf("the clock is %d after %d: the commit had happened", clock, before)
			}
		})
	}
}
