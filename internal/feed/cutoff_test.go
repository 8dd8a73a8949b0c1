package feed_test

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"example.com/curfew/internal/await"
	"example.com/curfew/internal/feed"
	"example.com/curfew/internal/store/migrated"
	"example.com/curfew/internal/testnet"
	"example.com/curfew/internal/upstream"
	"example.com/curfew/revocation"
	"example.com/curfew/token"
)

// A follower that is cut off answers 503 from its lease's end on, and not one
// valid answer later. The receipt names it, then closes by the bound; healed, it
// has caught up before it answers again.
func TestCutOff(t *testing.T) {
	for _, cut := range []struct {
		name string
		mode testnet.Mode
	}{{"black hole", blackHole}, {"half-open", halfOpen}, {"reset", refuse}} {
		t.Run(cut.name, func(t *testing.T) {
			t.Parallel()
			const lease = 2 * time.Second
			w := newWorld(t, migrated.SQLite(t))
			n := w.node(feed.Config{Name: "node", Lease: lease})
			p := newProxy(t, serve(t, n))
			f := follow(t, upstream.Config{ClientID: "cut-off"}, p.url)
			ann, bob := w.sign("ann"), w.sign("bob")
			expect(t, f.Validator(), ann, nil)

			p.set(cut.mode)
			wasCut := time.Now()
			r := w.revoke(revocation.User("ann"))
			committed := time.Now()
			n.Applied(r...)
			var e, closed = mustEnforce(t, n, r[0].Epoch, committed, 0), make(chan time.Duration, 1)
			if e.EffectiveEverywhere || !slices.Equal(e.Waiting, []string{"cut-off"}) {
				t.Errorf("%+v, want to wait for cut-off", e)
			}
			var waiting sync.WaitGroup
			defer waiting.Wait()
			waiting.Go(func() {
				e, err := n.Enforcement(t.Context(), r[0].Epoch, committed, await.Limit)
				if err != nil || !e.EffectiveEverywhere {
					t.Errorf("%+v, %v; want it closed", e, err)
				}
				closed <- time.Since(committed)
				// No validator accepts a session that the receipt says is over.
				if _, err := f.Validator().Validate(t.Context(), ann); err == nil {
					t.Error("accepted after the receipt had closed")
				}
			})

			// Every check is timed: the valid ones began within the lease of the last
			// question that was answered.
			var lastValid, firstRefused time.Time
			check := func() bool {
				began := time.Now()
				_, err := f.Validator().Validate(t.Context(), bob)
				switch {
				case err == nil:
					lastValid = began
				case errors.Is(err, token.ErrUnavailable):
					if firstRefused.IsZero() {
						firstRefused = began
					}
				default:
					t.Fatalf("a good session was refused: %v", err)
				}
				return !firstRefused.IsZero() && len(closed) > 0
			}
			eventually(t, "it says unavailable, and the receipt has closed", check)
			if firstRefused.IsZero() || lastValid.After(firstRefused) || lastValid.Sub(wasCut) > lease {
				t.Errorf("valid until %v after the cut, unavailable from %v", lastValid.Sub(wasCut), firstRefused.Sub(wasCut))
			}
			if took := <-closed; took > slowness*(lease+feed.Margin(lease)) {
				t.Errorf("the receipt closed after %v", took)
			}

			p.set(pass)
			eventually(t, "healed", func() bool {
				switch _, err := f.Validator().Validate(t.Context(), ann); {
				case err == nil:
					t.Fatal("healed, it accepts what was revoked meanwhile")
				case errors.Is(err, token.ErrRevoked):
					return true
				}
				return false
			})
			expect(t, f.Validator(), bob, nil)
		})
	}
}

func mustEnforce(t *testing.T, n *feed.Node, epoch revocation.Epoch, committed time.Time, wait time.Duration) (e struct {
	EffectiveEverywhere bool
	Waiting             []string
}) {
	t.Helper()
	got, err := n.Enforcement(t.Context(), epoch, committed, wait)
	if err != nil {
		t.Fatal(err)
	}
	e.EffectiveEverywhere, e.Waiting = got.EffectiveEverywhere, got.Waiting
	return e
}

// A look-up that is under way while its user is revoked, delayed by the proxy,
// never brings a revoked session back.
func TestStaleLookUps(t *testing.T) {
	const rounds = 1000
	w := newWorld(t, migrated.SQLite(t))
	for _, u := range []string{"x1", "x2", "x3", "x4", "x5", "x6"} {
		w.revoke(revocation.User(u)) // more than the cache holds
	}
	n := w.node(feed.Config{Name: "node"})
	server := serve(t, n)
	slow := newProxy(t, server)
	f := follow(t, upstream.Config{CacheSize: 2}, slow.url)
	v := f.Validator()
	if f.Cache().Stats().Complete {
		t.Fatal("the cache is complete; there is nothing to look up")
	}
	others := []string{w.sign("somebody"), w.sign("another")}
	before := f.Cache().Stats().Lookups
	for round := range rounds {
		old := w.sign("ann")
		var checking sync.WaitGroup
		for _, raw := range append(others, old, old) { // the others force ann out
			checking.Go(func() { _, _ = v.Validate(t.Context(), raw) }) // whichever way the race goes
		}
		if round%10 == 0 {
			slow.setDelay(time.Duration(round%30) * 100 * time.Microsecond)
		}
		r := w.revoke(revocation.User("ann"))
		committed := time.Now()
		n.Applied(r...)
		e, err := n.Enforcement(t.Context(), r[0].Epoch, committed, await.Limit)
		if err != nil || !e.EffectiveEverywhere {
			t.Fatalf("round %d: %+v, %v", round, e, err)
		}
		for range 3 {
			if _, err := v.Validate(t.Context(), old); err == nil {
				t.Fatalf("round %d: a revoked session came back", round)
			}
		}
		checking.Wait()
		if _, err := v.Validate(t.Context(), old); err == nil {
			t.Fatalf("round %d: a revoked session came back", round)
		}
	}
	if made := f.Cache().Stats().Lookups - before; made < rounds {
		t.Errorf("%d look-ups in %d rounds: nothing was raced", made, rounds)
	}
}
