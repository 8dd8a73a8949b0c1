package httpapi

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"testing"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
	"example.com/curfew/token"
)

// The actors. Actors without any right are tried everywhere; the letters stand for
// the others, which the table of expectations names.
const (
	ordinary      = 'u' // a user without permissions
	editor        = 'e' // UserEdit
	administrator = 'a' // AdministerSystem
)

// expectation is what a route is expected to do, by the contract. Letters name the
// callers that it admits, for each target: the caller's own account, another
// user's, an administrator's. A route without a target has only own.
type expectation struct {
	route  string // method and pattern
	status int    // for admitted callers
	own    string
	other  string
	admin  string

	refused string // for whose own account the answer is 400: there is another call

	body    string // {id} is the target's id
	query   string
	prepare func(c *cell) // makes what the request is about
}

// cell is one combination that is tried.
type cell struct {
	*server
	actor, target store.User
	path, body    string
	who           credential // nil: none
	with          []credential
}

func (c *cell) isOwn() bool {
	return c.actor.ID == c.target.ID
}

var expectations = []expectation{
	{route: "POST /v1/sessions", status: 201, own: "uea", body: `{"username":"admin","password":"` + password + `"}`},
	{route: "GET /v1/session", status: 200, own: "uea"},
	{route: "POST /v1/session/refresh", status: 200, own: "uea"},
	{route: "POST /v1/session/reauthenticate", status: 200, own: "uea", body: `{"password":"` + password + `"}`, prepare: withPassword},
	{route: "DELETE /v1/session", status: 204, own: "uea"},

	{route: "GET /v1/users/{id}/sessions", status: 200, own: "uea", other: "ea", admin: "ea"},
	{route: "DELETE /v1/users/{id}/sessions/{sid}", status: 204, own: "uea", other: "ea", admin: "ea", prepare: ofSession},
	{route: "POST /v1/users/{id}/revocations", status: 201, own: "uea", other: "ea", admin: "ea"},
	{route: "PUT /v1/users/{id}/password", status: 200, other: "ea", admin: "a", own: "uea",
		body: `{"new":"a new password of some length"}`, prepare: withCurrent},
	{route: "POST /v1/revocations", status: 201, own: "a", body: `{"scope":"remembered"}`},
	{route: "POST /v1/revocations", status: 201, own: "a", body: `{"scope":"everyone"}`},
	{route: "POST /v1/revocations", status: 201, own: "a", other: "a", admin: "a", body: `{"scope":"users","users":["{id}"]}`},
	{route: "GET /v1/revocations", status: 200, own: "a"},
	{route: "GET /v1/revocations/{epoch}", status: 200, own: "uea", other: "ea", admin: "ea", prepare: ofReceipt},
	{route: "GET /v1/revocations/{epoch}", status: 200, own: "a", prepare: ofReceiptForEveryone},

	{route: "GET /v1/users", status: 200, own: "ea"},
	{route: "POST /v1/users", status: 201, own: "ea", body: `{"name":"new {n}"}`},
	{route: "POST /v1/users", status: 201, own: "a", body: `{"name":"new {n}","permissions":["UserEdit"]}`},
	{route: "GET /v1/users/{id}", status: 200, own: "ea", other: "ea", admin: "ea"},
	{route: "PATCH /v1/users/{id}", status: 200, refused: "ea", other: "ea", admin: "a", body: `{"email":"x@example.com"}`},
	{route: "PATCH /v1/users/{id}", status: 200, own: "ea", other: "ea", admin: "a", body: `{"name":"renamed {n}"}`},
	{route: "PATCH /v1/users/{id}", status: 200, refused: "ea", other: "ea", admin: "a", body: `{"password":"a new password of some length"}`},
	{route: "PATCH /v1/users/{id}", status: 200, refused: "ea", other: "ea", admin: "a", body: `{"groups":["ops"]}`},
	{route: "POST /v1/users", status: 201, own: "ea", body: `{"name":"new {n}","groups":["ops"]}`},
	{route: "PATCH /v1/users/{id}", status: 200, own: "ea", other: "ea", admin: "a", body: `{"disabled":true}`},
	{route: "PATCH /v1/users/{id}", status: 200, own: "a", other: "a", admin: "a", body: `{"permissions":["AdministerSystem"]}`},
	{route: "DELETE /v1/users/{id}", status: 200, own: "ea", other: "ea", admin: "a"},
	{route: "PATCH /v1/users/{id}", status: 200, own: "a", other: "a", admin: "a", body: `{"permissions":[]}`},

	{route: "DELETE /v1/users/{id}/identities", status: 200, own: "ea", other: "ea", admin: "a", query: "?issuer=https%3A%2F%2Flogin.example&subject={id}", prepare: ofIdentity},
	{route: "GET /v1/providers", status: 200, own: "a"},
	{route: "POST /v1/providers", status: 201, own: "a", prepare: newProvider},
	{route: "GET /v1/providers/{name}", status: 200, own: "a", prepare: ofProvider},
	{route: "PATCH /v1/providers/{name}", status: 200, own: "a", body: `{"client_id":"another"}`, prepare: ofProvider},
	{route: "DELETE /v1/providers/{name}", status: 200, own: "a", prepare: ofProvider},
	{route: "POST /v1/providers/{name}/check", status: 200, own: "a", prepare: ofProvider},
	{route: "GET /v1/sign-in-methods", status: 200, own: "a"},
	{route: "PATCH /v1/sign-in-methods", status: 200, own: "a", body: `{"passwords":true}`},

	{route: "GET /v1/clients", status: 200, own: "a"},
	{route: "POST /v1/clients", status: 201, own: "a", body: `{"name":"new {n}","capabilities":["follow"]}`},
	{route: "DELETE /v1/clients/{id}", status: 204, own: "a", prepare: ofClient},
	{route: "POST /v1/clients/{id}/secrets", status: 201, own: "a", prepare: ofClient},

	{route: "GET /v1/keys", status: 200, own: "a"},
	{route: "POST /v1/keys/rotations", status: 200, own: "a", body: `{"reason":"planned"}`},
	{route: "DELETE /v1/keys/{kid}", status: 200, own: "a", prepare: ofKey},

	{route: "GET /v1/settings/authentication", status: 200, own: "uea"},
	{route: "PUT /v1/settings/authentication", status: 200, own: "a", body: defaultSettings, prepare: withIfMatch},
	{route: "PUT /v1/settings/authentication", status: 200, own: "a", body: defaultSettings, query: "?dry_run=true"},
	{route: "GET /v1/audit", status: 200, own: "a"},

	{route: "ANY /v1/verify", status: 200, own: "uea"},
	{route: "ANY /v1/verify/{path}", status: 200, own: "uea"},
	{route: "GET /v1/session/events", status: 200, own: "uea"},
	{route: "POST /oauth/revoke", status: 200, own: "uea", prepare: ofToken},

	// Calls of clients accept no user's token.
	{route: "POST /v1/users/{id}/sessions"},
	{route: "GET /v1/clients/me"},
	{route: "POST /oauth/introspect", body: "token=x"},
	{route: "POST /oauth/global-token-revocation", body: `{"sub_id":{"format":"opaque","id":"{id}"}}`},
	{route: "GET /v1/changes"},
	{route: "GET /v1/revoked-before", query: "?user=a&session=AAAAAAAAAAAAAAAAAAAAAA"},
	{route: "POST /v1/uses", body: oneUse},

	{route: "POST /oauth/backchannel-logout", status: 400, own: "uea", body: "logout_token=x"}, // the token decides: TestBackchannelLogout
	{route: "GET /.well-known/jwks.json", status: 200, own: "uea"},
	{route: "GET /.well-known/oauth-authorization-server", status: 200, own: "uea"},
	{route: "GET /livez", status: 200, own: "uea"},
	{route: "GET /readyz", status: 200, own: "uea"},
	{route: "GET /openapi.yaml", status: 200, own: "uea"},
}

const defaultSettings = `{"session_timeout_seconds":1200,"maximum_session_duration_seconds":1728000,"remember_me_enabled":true}`

func ofSession(c *cell) {
	s := c.token(c.target)
	c.path = strings.Replace(c.path, "{sid}", claims(c.T, s).ID, 1)
}

func withPassword(c *cell) { c.setPassword(c.actor) }

func withCurrent(c *cell) {
	if c.isOwn() {
		c.setPassword(c.target)
		c.body = `{"current":"` + password + `","new":"a new password of some length"}`
	}
}

func ofReceipt(c *cell) {
	r, err := c.sessions.RevokeUser(context.Background(), trusted, c.target.ID, "", false, 0)
	if err != nil {
		c.Fatal(err)
	}
	c.path = strings.Replace(c.path, "{epoch}", fmt.Sprint(int64(r.Epoch)), 1)
}

func ofReceiptForEveryone(c *cell) {
	r, err := c.sessions.RevokeMany(context.Background(), trusted, session.Many{Scope: "remembered"}, 0)
	if err != nil {
		c.Fatal(err)
	}
	c.path = strings.Replace(c.path, "{epoch}", fmt.Sprint(int64(r.Epoch)), 1)
}

func ofClient(c *cell) {
	c.path = strings.Replace(c.path, "{id}", c.service(token.NewSessionID(), store.Follow).id, 1)
}

func providerName() string { return "p" + strings.ToLower(rand.Text()) }

func newProvider(c *cell) {
	c.body = `{"name":"` + providerName() + `","issuer":"https://login.example","client_id":"curfew"}`
}

func ofProvider(c *cell) {
	name, issuer, id := providerName(), "https://login.example", "curfew"
	if _, err := c.accounts.CreateProvider(context.Background(), trusted, name, account.ProviderChange{Issuer: &issuer, ClientID: &id}); err != nil {
		c.Fatal(err)
	}
	c.path = strings.Replace(c.path, "{name}", name, 1)
}

func ofIdentity(c *cell) {
	err := c.store.Update(context.Background(), func(tx store.Tx) error {
		return tx.PutIdentity(context.Background(), store.Identity{Issuer: "https://login.example", Subject: c.target.ID, UserID: c.target.ID, LinkedAt: 1})
	})
	if err != nil {
		c.Fatal(err)
	}
}

// ofKey makes a key of its own, so that no session ends with it.
func ofKey(c *cell) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		c.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		c.Fatal(err)
	}
	key, err := c.ring.Import(context.Background(), trusted, "", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	if err != nil {
		c.Fatal(err)
	}
	c.path = strings.Replace(c.path, "{kid}", key.ID, 1)
}

func withIfMatch(c *cell) {
	_, tag, err := c.sessions.Settings(context.Background())
	if err != nil {
		c.Fatal(err)
	}
	c.with = append(c.with, header{"If-Match", tag})
}

func ofToken(c *cell) { c.body = "token=" + c.token(c.target) }

// setPassword sets the password of a user who has none.
func (s *server) setPassword(u store.User) {
	s.Helper()
	p := password
	if _, _, err := s.accounts.ChangeUser(context.Background(), trusted, u.ID, account.UserChange{Password: &p}, ""); err != nil {
		s.Fatal(err)
	}
}

// claims reads a token without validating it.
func claims(t *testing.T, raw string) *token.Session {
	t.Helper()
	var c struct {
		Sub   string           `json:"sub"`
		Sid   string           `json:"sid"`
		Epoch revocation.Epoch `json:"epoch"`

		Name   string   `json:"name"`
		Email  string   `json:"email"`
		Groups []string `json:"groups"`
	}
	if err := json.Unmarshal(decodePart(t, raw, 1), &c); err != nil {
		t.Fatal(err)
	}
	return &token.Session{Subject: c.Sub, ID: c.Sid, Epoch: c.Epoch, Name: c.Name, Email: c.Email, Groups: c.Groups}
}

// Every route × every caller × every target. That every route has its rows, and
// that they say what the API's description says, is for
// TestPermissionsAreDescribed.
func TestPermissions(t *testing.T) {
	for _, guard := range []struct {
		name string
		set  option
	}{
		{"with the guard", func(*Config, *setup) {}},
		{"services alone", withoutGuard},
	} {
		t.Run(guard.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, guard.set)
			for _, e := range expectations {
				if r := routeOf(e.route); guard.name != "with the guard" && (r.Self || r.Permissions == nil) {
					continue // only the services guard those
				}
				t.Run(strings.TrimSpace(e.route+" "+e.query+e.body), func(t *testing.T) { s.on(t).expect(e) })
			}
		})
	}
}

// withoutGuard removes the permissions from the routes, so that only the services
// decide.
func withoutGuard(_ *Config, s *setup) {
	for i := range s.routes {
		if s.routes[i].Permissions != nil {
			s.routes[i].Permissions = []string{}
		}
	}
}

// on returns the server for a test within a test.
func (s *server) on(t *testing.T) *server {
	c := *s
	c.T = t
	client := *s.client
	if before, ok := client.Transport.(*checker); ok {
		client.Transport = &checker{t: t, next: before.next}
	}
	c.client = &client
	return &c
}

var actors = []struct {
	name        string
	letter      rune // the caller that the actor counts as; 0: none
	permissions []string
	before      func(s *server, c *cell) // the request, after the sign-in
	refusal     string                   // of actors that count as no caller
}{
	{"anonymous", 0, nil, func(_ *server, c *cell) { c.who = nil }, "missing"},
	{"ordinary", ordinary, nil, nil, ""},
	{"UserEdit", editor, []string{store.UserEdit}, nil, ""},
	{"AdministerSystem", administrator, []string{store.AdministerSystem}, nil, ""},
	{"disabled", 0, []string{store.AdministerSystem, store.UserEdit}, disable, "revoked"},
	{"demoted a moment ago", ordinary, []string{store.AdministerSystem, store.UserEdit}, demote, ""},
	{"a client with every capability", 0, nil, asClient, "missing"},
}

func disable(s *server, c *cell) {
	yes := true
	if _, _, err := s.accounts.ChangeUser(context.Background(), trusted, c.actor.ID, account.UserChange{Disabled: &yes}, ""); err != nil {
		s.Fatal(err)
	}
}

func demote(s *server, c *cell) {
	none := []string{}
	if _, _, err := s.accounts.ChangeUser(context.Background(), trusted, c.actor.ID, account.UserChange{Permissions: &none}, ""); err != nil {
		s.Fatal(err)
	}
}

func asClient(s *server, c *cell) {
	c.who = s.service("client "+token.NewSessionID(), store.Capabilities()...)
}

func (s *server) expect(e expectation) {
	targets := map[string]string{"own": e.own}
	if e.other != "" {
		targets["other"], targets["admin"] = e.other, e.admin
	}
	for target, allowed := range targets {
		for _, who := range actors {
			s.Run(target+"/"+who.name, func(t *testing.T) {
				s := s.on(t)
				c := &cell{server: s, body: strings.ReplaceAll(e.body, "{n}", token.NewSessionID())}
				c.actor = s.user(who.name+" "+token.NewSessionID(), who.permissions...)
				switch target {
				case "own":
					c.target = c.actor
				case "other":
					c.target = s.user("target " + token.NewSessionID())
				case "admin":
					c.target = s.user("target "+token.NewSessionID(), store.AdministerSystem)
				}
				method, pattern, _ := strings.Cut(e.route, " ")
				c.path = pattern + e.query
				if e.prepare != nil {
					e.prepare(c)
				}
				c.who = bearerToken(s.token(c.actor))
				if who.before != nil {
					who.before(s, c)
				}
				s.hold(e, c, method, allowed, who.letter, who.refusal)
			})
		}
	}
}

// hold makes the request of a cell and compares the answer with the expectation.
func (s *server) hold(e expectation, c *cell, method, allowed string, letter rune, refusal string) {
	s.Helper()
	route := routeOf(e.route)
	if method == "ANY" {
		method = "GET"
	}
	replace := strings.NewReplacer("{id}", c.target.ID)
	var body any
	if c.body != "" {
		body = replace.Replace(c.body)
	}
	with := c.with
	if c.who != nil {
		with = append(with, c.who)
	}
	a := s.do(method, replace.Replace(c.path), body, with...)
	switch {
	case route.Who == Anyone, route.Who == Holder:
		a.must(e.status, nil) // for every caller and every credential
	case route.Who == Client:
		if _, is := c.who.(basic); is {
			return // see TestCapabilities
		}
		a.problem(401, "missing")
		if !strings.HasPrefix(a.Header.Get("WWW-Authenticate"), "Basic ") {
			s.Errorf("WWW-Authenticate: %q, want Basic", a.Header.Get("WWW-Authenticate"))
		}
	case refusal == "revoked" && e.route == "DELETE /v1/session":
		a.must(204, nil) // it has ended, which is what was asked for
	case letter == 0:
		a.problem(401, refusal)
		if !strings.HasPrefix(a.Header.Get("WWW-Authenticate"), "Bearer ") {
			s.Errorf("WWW-Authenticate: %q, want Bearer", a.Header.Get("WWW-Authenticate"))
		}
	case c.isOwn() && strings.ContainsRune(e.refused, letter):
		a.problem(400, "invalid_request")
	case strings.ContainsRune(allowed, letter):
		a.must(e.status, nil)
	default:
		a.problem(403, "forbidden")
	}
}

func routeOf(text string) Route {
	method, pattern, _ := strings.Cut(text, " ")
	if method == "ANY" {
		method = ""
	}
	all := Routes()
	i := slices.IndexFunc(all, func(r Route) bool { return r.Method == method && r.Pattern == pattern })
	return all[i]
}

// Every call of clients × every capability, and clients that are none.
func TestCapabilities(t *testing.T) {
	t.Parallel()
	s := start(t)
	ann := s.user("ann")
	requests := map[string]struct {
		path, body string
		status     int
	}{
		"POST /v1/users/{id}/sessions":        {"/v1/users/" + ann.ID + "/sessions", `{}`, 201},
		"GET /v1/clients/me":                  {"/v1/clients/me", "", 200},
		"POST /oauth/introspect":              {"/oauth/introspect", "token=x", 200},
		"POST /oauth/global-token-revocation": {"/oauth/global-token-revocation", `{"sub_id":{"format":"opaque","id":"` + ann.ID + `"}}`, 204},
		"GET /v1/changes":                     {"/v1/changes?after=0", "", 200},
		"GET /v1/revoked-before":              {"/v1/revoked-before?user=a&session=AAAAAAAAAAAAAAAAAAAAAA", "", 200},
		"POST /v1/uses":                       {"/v1/uses", oneUse, 204},
	}
	clients := map[string]basic{}
	for _, capability := range store.Capabilities() {
		clients[capability] = s.service(capability, capability)
	}
	gone := s.service("gone", store.Capabilities()...)
	if err := s.accounts.DeleteClient(context.Background(), trusted, gone.id); err != nil {
		t.Fatal(err)
	}
	nobody := map[string]basic{
		"deleted":        gone,
		"unknown":        {"nobody", gone.secret},
		"wrong secret":   {clients[store.Follow].id, "wrong"},
		"no secret":      {clients[store.Follow].id, ""},
		"no id":          {"", "secret"},
		"another's":      {clients[store.Follow].id, clients[store.Issue].secret},
		"NUL in the id":  {"a\x00b", "secret"},
		"not UTF-8":      {"\xff\xfe", "secret"},
		"a very long id": {strings.Repeat("a", 5000), "secret"},
		"SQL":            {"' OR 1=1 --", "secret"},
	}
	for _, route := range Routes() {
		if route.Who != Client {
			continue
		}
		name := route.Method + " " + route.Pattern
		request, ok := requests[name]
		if !ok {
			t.Errorf("%s is not tried here", name)
			continue
		}
		var body any
		if request.body != "" {
			body = request.body
		}
		for capability, client := range clients {
			a := s.do(route.Method, request.path, body, client)
			if route.Capability == "" || route.Capability == capability {
				a.must(request.status, nil)
			} else {
				a.problem(403, "forbidden")
			}
		}
		for why, client := range nobody {
			a := s.do(route.Method, request.path, body, client)
			if p := a.problem(401, "bad_credentials"); strings.Contains(string(a.body), "OR 1=1") || p.Detail == "" {
				t.Errorf("%s: %s", why, a.body)
			}
			if !strings.HasPrefix(a.Header.Get("WWW-Authenticate"), "Basic ") {
				t.Errorf("%s: WWW-Authenticate: %q", why, a.Header.Get("WWW-Authenticate"))
			}
		}
		s.do(route.Method, request.path, body).problem(401, "missing")
		s.do(route.Method, request.path, body, clients[store.Follow], header{"Authorization", "Bearer x"}).must(401, nil)
	}
}
