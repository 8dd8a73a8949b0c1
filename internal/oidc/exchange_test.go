package oidc_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"example.com/curfew/internal/oidc"
	"example.com/curfew/internal/oidc/oidctest"
)

func registration(p *oidctest.Provider) oidc.Registration {
	return oidc.Registration{
		Issuer: p.Issuer, ClientID: oidctest.ClientID, ClientSecret: oidctest.Secret,
		RedirectURI: oidc.RedirectURI("https://curfew.example", "corp"), Scopes: []string{"email"}, ACRValues: []string{"urn:mfa", "urn:b"},
	}
}

// attempt runs one attempt from the request to the identity.
func attempt(t *testing.T, c *oidc.Client, r oidc.Registration, wanted ...string) (oidc.Identity, error) {
	t.Helper()
	secrets := oidc.NewSecrets()
	address, err := c.AuthorizationURL(t.Context(), r, secrets, oidc.Demand{MaxAge: -1})
	if err != nil {
		return oidc.Identity{}, err
	}
	response := oidctest.Authorize(t, address)
	if response.Get("state") != secrets.State {
		t.Fatalf("the response has state %q", response.Get("state"))
	}
	return c.Exchange(t.Context(), r, secrets, response, wanted...)
}

func TestAuthorizationURL(t *testing.T) {
	p := oidctest.New(t)
	p.Metadata = map[string]any{"authorization_endpoint": p.Issuer + "/auth?tenant=a"}
	for name, test := range map[string]struct {
		demand         oidc.Demand
		maxAge, prompt string
	}{
		"any":         {oidc.Demand{MaxAge: -1}, "", ""},
		"recent":      {oidc.Demand{MaxAge: 15 * time.Minute}, "900", ""},
		"none at all": {oidc.Demand{}, "0", ""},
		"fresh":       {oidc.Demand{Fresh: true, MaxAge: time.Hour}, "0", "login"},
	} {
		t.Run(name, func(t *testing.T) {
			secrets := oidc.NewSecrets()
			address, err := oidc.New(oidc.Config{}).AuthorizationURL(t.Context(), registration(p), secrets, test.demand)
			if err != nil {
				t.Fatal(err)
			}
			u, err := url.Parse(address)
			if err != nil {
				t.Fatal(err)
			}
			q := u.Query()
			for parameter, want := range map[string]string{
				"tenant": "a", "response_type": "code", "client_id": oidctest.ClientID, "scope": "openid email",
				"redirect_uri": "https://curfew.example/sign-in/corp/callback", "state": secrets.State, "nonce": secrets.Nonce,
				"code_challenge_method": "S256", "acr_values": "urn:mfa urn:b", "max_age": test.maxAge, "prompt": test.prompt,
			} {
				if got := q.Get(parameter); got != want {
					t.Errorf("%s is %q, want %q", parameter, got, want)
				}
			}
			if challenge := q.Get("code_challenge"); len(challenge) != 43 || challenge == secrets.Verifier || strings.Contains(address, secrets.Verifier) {
				t.Errorf("the challenge is %q", challenge)
			}
		})
	}
}

func TestExchange(t *testing.T) {
	p := oidctest.New(t)
	expiry := time.Now().Add(time.Hour).Truncate(time.Second)
	p.Extra = map[string]any{"acr": "urn:mfa", "session_expiry": expiry.Unix(), "email": "a@example.test", "email_verified": "true", "groups": []string{"staff"}}
	id, err := attempt(t, oidc.New(oidc.Config{}), registration(p))
	if err != nil {
		t.Fatal(err)
	}
	groups, err := id.Claims.Texts("groups")
	if err != nil || len(groups) != 1 || groups[0] != "staff" {
		t.Errorf("groups: %q, %v", groups, err)
	}
	if id.Issuer != p.Issuer || id.Subject != p.Subject || id.SessionID != "provider-session-of-subject-1" || id.ACR != "urn:mfa" ||
		!id.AuthTime.Equal(p.AuthTime.Truncate(time.Second)) || !id.SessionExpiry.Equal(expiry) ||
		id.Claims.Text("email") != "a@example.test" || !id.Claims.EmailVerified() || strings.Count(id.Raw, ".") != 2 {
		t.Errorf("got %+v", id)
	}
}

// hostile are ID tokens that must not pass, made of the claims of a good one.
func hostile(p *oidctest.Provider) map[string]struct {
	token func(claims map[string]any, sign func(string, []byte) string) string
	want  error
} {
	type row = struct {
		token func(claims map[string]any, sign func(string, []byte) string) string
		want  error
	}
	claim := func(name string, value any, want error) row {
		return row{func(claims map[string]any, sign func(string, []byte) string) string {
			if claims[name] = value; value == nil {
				delete(claims, name)
			}
			return sign("JWT", oidctest.Encode(claims))
		}, want}
	}
	raw := func(want error, forge func(payload []byte, sign func(string, []byte) string) string) row {
		return row{func(claims map[string]any, sign func(string, []byte) string) string {
			return forge(oidctest.Encode(claims), sign)
		}, want}
	}
	in := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
	return map[string]row{
		"another issuer":          claim("iss", "https://other.example", oidc.ErrToken),
		"the issuer with a slash": claim("iss", p.Issuer+"/", oidc.ErrToken),
		"no issuer":               claim("iss", nil, oidc.ErrToken),
		"another audience":        claim("aud", "other", oidc.ErrToken),
		"no audience":             claim("aud", nil, oidc.ErrToken),
		"an audience in capitals": raw(oidc.ErrToken, func(payload []byte, sign func(string, []byte) string) string {
			return sign("JWT", bytes.Replace(payload, []byte(`"aud":"`+oidctest.ClientID+`"`), []byte(`"aud":"other","auD":"`+oidctest.ClientID+`"`), 1))
		}),
		"a second audience":           claim("aud", []string{oidctest.ClientID, "other"}, oidc.ErrToken),
		"authorized party is other":   claim("azp", "other", oidc.ErrToken),
		"authorized party is no text": claim("azp", 7, oidc.ErrToken),
		"no subject":                  claim("sub", nil, oidc.ErrToken),
		"an empty subject":            claim("sub", "", oidc.ErrToken),
		"a subject of another type":   claim("sub", 7, oidc.ErrToken),
		"a list as the subject":       claim("sub", []string{"a"}, oidc.ErrToken),
		"a long subject":              claim("sub", strings.Repeat("a", 256), oidc.ErrToken),
		"a subject with a NUL":        claim("sub", "a\x00b", oidc.ErrToken),
		"another nonce":               claim("nonce", "other", oidc.ErrToken),
		"no nonce":                    claim("nonce", nil, oidc.ErrToken),
		"no iat":                      claim("iat", nil, oidc.ErrToken),
		"iat as a text":               claim("iat", "1", oidc.ErrToken),
		"issued 5 minutes ago":        claim("iat", in(-5*time.Minute), oidc.ErrClock),
		"issued in 5 minutes":         claim("iat", in(5*time.Minute), oidc.ErrClock),
		"no exp":                      claim("exp", nil, oidc.ErrToken),
		"expired":                     claim("exp", in(-61*time.Second), oidc.ErrToken),
		"exp as a text":               claim("exp", "9999999999", oidc.ErrToken),
		"exp with a fraction":         claim("exp", 9999999999.5, oidc.ErrToken),
		"not valid yet":               claim("nbf", in(5*time.Minute), oidc.ErrToken),
		"at_hash of another token":    claim("at_hash", "AAAAAAAAAAAAAAAAAAAAAA", oidc.ErrToken),
		"at_hash of another type":     claim("at_hash", 7, oidc.ErrToken),
		"an empty at_hash":            claim("at_hash", "", oidc.ErrToken),
		"auth_time as a text":         claim("auth_time", "now", oidc.ErrToken),
		"auth_time in 5 minutes":      claim("auth_time", in(5*time.Minute), oidc.ErrClock),
		"session_expiry as a text":    claim("session_expiry", "never", oidc.ErrToken),
		"session_expiry has passed":   claim("session_expiry", in(-time.Second), oidc.ErrToken),
		"session_expiry is 0":         claim("session_expiry", 0, oidc.ErrToken),
		"sid of another type":         claim("sid", 7, oidc.ErrToken),
		"acr of another type":         claim("acr", []string{"a"}, oidc.ErrToken),
		"no signature": raw(oidc.ErrToken, func(payload []byte, _ func(string, []byte) string) string {
			encode := base64.RawURLEncoding.EncodeToString
			return encode([]byte(`{"alg":"none"}`)) + "." + encode(payload) + "."
		}),
		"an HMAC with the client's secret": raw(oidc.ErrToken, func(payload []byte, _ func(string, []byte) string) string {
			return oidctest.SignWith([]byte(oidctest.Secret), jose.HS256, "", "JWT", payload)
		}),
		"another key": raw(oidc.ErrToken, func(payload []byte, _ func(string, []byte) string) string {
			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				panic(err)
			}
			return oidctest.SignWith(key, jose.ES256, "other", "JWT", payload)
		}),
		"a logout token": raw(oidc.ErrToken, func(payload []byte, sign func(string, []byte) string) string { return sign("logout+jwt", payload) }),
		"an access token": raw(oidc.ErrToken, func(payload []byte, sign func(string, []byte) string) string {
			return sign("application/at+jwt", payload)
		}),
		"a member twice": raw(oidc.ErrToken, func(payload []byte, sign func(string, []byte) string) string {
			return sign("JWT", bytes.Replace(payload, []byte(`{`), []byte(`{"sub":"other",`), 1))
		}),
		"a member in capitals": raw(oidc.ErrToken, func(payload []byte, sign func(string, []byte) string) string {
			return sign("JWT", bytes.Replace(payload, []byte(`"iss"`), []byte(`"ISS"`), 1))
		}),
		"no JSON": raw(oidc.ErrToken, func(_ []byte, sign func(string, []byte) string) string { return sign("JWT", []byte("hello")) }),
		"the signature of another payload": raw(oidc.ErrToken, func(payload []byte, sign func(string, []byte) string) string {
			good, other := strings.Split(sign("JWT", payload), "."), strings.Split(sign("JWT", []byte(`{}`)), ".")
			return good[0] + "." + good[1] + "." + other[2]
		}),
		"JSON serialization": raw(oidc.ErrToken, func(payload []byte, sign func(string, []byte) string) string {
			part := strings.Split(sign("JWT", payload), ".")
			return `{"protected":"` + part[0] + `","payload":"` + part[1] + `","signature":"` + part[2] + `"}`
		}),
		"huge": raw(oidc.ErrMisconfigured, func(payload []byte, sign func(string, []byte) string) string {
			return sign("JWT", append(bytes.TrimSuffix(payload, []byte("}")), `,"groups":["`+strings.Repeat("a", 128<<10)+`"]}`...))
		}),
		"not there": raw(oidc.ErrMisconfigured, func([]byte, func(string, []byte) string) string { return "" }),
	}
}

func TestHostileIDTokens(t *testing.T) {
	p := oidctest.New(t)
	c := oidc.New(oidc.Config{})
	for name, test := range hostile(p) {
		t.Run(name, func(t *testing.T) {
			p.Set(func(b *oidctest.Behavior) { b.IDToken = test.token })
			id, err := attempt(t, c, registration(p))
			if !errors.Is(err, test.want) || id.Subject != "" {
				t.Errorf("got %v, %q; want %v", err, id.Subject, test.want)
			}
		})
	}
	p.Set(func(b *oidctest.Behavior) { b.IDToken = nil })
	if _, err := attempt(t, c, registration(p)); err != nil {
		t.Errorf("a good token after the bad ones: %v", err)
	}
}

// The dates of an ID token, a second on either side of each bound.
func TestDates(t *testing.T) {
	p := oidctest.New(t)
	now := time.Now().Truncate(time.Second)
	c := oidc.New(oidc.Config{Now: func() time.Time { return now }})
	for name, test := range map[string]struct {
		claim  string
		offset time.Duration
		good   bool
	}{
		"issued just within":  {"iat", -2 * time.Minute, true},
		"issued too long ago": {"iat", -2*time.Minute - time.Second, false},
		"issued ahead":        {"iat", time.Minute, true},
		"issued too far off":  {"iat", time.Minute + time.Second, false},
		"expires just within": {"exp", -time.Minute + time.Second, true},
		"expires at":          {"exp", -time.Minute, false},
		"valid from":          {"nbf", time.Minute, true},
		"valid from later":    {"nbf", time.Minute + time.Second, false},
		"ends in a second":    {"session_expiry", time.Second, true},
		"ends now":            {"session_expiry", 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			p.Set(func(b *oidctest.Behavior) {
				b.Extra = map[string]any{"iat": now.Unix(), "auth_time": now.Unix(), test.claim: now.Add(test.offset).Unix()}
			})
			_, err := attempt(t, c, registration(p))
			if (err == nil) != test.good || err != nil && !errors.Is(err, oidc.ErrToken) {
				t.Errorf("got %v, want good=%v", err, test.good)
			}
		})
	}
}

// The response comes through the browser, where an attacker can write it.
func TestHostileResponses(t *testing.T) {
	p, other := oidctest.New(t), oidctest.New(t)
	c := oidc.New(oidc.Config{})
	for name, test := range map[string]struct {
		response func(url.Values)
		want     error
	}{
		"iss of another provider":    {func(q url.Values) { q.Set("iss", other.Issuer) }, oidc.ErrMixUp},
		"no iss":                     {func(q url.Values) { q.Del("iss") }, oidc.ErrMixUp},
		"two iss":                    {func(q url.Values) { q.Add("iss", p.Issuer) }, oidc.ErrCode},
		"no code":                    {func(q url.Values) { q.Del("code") }, oidc.ErrCode},
		"two codes":                  {func(q url.Values) { q.Add("code", "other") }, oidc.ErrCode},
		"a made-up code":             {func(q url.Values) { q.Set("code", "other") }, oidc.ErrCode},
		"a long code":                {func(q url.Values) { q.Set("code", strings.Repeat("a", 5000)) }, oidc.ErrCode},
		"an error of another issuer": {func(q url.Values) { q.Set("error", "access_denied"); q.Set("iss", other.Issuer) }, oidc.ErrMixUp},
	} {
		t.Run(name, func(t *testing.T) {
			p.Set(func(b *oidctest.Behavior) { b.Response = test.response })
			if _, err := attempt(t, c, registration(p)); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
	p.Set(func(b *oidctest.Behavior) {
		b.Response = func(q url.Values) {
			q.Del("code")
			q.Set("error", "access_denied")
			q.Set("error_description", "no\r\nSet-Cookie: a=b \u202e"+strings.Repeat("x", 300))
		}
	})
	_, err := attempt(t, c, registration(p))
	refusal := (*oidc.Refusal)(nil)
	if !errors.As(err, &refusal) || refusal.Code != "access_denied" || strings.ContainsAny(refusal.Description, "\r\n\u202e") || len(refusal.Description) > 200 {
		t.Errorf("got %+v, %v", refusal, err)
	}
}

// A code is good for the attempt that it was issued to, once.
func TestCodes(t *testing.T) {
	p := oidctest.New(t)
	c, r := oidc.New(oidc.Config{}), registration(p)
	authorize := func() (oidc.Secrets, url.Values) {
		s := oidc.NewSecrets()
		address, err := c.AuthorizationURL(t.Context(), r, s, oidc.Demand{MaxAge: -1})
		if err != nil {
			t.Fatal(err)
		}
		return s, oidctest.Authorize(t, address)
	}
	s, response := authorize()
	if _, err := c.Exchange(t.Context(), r, s, response); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Exchange(t.Context(), r, s, response); !errors.Is(err, oidc.ErrCode) {
		t.Errorf("a code for the second time: got %v, want %v", err, oidc.ErrCode)
	}
	_, response = authorize()
	other, _ := authorize()
	if _, err := c.Exchange(t.Context(), r, other, response); !errors.Is(err, oidc.ErrCode) {
		t.Errorf("the code of another attempt: got %v, want %v", err, oidc.ErrCode)
	}
	s, response = authorize()
	if _, err := c.Exchange(t.Context(), r, oidc.Secrets{State: s.State, Verifier: s.Verifier}, response); !errors.Is(err, oidc.ErrToken) {
		t.Errorf("an attempt without a nonce: got %v, want %v", err, oidc.ErrToken)
	}
}

func TestClientSecret(t *testing.T) {
	p := oidctest.New(t)
	r := registration(p)
	r.ClientSecret = "wrong"
	_, err := attempt(t, oidc.New(oidc.Config{}), r)
	if !errors.Is(err, oidc.ErrMisconfigured) || strings.Contains(err.Error(), "wrong") {
		t.Errorf("got %v, want %v without the secret", err, oidc.ErrMisconfigured)
	}
}

func TestUserInfo(t *testing.T) {
	p := oidctest.New(t)
	c := oidc.New(oidc.Config{})
	for name, test := range map[string]struct {
		token, info map[string]any
		wanted      []string
		email       string
		want        error
	}{
		"all in the token":  {map[string]any{"email": "t@example.test", "groups": []string{}}, map[string]any{"sub": "other"}, []string{"email", "groups"}, "t@example.test", nil},
		"nothing is wanted": {nil, map[string]any{"email": "u@example.test"}, nil, "", nil},
		"one is wanted":     {nil, map[string]any{"email": "u@example.test"}, []string{"email", ""}, "u@example.test", nil},
		"the token wins":    {map[string]any{"email": "t@example.test"}, map[string]any{"email": "u@example.test"}, []string{"groups"}, "t@example.test", nil},
		"another subject":   {nil, map[string]any{"sub": "other", "email": "u@example.test"}, []string{"email"}, "", oidc.ErrToken},
		"no subject":        {nil, map[string]any{"sub": nil, "email": "u@example.test"}, []string{"email"}, "", oidc.ErrToken},
		"neither has it":    {nil, nil, []string{"email"}, "", nil},
		"verified, but another address": {map[string]any{"email": "t@example.test"}, map[string]any{"email": "u@example.test", "email_verified": true},
			[]string{"email", "email_verified"}, "t@example.test", nil},
		"verified, the same address": {map[string]any{"email": "u@example.test"}, map[string]any{"email": "u@example.test", "email_verified": true},
			[]string{"email", "email_verified"}, "u@example.test", nil},
		"verified, but no address": {map[string]any{"email": "t@example.test"}, map[string]any{"email_verified": true},
			[]string{"email", "email_verified"}, "t@example.test", nil},
		"the token's verified, another address": {map[string]any{"email_verified": true}, map[string]any{"email": "u@example.test"},
			[]string{"email", "email_verified"}, "u@example.test", nil},
	} {
		t.Run(name, func(t *testing.T) {
			p.Set(func(b *oidctest.Behavior) { b.Extra, b.UserInfo = test.token, test.info })
			id, err := attempt(t, c, registration(p), test.wanted...)
			if !errors.Is(err, test.want) {
				t.Fatalf("got %v, want %v", err, test.want)
			}
			if err == nil && id.Claims.Text("email") != test.email {
				t.Errorf("email is %q, want %q", id.Claims.Text("email"), test.email)
			}
			if verified := test.info["email"] == test.email && test.info["email_verified"] == true; err == nil && id.Claims.EmailVerified() != verified {
				t.Errorf("email_verified is %v, want %v", id.Claims.EmailVerified(), verified)
			}
		})
	}
}

// Each request of an attempt can fail by itself.
func TestProviderFaults(t *testing.T) {
	for _, path := range []string{"/.well-known/openid-configuration", "/token", "/keys", "/userinfo"} {
		for name, test := range map[string]struct {
			answer http.HandlerFunc
			want   error
		}{
			"server error": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }, oidc.ErrUnreachable},
			"no answer": {func(_ http.ResponseWriter, r *http.Request) {
				_ = r.ParseForm() // so that the end of the connection is noticed
				<-r.Context().Done()
			}, oidc.ErrUnreachable},
			"the connection ends": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, oidc.ErrUnreachable},
			"a page":              {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }, oidc.ErrMisconfigured},
			"an endless answer": {func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				for r.Context().Err() == nil {
					_, _ = w.Write(bytes.Repeat([]byte(" "), 1<<16))
				}
			}, oidc.ErrMisconfigured},
			"a redirect": {func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "http://localhost:1/", http.StatusTemporaryRedirect)
			}, oidc.ErrMisconfigured},
		} {
			t.Run(path+" "+name, func(t *testing.T) {
				p := oidctest.New(t)
				p.Answer = func(w http.ResponseWriter, r *http.Request) bool {
					if r.URL.Path == path {
						test.answer(w, r)
						return true
					}
					return false
				}
				_, err := attempt(t, oidc.New(oidc.Config{Timeout: 300 * time.Millisecond}), registration(p), "email")
				if !errors.Is(err, test.want) || strings.Contains(err.Error(), oidctest.Secret) {
					t.Errorf("got %v, want %v", err, test.want)
				}
			})
		}
	}
}

// A key that the provider has not published before is looked up. Keys that tokens make
// up cost one request in ten seconds.
func TestRotatedKeys(t *testing.T) {
	p := oidctest.New(t)
	now := time.Now()
	p.Now = func() time.Time { return now }
	c := oidc.New(oidc.Config{Now: p.Now})
	good := func(why string) {
		t.Helper()
		if _, err := attempt(t, c, registration(p)); err != nil {
			t.Fatalf("%s: %v", why, err)
		}
	}
	good("the first")
	good("the second")
	if n := p.KeyRequests(); n != 1 {
		t.Errorf("%d requests for the keys of two sign-ins", n)
	}
	p.Rotate()
	now = now.Add(10 * time.Second)
	good("after a rotation")
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	before := p.KeyRequests()
	p.Set(func(b *oidctest.Behavior) {
		b.IDToken = func(claims map[string]any, _ func(string, []byte) string) string {
			return oidctest.SignWith(key, jose.ES256, rand.Text(), "JWT", oidctest.Encode(claims))
		}
	})
	for range 20 {
		if _, err := attempt(t, c, registration(p)); !errors.Is(err, oidc.ErrToken) {
			t.Fatalf("got %v, want %v", err, oidc.ErrToken)
		}
	}
	if n := p.KeyRequests() - before; n > 1 {
		t.Errorf("20 made-up keys cost %d requests", n)
	}
	p.Set(func(b *oidctest.Behavior) { b.IDToken = nil })
	good("a good token after them")

	// A key that the provider has withdrawn is not trusted for longer than a quarter of an
	// hour.
	old := p.Rotate()
	p.Set(func(b *oidctest.Behavior) {
		b.IDToken = func(claims map[string]any, _ func(string, []byte) string) string {
			return old("JWT", oidctest.Encode(claims))
		}
	})
	good("a key that was just withdrawn")
	now = now.Add(15 * time.Minute)
	if _, err := attempt(t, c, registration(p)); !errors.Is(err, oidc.ErrToken) {
		t.Errorf("a key that was withdrawn: got %v, want %v", err, oidc.ErrToken)
	}
}

// The metadata are kept while the provider is down, but not for long.
func TestMetadataAreKept(t *testing.T) {
	p := oidctest.New(t)
	start := time.Now()
	var later atomic.Int64 // the request in the background reads it too
	c := oidc.New(oidc.Config{Now: func() time.Time { return start.Add(time.Duration(later.Load())) }})
	if _, err := c.Metadata(t.Context(), p.Issuer); err != nil {
		t.Fatal(err)
	}
	p.Set(func(b *oidctest.Behavior) {
		b.Answer = func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
	})
	later.Store(int64(time.Hour - time.Second))
	if _, err := c.Metadata(t.Context(), p.Issuer); err != nil {
		t.Errorf("after less than an hour: %v", err)
	}
	later.Store(int64(time.Hour))
	if _, err := c.Metadata(t.Context(), p.Issuer); !errors.Is(err, oidc.ErrUnreachable) {
		t.Errorf("after an hour: got %v, want %v", err, oidc.ErrUnreachable)
	}
}

// A request that failed is not repeated for a second.
func TestFailuresAreKept(t *testing.T) {
	for _, path := range []string{"/.well-known/openid-configuration", "/keys"} {
		p := oidctest.New(t)
		at := now
		var asked atomic.Int64
		var healthy atomic.Bool
		p.Answer = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != path {
				return false
			}
			asked.Add(1)
			if !healthy.Load() {
				w.WriteHeader(http.StatusBadGateway)
				return true
			}
			return false
		}
		c := oidc.New(oidc.Config{Now: func() time.Time { return at }})
		try := func(after time.Duration, want error, requests int64) {
			t.Helper()
			at = now.Add(after)
			raw := p.Sign("logout+jwt", map[string]any{"iss": p.Issuer})
			if _, err := c.VerifyLogout(t.Context(), registration(p), raw); !errors.Is(err, want) || asked.Load() != requests {
				t.Errorf("%s after %v: %v, %d requests; want %v, %d", path, after, err, asked.Load(), want, requests)
			}
		}
		try(0, oidc.ErrUnreachable, 1)
		try(0, oidc.ErrUnreachable, 1)
		try(time.Second-1, oidc.ErrUnreachable, 1)
		try(time.Second, oidc.ErrUnreachable, 2)
		healthy.Store(true)
		try(time.Second+1, oidc.ErrUnreachable, 2)
		try(2*time.Second, oidc.ErrToken, 3)
	}
}

// Key sets as a provider may publish them. Keys that are not for signatures, or not
// public, are left out; a set without any other can't be used.
func TestKeySets(t *testing.T) {
	p := oidctest.New(t)
	public := func(i int, change func(map[string]any)) map[string]any {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		text, err := jose.JSONWebKey{Key: key.Public(), KeyID: fmt.Sprint("key ", i), Algorithm: "ES256", Use: "sig"}.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		members := map[string]any{}
		if err := json.Unmarshal(text, &members); err != nil {
			t.Fatal(err)
		}
		if change != nil {
			change(members)
		}
		return members
	}
	many := func(n int, change func(map[string]any)) (keys []any) {
		for i := range n {
			keys = append(keys, public(i, change))
		}
		return keys
	}
	for name, test := range map[string]struct {
		keys []any
		// with is the error of a sign-in if the provider's own key is there as well, alone
		// if it is not.
		with, alone error
	}{
		"63":                {many(63, nil), nil, oidc.ErrToken},
		"64":                {many(64, nil), oidc.ErrMisconfigured, oidc.ErrToken},
		"65":                {many(65, nil), oidc.ErrMisconfigured, oidc.ErrMisconfigured},
		"for encryption":    {many(65, func(k map[string]any) { k["use"] = "enc" }), nil, oidc.ErrMisconfigured},
		"of unknown kinds":  {many(65, func(k map[string]any) { k["kty"] = "AKP" }), nil, oidc.ErrMisconfigured},
		"a shared secret":   {[]any{map[string]any{"kty": "oct", "k": "c2VjcmV0", "use": "sig"}}, nil, oidc.ErrMisconfigured},
		"what is no key":    {[]any{7, "key", nil, map[string]any{}}, nil, oidc.ErrMisconfigured},
		"a point elsewhere": {many(1, func(k map[string]any) { k["x"] = k["y"] }), nil, oidc.ErrMisconfigured},
		"none":              {nil, nil, oidc.ErrMisconfigured},
	} {
		for _, own := range []bool{true, false} {
			keys, want := test.keys, test.alone
			if own {
				keys, want = append([]any{p.PublicKey()}, keys...), test.with
			}
			p.Set(func(b *oidctest.Behavior) {
				b.Answer = func(w http.ResponseWriter, r *http.Request) bool {
					if r.URL.Path != "/keys" {
						return false
					}
					_ = json.NewEncoder(w).Encode(map[string]any{"keys": keys})
					return true
				}
			})
			if _, err := attempt(t, oidc.New(oidc.Config{}), registration(p)); !errors.Is(err, want) {
				t.Errorf("%s, with the provider's own key %v: %v, want %v", name, own, err, want)
			}
		}
	}
}
