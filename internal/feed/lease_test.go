package feed

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"example.com/curfew/internal/replica"
	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
	"example.com/curfew/token"
)

// A follower that has not confirmed what it was given gets whole leases for a
// third of the lease, and then what it has left. One with followers behind it has
// until their leases must have run out.
func TestOverdueFollowerGetsNoNewLease(t *testing.T) {
	const third, behind = testLease / 3, testLease + 2*testMargin + pollEvery
	for _, row := range []struct {
		name   string
		behind int64
		passed time.Duration
		want   time.Duration // the lease, then
	}{
		{"just before a third", 0, third - 1, testLease},
		{"at a third", 0, third, testLease - third},
		{"just after a third", 0, third + 1, testLease - third - time.Millisecond},
		{"the last millisecond", 0, testLease - time.Millisecond, overdueLease},
		{"nothing left", 0, testLease, overdueLease},
		{"lapsed", 0, testLease + 2*testMargin, overdueLease},
		{"almost forgotten", 0, testLease + testMargin + rememberFor - tidyEvery, overdueLease},
		{"forgotten", 0, testLease + testMargin + rememberFor, testLease},
		{"an edge at a third", 3, third, testLease},
		{"an edge, just before its followers' leases are over", 3, behind - 1, testLease},
		{"an edge, when its followers' leases are over", 3, behind, overdueLease},
		{"an edge, long after", 3, behind + time.Minute, overdueLease},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := hubAt(10)
				q := Query{Follower: "f", After: 10, Confirmed: 10, Behind: row.behind}
				h.mustAnswer(t, q)
				h.renew(20)
				if a := h.mustAnswer(t, q); a.Epoch != 20 || a.Lease != testLease {
					t.Fatalf("%+v, want a whole lease with what is new", a)
				}
				time.Sleep(row.passed)
				h.renew(20)
				h.tidyFollowers()
				began := time.Now()
				a := h.mustAnswer(t, q)
				if paused := time.Since(began); a.Lease != row.want || (paused == overduePause) != (row.want == overdueLease) {
					t.Errorf("a lease of %v after %v, want %v", a.Lease, paused, row.want)
				}
				// Once it confirms, it gets a whole lease at once.
				q.After, q.Confirmed, q.Wait = 20, 20, 0
				h.renew(20)
				if a := h.mustAnswer(t, q); a.Lease != testLease {
					t.Errorf("a lease of %v after it has confirmed, want %v", a.Lease, testLease)
				}
			})
		})
	}
}

// A follower that polls for ever and never confirms delays receipts by a lease
// once, and from then on by moments, whatever it says.
func TestNeverConfirmingFollowerStopsDelaying(t *testing.T) {
	for name, poll := range map[string]func(epoch revocation.Epoch) Query{
		"always asks for everything": func(revocation.Epoch) Query { return Query{} },
		"asks from where it is":      func(e revocation.Epoch) Query { return Query{After: e, Wait: time.Minute} },
		"catches up all the time":    func(e revocation.Epoch) Query { return Query{After: e} },
		"confirms above the clock":   func(e revocation.Epoch) Query { return Query{After: e, Confirmed: e + 1<<40, Wait: time.Second} },
		"confirms what is long past": func(revocation.Epoch) Query { return Query{After: 10, Confirmed: 10} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := hubAt(10)
				ctx, stop := context.WithCancel(t.Context())
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					for epoch := revocation.Epoch(0); ctx.Err() == nil; {
						q := poll(epoch)
						q.Follower = "f"
						if a, err := h.Changes(ctx, q); err == nil {
							epoch = a.Epoch
						} else if ctx.Err() == nil {
							t.Error(err)
							return
						}
						time.Sleep(10 * time.Millisecond) // the way there and back
					}
				}()
				const step = time.Millisecond
				var late []time.Duration
				for round := range 60 {
					epoch := revocation.Epoch(20 + 10*round)
					h.renew(epoch)
					h.tidyFollowers()
					waited := time.Duration(0)
					for {
						if _, tl := h.count(epoch); tl.confirmed == tl.followers {
							break
						}
						time.Sleep(step)
						waited += step
						h.renew(epoch)
					}
					if waited > testLease+testMargin {
						t.Errorf("round %d: a receipt waits for %v, want a lease and the margin at most", round, waited)
					}
					if waited > 5*step && round > 0 {
						late = append(late, waited)
					}
					time.Sleep(time.Second - min(waited, time.Second))
				}
				stop()
				<-ended
				// Those that come before its last whole lease is over wait for that.
				if len(late) > 12 {
					t.Errorf("%d of 60 receipts were late: %v", len(late), late)
				}
				h.Drain()
			})
		})
	}
}

// A follower whose answers get lost for a while recovers with its next two polls.
func TestSlowFollowerRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, lost := range []time.Duration{0, testLease / 3, testLease, 3 * testLease} {
			h := hubAt(10)
			q := Query{Follower: "f", After: 10, Confirmed: 10}
			h.mustAnswer(t, q)
			h.renew(20)
			h.mustAnswer(t, q) // the answer is lost
			time.Sleep(lost)
			h.renew(30)
			a := h.mustAnswer(t, q)
			if a.Epoch != 30 || a.Lease <= 0 {
				t.Fatalf("%+v, want an answer that it can apply", a)
			}
			q.After, q.Confirmed = a.Epoch, a.Epoch
			if a := h.mustAnswer(t, q); a.Lease < testLease-overduePause {
				t.Errorf("lost for %v: a lease of %v, want a whole one", lost, a.Lease)
			}
			h.Drain()
		}
	})
}

// Pages are no leases: a follower that takes its time over them is not overdue.
func TestPagesAreNotToBeConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := hubAt(10)
		q := Query{Follower: "f", After: 10, Confirmed: 10}
		h.mustAnswer(t, q)
		s := h.view
		s.Epoch, s.Log, s.Lease = 1_000_000, &replica.Log{}, token.Lease{Start: time.Now(), Length: time.Hour}
		for i := range 3 * replica.PageSize {
			s.Log.Append(revocation.Revocation{Scope: revocation.User(fmt.Sprint(i)), Epoch: revocation.Epoch(11 + i)})
		}
		h.publish(s)
		pages := 0
		for {
			a := h.mustAnswer(t, q)
			if !a.More {
				if pages < 2 || a.Lease != testLease {
					t.Errorf("a lease of %v after %d pages, want %v", a.Lease, pages, testLease)
				}
				return
			}
			if a.Lease != 0 {
				t.Fatalf("a page with a lease: %+v", a)
			}
			pages++
			q.After = a.Epoch
			time.Sleep(testLease / 2)
		}
	})
}

// What an entry says is enforced is never more than its leases allow, and exactly
// that where none were merged.
func TestEnforcedByLeases(t *testing.T) {
	type given struct {
		epoch revocation.Epoch
		until time.Time
	}
	const rounds = 20_000
	merged := 0
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var r registry
		r.limits = defaultLimits
		now := time.Unix(1_000_000, 0)
		epoch, confirmed := revocation.Epoch(1), revocation.Epoch(0)
		var leases []given
		q := &Query{Follower: "f"}
		for range rounds / 200 {
			now = now.Add(time.Duration(rng.IntN(4000)) * time.Millisecond)
			epoch += revocation.Epoch(rng.IntN(3))
			if rng.IntN(3) == 0 {
				c := confirmed + revocation.Epoch(rng.Int64N(int64(epoch-confirmed)+1))
				confirmed = c
				r.recordAck(q, c)
			}
			lease := r.byKey[q.key()].lease(testLease, now)
			r.enter(q, epoch, 0, now, lease, testMargin)
			leases = append(leases, given{epoch, now.Add(lease + testMargin)})
			for _, at := range []time.Duration{0, time.Second, testLease / 2, testLease, testLease + testMargin - 1} {
				at := now.Add(at)
				want, live := revocation.Epoch(1<<62), false
				for _, l := range leases {
					if at.Before(l.until) {
						want, live = min(want, l.epoch), true
					}
				}
				e := r.byKey[q.key()]
				if want = max(want, confirmed); !live {
					if at.Before(e.until) {
						t.Fatalf("seed %d: live, though no lease runs", seed)
					}
					continue
				}
				switch got := e.enforced(at); {
				case got > want:
					t.Fatalf("seed %d: enforces %d, but a lease from %d still runs", seed, got, want)
				case got < want && !slices.ContainsFunc(e.unconfirmed, func(g grant) bool { return g.last > g.epoch }):
					t.Fatalf("seed %d: enforces %d only, and every lease that runs is from %d or later", seed, got, want)
				case got < want:
					merged++
				}
			}
		}
	}
	t.Logf("%d readings were lower since leases were merged", merged)
}

// Each limit is one client's: another client is not affected by it.
func TestLimitsOfAClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := hubAt(10)
		h.followed.limits = limits{followers: 3, behind: 100, polls: 2}
		limited := func(want bool, q Query) {
			t.Helper()
			if _, err := h.Changes(t.Context(), q); errors.Is(err, ErrLimited) != want || !want && err != nil {
				t.Errorf("%+v: %v, want limited: %t", q, err, want)
			}
		}
		for i := range 3 {
			limited(false, Query{Client: "a", Follower: fmt.Sprint(i), Confirmed: 10})
		}
		limited(true, Query{Client: "a", Follower: "4"})
		limited(false, Query{Client: "a", Follower: "0"}) // it is known
		limited(false, Query{Client: "a"})                // it holds no lease
		limited(false, Query{Client: "b", Follower: "4"})

		limited(false, Query{Client: "a", Follower: "0", Behind: 60})
		limited(false, Query{Client: "a", Follower: "1", Behind: 40})
		limited(true, Query{Client: "a", Follower: "2", Behind: 1})
		limited(true, Query{Client: "a", Follower: "1", Behind: 41})
		limited(true, Query{Client: "a", Behind: 1 << 62})
		limited(false, Query{Client: "a", Follower: "1", Behind: 39})
		limited(false, Query{Client: "a", Follower: "2", Behind: 1})
		limited(false, Query{Client: "b", Follower: "4", Behind: 100})
		limited(true, Query{Client: "b", Follower: "4", Behind: 101})
		if _, tl := h.summary(); tl.followers != 4+100+100 {
			t.Errorf("%d followers, want what was accepted: 204", tl.followers)
		}

		pending := newCrowd(2)
		for i := range 2 {
			if _, one, err := h.submit(t.Context(), Query{Client: "a", After: 10, Wait: time.Minute}, member{pending, fmt.Sprint(i)}); one == nil {
				t.Fatal(err)
			}
		}
		limited(true, Query{Client: "a", After: 10, Wait: time.Minute})
		if _, one, err := h.submit(t.Context(), Query{Client: "b", After: 10, Wait: time.Minute}, member{newCrowd(1), "x"}); one == nil {
			t.Fatal(err)
		}
		newer(h, 11)
		synctest.Wait()
		if n := h.status().Polls; n.Pending != 0 || n.Refused != 6 {
			t.Errorf("%+v, want nothing pending and 6 refused", n)
		}
		limited(false, Query{Client: "a", After: 11, Wait: time.Second})

		// When leases have run out there is room again, for each client its own.
		time.Sleep(testLease + testMargin)
		h.renew(11)
		for i := range 3 {
			limited(false, Query{Client: "a", Follower: fmt.Sprint("new ", i), Behind: 30})
		}
		limited(true, Query{Client: "a", Follower: "4"})
		time.Sleep(testLease + testMargin + rememberFor)
		if h.tidyFollowers(); len(h.followed.clients) != 0 {
			t.Errorf("%d clients are remembered that take up nothing", len(h.followed.clients))
		}
		h.Drain()
	})
}

// A poll whose connection was dropped does not stay pending, however many there are.
func TestGonePollsAreDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := hubAt(10)
		h.view.Lease = token.Lease{Start: time.Now(), Length: time.Hour}
		h.lease = time.Hour
		c := newCrowd(2000)
		for i := range c.size {
			q := Query{After: 10, Wait: time.Hour, Follower: fmt.Sprint(i)}
			if _, one, err := h.submit(t.Context(), q, odd{member: member{c, q.Follower}, gone: i%10 != 0}); one == nil {
				t.Fatal(err)
			}
		}
		for range 8 {
			time.Sleep(tidyEvery)
			h.tidyFollowers()
			synctest.Wait()
		}
		if n := c.count(); n != 1800 || h.status().Polls.Pending != 200 {
			t.Errorf("%d polls were let go and %d are pending, want 1800 and 200", n, h.status().Polls.Pending)
		}
		for name, err := range c.errs {
			if !errors.Is(err, errGone) || c.resumed[name] != 1 {
				t.Fatalf("%s: %v, resumed %d times", name, err, c.resumed[name])
			}
		}
		newer(h, 11)
		synctest.Wait()
		h.Drain()
	})
}

// credential is valid until it is not.
type credential struct {
	err     error
	checked int
}

func (c *credential) Check(context.Context) error {
	c.checked++
	return c.err
}

// When clients have changed, pending polls and those under way are authenticated
// again: a client that is refused gets no lease.
func TestClientsAreCheckedAgain(t *testing.T) {
	clientsAt := func(h *hub, epoch, clients revocation.Epoch) {
		s := h.view
		s.Epoch, s.Clients, s.Lease = epoch, clients, fullLeaseNow()
		h.publish(s)
	}
	refused := errors.New("refused")
	for _, row := range []struct {
		name    string
		err     error
		asked   revocation.Epoch // what the view knew of clients when it was authenticated
		clients revocation.Epoch // what it knows when it answers
		checked int
	}{
		{"nothing has changed", refused, 5, 5, 0},
		{"changed, and it is good", nil, 5, 15, 1},
		{"changed, and it is refused", refused, 5, 15, 1},
		{"cannot be checked", store.ErrUnavailable, 5, 15, 1},
		{"another history", refused, 5, 3, 1},
		{"it was authenticated since", refused, 15, 15, 0},
	} {
		for _, pending := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, pending: %t", row.name, pending), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h, c, k := hubAt(10), newCrowd(1), &credential{err: row.err}
					clientsAt(h, 10, row.asked)
					q := Query{Follower: "f", After: 10, Confirmed: 10, Wait: 3 * time.Second, Credential: k, ClientsEpoch: row.asked}
					var got error
					if pending {
						if _, one, err := h.submit(t.Context(), q, member{c, "f"}); one == nil {
							t.Fatal(err)
						}
						clientsAt(h, 20, row.clients)
						synctest.Wait()
						got = c.errs["f"]
					} else {
						clientsAt(h, 20, row.clients)
						_, got = h.Changes(t.Context(), q)
					}
					want := row.err
					if row.checked == 0 {
						want = nil
					}
					if !errors.Is(got, want) || (want == nil) != (got == nil) || k.checked != row.checked {
						t.Errorf("%v after %d checks; want %v after %d", got, k.checked, want, row.checked)
					}
					if _, tl := h.summary(); (tl.followers == 1) != (want == nil) {
						t.Errorf("%d followers hold a lease", tl.followers)
					}
					h.Drain()
				})
			})
		}
	}
}

// The moment for which an overdue follower waits does not cost it the poll that is
// pending beside.
func TestPauseLeavesThePendingPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := hubAt(10)
		h.mustAnswer(t, Query{Follower: "f"})
		time.Sleep(testLease)
		h.renew(10)
		c := newCrowd(1)
		if _, one, err := h.submit(t.Context(), Query{Follower: "f", After: 10, Wait: 3 * time.Second}, member{c, "f"}); one == nil {
			t.Fatal(err)
		}
		if a := h.mustAnswer(t, Query{Follower: "f"}); a.Lease != overdueLease {
			t.Errorf("a lease of %v, want %v", a.Lease, overdueLease)
		}
		if all, named := h.holding(); all != 1 || named != 1 || c.count() != 0 {
			t.Errorf("%d polls are pending, %d by name; want the one from before", all, named)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		c.all(t, 10, nil)
		h.Drain()
	})
}

// Names of followers are each client's own, though two clients may be called the
// same: no client confirms for another.
func TestFollowerNamesAreOfTheirClient(t *testing.T) {
	h := hubAt(10)
	h.mustAnswer(t, Query{Client: "a", FollowerName: "billing", Follower: "f", Confirmed: 10})
	newer(h, 11)
	h.mustAnswer(t, Query{Client: "b", FollowerName: "billing", Follower: "f", After: 11, Confirmed: 11})
	if _, tl := h.count(11); tl.followers != 2 || tl.confirmed != 1 || tl.enforced != 10 {
		t.Errorf("%+v, want the first still unconfirmed", tl)
	}
}
