package console

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"example.com/curfew/internal/oidc/oidctest"
	"example.com/curfew/token"
)

// A hostile provider sends the browser on to an honest one, to get a code of the honest
// one for itself (RFC 9700, section 4.4). Each way ends without a session, and no code of
// the honest provider reaches the token endpoint of the hostile one.
func TestMixUpOfTwoProviders(t *testing.T) {
	// to is where the hostile provider sends the browser, made of the request that it got
	// and of one that the attacker has started at the honest provider.
	for name, tt := range map[string]struct {
		to      func(got, honest url.Values) url.Values
		at      string // whose redirect URI the browser comes back to; "": the honest one refuses
		outcome string
	}{
		"with its own redirect URI": {func(got, honest url.Values) url.Values {
			honest.Set("redirect_uri", got.Get("redirect_uri"))
			honest.Set("state", got.Get("state"))
			return honest
		}, "", ""},
		"with the honest redirect URI and its own state": {func(got, honest url.Values) url.Values {
			honest.Set("state", got.Get("state"))
			return honest
		}, "corp", "evil: mix_up"},
		"with the honest redirect URI, its own state, nonce and challenge": {func(got, honest url.Values) url.Values {
			for _, name := range []string{"state", "nonce", "code_challenge"} {
				honest.Set(name, got.Get(name))
			}
			return honest
		}, "corp", "evil: mix_up"},
		"with the attacker's whole attempt": {func(_, honest url.Values) url.Values { return honest }, "corp", ": unknown_attempt"},
	} {
		for _, said := range []bool{true, false} { // whether the honest provider says iss (RFC 9207)
			t.Run(name, func(t *testing.T) {
				s := openProviders(t, 0)
				honest, evil := s.add("corp"), s.add("evil")
				asked := 0
				evil.Set(func(b *oidctest.Behavior) {
					b.Metadata = map[string]any{"authorization_response_iss_parameter_supported": false}
					b.Answer = func(_ http.ResponseWriter, r *http.Request) bool {
						if r.URL.Path == "/token" {
							asked++
						}
						return false
					}
				})
				honest.Set(func(b *oidctest.Behavior) {
					b.Metadata = map[string]any{"authorization_response_iss_parameter_supported": said}
					b.Response = func(q url.Values) {
						if !said {
							q.Del("iss")
						}
					}
				})
				query := func(address string) url.Values {
					u, err := url.Parse(address)
					s.must(err)
					return u.Query()
				}
				attacker, victim := s.browser(), s.browser()
				started := query(attacker.get("/sign-in/corp").is(http.StatusSeeOther).location)
				got := query(victim.get("/sign-in/evil").is(http.StatusSeeOther).location)
				response := oidctest.Authorize(t, honest.Issuer+"/auth?"+tt.to(got, started).Encode())
				at := tt.at
				if at == "" {
					at = "evil" // an honest provider compares redirect URIs, and this one does not
				}
				victim.get("/sign-in/" + at + "/callback?" + response.Encode())
				if victim.session() != nil {
					t.Error("the victim has a session")
				}
				if tt.at != "" && (asked != 0 || s.outcome() != tt.outcome) {
					t.Errorf("counted %q, and %d requests for a token at the hostile provider", s.outcome(), asked)
				}
				if tt.at == "" && said && asked != 0 {
					t.Error("a code of the honest provider has reached the hostile one, although the response says whose it is")
				}
				if n, err := s.store.CountUsers(t.Context()); err != nil || n != 1 {
					t.Errorf("there are %d users, %v", n, err)
				}
			})
		}
	}
}

// Tokens of the three kinds do not pass for each other: neither at the token endpoint of
// a provider nor in the session's cookie.
func TestTokensOfOtherKinds(t *testing.T) {
	s := openProviders(t, 0)
	p := s.add("corp")
	b := s.browser()
	b.through("/sign-in/corp", "corp").to("/")
	sess := b.session()
	logout := map[string]any{
		"iss": p.Issuer, "aud": oidctest.ClientID, "sub": "subject-1", "sid": "provider-session-of-subject-1", "jti": "j",
		"iat": s.now().Unix(), "exp": s.now().Add(time.Minute).Unix(), "events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	}
	for name, forge := range map[string]func(claims map[string]any, sign func(string, []byte) string) string{
		"a token of a session": func(map[string]any, func(string, []byte) string) string { return b.cookies[sessionCookie] },
		"a token of a session, for this attempt": func(c map[string]any, sign func(string, []byte) string) string {
			return sign("session+jwt", oidctest.Encode(c))
		},
		"a logout token": func(_ map[string]any, sign func(string, []byte) string) string {
			return sign("logout+jwt", oidctest.Encode(logout))
		},
		"a logout token without a type": func(_ map[string]any, sign func(string, []byte) string) string {
			return sign("", oidctest.Encode(logout))
		},
		"a logout token with the nonce": func(c map[string]any, sign func(string, []byte) string) string {
			logout["nonce"] = c["nonce"]
			return sign("logout+jwt", oidctest.Encode(logout))
		},
		"an access token, for this attempt": func(c map[string]any, sign func(string, []byte) string) string {
			return sign("at+jwt", oidctest.Encode(c))
		},
		"an encrypted token": func(map[string]any, func(string, []byte) string) string { return "e30.e30.e30.e30.e30" },
		"a token of a session, with another header": func(map[string]any, func(string, []byte) string) string {
			return "eyJhbGciOiJFUzI1NiJ9" + b.cookies[sessionCookie][strings.IndexByte(b.cookies[sessionCookie], '.'):]
		},
	} {
		p.Set(func(b *oidctest.Behavior) { b.IDToken = forge })
		another := s.browser()
		path := another.respond(another.get("/sign-in/corp"), "corp")
		another.get(path).is(http.StatusServiceUnavailable)
		if another.session() != nil || s.outcome() != "corp: invalid_id_token" {
			t.Errorf("%s as an ID token: session %v, counted %q", name, another.session(), s.outcome())
		}
	}
	p.Set(func(b *oidctest.Behavior) { b.IDToken = nil })

	claims := map[string]any{
		"iss": issuer, "aud": issuer, "sub": sess.Subject, "sid": sess.ID, "iat": s.now().Unix(), "exp": s.now().Add(time.Minute).Unix(),
		"auth_time": s.now().Unix(), "epoch": sess.Epoch, "last_refresh": s.now().Unix(), "name": "ann",
	}
	for name, raw := range map[string]string{
		"an ID token":                  p.Sign("JWT", claims),
		"an ID token without a type":   p.Sign("", claims),
		"with the type of a session":   p.Sign("session+jwt", claims),
		"a logout token":               p.Sign("logout+jwt", logout),
		"a logout token with the type": p.Sign("session+jwt", logout),
	} {
		if reason := s.reason(raw); reason == "" || reason == token.ErrUnavailable {
			t.Errorf("%s as the token of a session: %q", name, reason)
		}
		thief := s.browser()
		thief.cookies[sessionCookie] = raw
		if a := thief.get("/profile"); a.status == http.StatusOK {
			t.Errorf("%s in the session's cookie: %d", name, a.status)
		}
	}
}
