package console

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/settings"
	"example.com/curfew/token"
)

// minute is when a refresh is due with the settings of these tests: a quarter of
// 20 minutes.
const quarter = 5 * time.Minute

// What a person does renews the cookie, once a quarter of the timeout has passed;
// the rule is webcookie.Due's, whose test has the boundaries.
func TestRefresh(t *testing.T) {
	s := open(t)
	p := s.as(s.admin)
	first := p.token
	if a := p.get("/users").is(http.StatusOK); len(a.cookies) != 0 {
		t.Errorf("a new session was renewed at once: %v", a.cookies)
	}
	s.wait(quarter + time.Second)
	a := p.get("/users").is(http.StatusOK)
	if len(a.cookies) != 1 || p.token == first {
		t.Fatalf("a quarter of the timeout later: %d cookies", len(a.cookies))
	}
	c := a.cookies[0]
	if c.Name != "__Host-curfew_session" || !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.MaxAge != 0 || !c.Expires.IsZero() {
		t.Errorf("cookie %+v", c)
	}
	if a := p.get("/audit").is(http.StatusOK); len(a.cookies) != 0 {
		t.Error("renewed twice in a moment")
	}
	// It is the same session, and goes on where the old token would have ended.
	s.wait(20*time.Minute - 2*time.Second)
	if s.reason(first) != token.ErrIdleTimeout || s.reason(p.token) != "" {
		t.Errorf("the old token: %q, the new one: %q", s.reason(first), s.reason(p.token))
	}
}

// Nothing that a page does by itself keeps a session alive.
func TestWhatPagesDoByThemselves(t *testing.T) {
	s := open(t)
	other := s.user("other")
	p := s.as(s.admin)
	epoch := p.post("/users/"+other.ID+"/revoke", "reason", "Offboarding").to("/users/" + other.ID).query("receipt")
	s.wait(quarter + time.Second)
	for _, tt := range []struct {
		what, path string
		header     []string
	}{
		{"the state of the session", "/profile/session", nil},
		{"the state of a receipt", "/revocations/" + epoch + "/state", nil},
		{"a receipt that fetches itself anew", "/revocations/" + epoch + "?renewed=1", nil},
		{"a page for a dialog", "/users/" + other.ID + "/revoke", []string{"Sec-Fetch-Dest", "empty"}},
		{"a page that somebody might want", "/users", []string{"Sec-Purpose", "prefetch"}},
		{"a page that is made ready", "/users", []string{"Sec-Purpose", "prefetch;prerender"}},
		{"the style sheet", "/assets/style.css", nil},
		{"the sign-in page", "/sign-in", nil},
		{"a page that is not there", "/nowhere", nil},
	} {
		before := p.token
		if a := p.get(tt.path, tt.header...); len(a.cookies) != 0 || a.status >= 500 || p.token != before {
			t.Errorf("%s: %d, cookies %v", tt.what, a.status, a.cookies)
		}
	}
	s.wait(20*time.Minute - quarter - 2*time.Second)
	p.get("/profile/session").is(http.StatusOK).says(`"state":"live"`)
	s.wait(2 * time.Second)
	p.get("/profile/session").is(http.StatusOK).says(`"state":"ended"`, "Your session timed out after 20 minutes without activity.")
	// The button that says so does.
	p = s.as(s.admin)
	s.wait(19 * time.Minute)
	if a := p.do(http.MethodPost, "/profile/session", url.Values{}, "Sec-Fetch-Dest", "empty").is(http.StatusOK); len(a.cookies) != 1 {
		t.Errorf("“I am still here” has renewed nothing: %v", a.cookies)
	}
}

func TestState(t *testing.T) {
	s := open(t)
	for _, tt := range []struct {
		what   string
		person *person
		says   []string
	}{
		{"a session", s.as(s.admin), []string{`"state":"live"`, `"user":"` + s.admin.ID + `"`, `"name":"admin"`, `"idle_ms":1199`, `"maximum_ms":1727999`}},
		{"one with remember me", &person{s, s.admin, s.issue(s.admin, true)}, []string{`"state":"live"`, `"idle_ms":-1`, `"maximum_ms":1727999`}},
		{"none", s.nobody(), []string{`"state":"ended"`, `"why":"You have signed out."`}},
		{"nonsense", &person{site: s, token: "nonsense"}, []string{`"state":"ended"`, `"why":"Your session is no longer accepted here."`}},
	} {
		a := tt.person.get("/profile/session").is(http.StatusOK).says(tt.says...)
		if got := a.header.Get("Content-Type"); got != "application/json" {
			t.Errorf("%s: Content-Type %q", tt.what, got)
		}
	}
}

// Requests at the same time, all with the same cookie, of which each may renew
// it: whichever answer comes last, nobody is signed out.
func TestParallelRequests(t *testing.T) {
	s := open(t)
	first := s.as(s.admin).token
	s.wait(quarter + time.Second)
	var all sync.WaitGroup
	answers := make([]answer, 20)
	for i := range answers {
		all.Go(func() { answers[i] = s.send(first, http.MethodGet, "/users", nil) })
	}
	all.Wait()
	for i, a := range answers {
		if a.status != http.StatusOK {
			t.Fatalf("request %d: %d", i, a.status)
		}
		for _, c := range a.cookies {
			s.send(c.Value, http.MethodGet, "/users", nil).is(http.StatusOK)
		}
	}
	s.send(first, http.MethodGet, "/users", nil).is(http.StatusOK)
}

// A request that was on its way with the old cookie when “Sign out everywhere
// else” gave the browser a new one must not take that away.
func TestLateRequestTakesNoCookieAway(t *testing.T) {
	s := open(t)
	p := s.as(s.admin)
	old := p.token
	p.post("/profile/elsewhere").to("/profile")
	if p.token == old || s.reason(p.token) != "" || s.reason(old) != token.ErrRevoked {
		t.Fatalf("old token: %q, new token: %q", s.reason(old), s.reason(p.token))
	}
	late := s.send(old, http.MethodGet, "/users", nil).to("/sign-in")
	if len(late.cookies) != 0 {
		t.Fatalf("the late request sets %v", late.cookies)
	}
	// The browser follows with the new cookie, and is sent on to where it wanted to go.
	p.get(late.location).to("/users")
}

// Whatever revokes the session that asks for it is answered with no cookie that
// survives it, be a refresh due at that moment or not.
func TestAnswersToRevocations(t *testing.T) {
	for _, due := range []bool{false, true} {
		for _, tt := range []struct {
			what string
			do   func(p *person, other store.User) answer
			to   string
		}{
			{"signing out", func(p *person, _ store.User) answer { return p.post("/sign-out") }, "/sign-in"},
			{"one's own sessions", func(p *person, _ store.User) answer { return p.post("/profile/revoke") }, "/sign-in"},
			{"this session", func(p *person, _ store.User) answer {
				sessions, err := p.sessions.List(context.Background(), trusted, p.user.ID)
				p.must(err)
				s, err := p.validator.Validate(context.Background(), p.token)
				p.must(err)
				if len(sessions) != 1 || sessions[0].ID != s.ID {
					p.Fatalf("sessions %v", sessions)
				}
				return p.post("/users/" + p.user.ID + "/sessions/" + s.ID + "/revoke")
			}, "/sign-in"},
			{"oneself as any user", func(p *person, _ store.User) answer {
				return p.post("/users/"+p.user.ID+"/revoke", "reason", "Offboarding")
			}, "/sign-in"},
			{"everyone", func(p *person, _ store.User) answer {
				return p.post("/revocations/confirmed", "scope", "everyone", "reason", "Malicious activity")
			}, "/sign-in"},
			{"many, oneself among them", func(p *person, other store.User) answer {
				return p.post("/revocations/confirmed", "scope", "users", "ids", other.ID+"\n"+p.user.ID, "reason", "Malicious activity")
			}, "/sign-in"},
			{"disabling oneself", func(p *person, _ store.User) answer { return p.post("/users/" + p.user.ID + "/disable") }, "/sign-in"},
			{"retiring the key", func(p *person, _ store.User) answer {
				s, err := p.validator.Validate(context.Background(), p.token)
				p.must(err)
				return p.post("/keys/retire", "kid", s.KeyID, "reason", "Key lost")
			}, "/sign-in"},
		} {
			t.Run(tt.what, func(t *testing.T) {
				s := open(t)
				p := s.as(s.user("second", store.AdministerSystem))
				old := p.token
				if due {
					s.wait(quarter + time.Second)
				}
				a := tt.do(p, s.user("other")).to(tt.to)
				if s.reason(old) == "" {
					t.Errorf("the session lives on")
				}
				if len(a.cookies) != 1 || a.cookies[0].Value != "" || a.cookies[0].MaxAge != -1 {
					t.Errorf("cookies %v, want the one taken away", a.cookies)
				}
				if got := a.header.Get("Clear-Site-Data"); got != `"cache"` {
					t.Errorf("Clear-Site-Data %q: the back button would show what was there", got)
				}
			})
		}
	}
}

// The same for what keeps this session: the one cookie is the session's, and the
// others are over.
func TestKeepingThisSession(t *testing.T) {
	for _, due := range []bool{false, true} {
		s := open(t)
		p := s.as(s.admin)
		elsewhere, old := s.issue(s.admin, true), p.token
		if due {
			s.wait(quarter + time.Second)
		}
		a := p.post("/profile/elsewhere").to("/profile")
		if len(a.cookies) != 1 || s.reason(a.cookies[0].Value) != "" {
			t.Fatalf("cookies %v", a.cookies)
		}
		if s.reason(old) != token.ErrRevoked || s.reason(elsewhere) != token.ErrRevoked {
			t.Errorf("the old token: %q, another session's: %q; want both revoked", s.reason(old), s.reason(elsewhere))
		}
		p.get(a.location).is(http.StatusOK).says("You are signed out everywhere else.", "Receipt", "signed out everywhere else", "In force everywhere")
	}
}

// Changing one's own password keeps this session alone.
func TestOwnPassword(t *testing.T) {
	s := open(t)
	p := s.as(s.admin)
	elsewhere := s.issue(s.admin, false)
	const next = "another twelve bytes"
	p.post("/profile/password", "current", "wrong password", "new", next, "again", next).is(http.StatusUnprocessableEntity).says("This is not your current password.")
	p.post("/profile/password", "current", password, "new", next, "again", next+"x").is(http.StatusUnprocessableEntity).says("The two new passwords differ.")
	p.post("/profile/password", "current", password, "new", "short", "again", "short").is(http.StatusUnprocessableEntity)
	if s.reason(elsewhere) != "" {
		t.Fatal("a change that was refused has revoked")
	}
	a := p.post("/profile/password", "current", password, "new", next, "again", next).to("/profile")
	p.get(a.location).is(http.StatusOK).says("Your password is changed.")
	if s.reason(elsewhere) != token.ErrRevoked {
		t.Error("another session goes on")
	}
	s.nobody().post("/sign-in", "username", "admin", "password", password).is(http.StatusUnauthorized)
	s.nobody().post("/sign-in", "username", "admin", "password", next).to("/")
}

// A form that arrives with a session that has ended does nothing, and comes back
// with all that was typed but the passwords.
func TestEndedSessionLosesNothing(t *testing.T) {
	s := open(t)
	p := s.as(s.admin)
	s.wait(20 * time.Minute)
	a := p.post("/users", "name", `Zoë "Z" <Zoë>`, "email", "z@example.com", "password", "a secret of hers").is(http.StatusUnauthorized)
	a.says("Your session timed out after 20 minutes without activity.", "nothing that you have typed is lost", "Sign in again", "Please type it again")
	if strings.Contains(a.body, "a secret of hers") {
		t.Error("the password came back")
	}
	if len(a.cookies) != 0 {
		t.Errorf("cookies %v", a.cookies)
	}
	p.token = s.issue(s.admin, false)
	p.get("/signed-in").is(http.StatusOK).says("You can close this tab now")
	to := p.post("/users", "name", a.input("name"), "email", a.input("email"), "password", "a secret of hers").location
	p.get(to).is(http.StatusOK).says(`Zoë "Z" <Zoë>`, "The account is there.")
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
		{"never signed in", func() string { return "" }, "Sign in to see that page."},
		{"timed out", func() string {
			raw := s.issue(other, false)
			s.wait(20 * time.Minute)
			return raw
		}, "Your session timed out after 20 minutes without activity."},
		{"too old", func() string {
			raw := s.issue(other, true)
			s.wait(20 * 24 * time.Hour)
			return raw
		}, "Your session reached the maximum session duration of 20 days."},
		{"revoked by an administrator", func() string {
			raw := s.issue(other, false)
			s.as(s.admin).post("/users/"+other.ID+"/revoke", "reason", "Offboarding").to("/users/" + other.ID)
			return raw
		}, "Your sessions were revoked by an administrator."},
		{"revoked by oneself elsewhere", func() string {
			raw := s.issue(other, false)
			s.as(other).post("/profile/elsewhere").to("/profile")
			return raw
		}, "You revoked this session, or signed out, elsewhere."},
		{"revoked by an administrator among many", func() string {
			raw := s.issue(other, false)
			s.as(s.admin).post("/revocations/confirmed", "scope", "users", "ids", other.ID+"\n"+s.admin.ID, "reason", "Offboarding").to("/sign-in")
			return raw
		}, "Your sessions were revoked by an administrator."},
		{"everyone revoked by the command line", func() string {
			raw := s.issue(other, false)
			_, err := s.sessions.RevokeMany(context.Background(), trusted, wire.RevokeMany{Scope: "everyone", Reason: "test"}, 0)
			s.must(err)
			return raw
		}, "Your sessions were revoked by an administrator."},
		{"signed out", func() string {
			p := s.as(other)
			raw := p.token
			p.post("/sign-out").to("/sign-in")
			return raw
		}, "You revoked this session, or signed out, elsewhere."},
		{"not a token", func() string { return "x.y.z" }, "Your session is no longer accepted here."},
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
	// Nobody can make the page say anything else.
	s.nobody().get("/sign-in?why=Your+account+was+hacked").is(http.StatusOK).saysNot("hacked")
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
			p := s.nobody()
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
	p := s.nobody()
	for _, tt := range []struct{ name, password string }{{"admin", "wrong password!"}, {"nobody", password}, {"", ""}, {"<script>", "x"}} {
		a := p.post("/sign-in", "username", tt.name, "password", tt.password, "return", "/users").is(http.StatusUnauthorized)
		a.says("The name or the password is wrong.")
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
			a.says("There were too many wrong attempts. Try again in")
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

// A new session each time; the one that the browser had is over.
func TestSignInOverSession(t *testing.T) {
	s := open(t)
	p := s.as(s.user("other"))
	old := p.token
	p.get("/sign-in").is(http.StatusOK).says("You are signed in as other. Signing in anew ends that session.")
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

// Remember me is not there when it is switched off, and asking for it all the
// same yields an ordinary session.
func TestRememberMeOff(t *testing.T) {
	s := open(t)
	s.nobody().get("/sign-in").is(http.StatusOK).says("Remember me")
	in, tag, err := s.sessions.Settings(context.Background())
	s.must(err)
	in.RememberMeEnabled = false
	_, _, err = s.sessions.ChangeSettings(context.Background(), trusted, in.Settings, tag)
	s.must(err)
	s.nobody().get("/sign-in").is(http.StatusOK).saysNot("Remember me")
	a := s.nobody().post("/sign-in", "username", "admin", "password", password, "remember_me", "on").to("/")
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
		a := s.nobody().post("/sign-in", "username", "admin", "password", password, "return", raw).is(http.StatusSeeOther)
		if a.location != want {
			t.Errorf("return=%q leads to %q, want %q", raw, a.location, want)
		}
	}
	// A host that forward auth trusts, by way of a page of ours.
	a := s.nobody().post("/sign-in", "username", "admin", "password", password, "return", "http://app.test/inbox?x=y").is(http.StatusOK)
	if a.says("Go on"); !strings.Contains(a.body, `href="http://app.test/inbox?x=y"`) || len(a.cookies) != 1 {
		t.Errorf("cookies %v, links %v", a.cookies, a.hrefs())
	}
}

// While the store is away the pages say so calmly, take nothing away, and give
// back what was sent.
func TestUnavailable(t *testing.T) {
	s := open(t)
	p := s.as(s.admin)
	s.wait(quarter + time.Second) // a refresh is due as well
	s.store.Close()
	check := func(a answer) answer {
		t.Helper()
		a.is(http.StatusServiceUnavailable)
		if len(a.cookies) != 0 {
			t.Errorf("a 503 sets a cookie: %v", a.cookies)
		}
		if a.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		return a
	}
	for _, path := range []string{"/", "/profile", "/users", "/settings/authentication", "/audit", "/keys", "/services", "/signed-in"} {
		check(p.get(path)).says("For a moment this cannot be told", "You are still signed in", "Try again")
	}
	a := check(p.post("/users", "name", "Zoë", "password", "a secret of hers")).says("What you had sent", "Please type it again")
	if a.input("name") != "Zoë" || strings.Contains(a.body, "a secret of hers") {
		t.Error("the form did not come back as it should")
	}
	check(p.post("/sign-out"))
	check(p.post("/profile/revoke"))
	check(s.nobody().post("/sign-in", "username", "admin", "password", password))
	s.nobody().get("/sign-in").is(http.StatusOK)
	if state := p.get("/profile/session"); state.status != http.StatusServiceUnavailable || !strings.Contains(state.body, `"unknown"`) {
		t.Errorf("the state: %d %s", state.status, state.body)
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
	s.nobody().post("/sign-out").to("/sign-in")
}
