package httpapi

import (
	"maps"
	"testing"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/oidc/oidctest"
	"example.com/curfew/internal/session"
	"example.com/curfew/token"
)

// claimsOf are the claims of a user at a provider.
type claimsOf map[string]string

func (c claimsOf) Text(name string) string        { return c[name] }
func (c claimsOf) Texts(string) ([]string, error) { return nil, nil }
func (c claimsOf) EmailVerified() bool            { return false }

// A logout at the provider ends the sessions that began there. A token that is not in
// order ends nothing.
func TestBackchannelLogout(t *testing.T) {
	s := start(t)
	ctx := t.Context()
	p, foreign := oidctest.New(t), oidctest.New(t)
	client, secret, yes := oidctest.ClientID, oidctest.Secret, true
	if _, err := s.accounts.CreateProvider(ctx, trusted, "corp", account.ProviderChange{Issuer: &p.Issuer, ClientID: &client, ClientSecret: &secret, CreateUsers: &yes}); err != nil {
		t.Fatal(err)
	}
	begin := func(subject, sid string) session.Issued {
		t.Helper()
		_, epoch, err := s.sessions.BeginThrough(ctx, "corp")
		if err != nil {
			t.Fatal(err)
		}
		i, err := s.sessions.SignInThrough(ctx, session.ProviderSignIn{
			Provider: "corp", Issuer: p.Issuer, ClientID: client, Subject: subject, SID: sid, Claims: claimsOf{"preferred_username": subject},
			AuthTime: time.Now(), Fresh: true, Began: time.Now(), Epoch: epoch,
		}, authz.Origin{})
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	jti := 0
	logout := func(signer *oidctest.Provider, edit map[string]any) string {
		jti++
		claims := map[string]any{
			"iss": p.Issuer, "aud": client, "jti": string(rune('a' + jti)), "iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(),
			"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
		}
		maps.Copy(claims, edit)
		return "logout_token=" + signer.Sign("logout+jwt", claims)
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
