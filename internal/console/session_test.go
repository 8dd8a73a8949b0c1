package console

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/curfew/internal/store"
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
		{"a prefetched page", "/users", []string{"Sec-Purpose", "prefetch"}},
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
	s.wait(20*time.Minute - quarter - 30*time.Second)
	p.get("/profile/session").is(http.StatusOK).says(`"state":"live"`)
	s.wait(30 * time.Second)
	p.get("/profile/session").is(http.StatusOK).says(`"state":"ended"`, "Your session timed out for lack of activity.")
	// The button that says so does.
	p = s.as(s.admin)
	s.wait(19 * time.Minute)
	if a := p.do(http.MethodPost, "/profile/session", url.Values{}, "Sec-Fetch-Dest", "empty").is(http.StatusOK); len(a.cookies) != 1 {
		t.Errorf("“Stay signed in” has renewed nothing: %v", a.cookies)
	}
}

func TestState(t *testing.T) {
	s := open(t)
	// The rest of the session, between the two instants at which it can have begun.
	began := s.now().Truncate(time.Second)
	mine := s.as(s.admin)
	body := mine.get("/profile/session").is(http.StatusOK).body
	var state struct {
		Idle    int64 `json:"idle_ms"`
		Maximum int64 `json:"maximum_ms"`
	}
	s.must(json.Unmarshal([]byte(body), &state))
	for what, got := range map[time.Duration]int64{settings.DefaultSessionTimeout: state.Idle, settings.DefaultMaximumSessionDuration: state.Maximum} {
		left := time.Duration(got) * time.Millisecond
		if least, most := began.Add(what).Sub(s.now())-time.Millisecond, what; left < least || left > most {
			t.Errorf("%v is left of %v, want %v to %v", left, what, least, most)
		}
	}
	for _, tt := range []struct {
		what   string
		person *person
		says   []string
	}{
		{"a session", mine, []string{`"state":"live"`, `"user":"` + s.admin.ID + `"`, `"name":"admin"`, `"idle_ms":`, `"maximum_ms":`}},
		{"one with remember me", &person{s, s.admin, s.issue(s.admin, true)}, []string{`"state":"live"`, `"idle_ms":-1`, `"maximum_ms":`}},
		{"none", s.signedOut(), []string{`"state":"ended"`, `"why":"You have signed out."`}},
		{"nonsense", &person{site: s, token: "nonsense"}, []string{`"state":"ended"`, `"why":"Your session is no longer accepted."`}},
	} {
		a := tt.person.get("/profile/session").is(http.StatusOK).says(tt.says...)
		if got := a.header.Get("Content-Type"); got != "application/json" {
			t.Errorf("%s: Content-Type %q", tt.what, got)
		}
	}
}

// Requests at the same time, all with the same cookie, of which each may renew
// it: whichever answer comes last, no user is signed out.
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
				return p.post("/revocations/confirmed", "scope", "everyone", "reason", "Malicious activity", "word", "everyone")
			}, "/sign-in"},
			{"many, oneself among them", func(p *person, other store.User) answer {
				return p.post("/revocations/confirmed", "scope", "users", "ids", other.ID+"\n"+p.user.ID, "reason", "Malicious activity")
			}, "/sign-in"},
			{"disabling oneself", func(p *person, _ store.User) answer { return p.post("/users/" + p.user.ID + "/disable") }, "/sign-in"},
			{"retiring the key", func(p *person, _ store.User) answer {
				s, err := p.validator.Validate(context.Background(), p.token)
				p.must(err)
				return p.post("/keys/retire", "kid", s.KeyID, "reason", "Key lost", "word", "retire")
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
		p.get(a.location).is(http.StatusOK).says("You are signed out everywhere else.", "Receipt", "All your other sessions", "signed out everywhere else", "In force everywhere")
		p.get("/profile/elsewhere").is(http.StatusOK).says("You have no other live session.")
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
	// Everything that is wrong with what was typed, at once.
	p.post("/profile/password", "current", password, "new", "short", "again", "other").is(http.StatusUnprocessableEntity).says("The two new passwords differ.", "at least 12 characters")
	p.post("/profile/password", "current", password, "new", "short", "again", "short").is(http.StatusUnprocessableEntity)
	if s.reason(elsewhere) != "" {
		t.Fatal("a change that was refused has revoked")
	}
	a := p.post("/profile/password", "current", password, "new", next, "again", next).to("/profile")
	p.get(a.location).is(http.StatusOK).says("Password changed.")
	if s.reason(elsewhere) != token.ErrRevoked {
		t.Error("another session goes on")
	}
	s.signedOut().post("/sign-in", "username", "admin", "password", password).is(http.StatusUnauthorized)
	s.signedOut().post("/sign-in", "username", "admin", "password", next).to("/")
}

// While the store is away the pages say so calmly, take nothing away, and give
// back what was sent.
func TestUnavailable(t *testing.T) {
	s := open(t)
	p := s.as(s.admin)
	s.wait(lease + time.Second) // a refresh is due as well
	s.must(s.store.Close())
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
		check(p.get(path)).says("Temporarily unavailable", "You have not been signed out", "Try again")
	}
	a := check(p.post("/users", "name", "Zoë", "password", "a secret of hers")).says("Your input", "Enter them again")
	if a.input("name") != "Zoë" || strings.Contains(a.body, "a secret of hers") {
		t.Error("the form did not come back as it should")
	}
	check(p.post("/sign-out"))
	check(p.post("/profile/revoke"))
	check(s.signedOut().post("/sign-in", "username", "admin", "password", password))
	s.signedOut().get("/sign-in").is(http.StatusOK)
	if state := p.get("/profile/session"); state.status != http.StatusServiceUnavailable || !strings.Contains(state.body, `"unknown"`) {
		t.Errorf("the state: %d %s", state.status, state.body)
	}
}

// The list of one's own sessions begins with the session of the request, however many
// newer ones there are.
func TestThisSessionIsFirst(t *testing.T) {
	s := open(t)
	p := s.as(s.admin)
	for range 2 {
		s.wait(time.Second)
		s.issue(s.admin, true)
	}
	rows := strings.Split(p.get("/profile").is(http.StatusOK).body, `<tr role="row" class="session`)[1:]
	if len(rows) != 3 {
		t.Fatalf("%d sessions", len(rows))
	}
	for i, row := range rows {
		if strings.Contains(row, ">This session</span>") != (i == 0) {
			t.Errorf("row %d: %s", i, row)
		}
	}
}
