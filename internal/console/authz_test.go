package console

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/inbound"
	"example.com/curfew/internal/store"
)

// meddled returns a site to send requests to, whose routes do something else first,
// when the caller has been authenticated.
func (s *site) meddled(meanwhile func(x *exchange)) *site {
	s.Helper()
	b, err := newBase(s.config)
	s.must(err)
	mux := http.NewServeMux()
	for _, rt := range routes(s.config) {
		serve := rt.serve
		rt.serve = func(x *exchange) error { meanwhile(x); return serve(x) }
		mux.Handle(rt.pattern, b.handler(rt))
	}
	return &site{T: s.T, handler: inbound.Wrap(inbound.Config{}, mux)}
}

// A form whose sender's session ends after it was authenticated writes nothing, for
// every form of the console. The answer is the page that asks to sign in again.
func TestHeldBackForm(t *testing.T) {
	s := open(t)
	other := s.user("other")
	shop, _, err := s.accounts.CreateClient(t.Context(), trusted, account.NewClient{Name: "shop", Capabilities: store.Capabilities()})
	s.must(err)
	sid := s.issue(other, false)
	sess, err := s.validator.Validate(t.Context(), sid)
	s.must(err)
	keys, err := s.ring.List(t.Context(), trusted)
	s.must(err)
	_, tag, err := s.sessions.Settings(t.Context())
	s.must(err)
	provider, clientID := "https://login.example", "curfew"
	_, err = s.accounts.CreateProvider(t.Context(), trusted, "corp", account.ProviderChange{Issuer: &provider, ClientID: &clientID})
	s.must(err)
	for u, subject := range map[string]string{other.ID: "other", s.admin.ID: "admin"} {
		s.must(s.store.Update(t.Context(), func(tx store.Tx) error {
			return tx.PutIdentity(t.Context(), store.Identity{Issuer: provider, Subject: subject, UserID: u, Provider: "corp", LinkedAt: 1})
		}))
	}
	forms := map[string]url.Values{
		"POST /profile/session":                                 nil, // the refresh has been decided before
		"POST /reauthenticate":                                  nil, // the password has been checked and decided before
		"POST /profile/revoke":                                  {},
		"POST /profile/elsewhere":                               {},
		"POST /profile/password":                                {"current": {password}, "new": {"another password"}, "again": {"another password"}},
		"POST /settings/authentication":                         {"tag": {tag}, "session_timeout_seconds": {"900"}, "maximum_session_duration_seconds": {"90000"}, "remember_me_enabled": {"on"}},
		"POST /settings/authentication/providers":               {"name": {"evil"}, "issuer": {"https://evil.example"}, "client_id": {"x"}, "scopes": {"openid"}, "name_claim": {"sub"}},
		"POST /settings/authentication/providers/{name}":        {"issuer": {"https://login.example"}, "client_id": {"x"}, "scopes": {"openid"}, "name_claim": {"sub"}, "confirmed": {"on"}},
		"POST /settings/authentication/providers/{name}/remove": {"word": {"remove"}},
		"POST /settings/authentication/passwords/off":           {},
		"POST /settings/authentication/passwords/on":            {},
		"POST /users/{id}/unlink":                               {"issuer": {"https://login.example"}, "subject": {"other"}},
		"POST /users":                                           {"name": {"eve"}, "password": {"a password of hers"}, "AdministerSystem": {"on"}},
		"POST /users/selected":                                  nil, // fills in a form, and writes nothing
		"POST /users/{id}":                                      {"name": {"renamed"}, "email": {"eve@example.com"}},
		"POST /users/{id}/permissions":                          {"AdministerSystem": {"on"}},
		"POST /users/{id}/groups":                               {"groups": {"ops"}},
		"POST /users/{id}/password":                             {"new": {"another password"}},
		"POST /users/{id}/disable":                              {},
		"POST /users/{id}/delete":                               {"reason": {"Offboarding"}, "word": {"delete"}},
		"POST /users/{id}/enable":                               {},
		"POST /users/{id}/revoke":                               {"reason": {"Offboarding"}},
		"POST /users/{id}/sessions/{sid}/revoke":                {},
		"POST /revocations":                                     nil, // shows the second step, and writes nothing
		"POST /revocations/confirmed":                           {"scope": {"everyone"}, "reason": {"Offboarding"}, "word": {"everyone"}},
		"POST /keys/rotate":                                     {},
		"POST /keys/retire":                                     {"kid": {keys[0].ID}, "reason": {"Key lost"}, "word": {"retire"}},
		"POST /services":                                        {"name": {"evil"}, "issue": {"on"}},
		"POST /services/{id}/secret":                            {},
		"POST /services/{id}/remove":                            {},
	}
	meddled := s.meddled(func(x *exchange) {
		_, err := s.sessions.RevokeSession(context.Background(), trusted, x.session.Subject, x.session.ID, "")
		s.must(err)
	})
	for _, rt := range routes(s.config) {
		method, address, _ := strings.Cut(rt.pattern, " ")
		form, known := forms[rt.pattern]
		switch {
		case method != http.MethodPost || rt.needs == anyone:
			continue
		case !known:
			t.Errorf("%s: no form for it in this test", rt.pattern)
			continue
		case form == nil:
			continue
		}
		address = strings.NewReplacer("/users/{id}", userPath(other.ID), "/services/{id}", "/services/"+shop.ID, "{name}", "corp", "{sid}", sess.ID).Replace(address)
		raw := s.issue(s.admin, false)
		before := s.audits("")
		a := meddled.send(raw, method, address, form)
		if a.status != http.StatusUnauthorized || !strings.Contains(a.body, "Your session has ended") {
			t.Errorf("%s: %d %s", rt.pattern, a.status, a.location)
		}
		if after := s.audits(""); len(after) != len(before)+1 || after[0].Actor != trusted.Actor {
			t.Errorf("%s: the audit has %d entries more than before, the last is %+v", rt.pattern, len(after)-len(before), after[0])
		}
		if s.reason(sid) != "" {
			t.Fatalf("%s has ended another user's session", rt.pattern)
		}
	}
}

// readerOfOnePage is an answer that does something when its content begins.
type readerOfOnePage struct {
	*httptest.ResponseRecorder
	then func()
}

func (w *readerOfOnePage) Write(p []byte) (int, error) {
	if w.then != nil {
		w.then()
		w.then = nil
	}
	return w.ResponseRecorder.Write(p)
}

// get reads the answer, and reports whether the connection was cut off.
func (w *readerOfOnePage) get(s *site, raw, path string) (cut bool) {
	defer func() {
		if cause := recover(); cause != nil {
			err, _ := cause.(error)
			cut = errors.Is(err, http.ErrAbortHandler)
		}
	}()
	r := httptest.NewRequest(http.MethodGet, issuer+path, nil)
	r.AddCookie(&http.Cookie{Name: "__Host-curfew_session", Value: raw}) // #nosec G124 -- of a request
	s.handler.ServeHTTP(w, r)
	return false
}

// An export of the audit stops when the session of its caller ends.
func TestExportStopsWithItsSession(t *testing.T) {
	s := open(t)
	s.must(s.store.Update(t.Context(), func(tx store.Tx) error {
		return tx.AppendAudit(t.Context(), make([]store.Audit, 3*exportPage)...)
	}))
	for format, lines := range map[string]int{"jsonl": exportPage, "csv": exportPage + 1} {
		mine := s.as(s.admin)
		sess, err := s.validator.Validate(t.Context(), mine.token)
		s.must(err)
		w := &readerOfOnePage{ResponseRecorder: httptest.NewRecorder(), then: func() {
			_, err := s.sessions.RevokeSession(context.Background(), trusted, s.admin.ID, sess.ID, "")
			s.must(err)
		}}
		if !w.get(s, mine.token, "/audit/export?format="+format) {
			t.Errorf("%s: the connection was not cut off", format)
		}
		if got := strings.Count(w.Body.String(), "\n"); got != lines {
			t.Errorf("%s: %d lines, want the first page: %d", format, got, lines)
		}
	}
}

// A session that a client began shows its user's own profile and nothing else, also
// to an administrator.
func TestClientSessionInTheConsole(t *testing.T) {
	s := open(t)
	made, secret, err := s.accounts.CreateClient(t.Context(), trusted, account.NewClient{Name: "shop", Capabilities: []string{store.Issue}})
	s.must(err)
	shop, err := s.accounts.ClientCaller(t.Context(), made.ID, secret, authz.Origin{})
	s.must(err)
	second := s.user("second", store.AdministerSystem, store.UserEdit)
	issued, err := s.sessions.Issue(t.Context(), shop, second.ID, false, authz.Origin{})
	s.must(err)
	p := &person{s, second, issued.Token}
	start := p.get("/").is(http.StatusOK).says("My sessions")
	profile := p.get("/profile").is(http.StatusOK)
	p.get("/users").is(http.StatusForbidden).says("Permission required", "A service started this session for you, and such a session carries no permissions.")
	for _, page := range []answer{start, profile} {
		if strings.Contains(page.body, store.AdministerSystem) || strings.Contains(page.body, store.UserEdit) {
			t.Error("the page names a permission that the session does not carry")
		}
	}
	for _, rt := range routes(s.config) {
		method, address := fitting(rt.pattern, second)
		if rt.needs != editUsers && rt.needs != administering {
			continue
		}
		var form url.Values
		if method == http.MethodPost {
			form = url.Values{"kid": {"none"}}
		}
		if a := p.do(method, address, form); a.status != http.StatusForbidden {
			t.Errorf("%s: %d", rt.pattern, a.status)
		}
	}
	if s.reason(p.token) != "" {
		t.Error("the session has ended")
	}
}
