package tokentest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"example.com/curfew/revocation"
	"example.com/curfew/settings"
	"example.com/curfew/token"
	"example.com/curfew/token/tokentest"
)

func validate(t *testing.T, v *token.Validator, raw string, want error) {
	t.Helper()
	if _, err := v.Validate(t.Context(), raw); !errors.Is(err, want) {
		t.Errorf("Validate = %v, want %v", err, want)
	}
}

func newKey(t *testing.T, alg string) *token.SigningKey {
	k, err := tokentest.NewKey(alg)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestIssuer(t *testing.T) {
	issuer := tokentest.New(t)
	v := issuer.Validator()
	for _, alg := range []string{token.ES256, token.EdDSA, token.RS256} {
		validate(t, v, issuer.MintWith(alg, issuer.Session("ann")), nil)
		if one, two := issuer.Key(alg), issuer.Key(alg); one != two {
			t.Errorf("another %s key each time", alg)
		}
	}
	unknown := newKey(t, token.ES256)
	raw, err := token.Mint(unknown, issuer.Session("ann"))
	if err != nil {
		t.Fatal(err)
	}
	validate(t, v, raw, token.ErrUnknownKey)
	issuer.Trust(&unknown.Key)
	validate(t, v, raw, nil)
	issuer.UseKey(newKey(t, token.ES256))
	validate(t, v, issuer.Token("ann"), nil)
	if _, err := tokentest.NewKey("none"); err == nil {
		t.Error("NewKey made a key for none")
	}
}

func TestTimeAndRevocation(t *testing.T) {
	issuer := tokentest.New(t)
	v := issuer.Validator()
	ann, bob := issuer.Token("ann"), issuer.Token("bob")
	issuer.Revoke(revocation.User("ann"))
	validate(t, v, ann, token.ErrRevoked)
	validate(t, v, bob, nil)
	validate(t, v, issuer.Token("ann"), nil)

	issuer.Advance(settings.DefaultSessionTimeout)
	validate(t, v, bob, token.ErrIdleTimeout)
	bob = issuer.Token("bob")
	issuer.ChangeSettings(settings.Settings{SessionTimeout: time.Minute, MaximumSessionDuration: time.Hour})
	issuer.Advance(time.Minute)
	validate(t, v, bob, token.ErrIdleTimeout)
	issuer.ChangeSettings(settings.Default())
	validate(t, v, bob, token.ErrIdleTimeout) // once dead, always dead
	validate(t, v, issuer.Token("bob"), nil)

	issuer.SetNow(tokentest.Start.Add(-time.Hour))
	before := issuer.Epoch()
	if after := issuer.Tick(); after != before+1 {
		t.Errorf("the epoch clock went from %d to %d when the wall clock was set back", before, after)
	}
}

func TestSessionFillsInDates(t *testing.T) {
	issuer := tokentest.New(t)
	v := issuer.Validator()
	now := token.UnixTime(issuer.Now().Unix())
	timeout, maximum := token.UnixTime(1200), token.UnixTime(1728000)
	for _, test := range []struct {
		name                     string
		change                   func(*token.Session)
		issued, refreshed, until token.UnixTime
	}{
		{"as it comes", func(*token.Session) {}, now, now, now + timeout},
		{"remember me", func(s *token.Session) { s.RememberMe = true }, now, now, now + maximum},
		{"begun before", func(s *token.Session) { s.IssuedAt -= 5000 }, now - 5000, now, now + timeout},
		{"refreshed before", func(s *token.Session) { s.IssuedAt -= 5000; s.LastRefresh = now - 100 }, now - 5000, now - 100, now - 100 + timeout},
		{"nearly over", func(s *token.Session) { s.IssuedAt -= maximum - 7 }, now - maximum + 7, now, now + 7},
		{"all set", func(s *token.Session) { s.LastRefresh = now + 1; s.ExpiresAt = now + 2 }, now, now + 1, now + 2},
	} {
		s := issuer.Session("ann", test.change)
		if s.IssuedAt != test.issued || s.LastRefresh != test.refreshed || s.ExpiresAt != test.until {
			t.Errorf("%s: iat %d, last_refresh %d, exp %d; want %d, %d, %d", test.name,
				s.IssuedAt, s.LastRefresh, s.ExpiresAt, test.issued, test.refreshed, test.until)
		}
		validate(t, v, issuer.Mint(s), nil)
	}
}

func TestView(t *testing.T) {
	issuer := tokentest.New(t)
	v := issuer.Validator()
	raw := issuer.Token("ann")
	gone := errors.New("the store is gone")
	issuer.View.SetCatchUp(func(context.Context) error { return gone })
	validate(t, v, raw, nil)
	issuer.View.SetTrusted(false)
	validate(t, v, raw, token.ErrUnavailable)
	validate(t, v, raw, gone)
	if n := issuer.View.CatchUps(); n != 2 {
		t.Errorf("caught up %d times, want 2", n)
	}
	issuer.View.SetCatchUp(nil)
	validate(t, v, raw, nil)
	if !issuer.View.Trusted(time.Time{}) {
		t.Error("not trusted after it has caught up")
	}
	// The clock moves without the view, until a token shows that it did.
	epoch := issuer.Tick()
	validate(t, v, issuer.Token("ann"), nil)
	if got := issuer.View.Epoch(); got != epoch {
		t.Errorf("the view is at %d, want %d", got, epoch)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := issuer.View.CatchUp(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("CatchUp = %v, want %v", err, context.Canceled)
	}
}
