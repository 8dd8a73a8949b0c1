package console_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// onEngines runs a test on a server on each engine, with a script and without.
func onEngines(t *testing.T, test func(t *testing.T, h *filledServer, l look)) {
	t.Helper()
	both := []look{{}, {noScript: true}}
	withLooks(t, map[string][]look{"sqlite": both, "postgres": both}, test)
}

// withLooks runs a test with the looks given for each engine.
func withLooks(t *testing.T, looks map[string][]look, test func(t *testing.T, h *filledServer, l look)) {
	t.Parallel()
	for engine, database := range engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			h := &filledServer{program: run(t, database(t))}
			h.fillServer()
			for _, l := range looks[engine] {
				t.Run(map[bool]string{false: "with script", true: "without script"}[l.noScript], func(t *testing.T) {
					test(t, h, l)
				})
			}
		})
	}
}

// confirmed clicks what opens a confirm step, which is a dialog or, without a
// script, a page; fills it in; and confirms it.
func (w *window) confirmed(opener string, fillIn func(step string)) {
	w.Helper()
	step := "main "
	if w.look.noScript {
		w.follow(opener)
	} else {
		w.click(opener)
		step = "dialog[open] "
		w.do(chromedp.WaitVisible(chromedp.CSS(step + "form.confirm")))
	}
	if fillIn != nil {
		fillIn(step)
	}
	w.follow(step + "form.confirm .actions button")
}

// A confirm step without a reason is not sent, so that a dialog stays open. "Other"
// requires details.
func TestReasonIsAskedInPlace(t *testing.T) {
	t.Parallel()
	h := newFilledServer(t)
	const form = "dialog[open] form.confirm"
	w := h.open(t, look{})
	w.as("admin")
	w.visit("/users/" + h.ada)
	w.click("a.danger[href$='/revoke'][data-dialog]")
	w.do(chromedp.WaitVisible(chromedp.CSS(form)))
	staysWithout := func(field string) {
		t.Helper()
		w.click(form + " .actions button")
		if got := w.brief(`(document.querySelector("` + form + ` :invalid:not(fieldset)") || { name: "none" }).name`); got != field {
			t.Fatalf("missing is %s, want %s", got, field)
		}
	}
	staysWithout("reason")
	w.click(form + " input[name=reason][value=Other]")
	staysWithout("note")
	w.click(form + " input[name=reason][value='Lost device']")
	w.follow(form + " .actions button")
	w.says("Sessions revoked.", "Lost device")
}

func because(w *window, reason string) func(string) {
	return func(step string) {
		w.Helper()
		w.click(step + "input[name=reason][value='" + reason + "']")
	}
}

// The first walk of the documentation: Configuration > Users > a user, Revoke
// Sessions, with a reason and a confirm step; the receipt stays on the page. The
// user's next request needs a new sign-in, which works at once.
func TestWalkRevokeSessionsOfAUser(t *testing.T) {
	onEngines(t, func(t *testing.T, h *filledServer, l look) {
		for _, who := range []string{"admin", "Grace Hopper"} { // AdministerSystem, UserEdit
			one, two := h.signIn("Ada Lovelace", firefox, false), h.signIn("Ada Lovelace", safari, true)
			hers := h.open(t, l)
			hers.as("Ada Lovelace")

			w := h.open(t, l)
			w.as(who)
			w.follow("nav a[href='/users']")
			w.fill("#search", "ada")
			w.follow("form[role=search] button")
			w.follow("main a[href='/users/" + h.ada + "']")
			w.says("Ada Lovelace", "Safari on iPhone", "Firefox on Linux", "Chrome on Linux", "Remember me")
			w.confirmed("a.danger[href$='/revoke']", func(step string) {
				w.says("Revoke the sessions of Ada Lovelace?", "live sessions of Ada Lovelace")
				w.click(step + "input[value='Suspicious activity reported']")
				w.fill(step+"#note", "called us")
			})
			w.at("/users/" + h.ada)
			w.says("Sessions revoked.", "Receipt", "Revoked before", "Suspicious activity reported: called us", who, "In force everywhere", "No live sessions.")
			for _, token := range []string{one, two} {
				if h.accepts(token) {
					t.Error("a session that was revoked is accepted")
				}
			}
			hers.visit("/profile")
			hers.at("/sign-in")
			hers.says("An administrator revoked your sessions.")
			hers.signIn("Ada Lovelace", userPassword, false)
			hers.at("/profile")
			hers.says("My sessions", "This session")
		}
	})
}

// The second walk: Account menu > Profile > Revoke sessions, which signs out here
// too and says so; and “Sign out everywhere else”, which does not.
func TestWalkRevokeMyOwn(t *testing.T) {
	onEngines(t, func(t *testing.T, h *filledServer, l look) {
		elsewhere := h.signIn("Grace Hopper", safari, true)
		w := h.open(t, l)
		w.as("Grace Hopper")
		w.click("details.account summary")
		w.follow("details.account a[href='/profile']")
		w.says("Profile", "Safari on iPhone", "left without activity", "left, of 20 days")
		w.confirmed("a[href='/profile/elsewhere']", nil)
		w.at("/profile")
		w.says("You are signed out everywhere else.", "Receipt")
		w.saysNot("Safari on iPhone")
		if h.accepts(elsewhere) {
			t.Error("the other session goes on")
		}

		elsewhere = h.signIn("Grace Hopper", safari, true)
		w.visit("/profile")
		w.confirmed("tr.session:not(.current) a.button", func(string) { w.says("Revoke this session?", "Safari on iPhone") })
		w.at("/profile")
		w.says("Session revoked.")
		if h.accepts(elsewhere) {
			t.Error("the session that was revoked goes on")
		}

		elsewhere = h.signIn("Grace Hopper", safari, true)
		w.visit("/profile")
		w.confirmed("a[href='/profile/revoke']", func(string) {
			w.says("This ends 2 sessions of yours, on every device, including this one. You are signed out here too.")
		})
		w.at("/sign-in")
		w.says("You have signed out everywhere")
		if h.accepts(elsewhere) {
			t.Error("the other session goes on")
		}
		w.visit("/profile")
		w.at("/sign-in")
	})
}

// Every page, for every user who may see it, with a script and without: it has
// content, it is accessible, and nothing in it breaks the policy.
func TestEveryPage(t *testing.T) {
	// The pages are the same on both engines: each has one of the two looks.
	withLooks(t, map[string][]look{"sqlite": {{}}, "postgres": {{noScript: true}}}, func(t *testing.T, h *filledServer, l look) {
		accessible := func(w *window) {
			t.Helper()
			if !l.noScript { // the checker is a script
				w.accessible()
			}
		}
		w := h.open(t, l)
		w.visit("/sign-in?why=revoked_by_administrator")
		w.says("An administrator revoked your sessions.")
		accessible(w)
		w.as("admin")
		for _, p := range h.paths(t) {
			w.visit(p.path)
			w.wellMade(p.path)
			accessible(w)
		}
		if !l.noScript {
			for _, d := range h.inPlace(t) {
				w.visit(d.path)
				w.click(d.open)
				w.do(chromedp.WaitVisible(chromedp.CSS("dialog[open]")))
				accessible(w)
				w.click("dialog[open] [data-cancel]")
				w.do(chromedp.WaitNotVisible(chromedp.CSS("dialog")))
			}
		}
		for name, allowed := range map[string][]string{"Grace Hopper": {"/users", "/users/" + h.ada, "/new-user"}, "Hedy Lamarr": nil} {
			w := h.open(t, l)
			w.as(name)
			w.says("My sessions")
			accessible(w)
			for _, p := range h.paths(t) {
				own := strings.HasPrefix(p.name, "overview") || strings.HasPrefix(p.path, "/profile") || strings.HasPrefix(p.path, "/docs") || p.name == "not-found" || p.name == "signed-in" || p.name == "receipt" || p.name == "user-session" || strings.HasPrefix(p.name, "session")
				if own {
					continue
				}
				w.visit(p.path)
				may := strings.HasPrefix(p.path, "/users") && name == "Grace Hopper"
				for _, a := range allowed {
					may = may || p.path == a
				}
				if may {
					w.saysNot("Permission required")
				} else {
					w.says("Permission required", "This requires the ")
				}
			}
			accessible(w) // the last of them
		}
	})
}

// wellMade checks what a person would notice at once.
func (w *window) wellMade(path string) {
	w.Helper()
	if w.brief("document.title") == "" || w.brief("document.querySelectorAll('h1').length + ''") != "1" {
		w.Errorf("%s: no title, or not one heading", path)
	}
	if got := w.brief("document.documentElement.scrollWidth > innerWidth ? 'wider' : 'fits'"); got != "fits" {
		w.Errorf("%s: the page is wider than the window", path)
	}
	if styled := w.brief("getComputedStyle(document.querySelector('.top')).display"); styled != "flex" {
		w.Errorf("%s: the style sheet has not been applied: %s", path, styled)
	}
	if u, err := url.Parse(w.address()); err != nil || u.Path == "/sign-in" {
		w.Errorf("%s leads to %s", path, w.address())
	}
}
