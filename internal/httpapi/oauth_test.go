package httpapi

import (
	"context"
	"strings"
	"testing"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/store"
	"example.com/curfew/settings"
)

// Introspection returns when a session ends by the present settings, so that a
// client which caches the answer until then does not accept the token for too long.
func TestIntrospection(t *testing.T) {
	s := start(t)
	ann := s.user("ann")
	client := s.service("resource", store.Introspect)
	raw, remembered := s.token(ann), s.token(ann, true)
	ask := func(raw string) introspection {
		t.Helper()
		var i introspection
		a := s.do("POST", "/oauth/introspect", "token="+raw+"&token_type_hint=refresh_token&resource=x", client).must(200, &i)
		if strings.Contains(string(a.body), `"scope"`) || strings.Contains(string(a.body), `"client_id"`) {
			t.Errorf("there is neither scope nor client: %s", a.body)
		}
		return i
	}
	i := ask(raw)
	if !i.Active || i.Subject != ann.ID || i.SessionID != claims(t, raw).ID || i.TokenType != "Bearer" || i.Issuer != issuer || len(i.Audience) != 2 || i.RememberMe {
		t.Errorf("%+v", i)
	}
	if i.ExpiresAt != i.LastRefresh+1200 || i.IssuedAt != i.LastRefresh {
		t.Errorf("%+v", i)
	}
	if i = ask(remembered); !i.RememberMe || i.ExpiresAt != i.IssuedAt+1728000 {
		t.Errorf("%+v", i)
	}
	shorter := settings.Settings{SessionTimeout: 10 * time.Minute, MaximumSessionDuration: time.Hour, RememberMeEnabled: true}
	if _, _, err := s.sessions.ChangeSettings(context.Background(), trusted, shorter, "*"); err != nil {
		t.Fatal(err)
	}
	if i = ask(raw); i.ExpiresAt != i.LastRefresh+600 {
		t.Errorf("shortened: %+v", i)
	}
	if i = ask(remembered); i.ExpiresAt != i.IssuedAt+3600 {
		t.Errorf("shortened: %+v", i)
	}

	for name, body := range map[string]string{
		"no token": "token_type_hint=access_token", "an empty one": "token=", "two": "token=a&token=b", "a broken form": "token=%zz",
		"a semicolon": "token=a;b=c",
	} {
		if p := s.do("POST", "/oauth/introspect", body, client).problem(400, "invalid_request"); p.Error != "invalid_request" {
			t.Errorf("%s: %+v", name, p)
		}
	}
	s.do("POST", "/oauth/introspect", `{"token":"x"}`, client).problem(415, "unsupported_media_type")
	// A token in the query is not looked at.
	s.do("POST", "/oauth/introspect?token="+raw, "x=y", client).problem(400, "invalid_request")
}

func TestRevocationOfTokens(t *testing.T) {
	s := start(t)
	ann := s.user("ann")
	client := s.service("gateway", store.Follow)
	raw, other := s.token(ann), s.token(ann)
	s.do("POST", "/oauth/revoke", "token="+raw, basic{client.id, "wrong"}).problem(401, "bad_credentials")
	s.do("POST", "/oauth/revoke", "token="+raw, bearerToken("x.y.z")).problem(401, "malformed")
	s.do("GET", "/v1/session", nil, bearerToken(raw)).must(200, nil)

	if a := s.do("POST", "/oauth/revoke", "token="+raw, client).must(200, nil); len(a.body) != 0 {
		t.Errorf("body %q", a.body)
	}
	s.do("GET", "/v1/session", nil, bearerToken(raw)).problem(401, "revoked")
	s.do("GET", "/v1/session", nil, bearerToken(other)).must(200, nil) // another session
	s.do("POST", "/oauth/revoke", "token="+other, bearerToken(other)).must(200, nil)
	s.do("GET", "/v1/session", nil, bearerToken(other)).problem(401, "revoked")

	entries, err := s.sessions.Audit(context.Background(), trusted, store.AuditFilter{Scoped: true}, 10)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 2 || entries[1].Actor.Kind != store.ActorClient || entries[1].Actor.ID != client.id ||
		entries[0].Actor.Kind != store.ActorUser || entries[0].Actor.ID != ann.ID {
		t.Errorf("audit: %+v", entries)
	}
}

func TestGlobalTokenRevocation(t *testing.T) {
	s := start(t)
	client := s.service("idp", store.Revoke)
	email := func(name, address string) store.User {
		t.Helper()
		u, err := s.accounts.CreateUser(context.Background(), trusted, account.UserChange{Name: &name, Email: &address})
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	ann := email("ann", "ann@example.com")
	bob, eve := email("bob", "shared@example.com"), email("eve", "Shared@Example.com")
	for _, tt := range []struct {
		name, body string
		status     int
		code       string
	}{
		{"opaque", `{"sub_id":{"format":"opaque","id":"` + ann.ID + `"}}`, 204, ""},
		{"email", `{"sub_id":{"format":"email","email":"ann@example.com"}}`, 204, ""},
		{"email in capitals", `{"sub_id":{"format":"email","email":"ANN@Example.com"}}`, 204, ""},
		{"iss_sub", `{"sub_id":{"format":"iss_sub","iss":"` + issuer + `","sub":"` + ann.ID + `"}}`, 204, ""},
		{"the older member", `{"subject":{"format":"opaque","id":"` + ann.ID + `"}}`, 204, ""},
		{"nobody", `{"sub_id":{"format":"opaque","id":"nobody"}}`, 404, "not_found"},
		{"no id of ours", `{"sub_id":{"format":"opaque","id":"a b"}}`, 404, "not_found"},
		{"an unknown email", `{"sub_id":{"format":"email","email":"nobody@example.com"}}`, 404, "not_found"},
		{"another issuer", `{"sub_id":{"format":"iss_sub","iss":"https://other.example","sub":"` + ann.ID + `"}}`, 404, "not_found"},
		{"another format", `{"sub_id":{"format":"phone_number","id":"+1"}}`, 400, "invalid_request"},
		{"no format", `{"sub_id":{"id":"` + ann.ID + `"}}`, 400, "invalid_request"},
		{"a member of another format", `{"sub_id":{"format":"opaque","id":"` + ann.ID + `","email":"bob@example.com"}}`, 400, "invalid_request"},
		{"half of iss_sub", `{"sub_id":{"format":"iss_sub","sub":"` + ann.ID + `"}}`, 400, "invalid_request"},
		{"an empty id", `{"sub_id":{"format":"opaque","id":""}}`, 400, "invalid_request"},
		{"both members", `{"sub_id":{"format":"opaque","id":"a"},"subject":{"format":"opaque","id":"a"}}`, 400, "invalid_request"},
		{"nothing", `{}`, 400, "invalid_request"},
		{"null", `{"sub_id":null}`, 400, "invalid_request"},
		{"an unknown member", `{"sub_id":{"format":"opaque","id":"a"},"x":1}`, 400, "invalid_request"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := s.on(t)
			raw := s.token(ann)
			a := s.do("POST", "/oauth/global-token-revocation", tt.body, client)
			if tt.status != 204 {
				a.problem(tt.status, tt.code)
				s.do("GET", "/v1/session", nil, bearerToken(raw)).must(200, nil)
				return
			}
			a.must(204, nil)
			s.do("GET", "/v1/session", nil, bearerToken(raw)).problem(401, "revoked")
		})
	}
	t.Run("an email that two have", func(t *testing.T) {
		s := s.on(t)
		others, first, second := s.token(ann), s.token(bob), s.token(eve)
		s.do("POST", "/oauth/global-token-revocation", `{"sub_id":{"format":"email","email":"shared@example.com"}}`, client).must(204, nil)
		s.do("GET", "/v1/session", nil, bearerToken(first)).problem(401, "revoked")
		s.do("GET", "/v1/session", nil, bearerToken(second)).problem(401, "revoked")
		s.do("GET", "/v1/session", nil, bearerToken(others)).must(200, nil)
	})
}

// What others find out about this server.
func TestDiscovery(t *testing.T) {
	s := start(t)
	var m serverMetadata
	s.do("GET", "/.well-known/oauth-authorization-server", nil).must(200, &m)
	if m.Issuer != issuer || m.JWKSURI != issuer+"/.well-known/jwks.json" || m.GlobalTokenRevocationEndpoint != issuer+"/oauth/global-token-revocation" {
		t.Errorf("%+v", m)
	}
	var set struct{ Keys []map[string]any }
	a := s.do("GET", "/.well-known/jwks.json", nil).must(200, &set)
	if len(set.Keys) != 2 { // the signing key and the standby key
		t.Errorf("%d keys", len(set.Keys))
	}
	for _, k := range set.Keys {
		if k["d"] != nil {
			t.Error("a private key is published")
		}
	}
	if got := a.Header.Get("Cache-Control"); got != "public, must-revalidate, max-age=15" {
		t.Errorf("Cache-Control: %q: longer than a new key is published before it signs?", got)
	}
	for tag, status := range map[string]int{a.Header.Get("ETag"): 304, "W/" + a.Header.Get("ETag"): 304, `"x", ` + a.Header.Get("ETag"): 304, "*": 304, `"x"`: 200} {
		b := s.doWith(plainClient, "GET", "/.well-known/jwks.json", nil, header{"If-None-Match", tag})
		if b.StatusCode != status || status == 304 && len(b.body) != 0 {
			t.Errorf("If-None-Match: %s: %d", tag, b.StatusCode)
		}
	}
	if doc := s.do("GET", "/openapi.yaml", nil).must(200, nil); !strings.HasPrefix(string(doc.body), "openapi: 3.1") {
		t.Errorf("%.40s", doc.body)
	}
}
