package console

import (
	"net/http"
	"testing"
	"time"
)

// The documentation stands in the frame of the console: with the menu and a way back for
// a signed-in user, with a way to sign in for other readers, and with neither while the
// database can't say who reads.
func TestDocumentationPages(t *testing.T) {
	s := open(t)
	p := s.as(s.admin)
	const referer = "http://console.test"
	for _, tt := range []struct {
		name, path, from string
		has, lacks       []string
	}{
		{"the list", "/docs", "", []string{`<h1><bdi>Documentation</bdi></h1>`, `href="docs/keys"`, `<a href="/docs" aria-current="page">`}, []string{"All topics", "Sign in</a>"}},
		{"a topic", "/docs/keys", "", []string{
			`<h1><bdi>Signing keys</bdi></h1>`, `<p class="trail"><a href="/docs">`, `<a href="/docs/keys" aria-current="page">Signing keys</a>`, `<a href="help">`,
			`<p class="way-back" hidden>`, `<a href="/users">Users</a>`,
		}, nil},
		{"from a page", "/docs/keys", referer + "/users/" + s.admin.ID + "?done=saved", []string{`<p class="way-back"><a href="/users/` + s.admin.ID + `?done=saved">`, "Back to Users"}, nil},
		{"from the start page", "/docs", referer + "/", []string{`<p class="way-back"><a href="/">`, "Back to Overview"}, nil},
		{"from a page outside the menu", "/docs", referer + "/profile/revoke", []string{`<p class="way-back"><a href="/profile/revoke">`, "Back to Profile"}, nil},
		{"from a form that was refused", "/docs", referer + "/users/" + s.admin.ID + "/password", []string{`<p class="way-back" hidden>`}, nil},
		{"from another topic", "/docs/help", referer + "/docs/keys", []string{`<p class="way-back" hidden>`}, nil},
		{"from another site", "/docs", "http://evil.test/users", []string{`<p class="way-back" hidden>`}, []string{"evil"}},
		{"from a path that is none", "/docs", referer + "//evil.test/users", []string{`<p class="way-back" hidden>`}, []string{"evil"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p.get(tt.path, "Referer", tt.from).is(http.StatusOK).contains(tt.has...).lacks(tt.lacks...)
		})
	}
	p.get("/docs/").to("/docs")
	p.get("/docs/index").to("/docs")
	for _, none := range []string{"/docs/nothing", "/docs/keys.md", "/docs/keys/"} {
		p.get(none).is(http.StatusNotFound)
	}
	p.post("/docs").is(http.StatusMethodNotAllowed)

	s.signedOut().get("/docs/keys", "Referer", referer+"/users").is(http.StatusOK).
		contains(`<a class="button" href="/sign-in?return=%2Fdocs%2Fkeys">Sign in</a>`, `<p class="way-back" hidden>`).lacks(`class="menu"`, `class="account"`)
	ordinary := s.as(s.user("ordinary"))
	ordinary.get("/docs", "Referer", referer+"/").is(http.StatusOK).contains("Back to Profile", `class="account"`).lacks(`class="menu"`)

	s.must(s.store.Close())
	p.get("/docs/keys").is(http.StatusOK).contains(`<h1><bdi>Signing keys</bdi></h1>`).lacks("Sign in</a>", `class="menu"`)
	p.get("/keys").is(http.StatusServiceUnavailable).contains(`href="/docs/troubleshooting"`)
}

// A reader is active: a page of the documentation renews the session, as other pages do.
func TestDocumentationKeepsTheSession(t *testing.T) {
	s := open(t)
	p := s.as(s.admin)
	first := p.token
	for range 3 {
		s.wait(15 * time.Minute)
		p.get("/docs").is(http.StatusOK)
	}
	if p.token == first {
		t.Error("the session is not renewed")
	}
	p.get("/users").is(http.StatusOK)
}
