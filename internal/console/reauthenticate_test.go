package console

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/oidc/oidctest"
	"example.com/curfew/internal/store"
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
		says("This is not your password.", "You are confirming for app.test", "The page that you opened requires that you have authenticated recently.").contains(`value="` + app + `"`).lacks("not the password")
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

// A user who signs in through a provider confirms there that it is them. The attempt
// demands a fresh authentication, and begins a session in which the form that was held
// back is sent again.
func TestConfirmThroughProvider(t *testing.T) {
	s := openProvidersOn(openAsking(t, 15*time.Minute), 0)
	corp := s.add("corp")
	s.add("other")
	b := s.browser()
	b.through("/sign-in/corp", "corp").to("/")
	_, _, err := s.accounts.ChangeUser(t.Context(), trusted, b.session().Subject, account.UserChange{Permissions: &[]string{store.AdministerSystem}}, "")
	s.must(err)
	send := func() answer {
		return s.send(b.cookies[sessionCookie], http.MethodPost, "/services", url.Values{"name": {"ledger"}, "follow": {"on"}})
	}
	link := "/sign-in/corp?max_age=0&prompt=login&return=%2Fsigned-in&user=" + b.session().Subject
	page := send().is(http.StatusUnauthorized).says("Confirm it is you", "Authenticate in a new tab", "Authenticate with corp", "Send again").contains(`value="ledger"`)
	if !slices.Contains(page.hrefs(), link) || strings.Contains(page.body, "/sign-in/other") || strings.Contains(page.body, confirmPassword) {
		t.Errorf("the page is %s", page.body)
	}

	// What leads on is the provider; sending again before says so, and is not kept.
	const notYet = "You have not authenticated yet."
	page.contains(`<a class="button primary" href="`+strings.ReplaceAll(link, "&", "&amp;")+`"`, `<button name="sent_again" value="on">Send again`).lacks(notYet)
	s.send(b.cookies[sessionCookie], http.MethodPost, "/services", url.Values{"name": {"ledger"}, "follow": {"on"}, "sent_again": {"on"}}).
		is(http.StatusUnauthorized).says(notYet).contains(`value="ledger"`).lacks(`type="hidden" name="sent_again"`)
	ben := s.user("ben")
	s.send(b.cookies[sessionCookie], http.MethodPost, userPath(ben.ID)+"/permissions", url.Values{store.AdministerSystem: {"on"}}).
		is(http.StatusUnauthorized).says("Users › ben", "You are about to change the permissions of “ben”.")

	before := b.cookies[sessionCookie]
	corp.Set(func(b *oidctest.Behavior) { b.Ignores = true })
	first := b.get(link)
	to, err := url.Parse(first.location)
	s.must(err)
	if q := to.Query(); q.Get("prompt") != "login" || q.Get("max_age") != "0" {
		t.Errorf("to the provider: %s", first.location)
	}
	again := b.get(b.respond(first, "corp")).is(http.StatusForbidden).says("You have to authenticate again to confirm that it is you.")
	if !slices.Contains(again.hrefs(), link) || s.outcome() != "corp: not_authenticated_again" || b.cookies[sessionCookie] != before {
		t.Errorf("an old authentication: %q, %s", s.outcome(), again.body)
	}
	send().is(http.StatusUnauthorized)

	corp.Set(func(b *oidctest.Behavior) { b.Ignores = false })
	b.get(b.respond(b.get(link), "corp")).to("/signed-in")
	if b.cookies[sessionCookie] == before || s.reason(before) != token.ErrRevoked {
		t.Errorf("the session before is %q", s.reason(before))
	}
	send().is(http.StatusCreated).says("Secret of ledger")

	// On behalf of a proxied service the browser goes back there at once.
	s.wait(6 * time.Minute)
	const app = "https://app.test/pay?x=1"
	page = b.get("/reauthenticate?" + url.Values{"return": {app}, "max_age": {"300"}}.Encode()).is(http.StatusOK).says("You are confirming for app.test")
	back := "/sign-in/corp?" + url.Values{"max_age": {"0"}, "prompt": {"login"}, "return": {app}, "user": {b.session().Subject}}.Encode()
	if !slices.Contains(page.hrefs(), back) || strings.Contains(page.body, confirmPassword) {
		t.Errorf("the page is %s", page.body)
	}
	if got := b.get(b.respond(b.get(back), "corp")).is(http.StatusOK).header.Get("Refresh"); got != "0; url="+app {
		t.Errorf("Refresh %q", got)
	}
}

// Only the user who was asked to confirm can do so: another account of the provider changes
// nothing, whether it is known here or not, and whether or not the session has timed out in
// the meantime. A confirmation keeps a session with remember me as it is.
func TestConfirmByAnotherUser(t *testing.T) {
	s := openProvidersOn(openAsking(t, 15*time.Minute), 0)
	corp := s.add("corp")
	as := func(subject, name string) {
		corp.Set(func(b *oidctest.Behavior) {
			b.Subject, b.Extra = subject, map[string]any{"preferred_username": name}
		})
	}
	as("subject-2", "ben")
	s.browser().through("/sign-in/corp", "corp").to("/")
	as("subject-1", "ann")
	b := s.browser()
	b.through("/sign-in/corp?remember_me=on", "corp").to("/")
	ann := b.session()
	if !ann.RememberMe {
		t.Fatal("the session is without remember me")
	}
	users := func() int64 {
		_, _, n, err := s.accounts.UsersWhere(t.Context(), trusted, account.UserFilter{}, "", 0)
		s.must(err)
		return n
	}
	s.wait(time.Hour)
	page := b.get("/reauthenticate?max_age=60&return=/profile").is(http.StatusOK)
	var link string
	for _, href := range page.hrefs() {
		if strings.HasPrefix(href, "/sign-in/corp?") {
			link = href
		}
	}
	n, before, audited := users(), b.cookies[sessionCookie], len(s.audits(wire.ActionSignIn))
	for subject, name := range map[string]string{"subject-2": "ben", "subject-3": "eve"} {
		as(subject, name)
		a := b.get(b.respond(b.get(link), "corp")).is(http.StatusForbidden).
			says("Another account", "Nothing was changed.", "You are still signed in as ann.", "To confirm, authenticate with the account of that user.")
		if b.cookies[sessionCookie] != before || s.reason(before) != "" || s.outcome() != "corp: another_user" || users() != n {
			t.Errorf("%s: the session is %q, counted %q, %d users", name, s.reason(before), s.outcome(), users())
		}
		if again := strings.Replace(link, "&return=", "&remember_me=on&return=", 1); !slices.Contains(a.hrefs(), again) {
			t.Errorf("%s: the page leads to %v, not to %s", name, a.hrefs(), again)
		}
	}
	if e := s.audits(wire.ActionSignInFailed); len(e) != 2 || e[0].TargetName != "ann" || !strings.Contains(e[0].Reason, "another user") {
		t.Errorf("the audit has %+v", e)
	}
	if got := len(s.audits(wire.ActionSignIn)); got != audited {
		t.Errorf("%d sign-ins, want %d", got, audited)
	}
	// Without a session, and in that of another user.
	as("subject-2", "ben")
	lost := s.browser()
	lost.get(lost.respond(lost.get(link), "corp")).is(http.StatusForbidden).says("Another account", "Nothing was changed.").saysNot("still signed in")
	other := s.browser()
	other.through("/sign-in/corp", "corp").to("/")
	kept := other.cookies[sessionCookie]
	other.get(other.respond(other.get(link), "corp")).is(http.StatusForbidden).says("You are still signed in as ben.").saysNot("To confirm")
	if other.cookies[sessionCookie] != kept || s.reason(kept) != "" {
		t.Errorf("the session of the other user is %q", s.reason(kept))
	}

	as("subject-1", "ann")
	b.get(b.respond(b.get(link), "corp")).to("/profile")
	if now := b.session(); now == nil || now.Subject != ann.Subject || !now.RememberMe || now.AuthTime <= ann.AuthTime {
		t.Errorf("confirmed: %+v", now)
	}
}

// While passwords are switched off, none confirms a session.
func TestConfirmWithPasswordsOff(t *testing.T) {
	s := open(t)
	p := s.as(s.admin)
	s.must(s.accounts.ChangeSignInMethods(t.Context(), trusted, store.SignInMethods{}))
	p.get("/reauthenticate?return=/users").is(http.StatusOK).says("Signing in with a password is switched off").lacks(confirmPassword)
	before := p.token
	p.post("/reauthenticate", "return", "/users", confirmPassword, password).is(http.StatusForbidden).says("Signing in with a password is switched off.").lacks(password)
	if p.token != before {
		t.Error("the session has another token")
	}
}
