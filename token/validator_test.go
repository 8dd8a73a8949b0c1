package token_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/curfew/revocation"
	"example.com/curfew/settings"
	"example.com/curfew/token"
	"example.com/curfew/token/tokentest"
)

// check validates raw and wants the reason; "" stands for a good token.
func check(t *testing.T, v *token.Validator, raw string, want token.Reason) {
	t.Helper()
	s, err := v.Validate(t.Context(), raw)
	if got := token.ReasonOf(err); got != want || (s != nil) != (want == "") {
		t.Errorf("Validate = %v, %v; want %q", s, err, want)
	}
}

func TestConfigRequired(t *testing.T) {
	issuer := tokentest.New(t)
	for field, forget := range map[string]func(*token.Config){
		"Issuer":      func(c *token.Config) { c.Issuer = "" },
		"Audience":    func(c *token.Config) { c.Audience = "" },
		"Keys":        func(c *token.Config) { c.Keys = nil },
		"Settings":    func(c *token.Config) { c.Settings = nil },
		"Revocations": func(c *token.Config) { c.Revocations = nil },
		"View":        func(c *token.Config) { c.View = nil },
	} {
		c := issuer.Config()
		forget(&c)
		if v, err := token.NewValidator(c); err == nil || v != nil || !strings.Contains(err.Error(), field) {
			t.Errorf("without %s: %v, %v; want an error that names it", field, v, err)
		}
	}
}

func TestValidSession(t *testing.T) {
	issuer := tokentest.New(t)
	minted := issuer.Session("ann", func(s *token.Session) { s.Audience = []string{"others", issuer.Audience} })
	got, err := issuer.Validator().Validate(t.Context(), issuer.Mint(minted))
	if err != nil {
		t.Fatal(err)
	}
	minted.KeyID = issuer.Key(token.ES256).ID()
	if fmt.Sprintf("%+v", *got) != fmt.Sprintf("%+v", minted) {
		t.Errorf("%+v, minted %+v", *got, minted)
	}
}

// Each rule of time just before, at and just after its instant; and the order of
// the rules where several fail.
func TestTime(t *testing.T) {
	const timeout, maximum, leeway = 1200, 1728000, 60
	for _, test := range []struct {
		name                                       string
		issued, refreshed, expires, notBefore, now int64 // now and dates in seconds from the start
		rememberMe                                 bool
		want                                       token.Reason
	}{
		{name: "iat just within the leeway", issued: leeway - 1, refreshed: leeway - 1, expires: 5000},
		{name: "iat at the leeway", issued: leeway, refreshed: leeway, expires: 5000},
		{name: "iat just beyond the leeway", issued: leeway + 1, refreshed: leeway + 1, expires: 5000, want: token.ErrNotYetValid},
		{name: "last_refresh at the leeway", refreshed: leeway, expires: 5000},
		{name: "last_refresh just beyond the leeway", refreshed: leeway + 1, expires: 5000, want: token.ErrNotYetValid},
		{name: "nbf at the leeway", expires: 5000, notBefore: leeway},
		{name: "nbf just beyond the leeway", expires: 5000, notBefore: leeway + 1, want: token.ErrNotYetValid},
		{name: "nbf just beyond the leeway, remember me", expires: 5000, notBefore: leeway + 1, rememberMe: true, want: token.ErrNotYetValid},

		{name: "idle just before the timeout", expires: 5000, now: timeout - 1},
		{name: "idle at the timeout", expires: 5000, now: timeout, want: token.ErrIdleTimeout},
		{name: "idle just after the timeout", expires: 5000, now: timeout + 1, want: token.ErrIdleTimeout},
		{name: "idle at the timeout, refreshed later", refreshed: 1, expires: 5000, now: timeout},
		{name: "idle, remember me", expires: 5000, now: timeout + 1, rememberMe: true},

		{name: "just before the maximum", refreshed: maximum - 10, expires: maximum + 10, now: maximum - 1},
		{name: "at the maximum", refreshed: maximum - 10, expires: maximum + 10, now: maximum, want: token.ErrMaximumDuration},
		{name: "just after the maximum", refreshed: maximum - 10, expires: maximum + 10, now: maximum + 1, want: token.ErrMaximumDuration},
		{name: "just before the maximum, remember me", expires: maximum + 10, now: maximum - 1, rememberMe: true},
		{name: "at the maximum, remember me", expires: maximum + 10, now: maximum, rememberMe: true, want: token.ErrMaximumDuration},

		{name: "just before exp", expires: 100, now: 99},
		{name: "at exp", expires: 100, now: 100, want: token.ErrExpired},
		{name: "just after exp", expires: 100, now: 101, want: token.ErrExpired},
		{name: "at exp, remember me", expires: 100, now: 100, rememberMe: true, want: token.ErrExpired},

		{name: "everything at once", issued: -maximum, refreshed: -timeout, expires: -1, notBefore: 100, want: token.ErrNotYetValid},
		{name: "over, idle and expired", issued: -maximum, refreshed: -timeout, expires: -1, want: token.ErrMaximumDuration},
		{name: "idle and expired", issued: -timeout, refreshed: -timeout, expires: -1, want: token.ErrIdleTimeout},
	} {
		t.Run(test.name, func(t *testing.T) {
			issuer := tokentest.New(t)
			start := issuer.Now().Unix()
			raw := issuer.Token("ann", func(s *token.Session) {
				s.IssuedAt, s.LastRefresh, s.ExpiresAt = token.UnixTime(start+test.issued), token.UnixTime(start+test.refreshed), token.UnixTime(start+test.expires)
				s.RememberMe = test.rememberMe
				if test.notBefore != 0 {
					s.NotBefore = token.UnixTime(start + test.notBefore)
				}
			})
			// The last nanosecond of the second counts like the first.
			issuer.SetNow(time.Unix(start+test.now, 0))
			check(t, issuer.Validator(), raw, test.want)
			issuer.Advance(time.Second - 1)
			check(t, issuer.Validator(), raw, test.want)
		})
	}
}

// The settings in force now bind tokens that were minted under others.
func TestSettingsBindIssuedTokens(t *testing.T) {
	issuer := tokentest.New(t)
	v := issuer.Validator()
	ordinary := issuer.Token("ann")
	remembered := issuer.Token("ann", func(s *token.Session) { s.RememberMe = true })
	issuer.Advance(10 * time.Minute)
	check(t, v, ordinary, "")
	issuer.ChangeSettings(settings.Settings{SessionTimeout: 10 * time.Minute, MaximumSessionDuration: time.Hour})
	check(t, v, ordinary, token.ErrIdleTimeout)
	check(t, v, remembered, "")
	issuer.Advance(50*time.Minute - time.Second)
	check(t, v, remembered, "")
	issuer.Advance(time.Second)
	check(t, v, remembered, token.ErrMaximumDuration)
	issuer.ChangeSettings(settings.Default())
	check(t, v, remembered, token.ErrMaximumDuration)
	check(t, v, ordinary, token.ErrMaximumDuration)
	// Those that begin now are not held against the floors, even on a node whose
	// clock is an hour behind that of the node that made the change.
	issuer.Advance(-time.Hour)
	check(t, v, issuer.Token("ann"), "")
}

// CheckTime is the same rules, for settings that were read afresh.
func TestCheckTime(t *testing.T) {
	issuer := tokentest.New(t)
	s := issuer.Session("ann")
	in := settings.InForce{Settings: settings.Default()}
	for after, want := range map[time.Duration]token.Reason{
		-61 * time.Second:     token.ErrNotYetValid,
		0:                     "",
		20*time.Minute - 1:    "",
		20 * time.Minute:      token.ErrIdleTimeout,
		20 * 24 * time.Hour:   token.ErrMaximumDuration,
		20*24*time.Hour - 1:   token.ErrIdleTimeout,
		19 * 24 * time.Hour:   token.ErrIdleTimeout,
		19*time.Minute + 59e9: "",
	} {
		if got := token.ReasonOf(s.CheckTime(&in, issuer.Now().Add(after))); got != want {
			t.Errorf("after %v: %q, want %q", after, got, want)
		}
	}
	s.ExpiresAt = s.LastRefresh + 5
	if got := token.ReasonOf(s.CheckTime(&in, issuer.Now().Add(5*time.Second))); got != token.ErrExpired {
		t.Errorf("at exp: %q, want %q", got, token.ErrExpired)
	}
}

// Everyone, user and session: each never revoked, revoked before the sign-in or
// after it, with and without remember me, and the same for remembered. No clock
// takes part: all of it happens in one microsecond.
func TestRevocationMatrix(t *testing.T) {
	states := []string{"never", "before", "after"}
	for _, capacity := range []int{100, 1} { // complete, partial
		for n := range 81 {
			everyone, user, session, remembered := states[n%3], states[n/3%3], states[n/9%3], states[n/27]
			for _, rememberMe := range []bool{false, true} {
				name := fmt.Sprintf("everyone %s, user %s, session %s, remembered %s, remember me %v, capacity %d", everyone, user, session, remembered, rememberMe, capacity)
				issuer := tokentest.New(t)
				truth := map[revocation.Scope]revocation.Epoch{}
				issuer.Revocations = revocation.NewCache(revocation.CacheConfig{Capacity: capacity, Source: source(func(user, session string) (revocation.Answer, error) {
					return revocation.Answer{User: truth[revocation.User(user)], Session: truth[revocation.Session(session)], AsOf: issuer.Epoch()}, nil
				})})
				sid := token.NewSessionID()
				revoke := func(when string) {
					for scope, state := range map[revocation.Scope]string{
						revocation.Everyone(): everyone, revocation.User("ann"): user, revocation.Session(sid): session, revocation.Remembered(): remembered,
					} {
						if state == when {
							truth[scope] = issuer.Revoke(scope)
						}
					}
				}
				// Others fill the cache, so that the small one is partial.
				issuer.Revoke(revocation.User("bob"))
				issuer.Revoke(revocation.User("eve"))
				revoke("before")
				raw := issuer.Token("ann", func(s *token.Session) { s.ID, s.RememberMe = sid, rememberMe })
				revoke("after")
				want := token.Reason("")
				if everyone == "after" || user == "after" || session == "after" || rememberMe && remembered == "after" {
					want = token.ErrRevoked
				}
				v := issuer.Validator()
				for range 2 { // asked, then known
					if _, err := v.Validate(t.Context(), raw); token.ReasonOf(err) != want {
						t.Errorf("%s: %v, want %q", name, err, want)
					}
				}
				// A sign-in after all of it always works.
				if _, err := v.Validate(t.Context(), issuer.Token("ann", func(s *token.Session) { s.RememberMe = rememberMe })); err != nil {
					t.Errorf("%s: the next sign-in: %v", name, err)
				}
				issuer.Revocations.Close()
			}
		}
	}
}

// source is a revocation.Source that is a function.
type source func(user, session string) (revocation.Answer, error)

func (f source) RevokedBefore(_ context.Context, user, session string) (revocation.Answer, error) {
	return f(user, session)
}

// The epoch decides, to the microsecond: below the revocation, at it, above it.
func TestRevocationBoundary(t *testing.T) {
	issuer := tokentest.New(t)
	v := issuer.Validator()
	revoked := issuer.Revoke(revocation.User("ann"))
	issuer.View.SetEpoch(revoked + 1)
	for epoch, want := range map[revocation.Epoch]token.Reason{revoked - 1: token.ErrRevoked, revoked: "", revoked + 1: ""} {
		check(t, v, issuer.Token("ann", func(s *token.Session) { s.Epoch = epoch }), want)
	}
}

// With a partial cache, a revocation reported by the source counts. If the source
// does not answer, the token's status is unknown.
func TestPartialCache(t *testing.T) {
	issuer := tokentest.New(t)
	var before revocation.Epoch
	var failure error
	asked := 0
	issuer.Revocations = revocation.NewCache(revocation.CacheConfig{Capacity: 1, Source: source(func(string, string) (revocation.Answer, error) {
		asked++
		return revocation.Answer{Session: before, AsOf: issuer.Epoch()}, failure
	})})
	t.Cleanup(issuer.Revocations.Close)
	issuer.Revoke(revocation.User("bob"))
	issuer.Revoke(revocation.User("eve"))
	v := issuer.Validator()
	good := issuer.Session("ann")
	var raw string // each time another token, which has not been seen
	for offset, want := range map[revocation.Epoch]token.Reason{-1: "", 0: "", 1: token.ErrRevoked} {
		before = good.Epoch + offset
		raw = issuer.Mint(good)
		check(t, v, raw, want)
	}
	failure = errors.New("the store is gone")
	before = 0
	raw = issuer.Mint(good)
	check(t, v, raw, token.ErrUnavailable)
	// The known facts suffice to refuse, without asking.
	asked = 0
	issuer.Revoke(revocation.Everyone())
	check(t, v, raw, token.ErrRevoked)
	if asked != 0 {
		t.Errorf("asked %d times about a session that everyone's revocation ended", asked)
	}
}

// Asking takes time, in which a session may end.
func TestTimeRunsOutWhileTheSourceIsAsked(t *testing.T) {
	for name, test := range map[string]struct {
		during func(*tokentest.Issuer)
		want   token.Reason
	}{
		"nothing":      {func(*tokentest.Issuer) {}, ""},
		"idle timeout": {func(i *tokentest.Issuer) { i.Advance(20 * time.Minute) }, token.ErrIdleTimeout},
		"everyone":     {func(i *tokentest.Issuer) { i.Revoke(revocation.Everyone()) }, token.ErrRevoked},
		"the key":      {func(i *tokentest.Issuer) { i.Keys.Set(nil) }, token.ErrUnknownKey},
		"the lease": {func(i *tokentest.Issuer) {
			i.View.SetTrusted(false)
			i.View.SetCatchUp(func(context.Context) error { return errors.New("the store is gone") })
		}, token.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			issuer := tokentest.New(t)
			issuer.Revocations = revocation.NewCache(revocation.CacheConfig{Capacity: 1, Source: source(func(string, string) (revocation.Answer, error) {
				test.during(issuer)
				return revocation.Answer{AsOf: issuer.Epoch()}, nil
			})})
			t.Cleanup(issuer.Revocations.Close)
			issuer.Revoke(revocation.User("bob"))
			issuer.Revoke(revocation.User("eve"))
			check(t, issuer.Validator(), issuer.Token("ann"), test.want)
		})
	}
}

// A cache that is too small can hear of a revocation and forget it between the
// source's answer and the decision: it must ask again.
func TestRevokedAndForgottenAfterTheAnswer(t *testing.T) {
	issuer := tokentest.New(t)
	var truth revocation.Answer
	asked := 0
	issuer.Revocations = revocation.NewCache(revocation.CacheConfig{Capacity: 1, Source: source(func(string, string) (revocation.Answer, error) {
		asked++
		truth.AsOf = issuer.Epoch()
		return truth, nil
	})})
	t.Cleanup(issuer.Revocations.Close)
	issuer.Revoke(revocation.User("bob"))
	issuer.Revoke(revocation.User("eve"))
	raw := issuer.Token("ann")
	config := issuer.Config()
	config.Now = func() time.Time { // which is asked again after the answer
		if asked == 1 && truth.User == 0 {
			truth.User = issuer.Revoke(revocation.User("ann"))
			issuer.Revoke(revocation.User("bob"))
		}
		return issuer.Now()
	}
	check(t, must(token.NewValidator(config)), raw, token.ErrRevoked)
	if asked != 2 {
		t.Errorf("asked %d times, want 2", asked)
	}
}

func TestObserve(t *testing.T) {
	issuer := tokentest.New(t)
	config := issuer.Config()
	var seen []string
	config.Observe = func(reason token.Reason, took time.Duration) { seen = append(seen, fmt.Sprint(reason, " ", took)) }
	v := must(token.NewValidator(config))
	_, _ = v.Validate(t.Context(), issuer.Token("ann"))
	_, _ = v.Validate(t.Context(), "")
	issuer.View.SetTrusted(false)
	issuer.View.SetCatchUp(func(context.Context) error {
		issuer.Advance(time.Second)
		return errors.New("the store is gone")
	})
	_, _ = v.Validate(t.Context(), issuer.Token("ann"))
	if want := " 0s|missing 0s|unavailable 1s"; strings.Join(seen, "|") != want {
		t.Errorf("observed %q, want %q", strings.Join(seen, "|"), want)
	}
}

// A flood of signatures to check waits for its turn; a caller that does not want to
// wait is told that it cannot be told.
func TestSignatureSlots(t *testing.T) {
	issuer := tokentest.New(t)
	v := issuer.Validator()
	if v.SignatureSlots() < 1 {
		t.Fatal("no signature can be checked")
	}
	release := v.OccupySignatureSlots()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if s, err := v.Validate(ctx, issuer.Token("ann")); !errors.Is(err, token.ErrUnavailable) || !errors.Is(err, context.Canceled) || s != nil {
		t.Errorf("Validate = %v, %v; want %v", s, err, token.ErrUnavailable)
	}
	// What needs no signature check does not wait.
	check(t, v, "x", token.ErrMalformed)
	release()
	var all sync.WaitGroup
	for range 4 * v.SignatureSlots() {
		all.Go(func() {
			check(t, v, issuer.Token("ann"), "")
			check(t, v, issuer.Token("ann")+"AAAA", token.ErrBadSignature)
		})
	}
	all.Wait()
	v.OccupySignatureSlots()() // all of them are free again
}
