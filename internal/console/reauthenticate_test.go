package console

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/wire"
	"example.com/curfew/token"
)

// authTime returns when the user of a token authenticated.
func (s *site) authTime(raw string) token.UnixTime {
	s.Helper()
	sess, err := s.validator.Validate(s.Context(), raw)
	s.must(err)
	return sess.AuthTime
}

// The page "Confirm it is you" asks for the password on behalf of a proxied service: it
// gives the browser a newer token of the session and sends it back, and only to where it
// may go. A session that is recent enough goes on without a question.
func TestReauthenticatePage(t *testing.T) {
	s := open(t)
	const app = "https://app.test/pay?x=1"
	page := "/reauthenticate?" + url.Values{"return": {app}, "max_age": {"300"}}.Encode()
	p := s.signedOut()
	a := p.get(page)
	a.is(http.StatusSeeOther)
	if !strings.HasPrefix(a.location, "/sign-in?return=%2Freauthenticate%3F") {
		t.Errorf("without a session: to %s", a.location)
	}
	p.post("/sign-in", "username", "admin", "password", password).is(http.StatusSeeOther)
	p.get(page).is(http.StatusOK).says("You are signed in", "Continue to app.test")
	first := p.token
	s.wait(5*time.Minute + 2*time.Second)
	p.get(page).is(http.StatusOK).says("Confirm it is you", "You are confirming for app.test").contains(`name="confirm_password"`, `value="`+app+`"`)
	p.get("/reauthenticate?return=/users").is(http.StatusOK).says("Confirm it is you")
	p.get("/reauthenticate?max_age=0&return=/users").is(http.StatusOK).says("Confirm it is you")
	p.get("/reauthenticate?max_age=9999999999&return=/users").is(http.StatusOK).says("Confirm it is you")

	old := p.token
	p.post("/reauthenticate", "return", app, "confirm_password", "not the password").is(http.StatusUnauthorized).
		says("This is not your password.", "You are confirming for app.test", "The page that you opened requires").contains(`value="` + app + `"`).lacks("not the password")
	if p.token != old {
		t.Error("a wrong password changed the cookie")
	}
	a = p.post("/reauthenticate", "return", app, "confirm_password", password).is(http.StatusOK)
	if got := a.header.Get("Refresh"); got != "0; url="+app {
		t.Errorf("Refresh %q", got)
	}
	if p.token == old || s.authTime(p.token) < s.authTime(first)+302 {
		t.Errorf("auth_time %d, at the sign-in %d", s.authTime(p.token), s.authTime(first))
	}
	if was, is := s.idOf(&person{s, s.admin, first}), s.idOf(p); was != is {
		t.Errorf("session %s, before %s", is, was)
	}
	p.get(page).is(http.StatusOK).says("You are signed in")
	for to, want := range map[string]string{"/users": "/users", "https://evil.test/": "/", "javascript:alert(1)": "/", "//evil.test": "/"} {
		if a := p.post("/reauthenticate", "return", to, "confirm_password", password).is(http.StatusSeeOther); a.location != want {
			t.Errorf("return %q: to %s, want %s", to, a.location, want)
		}
	}
	p.post("/reauthenticate", "return", "/users").is(http.StatusSeeOther)
}

// The page names the operation of every form of a signed-in user, and Cancel leads to the
// page that has the form.
func TestConfirmationNamesTheOperation(t *testing.T) {
	all := routes(Config{})
	pages := http.NewServeMux()
	for _, r := range all {
		pages.HandleFunc(r.pattern, func(http.ResponseWriter, *http.Request) {})
	}
	known := map[string]bool{}
	for _, r := range all {
		if !strings.HasPrefix(r.pattern, "POST ") || r.needs == anyone {
			continue
		}
		known[r.pattern] = true
		if r.confirming != nil {
			continue
		}
		o := operations[r.pattern]
		if o.words == "" || len(o.trail) == 0 {
			t.Errorf("%s: the page does not say what it confirms", r.pattern)
		}
		path := firstOf(o.page, strings.TrimPrefix(r.pattern, "POST "))
		if _, pattern := pages.Handler(&http.Request{Method: http.MethodGet, URL: &url.URL{Path: path}}); pattern == "" {
			t.Errorf("%s: Cancel leads to %s, which is no page", r.pattern, path)
		}
	}
	for pattern := range operations {
		if !known[pattern] {
			t.Errorf("%s is no form", pattern)
		}
	}
}

// What can be wrong is said on the page; a session that has ended meanwhile is over.
func TestReauthenticateRefused(t *testing.T) {
	s := open(t)
	p := s.signedOut()
	p.post("/sign-in", "username", "admin", "password", password).is(http.StatusSeeOther)
	for range 10 {
		p.post("/reauthenticate", "confirm_password", "wrong").is(http.StatusUnauthorized)
	}
	if a := p.post("/reauthenticate", "confirm_password", password).is(http.StatusTooManyRequests).says("Too many attempts."); a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	s.wait(3 * time.Minute)
	yes := true
	u := s.user("ann")
	_, _, err := s.accounts.ChangeUser(t.Context(), trusted, u.ID, account.UserChange{Password: new(password), MustChangePassword: &yes}, "")
	s.must(err)
	q := s.as(u)
	q.post("/reauthenticate", "confirm_password", password).is(http.StatusForbidden).says("The password of this account must be changed.")
	q.post("/reauthenticate", "confirm_password", "wrong").is(http.StatusUnauthorized)
	ended, err := s.validator.Validate(t.Context(), q.token)
	s.must(err)
	s.must(s.sessions.SignOut(t.Context(), ended, authz.Origin{}))
	a := q.post("/reauthenticate", "return", "/users", "confirm_password", password).is(http.StatusUnauthorized).says("Your session has ended")
	a.lacks(password, "confirm_password")
	if len(a.cookies) != 0 {
		t.Errorf("cookies %v", a.cookies)
	}
	if n := len(s.audits(wire.ActionReauthenticate)); n != 0 {
		t.Errorf("%d confirmations in the audit", n)
	}
}
