package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/token"
)

// A session that a client began carries no permission, whether its user holds it
// before or gets it afterwards, and keeps carrying none when it is refreshed or
// continues under another epoch. A sign-in of the same user carries all.
func TestClientSessionsCarryNoPermission(t *testing.T) {
	s := start(t)
	shop := s.service("shop", store.Issue)
	issue := func(id string) string {
		var issued wire.Issued
		s.do("POST", "/v1/users/"+id+"/sessions", nil, shop).must(201, &issued)
		return issued.Token
	}
	refused := func(what, raw string) {
		t.Helper()
		for _, path := range []string{"/v1/users", "/v1/clients", "/v1/audit", "/v1/users/" + s.admin.ID} {
			if a := s.do("GET", path, nil, bearerToken(raw)); a.StatusCode != 403 {
				t.Errorf("%s: GET %s: %d", what, path, a.StatusCode)
			}
		}
		s.do("POST", "/v1/users", `{"name":"eve","permissions":["AdministerSystem"]}`, bearerToken(raw)).problem(403, "forbidden")
		s.do("POST", "/v1/revocations", `{"scope":"remembered"}`, bearerToken(raw)).problem(403, "forbidden")
		s.do("POST", "/v1/users/"+s.admin.ID+"/revocations", `{}`, bearerToken(raw)).problem(403, "forbidden")
		s.do("GET", "/v1/session", nil, bearerToken(raw)).must(200, nil)
		s.do("GET", "/v1/users/me/sessions", nil, bearerToken(raw)).must(200, nil)
	}
	u := s.user("ann", store.AdministerSystem)
	before := issue(u.ID)
	refused("the permission before the session", before)

	late := issue("late")
	permissions := []string{store.AdministerSystem, store.UserEdit}
	if _, _, err := s.accounts.ChangeUser(t.Context(), trusted, "late", account.UserChange{Permissions: &permissions}, ""); err != nil {
		t.Fatal(err)
	}
	refused("the session before the permission", late)

	var next wire.Issued
	s.do("POST", "/v1/session/refresh", nil, bearerToken(before)).must(200, &next)
	refused("refreshed", next.Token)
	var receipt wire.Receipt
	s.do("POST", "/v1/users/me/revocations", `{"keep_current":true}`, bearerToken(next.Token)).must(201, &receipt)
	refused("with another epoch", receipt.Token)

	s.setPassword(u)
	s.do("POST", "/v1/sessions", wire.SignIn{Username: u.Name, Password: password}).must(201, &next)
	s.do("GET", "/v1/users", nil, bearerToken(next.Token)).must(200, nil)
	s.do("GET", "/v1/users", nil, bearerToken(receipt.Token)).problem(401, string(token.ErrRevoked)) // by the new password
}

// A caller that is not authenticated learns nothing about its body, except that it
// is too large.
func TestBodiesOfUnauthenticatedCallers(t *testing.T) {
	s := start(t)
	for _, r := range Routes() {
		if r.Who != Bearer && r.Who != Client || r.body == 0 {
			continue
		}
		path := strings.NewReplacer("{id}", s.admin.ID, "{sid}", token.NewSessionID()).Replace(r.Pattern)
		for _, body := range []string{"", "{", "{}", `{"unknown":1}`, "token=x", strings.Repeat(" ", int(r.body))} {
			for _, with := range [][]credential{nil, {bearerToken("x.y.z")}, {basic{"nobody", "secret"}}} {
				a := s.do(r.Method, path, body, with...)
				if a.StatusCode != 401 {
					t.Errorf("%s %s with a body of %d bytes: %d %s", r.Method, path, len(body), a.StatusCode, a.body)
				}
			}
		}
		// Without a Content-Length: the limit is met while reading.
		large := struct{ io.Reader }{strings.NewReader(strings.Repeat(" ", int(r.body)+1))}
		request, err := http.NewRequestWithContext(t.Context(), r.Method, s.url+path, large)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := s.client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		if answer.Body.Close(); answer.StatusCode != 413 {
			t.Errorf("%s %s, too large: %d", r.Method, path, answer.StatusCode)
		}
	}
}

// meddler authenticates clients, and then does something to them.
type meddler struct {
	accounts *account.Service
	then     func(id string) error
}

func (m *meddler) ClientCaller(ctx context.Context, id, secret string, from authz.Origin) (authz.Caller, error) {
	c, err := m.accounts.ClientCaller(ctx, id, secret, from)
	if m.then == nil {
		return c, err
	}
	return c, errors.Join(err, m.then(id))
}

// A client that is deleted, or whose secret is stopped, after it was authenticated
// gets no answer about a token, good or bad.
func TestIntrospectionByAClientThatHasEnded(t *testing.T) {
	m := &meddler{}
	s := start(t, func(c *Config, _ *setup) { c.Clients = m })
	m.accounts = s.accounts
	raw := s.token(s.admin)
	for what, end := range map[string]func(id string) error{
		"deleted": func(id string) error { return s.accounts.DeleteClient(context.Background(), trusted, id) },
		"secret stopped": func(id string) error {
			_, _, err := s.accounts.NewSecret(context.Background(), trusted, id, true)
			return err
		},
	} {
		for _, body := range []string{form("token", raw), form("token", "x.y.z")} {
			client := s.service("shop "+what, store.Introspect)
			m.then = nil
			s.do("POST", "/oauth/introspect", body, client).must(200, nil)
			m.then = end
			s.do("POST", "/oauth/introspect", body, client).problem(401, wire.CodeBadCredentials)
		}
	}
}

// A sign-out and RFC 7009 with a token that keep_current has replaced end the
// session, and say so truly.
func TestReplacedTokenEndsItsSession(t *testing.T) {
	s := start(t)
	shop := s.service("shop", store.Issue)
	for what, end := range map[string]func(raw string) *answer{
		"sign-out":             func(raw string) *answer { return s.do("DELETE", "/v1/session", nil, bearerToken(raw)) },
		"RFC 7009, its holder": func(raw string) *answer { return s.do("POST", "/oauth/revoke", form("token", raw)) },
		"RFC 7009, a client":   func(raw string) *answer { return s.do("POST", "/oauth/revoke", form("token", raw), shop) },
	} {
		u := s.user(fmt.Sprint("user ", what))
		old := s.token(u)
		var receipt wire.Receipt
		s.do("POST", "/v1/users/me/revocations", `{"keep_current":true}`, bearerToken(old)).must(201, &receipt)
		s.do("GET", "/v1/session", nil, bearerToken(receipt.Token)).must(200, nil)
		if a := end(old); a.StatusCode/100 != 2 {
			t.Errorf("%s: %d %s", what, a.StatusCode, a.body)
		}
		s.do("GET", "/v1/session", nil, bearerToken(receipt.Token)).problem(401, string(token.ErrRevoked))
	}
}
