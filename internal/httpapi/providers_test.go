package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"example.com/curfew/internal/oidc"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/token"
)

const providerBody = `{"name":"corp","issuer":"https://login.example","client_id":"curfew","client_secret":"the-client-secret",` +
	`"groups_claim":"groups","group_permissions":{"admins":["AdministerSystem"]}}`

// through begins a session of a user at a provider, and links the user to it.
func (s *server) through(u store.User, provider string) string {
	s.Helper()
	raw := s.token(u)
	err := s.store.Update(context.Background(), func(tx store.Tx) error {
		return errors.Join(
			tx.InsertProviderSession(context.Background(), store.ProviderSession{SessionID: claims(s.T, raw).ID, Provider: provider, Issuer: "https://login.example", Subject: u.ID}),
			tx.PutIdentity(context.Background(), store.Identity{Issuer: "https://login.example", Subject: u.ID, UserID: u.ID, Provider: provider, LinkedAt: time.Now().UnixMicro()}))
	})
	if err != nil {
		s.Fatal(err)
	}
	return raw
}

func TestProviders(t *testing.T) {
	s := start(t)
	s.keepSecret("the-client-secret")
	s.keepSecret("another-secret")
	me := bearerToken(s.mint(s.admin, func(*token.Session) {}))
	var created, got wire.Provider
	a := s.do("POST", "/v1/providers", providerBody, me).must(201, &created)
	if a.Header.Get("Location") != "/v1/providers/corp" || !created.HasClientSecret || created.RedirectURI != issuer+"/sign-in/corp/callback" || created.BackchannelLogoutURI != issuer+"/oauth/backchannel-logout" {
		t.Errorf("created %s, Location %q", a.body, a.Header.Get("Location"))
	}
	secretless := func(what string, a *answer) {
		t.Helper()
		for _, text := range []string{"the-client-secret", "another-secret", "v1.", "sealed"} {
			if strings.Contains(string(a.body), text) {
				t.Errorf("%s holds %q: %s", what, text, a.body)
			}
		}
	}
	secretless("the answer to the POST", a)
	secretless("the answer to the GET", s.do("GET", "/v1/providers/corp", nil, me).must(200, &got))
	if fmt.Sprint(got) != fmt.Sprint(created) {
		t.Errorf("read %+v, created %+v", got, created)
	}
	var list wire.Providers
	secretless("the list", s.do("GET", "/v1/providers", nil, me).must(200, &list))
	if len(list.Providers) != 1 {
		t.Errorf("%d providers", len(list.Providers))
	}
	s.do("POST", "/v1/providers", providerBody, me).problem(409, "conflict")
	for _, path := range []string{"none", "CORP", "%00", "a%2Fb"} {
		s.do("GET", "/v1/providers/"+path, nil, me).problem(404, "not_found")
		s.do("PATCH", "/v1/providers/"+path, `{}`, me).problem(404, "not_found")
		s.do("DELETE", "/v1/providers/"+path, nil, me).problem(404, "not_found")
		s.do("POST", "/v1/providers/"+path+"/check", nil, me).problem(404, "not_found")
	}
	for what, body := range map[string]string{
		"nothing": `{}`, "no object": `[]`, "another member": `{"name":"x","issuer":"https://a.example","client_id":"x","sealed_secret":"x"}`,
		"twice": `{"name":"x","name":"y","issuer":"https://a.example","client_id":"x"}`, "in another case": `{"Name":"x","issuer":"https://a.example","client_id":"x"}`,
		"a number": `{"name":"x","issuer":"https://a.example","client_id":7}`, "text for a list": `{"name":"x","issuer":"https://a.example","client_id":"x","scopes":"openid"}`,
		"null in a list":       `{"name":"x","issuer":"https://a.example","client_id":"x","scopes":["openid",null]}`,
		"null for permissions": `{"name":"x","issuer":"https://a.example","client_id":"x","groups_claim":"g","group_permissions":{"a":null}}`,
		"http":                 `{"name":"x","issuer":"http://a.example","client_id":"x"}`, "NUL": `{"name":"x","issuer":"https://a.example","client_id":"x","client_secret":"\u0000"}`,
		"a path as the name": `{"name":"../x","issuer":"https://a.example","client_id":"x"}`,
	} {
		if a := s.do("POST", "/v1/providers", body, me); a.StatusCode != 400 {
			t.Errorf("%s: %d %s", what, a.StatusCode, a.body)
		}
	}
	s.do("PATCH", "/v1/providers/corp", `{"name":"other"}`, me).problem(400, "invalid_request")
	s.do("PATCH", "/v1/providers/corp", `{"issuer":"https://attacker.example"}`, me).problem(400, "invalid_request")
	secretless("the answer to the PATCH", s.do("PATCH", "/v1/providers/corp", `{"client_secret":"another-secret","create_users":true}`, me).must(200, &got))
	if got.Receipt != nil || !got.CreateUsers {
		t.Errorf("changed to %+v", got)
	}

	// What ends, and what does not.
	ann := s.user("ann")
	mine, other := s.through(ann, "corp"), s.token(ann)
	var changed wire.Provider
	s.do("PATCH", "/v1/providers/corp?reason=tightened", `{"allowed_groups":["staff"]}`, me, header{"Prefer", "wait=30"}).must(200, &changed)
	if r := changed.Receipt; r == nil || r.Scope != "provider" || r.ID != "corp" || r.Reason != "tightened" || !r.Enforcement.EffectiveEverywhere || *r.Sessions != 1 {
		t.Errorf("receipt %+v", changed.Receipt)
	}
	s.do("GET", "/v1/session", nil, bearerToken(mine)).problem(401, "revoked")
	s.do("GET", "/v1/session", nil, bearerToken(other)).must(200, nil)
	mine = s.through(ann, "corp")
	var receipt, again wire.Receipt
	s.do("DELETE", "/v1/providers/corp", nil, me, header{"Prefer", "wait=30"}).must(200, &receipt)
	s.do("GET", "/v1/session", nil, bearerToken(mine)).problem(401, "revoked")
	s.do("GET", fmt.Sprintf("/v1/revocations/%d", receipt.Epoch), nil, me).must(200, &again)
	if again.Scope != "provider" || again.ID != "corp" {
		t.Errorf("receipt read again %+v", again)
	}
	s.do("GET", fmt.Sprintf("/v1/revocations/%d", receipt.Epoch), nil, bearerToken(other)).problem(403, "forbidden")
}

func TestProviderCheck(t *testing.T) {
	s := start(t)
	me := bearerToken(s.mint(s.admin, func(*token.Session) {}))
	s.do("POST", "/v1/providers", providerBody, me).must(201, nil)
	good := oidc.Metadata{
		Scopes: []string{"openid", "profile", "email"}, Claims: []string{"sub", "preferred_username", "groups", "auth_time"}, BackchannelLogout: true, EndSessionEndpoint: "https://login.example/end",
	}
	for _, tt := range []struct {
		what   string
		change func(*oidc.Metadata)
		err    error
		ok     bool
		says   string // "": nothing
	}{
		{"all well", func(*oidc.Metadata) {}, nil, true, ""},
		{"unreachable", func(*oidc.Metadata) {}, fmt.Errorf("%w: login.example: connection refused", oidc.ErrUnreachable), false, "connection refused"},
		{"another issuer", func(*oidc.Metadata) {}, fmt.Errorf("%w: calls itself x", oidc.ErrMisconfigured), false, "calls itself x"},
		{"no secrets", func(m *oidc.Metadata) { m.TokenAuthMethods = []string{"private_key_jwt"} }, nil, false, "private_key_jwt"},
		{"no groups", func(m *oidc.Metadata) { m.Claims = []string{"preferred_username", "auth_time"} }, nil, true, "claim groups"},
		{"no auth_time", func(m *oidc.Metadata) { m.Claims = []string{"preferred_username", "groups"} }, nil, true, "auth_time"},
		{"no email scope", func(m *oidc.Metadata) { m.Scopes = []string{"openid", "profile"} }, nil, true, "email"},
		{"no lists", func(m *oidc.Metadata) { m.Scopes, m.Claims = nil, nil }, nil, true, ""},
		{"no logout", func(m *oidc.Metadata) { m.BackchannelLogout = false }, nil, true, "back-channel"},
	} {
		s.provider.metadata, s.provider.err = good, tt.err
		tt.change(&s.provider.metadata)
		var r wire.ProviderCheck
		s.do("POST", "/v1/providers/corp/check", nil, me).must(200, &r)
		text := strings.Join(append(r.Problems, r.Warnings...), "; ")
		if r.OK != tt.ok || !strings.Contains(text, tt.says) || (text != "") != (tt.says != "") {
			t.Errorf("%s: %+v", tt.what, r)
		}
	}
}

func TestSignInMethods(t *testing.T) {
	s := start(t)
	me := bearerToken(s.mint(s.admin, func(*token.Session) {}))
	var m wire.SignInMethods
	s.do("GET", "/v1/sign-in-methods", nil, me).must(200, &m)
	if !m.Passwords {
		t.Error("passwords are off")
	}
	for _, body := range []string{`{}`, `{"passwords":null}`, `{"passwords":"off"}`, `{"passwords":false,"x":1}`} {
		s.do("PATCH", "/v1/sign-in-methods", body, me).problem(400, "invalid_request")
	}
	s.do("PATCH", "/v1/sign-in-methods", `{"passwords":false}`, me).problem(409, "conflict")
	s.do("POST", "/v1/providers", providerBody, me).must(201, nil)
	s.do("PATCH", "/v1/sign-in-methods", `{"passwords":false}`, me).problem(409, "conflict") // no account there is linked
	s.through(s.admin, "corp")
	s.do("PATCH", "/v1/sign-in-methods", `{"passwords":false}`, me).must(200, &m)
	if m.Passwords {
		t.Error("passwords are on")
	}
	s.do("POST", "/v1/sessions", `{"username":"admin","password":"`+password+`"}`).problem(403, "forbidden")
	s.do("DELETE", "/v1/providers/corp", nil, me).problem(409, "conflict")
	s.do("GET", "/v1/session", nil, me).must(200, nil) // began before
	s.do("PATCH", "/v1/sign-in-methods", `{"passwords":true}`, me).must(200, nil)
	s.do("POST", "/v1/sessions", `{"username":"admin","password":"`+password+`"}`).must(201, nil)
}

func TestIdentities(t *testing.T) {
	s := start(t)
	me := bearerToken(s.mint(s.admin, func(*token.Session) {}))
	ann := s.user("ann")
	var u wire.User
	s.do("GET", "/v1/users/"+ann.ID, nil, me).must(200, &u)
	if u.Identities == nil || len(*u.Identities) != 0 {
		t.Errorf("identities %v", u.Identities)
	}
	raw := s.through(ann, "corp")
	s.do("GET", "/v1/users/"+ann.ID, nil, me).must(200, &u)
	if u.Identities == nil || len(*u.Identities) != 1 || (*u.Identities)[0].Issuer != "https://login.example" || (*u.Identities)[0].Subject != ann.ID || (*u.Identities)[0].Provider != "corp" {
		t.Fatalf("identities %v", u.Identities)
	}
	path := "/v1/users/" + ann.ID + "/identities?"
	query := func(issuer, subject string) string {
		return url.Values{"issuer": {issuer}, "subject": {subject}}.Encode()
	}
	for what, q := range map[string]string{"nothing": "", "no subject": "issuer=x", "an empty issuer": query("", ann.ID), "another parameter": query("x", "x") + "&provider=corp", "twice": query("x", "x") + "&issuer=y"} {
		if a := s.do("DELETE", path+q, nil, me); a.StatusCode != 400 {
			t.Errorf("%s: %d %s", what, a.StatusCode, a.body)
		}
	}
	s.do("DELETE", path+query("https://login.example/", ann.ID), nil, me).problem(404, "not_found")
	s.do("DELETE", path+query("https://login.example", s.admin.ID), nil, me).problem(404, "not_found")
	s.do("GET", "/v1/session", nil, bearerToken(raw)).must(200, nil)
	var receipt wire.Receipt
	s.do("DELETE", path+query("https://login.example", ann.ID)+"&reason=left", nil, me, header{"Prefer", "wait=30"}).must(200, &receipt)
	if receipt.Scope != "user" || receipt.ID != ann.ID || receipt.Reason != "left" {
		t.Errorf("receipt %+v", receipt)
	}
	s.do("GET", "/v1/session", nil, bearerToken(raw)).problem(401, "revoked")
}
