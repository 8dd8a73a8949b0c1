package token_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"example.com/curfew/settings"
	"example.com/curfew/token"
	"example.com/curfew/token/tokentest"
)

func TestValidSubject(t *testing.T) {
	good := []string{"a", "A", "0", "...", ".a", "Me", "ME", "mee", "a.b_c~d:e@f-g|h", "auth0|5f7c8", "ann@example.com", "urn:user:1", strings.Repeat("x", 127), strings.Repeat("x", 128)}
	bad := []string{"", ".", "..", "me", " ", "a b", "a/b", "a\\b", "a%b", "a+b", "a?b", "a#b", "a;b", "a,b", "a=b", "a&b", "a!b", "a$b", "a'b", `a"b`, "a*b", "a(b", "a[b", "a{b", "a<b", "a^b", "a`b", "a\x00b", "a\x7fb", "ä", "\xff", strings.Repeat("x", 129)}
	for _, id := range good {
		if !token.ValidSubject(id) {
			t.Errorf("%q is refused", id)
		}
	}
	for _, id := range bad {
		if token.ValidSubject(id) {
			t.Errorf("%q is taken", id)
		}
	}
}

func TestSessionID(t *testing.T) {
	seen := map[string]bool{}
	last := map[byte]bool{}
	for range 1000 {
		id := token.NewSessionID()
		if !token.ValidSessionID(id) || id[0] == '-' || seen[id] {
			t.Fatalf("NewSessionID = %q: not valid, begins with a hyphen, or for the second time", id)
		}
		seen[id] = true
		last[id[21]] = true
	}
	if len(last) != 4 {
		t.Errorf("%d different last characters in 1000 IDs, want 4", len(last))
	}
	zeros := strings.Repeat("A", 21)
	for id, want := range map[string]bool{
		zeros + "A": true, zeros + "Q": true, zeros + "g": true, zeros + "w": true,
		zeros + "B": false, zeros + "P": false, zeros + "R": false, zeros + "f": false, zeros + "h": false, zeros + "v": false, zeros + "x": false, zeros + "_": false,
		zeros: false, zeros + "AA": false, zeros + "=": false, zeros[1:] + "+A": false, zeros[1:] + "/A": false, zeros[1:] + "-A": true, zeros[1:] + "_A": true, "": false,
	} {
		if got := token.ValidSessionID(id); got != want {
			t.Errorf("ValidSessionID(%q) = %v, want %v", id, got, want)
		}
	}
}

func TestRefreshed(t *testing.T) {
	in := settings.Settings{SessionTimeout: 100 * time.Second, MaximumSessionDuration: 1000 * time.Second}
	begun := token.Session{Subject: "ann", ID: "sid", IssuedAt: 5000, LastRefresh: 5000, Epoch: 77}
	for _, test := range []struct {
		name       string
		now        int64
		last       token.UnixTime
		rememberMe bool
		refreshed  token.UnixTime
		expires    token.UnixTime
	}{
		{"at sign-in", 5000, 0, false, 5000, 5100},
		{"at sign-in, remember me", 5000, 0, true, 5000, 6000},
		{"later", 5050, 5000, false, 5050, 5150},
		{"the end of the timeout just before the maximum", 5899, 5000, false, 5899, 5999},
		{"the end of the timeout at the maximum", 5900, 5000, false, 5900, 6000},
		{"the end of the timeout just after the maximum", 5901, 5000, false, 5901, 6000},
		{"remember me, later", 5901, 5000, true, 5901, 6000},
		{"the clock went back", 5010, 5050, false, 5050, 5150},
		{"the clock went back behind the beginning", 4000, 0, false, 5000, 5100},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := begun
			s.LastRefresh, s.RememberMe = test.last, test.rememberMe
			got := s.Refreshed(time.Unix(test.now, 0), in)
			if got.LastRefresh != test.refreshed || got.ExpiresAt != test.expires {
				t.Errorf("last_refresh %d, exp %d; want %d, %d", got.LastRefresh, got.ExpiresAt, test.refreshed, test.expires)
			}
			if got.Subject != s.Subject || got.ID != s.ID || got.IssuedAt != s.IssuedAt || got.Epoch != s.Epoch || got.RememberMe != s.RememberMe {
				t.Errorf("a refresh changed more than it may: %+v from %+v", got, s)
			}
		})
	}
}

// What a token may not say is not minted either.
func TestMintRefuses(t *testing.T) {
	issuer := tokentest.New(t)
	for _, test := range []struct {
		name   string
		change func(*token.Session)
	}{
		{"no issuer", func(s *token.Session) { s.Issuer = "" }},
		{"an issuer in Latin-1", func(s *token.Session) { s.Issuer = "\xe9" }},
		{"no audience", func(s *token.Session) { s.Audience = nil }},
		{"an audience in Latin-1", func(s *token.Session) { s.Audience = []string{"a", "\xe9"} }},
		{"no subject", func(s *token.Session) { s.Subject = "" }},
		{"me", func(s *token.Session) { s.Subject = "me" }},
		{"no session ID", func(s *token.Session) { s.ID = "" }},
		{"iat 0", func(s *token.Session) { s.IssuedAt = 0 }},
		{"iat -1", func(s *token.Session) { s.IssuedAt = -1 }},
		{"iat too late", func(s *token.Session) { s.IssuedAt, s.LastRefresh = token.LatestDate, token.LatestDate }},
		{"last_refresh 0", func(s *token.Session) { s.LastRefresh = 0 }},
		{"last_refresh too late", func(s *token.Session) { s.LastRefresh = token.LatestDate }},
		{"last_refresh before iat", func(s *token.Session) { s.LastRefresh = s.IssuedAt - 1 }},
		{"epoch 0", func(s *token.Session) { s.Epoch = 0 }},
		{"epoch -1", func(s *token.Session) { s.Epoch = -1 }},
		{"exp 0", func(s *token.Session) { s.ExpiresAt = 0 }},
		{"exp too late", func(s *token.Session) { s.ExpiresAt = token.LatestDate }},
		{"nbf -1", func(s *token.Session) { s.NotBefore = -1 }},
		{"nbf too late", func(s *token.Session) { s.NotBefore = token.LatestDate }},
		{"too long", func(s *token.Session) { s.Issuer = strings.Repeat("x", token.MaxLength) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := issuer.Session("ann")
			test.change(&s)
			if raw, err := token.Mint(issuer.Key(token.ES256), s); !errors.Is(err, token.ErrMalformed) || raw != "" {
				t.Errorf("Mint = %q, %v; want %v", raw, err, token.ErrMalformed)
			}
		})
	}
}
