package token_test

import (
	"errors"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"example.com/curfew/settings"
	"example.com/curfew/token"
	"example.com/curfew/token/tokentest"
)

// The optional claims are minted, read and returned by a validator.
func TestAuthenticationClaims(t *testing.T) {
	issuer := tokentest.New(t)
	for name, change := range map[string]func(*token.Session){
		"none":           func(*token.Session) {},
		"auth_time":      func(s *token.Session) { s.AuthTime = s.IssuedAt },
		"long before":    func(s *token.Session) { s.AuthTime = 1 },
		"again later":    func(s *token.Session) { s.LastRefresh, s.AuthTime = s.IssuedAt+5, s.IssuedAt+5 },
		"acr":            func(s *token.Session) { s.ACR = "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport" },
		"the longest":    func(s *token.Session) { s.ACR = strings.Repeat("x", 512) },
		"session_expiry": func(s *token.Session) { s.SessionExpiry = s.IssuedAt + 100 },
		"all": func(s *token.Session) {
			s.RememberMe, s.AuthTime, s.ACR, s.SessionExpiry = true, s.IssuedAt-1, `"\`, s.IssuedAt+100
		},
	} {
		minted := issuer.Session("ann", change)
		got, err := issuer.Validator().Validate(t.Context(), issuer.Mint(minted))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		minted.KeyID = got.KeyID
		if !reflect.DeepEqual(*got, minted) {
			t.Errorf("%s: %+v, minted %+v", name, *got, minted)
		}
	}
}

// Mint refuses what a validator refuses.
func TestMintRefusesAuthentication(t *testing.T) {
	issuer := tokentest.New(t)
	for name, change := range map[string]func(*token.Session){
		"auth_time -1":                    func(s *token.Session) { s.AuthTime = -1 },
		"auth_time too late":              func(s *token.Session) { s.AuthTime = token.LatestDate },
		"auth_time after last_refresh":    func(s *token.Session) { s.AuthTime = s.LastRefresh + 1 },
		"acr too long":                    func(s *token.Session) { s.ACR = strings.Repeat("x", 513) },
		"acr with a line break":           func(s *token.Session) { s.ACR = "a\nb" },
		"acr in Latin-1":                  func(s *token.Session) { s.ACR = "\xe9" },
		"session_expiry -1":               func(s *token.Session) { s.SessionExpiry = -1 },
		"session_expiry too late":         func(s *token.Session) { s.SessionExpiry = token.LatestDate },
		"session_expiry just before exp":  func(s *token.Session) { s.SessionExpiry = s.ExpiresAt - 1 },
		"session_expiry long before exp":  func(s *token.Session) { s.SessionExpiry = 1 },
		"session_expiry before, remember": func(s *token.Session) { s.RememberMe, s.SessionExpiry = true, s.ExpiresAt-1 },
	} {
		s := issuer.Session("ann")
		change(&s)
		if raw, err := token.Mint(issuer.Key(token.ES256), s); !errors.Is(err, token.ErrMalformed) || raw != "" {
			t.Errorf("%s: Mint = %q, %v; want %v", name, raw, err, token.ErrMalformed)
		}
	}
}

// A session ends at session_expiry, with every kind of session and whatever the
// settings say; and exp never lies beyond it.
func TestSessionExpiry(t *testing.T) {
	const expiry = 600
	for _, rememberMe := range []bool{false, true} {
		for _, test := range []struct {
			name    string
			at      int64
			refresh int64 // the second of a refresh; 0 for none
			want    token.Reason
		}{
			{name: "just before", at: expiry - 1},
			{name: "at", at: expiry, want: token.ErrMaximumDuration},
			{name: "just after", at: expiry + 1, want: token.ErrMaximumDuration},
			{name: "refreshed, just before", refresh: expiry - 1, at: expiry - 1},
			{name: "refreshed, at", refresh: expiry - 1, at: expiry, want: token.ErrMaximumDuration},
			{name: "refreshed, just after", refresh: expiry - 1, at: expiry + 1, want: token.ErrMaximumDuration},
		} {
			issuer := tokentest.New(t)
			s := issuer.Session("ann", func(s *token.Session) {
				s.RememberMe, s.SessionExpiry = rememberMe, s.IssuedAt+expiry
			})
			start := issuer.Now()
			if test.refresh != 0 {
				s = s.Refreshed(start.Add(time.Duration(test.refresh)*time.Second), settings.Default())
			}
			if s.ExpiresAt != s.IssuedAt+expiry || s.MaximumEnd(settings.Default()) != s.IssuedAt+expiry {
				t.Errorf("%s: exp %d, maximum %d s after the beginning; want %d", test.name, s.ExpiresAt-s.IssuedAt, s.MaximumEnd(settings.Default())-s.IssuedAt, expiry)
			}
			issuer.SetNow(start.Add(time.Duration(test.at) * time.Second))
			raw := issuer.Mint(s)
			v := issuer.Validator()
			check(t, v, raw, test.want)
			if err := s.CheckTime(issuer.Settings.Current(), issuer.Now()); token.ReasonOf(err) != test.want {
				t.Errorf("%s: CheckTime: %v, want %q", test.name, err, test.want)
			}
			if _, err := v.Ending(t.Context(), raw); token.ReasonOf(err) != test.want {
				t.Errorf("%s: Ending: %v, want %q", test.name, err, test.want)
			}
			f := finding(t, v.Explain(t.Context(), raw), "maximum_duration")
			if f.Reason != test.want || !strings.Contains(f.Detail, "session_expiry") || test.want == "" && f.Left != time.Second {
				t.Errorf("%s: explained as %+v", test.name, f)
			}
		}
	}
}

// A session_expiry beyond the maximum session duration changes nothing.
func TestSessionExpiryNeverLengthens(t *testing.T) {
	const maximum = 1728000
	for at, want := range map[int64]token.Reason{maximum - 1: "", maximum: token.ErrMaximumDuration, maximum + 1: token.ErrMaximumDuration} {
		issuer := tokentest.New(t)
		s := issuer.Session("ann", func(s *token.Session) {
			s.RememberMe, s.SessionExpiry = true, s.IssuedAt+2*maximum
		})
		issuer.Advance(time.Duration(at) * time.Second)
		check(t, issuer.Validator(), issuer.Mint(s), want)
		f := finding(t, issuer.Validator().Explain(t.Context(), issuer.Mint(s)), "maximum_duration")
		if strings.Contains(f.Detail, "session_expiry") {
			t.Errorf("after %d s: explained as %q, but the setting decides", at, f.Detail)
		}
	}
}

func finding(t *testing.T, x token.Explanation, rule string) token.Finding {
	t.Helper()
	for _, f := range x.Findings {
		if f.Rule == rule {
			return f
		}
	}
	t.Fatalf("no finding %s in %+v", rule, x.Findings)
	return token.Finding{}
}

// An authentication dated in the future is one from a clock that differs: the leeway
// of the other dates applies to it as well.
func TestAuthTimeInTheFuture(t *testing.T) {
	for ahead, want := range map[int64]token.Reason{59: "", 60: "", 61: token.ErrNotYetValid} {
		issuer := tokentest.New(t)
		raw := issuer.Token("ann", func(s *token.Session) {
			s.AuthTime = s.IssuedAt + token.UnixTime(ahead)
		})
		check(t, issuer.Validator(), raw, want)
	}
}

// A watch ends at session_expiry, and its token can't be replaced by a token with
// another one.
func TestWatchEndsAtSessionExpiry(t *testing.T) {
	inBubble(t, func(t *testing.T, issuer *tokentest.Issuer, v *token.Validator) {
		began := time.Now()
		s := issuer.Session("ann", func(s *token.Session) {
			s.RememberMe, s.AuthTime, s.SessionExpiry = true, s.IssuedAt, s.IssuedAt+30
		})
		w := watch(t, v, issuer.Mint(s), 0)
		for name, expiry := range map[string]token.UnixTime{"none": 0, "a later": s.SessionExpiry + 1, "an earlier": s.SessionExpiry - 1} {
			other := s
			other.SessionExpiry, other.ExpiresAt = expiry, s.ExpiresAt-1
			if err := w.Renew(t.Context(), issuer.Mint(other)); !errors.Is(err, token.ErrOtherSession) {
				t.Errorf("Renew with %s session_expiry: %v, want %v", name, err, token.ErrOtherSession)
			}
		}
		// Another authentication is the same session.
		sleepUntil(began.Add(10 * time.Second))
		issuer.SetNow(time.Now())
		again := s.Refreshed(time.Now(), settings.Default())
		again.AuthTime, again.ACR = again.LastRefresh, "mfa"
		if err := w.Renew(t.Context(), issuer.Mint(again)); err != nil || w.Session().AuthTime != again.AuthTime || w.Session().ACR != "mfa" {
			t.Errorf("Renew after another authentication: %v, session %+v", err, w.Session())
		}
		sleepUntil(began.Add(30*time.Second - 1))
		wantEnd(t, w, "")
		sleepUntil(began.Add(30 * time.Second))
		wantEnd(t, w, token.ErrMaximumDuration)
	})
}

// For random sessions, settings and refreshes: exp never lies beyond session_expiry,
// auth_time never after last_refresh, Mint takes the session, and every refresh keeps
// all three.
func TestRefreshKeepsTheBounds(t *testing.T) {
	issuer := tokentest.New(t)
	random := rand.New(rand.NewPCG(1, 2))
	in := settings.Default()
	for range 2000 {
		in.MaximumSessionDuration = time.Duration(60+random.IntN(5000)) * time.Second
		in.SessionTimeout = min(in.MaximumSessionDuration, time.Duration(60+random.IntN(2000))*time.Second)
		begin := 1_000_000 + random.Int64N(1000)
		s := token.Session{
			Issuer: issuer.Name, Audience: []string{issuer.Audience}, Subject: "ann", ID: token.NewSessionID(), Epoch: 1,
			IssuedAt: token.UnixTime(begin), RememberMe: random.IntN(2) == 0,
		}
		if random.IntN(4) > 0 {
			s.AuthTime = s.IssuedAt + token.UnixTime(random.IntN(200)-100)
		}
		if random.IntN(4) > 0 {
			s.SessionExpiry = s.IssuedAt + token.UnixTime(random.IntN(6000)+1)
		}
		for now := begin; now < begin+3000; now += random.Int64N(1000) {
			next := s.Refreshed(time.Unix(now, 0), in)
			switch {
			case next.SessionExpiry != 0 && next.ExpiresAt > next.SessionExpiry:
				t.Fatalf("exp %d lies beyond session_expiry %d", next.ExpiresAt, next.SessionExpiry)
			case next.AuthTime > next.LastRefresh:
				t.Fatalf("auth_time %d is after last_refresh %d", next.AuthTime, next.LastRefresh)
			case next.AuthTime != s.AuthTime || next.SessionExpiry != s.SessionExpiry || next.ACR != s.ACR:
				t.Fatalf("a refresh changed %+v to %+v", s, next)
			}
			raw, err := token.Mint(issuer.Key(token.ES256), next)
			if err != nil {
				t.Fatalf("Mint(%+v): %v", next, err)
			}
			if _, err := token.Parse(raw); err != nil {
				t.Fatalf("minted, but not read: %v", err)
			}
			s = next
		}
	}
}
