package token_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/curfew/internal/await"
	"example.com/curfew/revocation"
	"example.com/curfew/settings"
	"example.com/curfew/token"
	"example.com/curfew/token/tokentest"
)

// watch watches a token that must be good, and looks at the context once, as a
// handler does that waits for it.
func watch(t testing.TB, v *token.Validator, raw string, grace time.Duration) *token.Watch {
	t.Helper()
	w, err := v.Watch(context.Background(), raw, grace)
	if err != nil {
		t.Fatalf("Watch: %v", err)
	}
	if err := w.Context().Err(); err != nil {
		t.Fatalf("the context of a good session has ended: %v (%v)", err, context.Cause(w.Context()))
	}
	return w
}

// wantEnd checks why the context of a watch has ended; "" for not at all.
func wantEnd(t testing.TB, w *token.Watch, want token.Reason) {
	t.Helper()
	err := w.Context().Err()
	if cause := context.Cause(w.Context()); want == "" {
		if err != nil {
			t.Errorf("the context has ended: %v", cause)
		}
	} else if err == nil || !errors.Is(cause, want) {
		t.Errorf("the context says %v, cause %v; want %v", err, cause, want)
	}
}

func remembered(s *token.Session) { s.RememberMe = true }

func TestWatchEndsWithRevocation(t *testing.T) {
	for _, test := range []struct {
		scope func(sid string) revocation.Scope
		ends  []string
	}{
		{func(string) revocation.Scope { return revocation.Everyone() }, []string{"ann", "ann too", "ann remembered", "ben"}},
		{func(string) revocation.Scope { return revocation.Remembered() }, []string{"ann remembered"}},
		{func(string) revocation.Scope { return revocation.User("ann") }, []string{"ann", "ann too", "ann remembered"}},
		{func(string) revocation.Scope { return revocation.User("cid") }, nil},
		{revocation.Session, []string{"ann"}},
	} {
		t.Run(string(test.scope("").Kind)+" "+strings.Join(test.ends, ","), func(t *testing.T) {
			issuer := tokentest.New(t)
			v := issuer.Validator()
			watches := map[string]*token.Watch{
				"ann":            watch(t, v, issuer.Token("ann"), 0),
				"ann too":        watch(t, v, issuer.Token("ann"), 0),
				"ann remembered": watch(t, v, issuer.Token("ann", remembered), 0),
				"ben":            watch(t, v, issuer.Token("ben"), time.Hour),
			}
			sid := watches["ann"].Session().ID
			issuer.Revoke(test.scope(sid))
			// At once: no event is waited for here.
			for name, w := range watches {
				want := token.Reason("")
				for _, end := range test.ends {
					if end == name {
						want = token.ErrRevoked
					}
				}
				t.Run(name, func(t *testing.T) { wantEnd(t, w, want) })
			}
			issuer.Tick()
			later := watch(t, v, issuer.Token("ann"), 0)
			issuer.Revocations.Apply(revocation.Revocation{Scope: test.scope(sid), Epoch: later.Session().Epoch})
			wantEnd(t, later, "") // its epoch is not below
		})
	}
}

// A handler that takes its time before it looks at its context is told all the same.
func TestWatchRevokedBeforeFirstLook(t *testing.T) {
	issuer := tokentest.New(t)
	v := issuer.Validator()
	w, err := v.Watch(context.Background(), issuer.Token("ann"), 0)
	if err != nil {
		t.Fatal(err)
	}
	issuer.Revoke(revocation.User("ann"))
	if cause := context.Cause(w.Context()); !errors.Is(cause, token.ErrRevoked) {
		t.Errorf("the cause alone, as the first look, is %v; want %v", cause, token.ErrRevoked)
	}
	wantEnd(t, w, token.ErrRevoked)
	if _, err := v.Watch(context.Background(), issuer.Token("ann", func(s *token.Session) { s.Epoch = 1 }), 0); !errors.Is(err, token.ErrRevoked) {
		t.Errorf("Watch of a revoked token: %v, want %v", err, token.ErrRevoked)
	}
}

func TestWatchEndsWithItsKey(t *testing.T) {
	issuer := tokentest.New(t)
	v := issuer.Validator()
	issuer.Key(token.EdDSA)
	retired := watch(t, v, issuer.Token("ann"), time.Hour)
	trusted := watch(t, v, issuer.MintWith(token.EdDSA, issuer.Session("ann")), 0)
	set, err := token.NewKeySet(&issuer.Key(token.EdDSA).Key)
	if err != nil {
		t.Fatal(err)
	}
	issuer.Keys.Set(set)
	wantEnd(t, retired, token.ErrUnknownKey)
	wantEnd(t, trusted, "")
}

// short are settings under which a test of time takes few looks at the clock.
var short = settings.Settings{SessionTimeout: time.Minute, MaximumSessionDuration: 2 * time.Minute, RememberMeEnabled: true}

// inBubble runs f in a synctest bubble with an issuer and a validator that go by the
// bubble's clock and short settings.
func inBubble(t *testing.T, f func(t *testing.T, issuer *tokentest.Issuer, v *token.Validator)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		issuer := tokentest.New(t)
		issuer.SetNow(time.Now())
		issuer.ChangeSettings(short)
		config := issuer.Config()
		config.Now = time.Now
		v, err := token.NewValidator(config)
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		f(t, issuer, v)
	})
}

// sleepUntil sleeps until the instant given, and lets the events due then happen.
func sleepUntil(at time.Time) {
	time.Sleep(time.Until(at)) // in a bubble
	synctest.Wait()
}

func TestWatchEndsByTime(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*token.Session)
		end    func(token.Session) token.UnixTime
		reason token.Reason
	}{
		{"session timeout", nil, func(s token.Session) token.UnixTime { return s.LastRefresh + 60 }, token.ErrIdleTimeout},
		{"maximum session duration", remembered, func(s token.Session) token.UnixTime { return s.IssuedAt + 120 }, token.ErrMaximumDuration},
		{"expiry", func(s *token.Session) { s.ExpiresAt = s.IssuedAt + 30 }, func(s token.Session) token.UnixTime { return s.ExpiresAt }, token.ErrExpired},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, issuer *tokentest.Issuer, v *token.Validator) {
				time.Sleep(321 * time.Millisecond) // not on a second
				change := test.change
				if change == nil {
					change = func(*token.Session) {}
				}
				w := watch(t, v, issuer.Token("ann", change), 0)
				end := test.end(*w.Session()).Time()
				sleepUntil(end.Add(-1))
				wantEnd(t, w, "")
				sleepUntil(end)
				wantEnd(t, w, test.reason)
				sleepUntil(end.Add(1))
				wantEnd(t, w, test.reason)
			})
		})
	}
}

// The settings bind open connections when they change: a shorter timeout ends what
// it makes too old, at once; a longer one does not carry a token past its own end.
func TestWatchFollowsSettings(t *testing.T) {
	inBubble(t, func(t *testing.T, issuer *tokentest.Issuer, v *token.Validator) {
		began := time.Now()
		old := watch(t, v, issuer.Token("ann"), 0)
		time.Sleep(20 * time.Second)
		issuer.SetNow(time.Now())
		young := watch(t, v, issuer.Token("ben"), 0)
		change := func(timeout time.Duration) {
			next := short
			next.SessionTimeout = timeout
			issuer.ChangeSettings(next)
		}
		change(21 * time.Second)
		wantEnd(t, old, "")
		change(20 * time.Second) // now is exactly the end
		wantEnd(t, old, token.ErrIdleTimeout)
		wantEnd(t, young, "")
		change(110 * time.Second)
		sleepUntil(began.Add(80*time.Second - 1))
		wantEnd(t, young, "")
		sleepUntil(began.Add(80 * time.Second))
		wantEnd(t, young, token.ErrExpired)
	})
}

func TestWatchAndLease(t *testing.T) {
	inBubble(t, func(t *testing.T, issuer *tokentest.Issuer, v *token.Validator) {
		const interval = 100 * time.Millisecond
		strict := watch(t, v, issuer.Token("ann"), 0)
		lenient := watch(t, v, issuer.Token("ann"), 10*time.Second)
		time.Sleep(interval / 2) // between two looks
		lost := time.Now()
		issuer.View.SetTrusted(false)
		sleepUntil(lost.Add(interval))
		wantEnd(t, strict, token.ErrUnavailable)
		sleepUntil(lost.Add(9 * time.Second))
		wantEnd(t, lenient, "")

		issuer.View.SetTrusted(true) // regained within the grace: it counts from the next loss
		sleepUntil(lost.Add(11 * time.Second))
		wantEnd(t, lenient, "")
		noticed := time.Now()
		issuer.View.SetTrusted(false)
		sleepUntil(noticed.Add(10*time.Second - 1))
		wantEnd(t, lenient, "")
		sleepUntil(noticed.Add(10*time.Second + interval))
		wantEnd(t, lenient, token.ErrUnavailable)

		// Revocations that become known during the grace end it early.
		issuer.View.SetTrusted(true)
		waiting := watch(t, v, issuer.Token("ben"), time.Hour)
		issuer.View.SetTrusted(false)
		sleepUntil(time.Now().Add(time.Second))
		wantEnd(t, waiting, "")
		issuer.Revoke(revocation.User("ben"))
		wantEnd(t, waiting, token.ErrRevoked)
	})
}

// leasedView is a view that says how long its lease lasts, as a replica's does. It
// counts how often it is asked whether it is trusted.
type leasedView struct {
	*tokentest.View
	lease  atomic.Pointer[token.Lease]
	checks atomic.Int64
}

func (v *leasedView) grant(length time.Duration) {
	v.lease.Store(&token.Lease{Start: time.Now(), Length: length})
}

func (v *leasedView) Trusted(now time.Time) bool {
	v.checks.Add(1)
	return v.lease.Load().Running(now)
}

func (v *leasedView) LeaseLeft(now time.Time) time.Duration { return v.lease.Load().Left(now) }

// A validator whose view says when its lease ends wakes seldom, and still ends its
// watches exactly with the lease.
func TestWatchEndsExactlyWithTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := tokentest.New(t)
		issuer.SetNow(time.Now())
		view := &leasedView{View: issuer.View}
		view.grant(time.Hour)
		var ahead atomic.Int64 // of the wall clock
		config := issuer.Config()
		config.View = view
		config.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
		v, err := token.NewValidator(config)
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()

		strict := watch(t, v, issuer.Token("ann"), 0)
		lenient := watch(t, v, issuer.Token("ann"), 10*time.Second)
		view.checks.Store(0)
		time.Sleep(time.Minute)
		if n := view.checks.Load(); n > 70 {
			t.Errorf("the validator has checked the lease %d times in a minute, want once a second", n)
		}
		const length = 2*time.Second + 345*time.Millisecond
		view.grant(length)
		time.Sleep(time.Second)
		view.grant(length) // a poll brings the next lease
		ends := time.Now().Add(length)
		for _, test := range []struct {
			at   time.Time
			want token.Reason
		}{{ends.Add(-1), ""}, {ends, token.ErrUnavailable}, {ends.Add(1), token.ErrUnavailable}} {
			sleepUntil(test.at)
			wantEnd(t, strict, test.want)
		}
		for _, test := range []struct {
			at   time.Time
			want token.Reason
		}{{ends.Add(10*time.Second - 1), ""}, {ends.Add(10 * time.Second), token.ErrUnavailable}, {ends.Add(10*time.Second + 1), token.ErrUnavailable}} {
			sleepUntil(test.at)
			wantEnd(t, lenient, test.want)
		}

		view.grant(time.Hour)
		withdrawn := watch(t, v, issuer.Token("ann"), 0)
		time.Sleep(3 * time.Second)
		view.grant(0)
		sleepUntil(time.Now().Add(time.Second))
		wantEnd(t, withdrawn, token.ErrUnavailable)

		view.grant(time.Hour)
		jumped := watch(t, v, issuer.Token("ann"), 0)
		time.Sleep(3 * time.Second)
		ahead.Store(int64(2 * time.Hour)) // the wall clock is set, or the machine slept
		sleepUntil(time.Now().Add(time.Second))
		if jumped.Context().Err() == nil {
			t.Error("a clock that was set by two hours is not noticed within a second")
		}
	})
}

// When a revocation has been applied, the handlers that wait for their contexts have
// run: a receipt that waits for it finds the streams closed.
func TestHandlersRunBeforeARevocationIsApplied(t *testing.T) {
	issuer := tokentest.New(t)
	v := issuer.Validator()
	defer v.Close()
	const streams = 5000
	var closed atomic.Int64
	var open sync.WaitGroup
	for i := range streams {
		w := watch(t, v, issuer.Token(fmt.Sprint("user", i%100)), 0)
		done := w.Context().Done()
		open.Go(func() {
			<-done
			closed.Add(1)
			w.Stop()
		})
	}
	for range 100 { // all of them wait
		runtime.Gosched()
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // no other processor does it meanwhile
	issuer.Revoke(revocation.Everyone())
	if n := closed.Load(); n < streams*9/10 {
		t.Errorf("%d of %d handlers have run when the revocation was applied", n, streams)
	}
	open.Wait()
}

func TestWatchRenew(t *testing.T) {
	inBubble(t, func(t *testing.T, issuer *tokentest.Issuer, v *token.Validator) {
		refresh := func(s token.Session) string {
			return issuer.Mint(s.Refreshed(time.Now(), issuer.Settings.Current().Settings))
		}
		began := time.Now()
		w := watch(t, v, issuer.Token("ann"), 0)
		first := *w.Session()
		time.Sleep(50 * time.Second)
		second := refresh(first)
		if err := w.Renew(t.Context(), second); err != nil {
			t.Fatalf("Renew: %v", err)
		}
		if got := w.Session().LastRefresh; got != first.LastRefresh+50 {
			t.Errorf("after Renew the last refresh is at %d, want %d", got, first.LastRefresh+50)
		}
		sleepUntil(began.Add(time.Minute)) // the first token's end
		wantEnd(t, w, "")
		issuer.SetNow(time.Now())
		for name, raw := range map[string]string{
			"another user":                     issuer.Token("ben"),
			"another session of the user":      issuer.Token("ann"),
			"the session's id at another user": issuer.Token("ben", func(s *token.Session) { s.ID = first.ID }),
			"the session as remembered":        issuer.Token("ann", func(s *token.Session) { s.ID, s.RememberMe = first.ID, true }),
		} {
			if err := w.Renew(t.Context(), raw); !errors.Is(err, token.ErrOtherSession) {
				t.Errorf("Renew with a token of %s: %v, want %v", name, err, token.ErrOtherSession)
			}
		}
		if err := w.Renew(t.Context(), issuer.Mint(first)); !errors.Is(err, token.ErrIdleTimeout) {
			t.Errorf("Renew with a token that is over: %v, want %v", err, token.ErrIdleTimeout)
		}
		// An older token that is still good changes nothing.
		older := first
		older.LastRefresh += 20
		older.ExpiresAt += 20
		if err := w.Renew(t.Context(), issuer.Mint(older)); err != nil {
			t.Errorf("Renew with an older token: %v", err)
		}
		sleepUntil(began.Add(110*time.Second - 1))
		wantEnd(t, w, "")
		sleepUntil(began.Add(110 * time.Second))
		wantEnd(t, w, token.ErrIdleTimeout)
		if err := w.Renew(t.Context(), refresh(first)); !errors.Is(err, token.ErrIdleTimeout) {
			t.Errorf("Renew after the end: %v, want %v", err, token.ErrIdleTimeout)
		}
	})
}

// Whenever a session is refreshed and renewed, nothing is cut; then a revocation
// still is.
func TestWatchSurvivesRefreshAtEveryMoment(t *testing.T) {
	inBubble(t, func(t *testing.T, issuer *tokentest.Issuer, v *token.Validator) {
		settings := short
		settings.MaximumSessionDuration = time.Hour
		issuer.ChangeSettings(settings)
		w := watch(t, v, issuer.Token("ann"), 0)
		for i := range 90 {
			time.Sleep(time.Duration(i%59+1)*time.Second - time.Duration(i)*time.Millisecond)
			next := w.Session().Refreshed(time.Now(), issuer.Settings.Current().Settings)
			if err := w.Renew(t.Context(), issuer.Mint(next)); err != nil {
				t.Fatalf("refresh %d: %v", i, err)
			}
			wantEnd(t, w, "")
		}
		issuer.Revoke(revocation.Session(w.Session().ID))
		wantEnd(t, w, token.ErrRevoked)
	})
}

func TestWatchStopAndClose(t *testing.T) {
	issuer := tokentest.New(t)
	v := issuer.Validator()

	stopped := watch(t, v, issuer.Token("ann"), 0)
	stopped.Stop()
	stopped.Stop()
	if cause := context.Cause(stopped.Context()); cause != context.Canceled {
		t.Errorf("after Stop the cause is %v, want %v", cause, context.Canceled)
	}
	unseen, err := v.Watch(context.Background(), issuer.Token("ann"), 0)
	if err != nil {
		t.Fatal(err)
	}
	unseen.Stop()
	if err := unseen.Context().Err(); err == nil {
		t.Error("a watch that was stopped before the first look goes on")
	}
	if n := token.Watched(v); n != 0 {
		t.Errorf("%d watches are left after Stop, want 0", n)
	}

	parent, cancel := context.WithCancel(context.Background())
	child, err := v.Watch(parent, issuer.Token("ann"), 0)
	if err != nil {
		t.Fatal(err)
	}
	<-closedAfter(child.Context(), cancel)
	for token.Watched(v) != 0 { // forgotten with its parent, though nothing stops it
		runtime.Gosched()
	}

	open := watch(t, v, issuer.Token("ann"), time.Hour)
	v.Close()
	v.Close()
	wantEnd(t, open, token.ErrUnavailable)
	late, err := v.Watch(context.Background(), issuer.Token("ann"), time.Hour)
	if err != nil {
		t.Fatalf("Watch after Close: %v", err)
	}
	if cause := context.Cause(late.Context()); !errors.Is(cause, token.ErrUnavailable) {
		t.Errorf("a watch after Close ends with %v, want %v", cause, token.ErrUnavailable)
	}
}

// closedAfter calls f and returns the channel of ctx.
func closedAfter(ctx context.Context, f func()) <-chan struct{} {
	done := ctx.Done()
	f()
	return done
}

// Contexts that derive from a watched one end with it, and no goroutine waits for
// them.
func TestWatchedContextDerives(t *testing.T) {
	issuer := tokentest.New(t)
	v := issuer.Validator()
	before := runtime.NumGoroutine()
	type key struct{}
	var contexts []context.Context
	for range 50 {
		outer, err := v.Watch(context.WithValue(context.Background(), key{}, "value"), issuer.Token("ann"), 0)
		if err != nil {
			t.Fatal(err)
		}
		inner, err := v.Watch(outer.Context(), issuer.Token("ann"), 0) // a watch within a watch
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(inner.Context(), time.Hour)
		defer cancel()
		if got := ctx.Value(key{}); got != "value" {
			t.Fatalf("the value of the parent is %v", got)
		}
		contexts = append(contexts, ctx)
	}
	if n := runtime.NumGoroutine(); n > before+3 { // the validator's own, and what the runtime may start
		t.Errorf("%d goroutines were started for 50 contexts, want one for all", n-before)
	}
	issuer.Revoke(revocation.User("ann"))
	for _, ctx := range contexts {
		<-ctx.Done()
		if cause := context.Cause(ctx); !errors.Is(cause, token.ErrRevoked) {
			t.Fatalf("the cause is %v, want %v", cause, token.ErrRevoked)
		}
	}
}

// A cache that has forgotten a revocation asks its source for a watch as well.
func TestWatchAsksForWhatWasForgotten(t *testing.T) {
	issuer := tokentest.New(t)
	var asked sync.WaitGroup
	asked.Add(1)
	var once sync.Once
	revoked := revocation.Epoch(0)
	issuer.Revocations = revocation.NewCache(revocation.CacheConfig{Capacity: 2, Source: answers(func() revocation.Answer {
		once.Do(asked.Done)
		return revocation.Answer{User: revoked, AsOf: issuer.Epoch()}
	})})
	t.Cleanup(issuer.Revocations.Close)
	v := issuer.Validator()
	w, err := v.Watch(context.Background(), issuer.Token("ann"), 0)
	if err != nil {
		t.Fatal(err)
	}
	revoked = issuer.Revoke(revocation.User("ann"))
	for i := range 10 { // forces it out
		issuer.Revoke(revocation.User(fmt.Sprint("user", i)))
	}
	<-w.Context().Done()
	wantEnd(t, w, token.ErrRevoked)
	asked.Wait()
}

type answers func() revocation.Answer

func (s answers) RevokedBefore(context.Context, string, string) (revocation.Answer, error) {
	return s(), nil
}

// Whatever the order in which a watch begins and a revocation is applied: once both
// have returned, the context has ended.
func TestWatchRaces(t *testing.T) {
	issuer := tokentest.New(t)
	v := issuer.Validator()
	for i := range 2000 {
		user := fmt.Sprint("user", i)
		w, err := v.Watch(context.Background(), issuer.Token(user), 0)
		if err != nil {
			t.Fatal(err)
		}
		scope := [...]revocation.Scope{revocation.User(user), revocation.Session(w.Session().ID), revocation.Everyone()}[i%3]
		var both sync.WaitGroup
		both.Go(func() { w.Context().Done() })
		both.Go(func() { issuer.Revoke(scope) })
		if i%5 == 0 {
			both.Go(w.Stop)
		}
		both.Wait()
		if w.Context().Err() == nil {
			t.Fatalf("round %d: the context of a revoked session goes on", i)
		}
	}
	if n := token.Watched(v); n != 0 {
		t.Errorf("%d watches are left", n)
	}
}

// 100 000 streams come and go: nothing of them stays.
func TestWatchesLeaveNothing(t *testing.T) {
	issuer := tokentest.New(t)
	v := issuer.Validator()
	raws := make([]string, 100)
	for i := range raws {
		raws[i] = issuer.Token(fmt.Sprint("user", i))
	}
	round := func(n int) {
		open := make([]*token.Watch, 0, 1000)
		for i := range n {
			open = append(open, watch(t, v, raws[i%len(raws)], 0))
			if len(open) == cap(open) {
				for _, w := range open {
					w.Stop()
				}
				open = open[:0]
			}
		}
	}
	goroutines := runtime.NumGoroutine()
	round(1000)
	heap := liveHeap()
	round(100_000)
	if n := token.Watched(v); n != 0 {
		t.Errorf("%d watches are left", n)
	}
	if after := liveHeap(); after > heap+256<<10 {
		t.Errorf("the heap grew from %d to %d bytes", heap, after)
	}
	v.Close()
	// A goroutine still counts for a moment after it has said that it ends.
	await.Until(t, fmt.Sprintf("at most %d goroutines are left", goroutines), func() bool { return runtime.NumGoroutine() <= goroutines })
}

func liveHeap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A client that goes on presenting a token that is over costs no signature check:
// the validator remembers it like a good one.
func TestRefusedTokensAreRemembered(t *testing.T) {
	issuer := tokentest.New(t)
	v := issuer.Validator()
	revoked, idle := issuer.Token("ann"), issuer.Token("ben", func(s *token.Session) {
		s.IssuedAt -= 4000
		s.LastRefresh = s.IssuedAt
	})
	issuer.Revoke(revocation.User("ann"))
	for name, test := range map[string]struct {
		raw    string
		reason token.Reason
		max    float64 // allocations; a signature check takes dozens
	}{
		"revoked": {revoked, token.ErrRevoked, 0},
		"idle":    {idle, token.ErrIdleTimeout, 12}, // its error's text
	} {
		check := func() {
			if _, err := v.Validate(context.Background(), test.raw); token.ReasonOf(err) != test.reason {
				t.Fatalf("%s: %v, want %v", name, err, test.reason)
			}
		}
		check()
		if n := testing.AllocsPerRun(100, check); n > test.max {
			t.Errorf("%s: %v allocations for each refusal, want at most %v", name, n, test.max)
		}
	}
}
