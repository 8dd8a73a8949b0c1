package httpapi

import (
	"context"
	"crypto/rand"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/oidc/oidctest"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
	"example.com/curfew/token"
)

// claimsOf are the claims of a user at a provider.
type claimsOf map[string]string

func (c claimsOf) Text(name string) string        { return c[name] }
func (c claimsOf) Texts(string) ([]string, error) { return nil, nil }
func (c claimsOf) EmailVerified() bool            { return false }

// corp adds a provider.
func (s *server) corp(p *oidctest.Provider) {
	s.Helper()
	client, secret, yes := oidctest.ClientID, oidctest.Secret, true
	if _, err := s.accounts.CreateProvider(s.Context(), trusted, "corp", account.ProviderChange{Issuer: &p.Issuer, ClientID: &client, ClientSecret: &secret, CreateUsers: &yes}); err != nil {
		s.Fatal(err)
	}
}

// signInThrough begins a session of a subject of corp.
func (s *server) signInThrough(p *oidctest.Provider, subject, sid string) session.Issued {
	s.Helper()
	_, epoch, err := s.sessions.BeginThrough(s.Context(), "corp")
	if err != nil {
		s.Fatal(err)
	}
	i, err := s.sessions.SignInThrough(s.Context(), session.ProviderSignIn{
		Attempt:  rand.Text(),
		Provider: "corp", Issuer: p.Issuer, ClientID: oidctest.ClientID, Subject: subject, SID: sid, Claims: claimsOf{"preferred_username": subject},
		AuthTime: time.Now(), Fresh: true, Began: time.Now(), Epoch: epoch,
	}, authz.Origin{})
	if err != nil {
		s.Fatal(err)
	}
	return i
}

// logoutClaims are the claims of a logout token, each time with another jti.
func logoutClaims(p *oidctest.Provider, edit map[string]any) map[string]any {
	claims := map[string]any{
		"iss": p.Issuer, "aud": oidctest.ClientID, "jti": rand.Text(), "iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(),
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	}
	maps.Copy(claims, edit)
	return claims
}

// A provider that hangs up once it has sent the token does not send it again: the logout
// goes on.
func TestBackchannelLogoutOfAProviderThatHangsUp(t *testing.T) {
	s := start(t)
	p := oidctest.New(t)
	s.corp(p)
	i := s.signInThrough(p, "ann", "s1")
	ctx, hangUp := context.WithCancel(t.Context())
	p.Set(func(b *oidctest.Behavior) {
		b.Answer = func(http.ResponseWriter, *http.Request) bool { hangUp(); return false } // for the keys
	})
	body := strings.NewReader("logout_token=" + p.Sign("logout+jwt", logoutClaims(p, map[string]any{"sid": "s1"})))
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, issuer+"/oauth/backchannel-logout", body)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	s.handler.ServeHTTP(httptest.NewRecorder(), r)
	if _, err := s.validator.Validate(t.Context(), i.Token); token.ReasonOf(err) != token.ErrRevoked {
		t.Errorf("the session is %v", err)
	}
}

// Tokens that a provider has signed are no tokens of a session, wherever they are shown.
func TestTokensOfAProvider(t *testing.T) {
	s := start(t)
	p := oidctest.New(t)
	s.corp(p)
	i := s.signInThrough(p, "ann", "s1")
	client := s.service("introspector", store.Introspect)
	like := map[string]any{
		"iss": issuer, "aud": issuer, "sub": i.User.ID, "sid": i.Session.ID, "iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(),
		"auth_time": time.Now().Unix(), "epoch": i.Session.Epoch, "last_refresh": time.Now().Unix(),
	}
	for name, raw := range map[string]string{
		"an ID token":                 p.Sign("JWT", like),
		"an ID token without a type":  p.Sign("", like),
		"of the type of a session":    p.Sign("session+jwt", like),
		"a logout token":              p.Sign("logout+jwt", logoutClaims(p, map[string]any{"sub": "ann"})),
		"a logout token of that type": p.Sign("session+jwt", logoutClaims(p, map[string]any{"sub": i.User.ID})),
	} {
		for _, with := range []credential{bearerToken(raw), cookie(raw)} {
			for _, path := range []string{"/v1/session", "/v1/verify"} {
				if a := s.do("GET", path, nil, with); a.StatusCode != http.StatusUnauthorized {
					t.Errorf("%s at %s: %d", name, path, a.StatusCode)
				}
			}
		}
		var answer struct{ Active bool }
		if s.do("POST", "/oauth/introspect", form("token", raw), client).must(http.StatusOK, &answer); answer.Active {
			t.Errorf("%s is active", name)
		}
	}
}

// A logout at the provider ends the sessions that began there. A token that is not in
// order ends nothing.
func TestBackchannelLogout(t *testing.T) {
	s := start(t)
	ctx := t.Context()
	p, foreign := oidctest.New(t), oidctest.New(t)
	s.corp(p)
	begin := func(subject, sid string) session.Issued { t.Helper(); return s.signInThrough(p, subject, sid) }
	logout := func(signer *oidctest.Provider, edit map[string]any) string {
		return "logout_token=" + signer.Sign("logout+jwt", logoutClaims(p, edit))
	}
	reason := func(i session.Issued) token.Reason {
		_, err := s.validator.Validate(ctx, i.Token)
		return token.ReasonOf(err)
	}
	one, two, ben := begin("ann", "s1"), begin("ann", "s2"), begin("ben", "s3")
	for name, body := range map[string]string{
		"no token":              "x=1",
		"no token at all":       "logout_token=x",
		"of another provider":   logout(foreign, map[string]any{"sid": "s1", "iss": foreign.Issuer}),
		"for another client":    logout(p, map[string]any{"sid": "s1", "aud": "another"}),
		"stale":                 logout(p, map[string]any{"sid": "s1", "iat": time.Now().Add(-time.Hour).Unix()}),
		"an ID token":           logout(p, map[string]any{"sub": "ann", "nonce": "n"}),
		"a session of Curfew's": "logout_token=" + one.Token,
	} {
		a := s.do("POST", "/oauth/backchannel-logout", body)
		if q := a.problem(400, "invalid_request"); q.Error != "invalid_request" || a.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: error %q, Cache-Control %q", name, q.Error, a.Header.Get("Cache-Control"))
		}
	}
	// The keys were asked for just now: a key that is not among them may be a new one.
	s.do("POST", "/oauth/backchannel-logout", logout(foreign, map[string]any{"sid": "s1"})).problem(503, "unavailable")
	if reason(one) != "" || reason(two) != "" {
		t.Fatal("a token that is not accepted has ended a session")
	}
	body := logout(p, map[string]any{"sid": "s1"})
	if a := s.do("POST", "/oauth/backchannel-logout", body).must(200, nil); len(a.body) != 0 || a.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("the answer is %q, Cache-Control %q", a.body, a.Header.Get("Cache-Control"))
	}
	if reason(one) != token.ErrRevoked || reason(two) != "" || reason(ben) != "" {
		t.Errorf("after the logout of s1: %q, %q, %q", reason(one), reason(two), reason(ben))
	}
	s.do("POST", "/oauth/backchannel-logout", body).problem(400, "invalid_request") // again
	s.do("POST", "/oauth/backchannel-logout", logout(p, map[string]any{"sub": "ann"})).must(200, nil)
	if reason(two) != token.ErrRevoked || reason(ben) != "" {
		t.Errorf("after the logout of ann: %q, %q", reason(two), reason(ben))
	}
}
