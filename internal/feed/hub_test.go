package feed

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/curfew/internal/replica"
	"example.com/curfew/revocation"
	"example.com/curfew/settings"
	"example.com/curfew/token"
)

const (
	testLease  = 15 * time.Second
	testMargin = time.Second
)

// hubAt returns a hub whose view stands at an epoch and was just renewed.
func hubAt(epoch revocation.Epoch) *hub {
	h := newHub(time.Now, testLease, testMargin, func(context.Context) error { return nil })
	h.publish(replica.State{
		Epoch: epoch, Lease: fullLeaseNow(), Log: &replica.Log{},
		Installation: replica.Installation{Issuer: "i", Audience: []string{"a"}, Epoch: 1},
		Settings:     &settings.InForce{Settings: settings.Default(), Epoch: 2},
		Keys:         replica.Keys{JSON: []byte(`{"keys":[]}`), Epoch: 3},
	})
	return h
}

func fullLeaseNow() token.Lease { return token.Lease{Start: time.Now(), Length: testLease} }

// advance publishes a view with more revocations.
func (h *hub) advance(epoch revocation.Epoch, revocations ...revocation.Revocation) {
	s := h.view
	s.Epoch = epoch
	s.Log.Append(revocations...)
	h.publish(s)
}

// renew publishes a view with a full lease.
func (h *hub) renew(epoch revocation.Epoch) {
	s := h.view
	s.Epoch, s.Lease = epoch, fullLeaseNow()
	h.publish(s)
}

// restore publishes a view of another history.
func (h *hub) restore(epoch revocation.Epoch) {
	s := h.view
	s.Epoch, s.Log = epoch, &replica.Log{}
	s.History++
	h.publish(s)
}

func (h *hub) mustAnswer(t *testing.T, q Query) Answer {
	t.Helper()
	a, err := h.Changes(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestGrantsNoMoreThanItHasLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := hubAt(10)
		for _, at := range []struct {
			passed, want time.Duration
		}{
			{0, testLease}, {time.Second, testLease - time.Second}, {testLease - time.Millisecond, time.Millisecond},
			{testLease - time.Millisecond + time.Microsecond, 0}, {testLease, 0}, {testLease + time.Hour, 0},
		} {
			began := time.Now()
			h.view.Lease.Start = began.Add(-at.passed)
			a, err := h.Changes(t.Context(), Query{Follower: "f"})
			if at.want == 0 {
				if !errors.Is(err, token.ErrUnavailable) {
					t.Errorf("after %v: %+v, %v; want %v", at.passed, a, err, token.ErrUnavailable)
				}
				continue
			}
			if err != nil || a.Lease != at.want {
				t.Errorf("after %v: %v, %v; want %v", at.passed, a.Lease, err, at.want)
			}
		}
		// An edge's view may have more left than a lease of ours is long.
		h.view.Lease = token.Lease{Start: time.Now(), Length: time.Hour}
		if a := h.mustAnswer(t, Query{Follower: "f"}); a.Lease != testLease {
			t.Errorf("granted %v, want %v", a.Lease, testLease)
		}
	})
}

// A follower counts until the lease it was granted, and the margin, have passed.
func TestFollowerIsLiveUntil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := hubAt(10)
		h.mustAnswer(t, Query{Follower: "f", FollowerName: "billing", Behind: 2})
		for _, at := range []struct {
			passed time.Duration
			live   int64
		}{{testLease, 3}, {testLease + testMargin - 1, 3}, {testLease + testMargin, 0}, {testLease + testMargin + 1, 0}} {
			if got := h.followed.count(11, 11, time.Now().Add(at.passed)).followers; got != at.live {
				t.Errorf("after %v: %d are live, want %d", at.passed, got, at.live)
			}
		}
		time.Sleep(testLease + testMargin - 1)
		if h.tidyFollowers(); len(h.followed.list) != 1 {
			t.Error("forgotten before its lease was over")
		}
		time.Sleep(tidyEvery + 1)
		if h.tidyFollowers(); len(h.followed.list) != 1 || !h.followed.list[0].lapsed {
			t.Error("not remembered, though it has confirmed nothing")
		}
		h.view.Lease = token.Lease{Start: time.Now(), Length: time.Hour}
		time.Sleep(rememberFor)
		if h.tidyFollowers(); len(h.followed.list)+len(h.followed.byKey)+len(h.followed.clients) != 0 {
			t.Error("never forgotten")
		}
		h.mustAnswer(t, Query{Follower: "f", Confirmed: 10})
		time.Sleep(testLease + testMargin)
		if h.tidyFollowers(); len(h.followed.list)+len(h.followed.byKey)+len(h.followed.clients) != 0 {
			t.Error("remembered, though nothing was left unconfirmed")
		}
	})
}

func TestConfirmations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := hubAt(10)
		least := func(want revocation.Epoch) {
			t.Helper()
			if _, tl := h.summary(); tl.enforced != want {
				t.Errorf("the least is %d, want %d", tl.enforced, want)
			}
		}
		least(10)
		// A follower that has just come holds no lease from before: it enforces what
		// its answer brings, or has no view.
		h.mustAnswer(t, Query{Follower: "a", After: 4, Confirmed: 4})
		least(10)
		h.advance(20)
		least(10)
		h.mustAnswer(t, Query{Follower: "b", FollowerName: "b", Behind: 4, After: 9, Confirmed: 7})
		least(10)
		has, tl := h.count(15)
		if !has || tl.followers != 6 || tl.confirmed != 5 || !slices.Equal(tl.waiting, []string{"a"}) {
			t.Errorf("%+v", tl)
		}
		// That it was given more says nothing.
		h.mustAnswer(t, Query{Follower: "a", After: 10, Confirmed: 10})
		least(10)
		h.mustAnswer(t, Query{Follower: "a", After: 20, Confirmed: 15})
		least(15)
		// A late acknowledgement lowers nothing.
		h.mustAnswer(t, Query{Follower: "a", After: 3, Confirmed: 3})
		least(15)
		// One above the clock counts for nothing, even when the clock gets there: not
		// from one who is known, nor from one who comes.
		h.mustAnswer(t, Query{Follower: "a", After: 20, Confirmed: 21})
		h.mustAnswer(t, Query{Follower: "liar", Confirmed: 31})
		least(15)
		h.advance(40)
		least(15)
		if _, tl := h.count(21); tl.confirmed != 0 {
			t.Errorf("%d have confirmed what was not there yet", tl.confirmed)
		}
		// A confirmation counts at once, not when the question is answered.
		go func() {
			_, _ = h.Changes(t.Context(), Query{Follower: "a", After: 40, Confirmed: 40, Wait: time.Hour})
		}()
		synctest.Wait()
		least(20)
		// No follower has confirmed anything of another history.
		h.restore(35)
		least(0)
		synctest.Wait()
		if _, tl := h.summary(); tl.followers != 7 {
			t.Errorf("%d followers, want those that hold a lease still: 7", tl.followers)
		}
	})
}

func TestHolding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := hubAt(10)
		held := func(q Query) (Answer, time.Duration) {
			t.Helper()
			began := time.Now()
			a := h.mustAnswer(t, q)
			return a, time.Since(began)
		}
		renew := func() {
			h.renew(h.viewEpoch())
		}
		for _, test := range []struct {
			name string
			q    Query
			want time.Duration
		}{
			{"something is newer", Query{Follower: "f", After: 9, Wait: time.Minute}, 0},
			{"the follower catches up", Query{Follower: "f", After: 10, Confirmed: 10}, 0},
			{"it waits for less than a third", Query{Follower: "f", After: 10, Confirmed: 10, Wait: 3 * time.Second}, 3 * time.Second},
			{"it waits for a third", Query{Follower: "f", After: 10, Confirmed: 10, Wait: 5 * time.Second}, 5 * time.Second},
			{"it waits for more than a third", Query{Follower: "f", After: 10, Confirmed: 10, Wait: time.Minute}, 5 * time.Second},
		} {
			renew()
			if a, took := held(test.q); took != test.want || a.Epoch != 10 || a.Lease != testLease-took {
				t.Errorf("%s: %+v after %v, want it after %v", test.name, a, took, test.want)
			}
		}
		// A published change ends the wait of all; a renewed lease does not.
		renew()
		var running sync.WaitGroup
		for i := range 100 {
			running.Go(func() {
				if a, took := held(Query{Follower: fmt.Sprint(i), After: 10, Wait: time.Minute}); took != time.Second || a.Epoch != 11 {
					t.Errorf("%+v after %v, want epoch 11 after a second", a, took)
				}
			})
		}
		time.Sleep(time.Second / 2)
		renew()
		time.Sleep(time.Second / 2)
		h.advance(11, revocation.Revocation{Scope: revocation.User("ann"), Epoch: 11})
		running.Wait()
		if n := len(h.tails); n != 1 {
			t.Errorf("%d answers were encoded for a hundred followers, want 1", n)
		}
		// A view whose lease runs out meanwhile answers nothing more.
		go func() { time.Sleep(time.Second); h.mu.Lock(); h.view.Lease = token.Lease{}; h.mu.Unlock() }()
		if _, err := h.Changes(t.Context(), Query{Follower: "f", After: 11, Wait: 2 * time.Second}); !errors.Is(err, token.ErrUnavailable) {
			t.Errorf("changes = %v, want %v", err, token.ErrUnavailable)
		}
		// A follower that has gone gets nothing.
		renew()
		ctx, cancel := context.WithCancel(t.Context())
		go func() { time.Sleep(time.Second); cancel() }()
		if _, err := h.Changes(ctx, Query{Follower: "f", After: 11, Wait: time.Minute}); !errors.Is(err, context.Canceled) {
			t.Errorf("changes = %v, want %v", err, context.Canceled)
		}
		// A store that began another history while the question was held.
		go func() { time.Sleep(time.Second); h.restore(5) }()
		if _, err := h.Changes(t.Context(), Query{Follower: "f", After: 11, Wait: time.Minute}); !errors.Is(err, ErrStartOver) {
			t.Errorf("changes = %v, want %v", err, ErrStartOver)
		}
	})
}

// A position above the view is the store's to judge, and not the view's.
func TestPositionAboveTheView(t *testing.T) {
	broken := errors.New("broken")
	for _, test := range []struct {
		name  string
		store revocation.Epoch // where catching up leads; 0: it fails
		q     Query
		want  error
	}{
		{"the view lags", 20, Query{After: 20, Wait: time.Second}, nil},
		{"the store is behind", 19, Query{After: 20, Wait: time.Second}, ErrStartOver},
		{"the store cannot be asked", 0, Query{After: 20, Wait: time.Second}, token.ErrUnavailable},
		{"catching up", 20, Query{After: 10}, nil},
		{"catching up, and the store cannot be asked", 0, Query{After: 10}, token.ErrUnavailable},
		{"only the confirmation is above, and the store cannot be asked", 0, Query{After: 9, Confirmed: 20, Wait: time.Second}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := hubAt(10)
			h.catchUp = func(context.Context) error {
				if test.store == 0 {
					return broken
				}
				h.advance(test.store)
				return nil
			}
			if _, err := h.Changes(t.Context(), test.q); !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
				t.Errorf("changes = %v, want %v", err, test.want)
			}
		})
	}
}

// Rows above the clock are served: one of them may be what has become of a row
// that stood below it.
func TestServesWhatIsAboveTheClock(t *testing.T) {
	h := hubAt(3)
	h.advance(7, revocation.Revocation{Scope: revocation.User("ann"), Epoch: 9})
	a := h.mustAnswer(t, Query{Follower: "f", After: 3})
	if a.Epoch != 7 || string(a.tail.encoded().JSON) != `{"scope":"user","id":"ann","epoch":9}` {
		t.Errorf("%d: %s", a.Epoch, a.tail.encoded().JSON)
	}
}

func TestClosedHub(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := hubAt(10)
		failed := make(chan error, 1)
		go func() {
			_, err := h.Changes(t.Context(), Query{Follower: "f", After: 10, Wait: time.Hour})
			failed <- err
		}()
		synctest.Wait()
		h.Drain()
		h.Drain()
		if err := <-failed; !errors.Is(err, token.ErrUnavailable) {
			t.Errorf("changes = %v, want %v", err, token.ErrUnavailable)
		}
		h.renew(11)
		if _, err := h.Changes(t.Context(), Query{Follower: "f"}); !errors.Is(err, token.ErrUnavailable) {
			t.Errorf("changes = %v, want %v", err, token.ErrUnavailable)
		}
	})
}

func TestParseQuery(t *testing.T) {
	for _, test := range []struct {
		query string
		want  Query
		err   error
	}{
		{"", Query{}, nil},
		{"after=5&confirmed=4&wait=3&follower=f&behind=2", Query{After: 5, Confirmed: 4, Wait: 3 * time.Second, Follower: "f", Behind: 2}, nil},
		{"wait=999999999999", Query{Wait: maxWait}, nil},
		{"after=9223372036854775807", Query{After: 1<<63 - 1}, nil},
		{"after=9223372036854775808", Query{}, ErrBadQuery},
		{"after=-1", Query{}, ErrBadQuery},
		{"after=", Query{}, ErrBadQuery},
		{"after=1.5", Query{}, ErrBadQuery},
		{"after=1&after=2", Query{}, ErrBadQuery},
		{"confirmed=x", Query{}, ErrBadQuery},
		{"wait=x", Query{}, ErrBadQuery},
		{"behind=x", Query{}, ErrBadQuery},
		{"behind=9223372036854775807", Query{Behind: 1<<63 - 1}, nil},
		{"follower=0123456789012345678901234567890123456789012345678901234567890123", Query{Follower: "0123456789012345678901234567890123456789012345678901234567890123"}, nil},
		{"follower=01234567890123456789012345678901234567890123456789012345678901234", Query{}, ErrBadQuery},
	} {
		values, err := url.ParseQuery(test.query)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseQuery(values)
		if !errors.Is(err, test.err) || (err == nil) != (test.err == nil) || got != test.want {
			t.Errorf("ParseQuery(%q) = %+v, %v; want %+v, %v", test.query, got, err, test.want, test.err)
		}
	}
}

// BenchmarkFanOut measures how long it takes until all waiting followers have
// their answer encoded, without HTTP.
func BenchmarkFanOut(b *testing.B) {
	for _, followers := range []int{100, 1000, 10_000} {
		b.Run(fmt.Sprint(followers), func(b *testing.B) {
			h := hubAt(10)
			h.lease = time.Hour
			e := revocation.Epoch(10)
			var waiting, running sync.WaitGroup
			for b.Loop() {
				b.StopTimer()
				s := h.view
				s.Epoch, s.Lease = e, token.Lease{Start: time.Now(), Length: time.Hour}
				h.publish(s)
				for i := range followers {
					waiting.Add(1)
					running.Go(func() {
						waiting.Done()
						a, err := h.Changes(b.Context(), Query{Follower: fmt.Sprint(i), After: e, Confirmed: e, Wait: time.Hour})
						if err != nil || a.Size(false) == 0 {
							b.Errorf("%+v, %v", a, err)
						}
					})
				}
				waiting.Wait()
				time.Sleep(50 * time.Millisecond) // until all of them wait: a benchmark can do with about
				b.StartTimer()
				h.advance(e+1, revocation.Revocation{Scope: revocation.User("ann"), Epoch: e + 1})
				running.Wait()
				e++
			}
		})
	}
}
