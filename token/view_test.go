package token_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"example.com/curfew/revocation"
	"example.com/curfew/settings"
	"example.com/curfew/token"
	"example.com/curfew/token/tokentest"
)

func TestLease(t *testing.T) {
	start := time.Now()
	wall := func(d time.Duration) time.Time { return start.Round(0).Add(d) } // no monotonic reading
	for _, test := range []struct {
		name string
		l    token.Lease
		now  time.Time
		left time.Duration
	}{
		{"zero", token.Lease{}, start, 0},
		{"negative", token.Lease{Start: start, Length: -1}, start, 0},
		{"at its beginning", token.Lease{Start: start, Length: time.Minute}, start, time.Minute},
		{"just before its end", token.Lease{Start: start, Length: time.Minute}, start.Add(time.Minute - 1), 1},
		{"at its end", token.Lease{Start: start, Length: time.Minute}, start.Add(time.Minute), 0},
		{"just after its end", token.Lease{Start: start, Length: time.Minute}, start.Add(time.Minute + 1), -1},
		{"the wall clock alone, before", token.Lease{Start: start, Length: time.Minute}, wall(time.Minute - 1), 1},
		{"the wall clock alone, at the end", token.Lease{Start: start, Length: time.Minute}, wall(time.Minute), 0},
		{"asked about an instant before it", token.Lease{Start: start, Length: time.Minute}, start.Add(-time.Hour), time.Minute},
	} {
		if got := test.l.Left(test.now); got != test.left {
			t.Errorf("%s: Left = %v, want %v", test.name, got, test.left)
		}
		if got := test.l.Running(test.now); got != (test.left > 0) {
			t.Errorf("%s: Running = %v with %v left", test.name, got, test.left)
		}
	}
}

// later returns t with its wall clock and its monotonic reading moved apart, as
// they are when the wall clock is set or the machine sleeps. Package time has no
// way to make such a time; the test of this function tells if its layout changes.
func later(t time.Time, wall, monotonic time.Duration) time.Time {
	t = t.Add(wall)
	(*[2]int64)(unsafe.Pointer(&t))[1] += int64(monotonic - wall) // the second word is the monotonic reading
	return t
}

// A lease counts the greater of the two clocks.
func TestLeaseWithClocksApart(t *testing.T) {
	l := token.Lease{Start: time.Now(), Length: time.Minute}
	for _, test := range []struct{ wall, monotonic, left time.Duration }{
		{20 * time.Second, 20 * time.Second, 40 * time.Second},
		{50 * time.Second, 20 * time.Second, 10 * time.Second}, // it slept
		{time.Hour, 20 * time.Second, time.Minute - time.Hour},
		{10 * time.Second, 20 * time.Second, 40 * time.Second}, // the clock was set back
		{-time.Hour, 20 * time.Second, 40 * time.Second},
		{-time.Hour, time.Minute, 0},
	} {
		now := later(l.Start, test.wall, test.monotonic)
		if now.Sub(l.Start) != test.monotonic || now.Round(0).Sub(l.Start.Round(0)) != test.wall {
			t.Fatalf("the clocks are not apart: %v and %v", now.Sub(l.Start), now.Round(0).Sub(l.Start.Round(0)))
		}
		if got := l.Left(now); got != test.left {
			t.Errorf("%v by the wall, %v monotonic: %v left, want %v", test.wall, test.monotonic, got, test.left)
		}
	}
}

// A view that is behind the token catches up first and then decides, and an epoch
// that the store's clock has not reached is made up.
func TestViewBehind(t *testing.T) {
	issuer := tokentest.New(t)
	v := issuer.Validator()
	for _, test := range []struct {
		name     string
		ahead    revocation.Epoch // of the view
		catchUps int
		want     token.Reason
	}{
		{"just below the view", -1, 0, ""},
		{"at the view", 0, 0, ""},
		{"just above the view, at the store's clock", 1, 1, ""},
		{"above the store's clock", 2, 1, token.ErrMalformed},
	} {
		t.Run(test.name, func(t *testing.T) {
			clock := issuer.Tick()
			issuer.View.SetEpoch(clock - 1)
			before := issuer.View.CatchUps()
			check(t, v, issuer.Token("ann", func(s *token.Session) { s.Epoch = clock - 1 + test.ahead }), test.want)
			if n := issuer.View.CatchUps() - before; n != test.catchUps {
				t.Errorf("caught up %d times, want %d", n, test.catchUps)
			}
		})
	}
}

// What the view learns while it catches up binds the token that made it do so.
func TestCatchingUpIsHeardOut(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*tokentest.Issuer)
		want   token.Reason
	}{
		"nothing":                  {func(*tokentest.Issuer) {}, ""},
		"a revocation":             {func(i *tokentest.Issuer) { i.Tick(); i.Revoke(revocation.User("ann")) }, token.ErrRevoked},
		"a shorter time":           {func(i *tokentest.Issuer) { i.Advance(20 * time.Minute) }, token.ErrIdleTimeout},
		"a retired key":            {func(i *tokentest.Issuer) { i.Keys.Set(nil) }, token.ErrUnknownKey},
		"a replaced key":           {func(i *tokentest.Issuer) { i.Keys.Set(replacedKey(i)) }, token.ErrUnknownKey},
		"other keys too":           {func(i *tokentest.Issuer) { i.Key(token.EdDSA) }, ""},
		"the same key, read again": {func(i *tokentest.Issuer) { i.Keys.Set(reread(i)) }, ""},
	} {
		for cause, begin := range map[string]func(*tokentest.Issuer){
			"the lease has run out": func(i *tokentest.Issuer) { i.View.SetTrusted(false) },
			"the view is behind":    func(i *tokentest.Issuer) { i.Tick(); i.View.SetEpoch(i.Epoch() - 1) },
		} {
			t.Run(name+", "+cause, func(t *testing.T) {
				issuer := tokentest.New(t)
				v := issuer.Validator()
				begin(issuer)
				raw := issuer.Token("ann")
				issuer.View.SetCatchUp(func(context.Context) error {
					test.change(issuer)
					issuer.View.SetEpoch(issuer.Epoch())
					issuer.View.SetTrusted(true)
					return nil
				})
				check(t, v, raw, test.want)
			})
		}
	}
}

// changingView is a view that becomes current at the very instant at which a
// validator looks at it.
type changingView struct {
	*tokentest.View
	change func()
}

func (v changingView) Trusted(time.Time) bool { v.change(); return true }

// A view is current only with what it holds from then on: what it had before was
// perhaps out of date for hours.
func TestStateIsReadAfterTheViewIsCurrent(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*tokentest.Issuer)
		want   token.Reason
	}{
		"a retired key": {func(i *tokentest.Issuer) { i.Keys.Set(nil) }, token.ErrUnknownKey},
		"a shorter timeout": {func(i *tokentest.Issuer) {
			i.ChangeSettings(settings.Settings{SessionTimeout: time.Minute, MaximumSessionDuration: time.Hour})
		}, token.ErrIdleTimeout},
		"a revocation": {func(i *tokentest.Issuer) { i.Revoke(revocation.User("ann")) }, token.ErrRevoked},
	} {
		for _, remembered := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, remembered %v", name, remembered), func(t *testing.T) {
				issuer := tokentest.New(t)
				raw := issuer.Token("ann")
				issuer.Advance(2 * time.Minute)
				config := issuer.Config()
				change := func() {}
				config.View = changingView{issuer.View, func() { change() }}
				v := must(token.NewValidator(config))
				if remembered {
					check(t, v, raw, "")
				}
				change = sync.OnceFunc(func() { test.change(issuer) })
				check(t, v, raw, test.want)
			})
		}
	}
}

// replacedKey returns a set with another key under the ID of the issuer's.
func replacedKey(i *tokentest.Issuer) *token.KeySet {
	other := must(tokentest.NewKey(token.ES256))
	return must(token.NewKeySet(must(token.NewKey(i.Key(token.ES256).ID(), other.Public()))))
}

// reread returns a set with the issuer's key, made once more.
func reread(i *tokentest.Issuer) *token.KeySet {
	own := i.Key(token.ES256)
	return must(token.NewKeySet(must(token.NewKey(own.ID(), own.Public()))))
}

// If the lease has run out and the store does not answer, the token's status is
// unknown, whatever the view has: it may be out of date.
func TestLeaseRunOut(t *testing.T) {
	gone := errors.New("the store is gone")
	for name, raw := range map[string]func(*tokentest.Issuer) string{
		"good":      func(i *tokentest.Issuer) string { return i.Token("ann") },
		"revoked":   func(i *tokentest.Issuer) string { raw := i.Token("bob"); i.Revoke(revocation.User("bob")); return raw },
		"timed out": func(i *tokentest.Issuer) string { raw := i.Token("ann"); i.Advance(time.Hour); return raw },
		"a key that is not known": func(i *tokentest.Issuer) string {
			return must(token.Mint(must(tokentest.NewKey(token.ES256)), i.Session("ann")))
		},
		"an epoch from the future": func(i *tokentest.Issuer) string {
			return i.Token("ann", func(s *token.Session) { s.Epoch = 1 << 62 })
		},
	} {
		t.Run(name, func(t *testing.T) {
			issuer := tokentest.New(t)
			v := issuer.Validator()
			presented := raw(issuer)
			issuer.View.SetTrusted(false)
			issuer.View.SetCatchUp(func(context.Context) error { return gone })
			for range 3 {
				check(t, v, presented, token.ErrUnavailable)
			}
			// It says it has caught up, but the lease has run out again.
			issuer.View.SetCatchUp(func(context.Context) error { return nil })
			check(t, v, presented, token.ErrUnavailable)
		})
	}
	// What needs no view is decided all the same.
	issuer := tokentest.New(t)
	v := issuer.Validator()
	issuer.View.SetTrusted(false)
	issuer.View.SetCatchUp(func(context.Context) error { return gone })
	check(t, v, "", token.ErrMissing)
	check(t, v, "x", token.ErrMalformed)
	check(t, v, issuer.Token("ann")+"AAAA", token.ErrBadSignature)
}

// An error of the view is unavailable, whatever it says of itself.
func TestErrorsOfTheView(t *testing.T) {
	for _, failure := range []error{
		errors.New("the store is gone"), token.ErrUnavailable, fmt.Errorf("%w: the store is gone", token.ErrUnavailable),
		context.Canceled, token.ErrRevoked, errors.Join(token.ErrRevoked, token.ErrUnavailable),
	} {
		issuer := tokentest.New(t)
		issuer.View.SetTrusted(false)
		issuer.View.SetCatchUp(func(context.Context) error { return failure })
		s, err := issuer.Validator().Validate(t.Context(), issuer.Token("ann"))
		if token.ReasonOf(err) != token.ErrUnavailable || !errors.Is(err, failure) || s != nil {
			t.Errorf("%v: Validate = %v, %v; want %v", failure, s, err, token.ErrUnavailable)
		}
	}
}

// An unknown key ID makes the view catch up, but at most once an interval, because
// an attacker can invent key IDs.
func TestUnknownKeyAsksOnceAnInterval(t *testing.T) {
	for configured, interval := range map[time.Duration]time.Duration{0: 5 * time.Second, -1: 5 * time.Second, time.Minute: time.Minute} {
		issuer := tokentest.New(t)
		config := issuer.Config()
		config.UnknownKeyInterval = configured
		v := must(token.NewValidator(config))
		unknown := must(tokentest.NewKey(token.ES256))
		raw := must(token.Mint(unknown, issuer.Session("ann")))
		for _, step := range []struct {
			advance time.Duration
			asked   int
		}{{0, 1}, {0, 1}, {interval - 1, 1}, {1, 2}, {0, 2}, {interval + 1, 3}} {
			issuer.Advance(step.advance)
			check(t, v, raw, token.ErrUnknownKey)
			if n := issuer.View.CatchUps(); n != step.asked {
				t.Errorf("interval %v: asked %d times, want %d", interval, n, step.asked)
			}
		}
		// A key that came in the meantime is found in what it learns.
		issuer.Advance(interval)
		issuer.View.SetCatchUp(func(context.Context) error { issuer.Trust(&unknown.Key); return nil })
		raw = must(token.Mint(unknown, issuer.Session("ann")))
		check(t, v, raw, "")
	}
}

// The same with many at once.
func TestUnknownKeysAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := tokentest.New(t)
		v := issuer.Validator()
		issuer.View.SetCatchUp(func(context.Context) error { time.Sleep(time.Second); return nil })
		raw := must(token.Mint(must(tokentest.NewKey(token.ES256)), issuer.Session("ann")))
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() { check(t, v, raw, token.ErrUnknownKey) })
		}
		all.Wait()
		if n := issuer.View.CatchUps(); n != 1 {
			t.Errorf("asked %d times, want 1", n)
		}
	})
}

// While the store does not answer, a key ID is not reported as unknown.
func TestUnknownKeyWhileTheStoreIsGone(t *testing.T) {
	issuer := tokentest.New(t)
	v := issuer.Validator()
	raw := must(token.Mint(must(tokentest.NewKey(token.ES256)), issuer.Session("ann")))
	issuer.View.SetCatchUp(func(context.Context) error { return errors.New("the store is gone") })
	check(t, v, raw, token.ErrUnavailable) // it was asked, and did not answer
	check(t, v, raw, token.ErrUnknownKey)  // the lease still runs: a change that is not in the view does not bind yet
	issuer.View.SetTrusted(false)
	check(t, v, raw, token.ErrUnavailable)
}
