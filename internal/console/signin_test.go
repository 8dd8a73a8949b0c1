package console

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/curfew/internal/inbound"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/webcookie"
	"example.com/curfew/settings"
	"example.com/curfew/token"
)

// A form that arrives with a session that has ended does nothing, and comes back
// with all that was typed but the passwords.
func TestEndedSessionLosesNothing(t *testing.T) {
	s := open(t)
	p := s.as(s.admin)
	s.wait(20 * time.Minute)
	a := p.post("/users", "name", `Zoë "Z" <Zoë>`, "email", "z@example.com", "password", "a secret of hers").is(http.StatusUnauthorized)
	a.says("Your session timed out for lack of activity.", "your input is kept", "Sign in again", "Enter them again")
	if strings.Contains(a.body, "a secret of hers") {
		t.Error("the password came back")
	}
	if len(a.cookies) != 0 {
		t.Errorf("cookies %v", a.cookies)
	}
	p.token = s.issue(s.admin, false)
	p.get("/signed-in").is(http.StatusOK).says("Close this tab")
	to := p.post("/users", "name", a.input("name"), "email", a.input("email"), "password", "a secret of hers").location
	p.get(to).is(http.StatusOK).says(`Zoë "Z" <Zoë>`, "Account created.")
}

// A page that is asked for with a session that has ended says why one is to sign
// in, and leads back.
func TestWhySignIn(t *testing.T) {
	s := open(t)
	other := s.user("other", store.AdministerSystem)
	for _, tt := range []struct {
		what string
		end  func() string // returns the token that is over
		says string
	}{
		{"never signed in", func() string { return "" }, "Sign in to open this page."},
		{"timed out", func() string {
			raw := s.issue(other, false)
			s.wait(20 * time.Minute)
			return raw
		}, "Your session timed out for lack of activity."},
		{"too old", func() string {
			raw := s.issue(other, true)
			s.wait(20 * 24 * time.Hour)
			return raw
		}, "Your session reached the maximum session duration."},
		{"revoked by an administrator", func() string {
			raw := s.issue(other, false)
			s.as(s.admin).post("/users/"+other.ID+"/revoke", "reason", "Offboarding").to("/users/" + other.ID)
			return raw
		}, "An administrator revoked your sessions."},
		{"revoked by oneself elsewhere", func() string {
			raw := s.issue(other, false)
			s.as(other).post("/profile/elsewhere").to("/profile")
			return raw
		}, "You revoked this session or signed out elsewhere."},
		{"a new password by an administrator", func() string {
			raw := s.issue(other, false)
			s.as(s.admin).post("/users/"+other.ID+"/password", "new", password).to("/users/" + other.ID)
			return raw
		}, "An administrator set a new password for your account. That ended all your sessions, including this one."},
		{"a change of password elsewhere", func() string {
			raw := s.issue(other, false) // with the password of the case above
			s.as(other).post("/profile/password", "current", password, "new", password+"!", "again", password+"!").to("/profile")
			return raw
		}, "You changed your password on another device or in another browser. That ended your other sessions"},
		{"revoked by an administrator among many", func() string {
			raw := s.issue(other, false)
			s.as(s.admin).post("/revocations/confirmed", "scope", "users", "ids", other.ID+"\n"+s.admin.ID, "reason", "Offboarding").to("/sign-in")
			return raw
		}, "An administrator revoked your sessions."},
		{"everyone revoked by the command line", func() string {
			raw := s.issue(other, false)
			_, err := s.sessions.RevokeMany(context.Background(), trusted, session.Many{Scope: "everyone", Reason: "test"}, 0)
			s.must(err)
			return raw
		}, "An administrator revoked your sessions."},
		{"signed out", func() string {
			p := s.as(other)
			raw := p.token
			p.post("/sign-out").to("/sign-in")
			return raw
		}, "You revoked this session or signed out elsewhere."},
		{"disabled", func() string {
			raw := s.issue(other, false)
			s.as(s.admin).post("/users/"+other.ID+"/disable", "reason", "Offboarding").to("/users/" + other.ID)
			return raw
		}, "Your account was disabled. That ended all your sessions."},
		{"deleted", func() string {
			gone := s.user("gone", store.AdministerSystem)
			raw := s.issue(gone, false)
			_, err := s.sessions.DeleteUser(context.Background(), trusted, gone.ID, "Offboarding", 0)
			s.must(err)
			return raw
		}, "Your account was deleted. That ended all your sessions."},
		{"not a token", func() string { return "x.y.z" }, "Your session is no longer accepted."},
	} {
		t.Run(tt.what, func(t *testing.T) {
			raw := tt.end()
			a := s.send(raw, http.MethodGet, "/audit?person=a%26b", nil).to("/sign-in")
			if got := a.query("return"); got != "/audit?person=a%26b" {
				t.Errorf("leads back to %q", got)
			}
			s.send(raw, http.MethodGet, a.location, nil).is(http.StatusOK).says(tt.says)
		})
	}
	// A link cannot make the page show other texts.
	s.signedOut().get("/sign-in?why=Your+account+was+hacked").is(http.StatusOK).saysNot("hacked")
}

func TestSignIn(t *testing.T) {
	s := open(t)
	in := settings.Default()
	for _, tt := range []struct {
		what     string
		remember bool
		maxAge   time.Duration
	}{{"for the browser's session", false, 0}, {"remember me", true, in.MaximumSessionDuration}} {
		t.Run(tt.what, func(t *testing.T) {
			p := s.signedOut()
			fields := []string{"username", " ADMIN ", "password", password, "return", "/users?search=a"}
			if tt.remember {
				fields = append(fields, "remember_me", "on")
			}
			a := p.post("/sign-in", fields...).is(http.StatusSeeOther)
			if a.location != "/users?search=a" {
				t.Errorf("leads to %q", a.location)
			}
			c := a.cookies[0]
			if c.MaxAge > int(tt.maxAge/time.Second) || c.MaxAge < int(tt.maxAge/time.Second)-2 || c.Name != "__Host-curfew_session" || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode {
				t.Errorf("cookie %+v", c)
			}
			p.get("/profile").is(http.StatusOK).says("admin", "This session")
		})
	}
}

func TestSignInRefused(t *testing.T) {
	s := open(t)
	p := s.signedOut()
	for _, tt := range []struct{ name, password string }{{"admin", "wrong password!"}, {"nobody", password}, {"", ""}, {"<script>", "x"}} {
		a := p.post("/sign-in", "username", tt.name, "password", tt.password, "return", "/users").is(http.StatusUnauthorized)
		a.says("The name or password is wrong.")
		if a.input("username") != tt.name || a.input("return") != "/users" {
			t.Errorf("%q came back as %q, to %q", tt.name, a.input("username"), a.input("return"))
		}
		if tt.password != "" && strings.Contains(a.body, `value="`+tt.password) || len(a.cookies) != 0 {
			t.Errorf("%q: the password came back, or a cookie: %v", tt.name, a.cookies)
		}
	}
	limited := false
	for range 40 {
		a := p.post("/sign-in", "username", "admin", "password", "wrong password!")
		if a.status == http.StatusTooManyRequests {
			limited = true
			a.says("Too many attempts. Try again in")
			if a.header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
			break
		}
	}
	if !limited {
		t.Error("forty wrong attempts were all looked at")
	}
}

// Others fail in a user's name until no attempt from elsewhere is looked at. The
// browser in which the user's session has timed out still gets in.
func TestSignInWithAnEarlierCookie(t *testing.T) {
	s := open(t)
	p := s.as(s.admin)
	s.wait(25 * time.Minute) // the session times out
	p.get("/").is(http.StatusSeeOther)
	for range 10 {
		s.signedOut().post("/sign-in", "username", "admin", "password", "wrong password!").is(http.StatusUnauthorized)
	}
	s.signedOut().post("/sign-in", "username", "admin", "password", password).is(http.StatusTooManyRequests)
	p.post("/sign-in", "username", "admin", "password", password).is(http.StatusSeeOther)
}

// A new session each time; the browser's previous session is over.
func TestSignInOverSession(t *testing.T) {
	s := open(t)
	p := s.as(s.user("other"))
	old := p.token
	p.get("/sign-in").is(http.StatusOK).says("You are signed in as other. Signing in again ends that session.")
	p.post("/sign-in", "username", "admin", "password", "wrong password!").is(http.StatusUnauthorized)
	if s.reason(old) != "" {
		t.Fatal("an attempt that failed has ended the session")
	}
	p.post("/sign-in", "username", "admin", "password", password).to("/")
	if s.reason(old) != token.ErrRevoked {
		t.Errorf("the old session: %q, want revoked", s.reason(old))
	}
	if p.token == old || s.reason(p.token) != "" {
		t.Error("no new session")
	}
}

// Cookies of two sessions are refused, and the way out works: a sign-in, or a sign-out,
// ends both and takes away what the browser has for the host and its domains.
func TestTwoSessionsInCookies(t *testing.T) {
	s := open(t)
	config := s.config
	config.Jar = webcookie.Jar{Domain: "console.test"}
	handler, err := New(config)
	s.must(err)
	s.handler = inbound.Wrap(inbound.Config{}, handler)
	cookies := func(raw ...string) []string {
		name := config.Jar.Name() + "="
		return []string{"Cookie", name + strings.Join(raw, "; "+name), "X-Forwarded-Host", "a.b.console.test"}
	}
	other := s.user("other")
	for _, tt := range []struct {
		path string
		form url.Values
		left int // cookies with a value
	}{
		{"/sign-in", url.Values{"username": {"admin"}, "password": {password}}, 1},
		{"/sign-out", url.Values{}, 0},
	} {
		one, two := s.issue(s.admin, false), s.issue(other, false)
		s.send("", "GET", "/profile", nil, cookies(one, "x.y.z")...).is(http.StatusOK)
		a := s.send("", "GET", "/profile", nil, cookies(one, two)...).is(http.StatusSeeOther)
		if !strings.Contains(a.location, "why=two_sessions") {
			t.Fatalf("to %s", a.location)
		}
		s.send("", "GET", a.location, nil, cookies(one, two)...).is(http.StatusOK).says("Your browser sent two sessions for this site. Sign in again: this ends both.")
		a = s.send("", "POST", tt.path, tt.form, cookies(one, two)...).is(http.StatusSeeOther)
		if s.reason(one) != token.ErrRevoked || s.reason(two) != token.ErrRevoked {
			t.Errorf("%s: the sessions are %q and %q, want both revoked", tt.path, s.reason(one), s.reason(two))
		}
		left, domains := 0, []string{}
		for _, c := range a.cookies {
			domains = append(domains, c.Domain)
			if c.Value != "" {
				left++
			}
		}
		if want := []string{"", "a.b.console.test", "b.console.test", "console.test"}; !slices.Equal(domains, want) || left != tt.left {
			t.Errorf("%s: cookies for %q, %d with a value; want %q, %d", tt.path, domains, left, want, tt.left)
		}
	}
}

// Remember me is not there when it is switched off, and asking for it all the
// same yields an ordinary session.
func TestRememberMeOff(t *testing.T) {
	s := open(t)
	s.signedOut().get("/sign-in").is(http.StatusOK).says("Remember me")
	in, tag, err := s.sessions.Settings(context.Background())
	s.must(err)
	in.RememberMeEnabled = false
	_, _, err = s.sessions.ChangeSettings(context.Background(), trusted, in.Settings, tag)
	s.must(err)
	s.signedOut().get("/sign-in").is(http.StatusOK).saysNot("Remember me")
	a := s.signedOut().post("/sign-in", "username", "admin", "password", password, "remember_me", "on").to("/")
	if a.cookies[0].MaxAge != 0 {
		t.Errorf("a cookie that lasts: %v", a.cookies[0])
	}
}

// Where a sign-in may lead: TestBack has every trick, this that they meet it.
func TestSignInLeadsNowhereElse(t *testing.T) {
	s := open(t)
	for raw, want := range map[string]string{
		"/users": "/users", "//evil": "/", `/\evil`: "/", "/%09/evil": "/", "javascript:alert(1)": "/",
		"https://evil.test/": "/", "http://app.test.evil.test/": "/", "": "/",
	} {
		a := s.signedOut().post("/sign-in", "username", "admin", "password", password, "return", raw).is(http.StatusSeeOther)
		if a.location != want {
			t.Errorf("return=%q leads to %q, want %q", raw, a.location, want)
		}
	}
}

// A host that forward auth trusts is returned to by way of a page with a Refresh
// header, and the sign-in page names it.
func TestSignInReturnsToService(t *testing.T) {
	s := open(t)
	for raw, want := range map[string]string{
		"http://app.test/inbox?x=y":                   "http://app.test/inbox?x=y",
		"http://app.test":                             "http://app.test",
		"http://app.test/a;b,c'd?q=a%26b&r=%22;url=x": "http://app.test/a;b,c'd?q=a%26b&r=%22;url=x",
		`http://app.test/a b?q="ü"\`:                  "http://app.test/a%20b?q=%22%C3%BC%22%5C",
		"http://app.test?;url=http://evil.test/":      "http://app.test?;url=http://evil.test/",
	} {
		s.signedOut().get("/sign-in?return=" + url.QueryEscape(raw)).is(http.StatusOK).says("You are signing in for app.test.")
		s.signedOut().post("/sign-in", "username", "admin", "password", "wrong password!", "return", raw).is(http.StatusUnauthorized).says("You are signing in for app.test.")
		a := s.signedOut().post("/sign-in", "username", "admin", "password", password, "return", raw).is(http.StatusOK)
		if got := a.header.Get("Refresh"); got != "0; url="+want {
			t.Errorf("return=%q: Refresh: %s, want it to lead to %s", raw, got, want)
		}
		link := strings.ReplaceAll(want, "'", "%27") // as html/template writes it
		if a.says("Continue to app.test"); !slices.Contains(a.hrefs(), link) || len(a.cookies) != 1 {
			t.Errorf("return=%q: cookies %v, links %v", raw, a.cookies, a.hrefs())
		}
	}
	for _, raw := range []string{"javascript:alert(1)", "data:text/html,x", "https://evil.test/", "http://app.test\\@evil.test/", "http://app.test\t/", "/users", "//app.test/", "http://app.test.evil.test/", "http://app.test@evil.test/", ""} {
		s.signedOut().get("/sign-in?return=" + url.QueryEscape(raw)).is(http.StatusOK).saysNot("You are signing in for")
		a := s.signedOut().post("/sign-in", "username", "admin", "password", password, "return", raw).is(http.StatusSeeOther)
		if a.header.Get("Refresh") != "" || a.location != back(raw) {
			t.Errorf("return=%q: Refresh: %s, Location: %s", raw, a.header.Get("Refresh"), a.location)
		}
	}
	// A service that refuses a session that is good here sends the browser back again:
	// a refresh would go round for ever.
	p := s.as(s.admin)
	a := p.get("/sign-in?why=malformed&return=http://app.test/").is(http.StatusOK).says("You are signed in", "Continue to app.test")
	if a.header.Get("Refresh") != "" {
		t.Errorf("without a sign-in: Refresh: %s", a.header.Get("Refresh"))
	}
	if a := p.get("/sign-in?return=http://app.test/x").is(http.StatusOK); !slices.Contains(a.hrefs(), "http://app.test/x") {
		t.Errorf("links %v: none continues with the session that there is", a.hrefs())
	}
}

// A proxy that cannot percent-encode puts the address as it is at the end of the
// query: see webcookie.EscapeReturn.
func TestSignInKeepsTheWholeAddress(t *testing.T) {
	s := open(t)
	for query, want := range map[string]string{
		"return=http://app.test/list?page=2&q=a%26b;c": "http://app.test/list?page=2&amp;q=a%26b;c",
		"why=revoked&return=http://app.test/?a=1%25&b": "http://app.test/?a=1%25&amp;b",
	} {
		a := s.signedOut().get("/sign-in?" + query).is(http.StatusOK)
		if field := `name="return" value="` + want + `"`; !strings.Contains(a.body, field) {
			t.Errorf("the page has no field %s", field)
		}
	}
	if a := s.signedOut().get("/sign-in?return=http://evil.test/?a&b").is(http.StatusOK); strings.Contains(a.body, "evil.test") {
		t.Error("the page leads to a host that is not on the list")
	}
}

// Signing out with a session that has ended already, or with none.
func TestSignOutTwice(t *testing.T) {
	s := open(t)
	p := s.as(s.admin)
	raw := p.token
	p.post("/sign-out").to("/sign-in")
	p.token = raw
	p.post("/sign-out").to("/sign-in")
	s.signedOut().post("/sign-out").to("/sign-in")
}
