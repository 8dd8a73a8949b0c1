package console_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
)

// cookie returns the session's cookie as the browser keeps it; nil for none.
func (w *window) cookie() *network.Cookie {
	w.Helper()
	for _, c := range call(w, network.GetCookies, network.GetCookiesParams{URLs: []string{w.url}}).Cookies {
		if c.Name == "__Host-curfew_session" {
			return c
		}
	}
	return nil
}

// How long the browser keeps the cookie.
func TestCookieLifetime(t *testing.T) {
	t.Parallel()
	p := run(t, onSQLite(t))
	p.addUser("Ada Lovelace")
	for _, remember := range []bool{false, true} {
		w := p.open(t, look{})
		w.visit("/")
		began := time.Now()
		w.signIn("Ada Lovelace", userPassword, remember)
		w.at("/")
		c := w.cookie()
		ended := time.Now()
		if c == nil || !c.HTTPOnly || !c.Secure || c.SameSite != network.CookieSameSiteLax || c.Path != "/" || c.Domain != "127.0.0.1" {
			t.Fatalf("cookie %+v", c)
		}
		// The token and the cookie have whole seconds, each rounded down.
		const maximum = 20 * 24 * time.Hour
		expires := time.Unix(int64(c.Expires), 0)
		switch {
		case !remember && !c.Session:
			t.Errorf("without remember me the browser keeps the cookie until %v", expires)
		case remember && (c.Session || expires.Before(began.Add(maximum-2*time.Second)) || expires.After(ended.Add(maximum+time.Second))):
			t.Errorf("with remember me the browser keeps the cookie until %v, want 20 days after the sign-in between %v and %v", expires, began, ended)
		}
		if got := w.brief("document.cookie"); got != "" {
			t.Errorf("scripts see the cookie: %q", got)
		}
	}
}

// After signing out the back button shows nothing of what was there.
func TestBackAfterSigningOut(t *testing.T) {
	t.Parallel()
	h := newFilledServer(t)
	for _, l := range []look{{}, {noScript: true}} {
		w := h.open(t, l)
		w.as("admin")
		w.visit("/users")
		w.visit("/users/" + h.ada)
		w.says("Ada Lovelace")
		w.click("details.account summary")
		w.follow("details.account button")
		w.at("/sign-in")
		if c := w.cookie(); c != nil {
			t.Errorf("after signing out there is a cookie: %+v", c)
		}
		for range 3 {
			w.do(chromedp.NavigateBack())
			w.at("/sign-in")
			w.saysNot("Ada Lovelace")
		}
	}
}

// A session that times out while a page is open: the page says so at that moment,
// what was typed stays, and can be sent after a sign-in in another tab.
func TestTimeoutWhilePageIsOpen(t *testing.T) {
	t.Parallel()
	p := run(t, onSQLite(t), "--insecure-short-timeouts")
	w := p.open(t, look{})
	w.onNewDocument(recorder)
	p.shortTimeout(w, "/new-user")
	w.fill("#name", "Zoë")
	w.fill("#password", userPassword)
	w.says(timedOut)
	s := eval[struct {
		End, Asked, Slowest float64 // ms since the navigation
		Said                []string
	}](w, "recorded()")
	const warning = "Your session times out soon for lack of activity."
	if len(s.Said) != 2 || !strings.HasPrefix(s.Said[0], warning) || !strings.HasPrefix(s.Said[1], timedOut) {
		t.Errorf("the page has said %q, want a warning, then that the session has timed out", s.Said)
	}
	// The page asks the server once the event stream or its own clock says that the
	// session has ended. The server's dates are whole seconds.
	// Its own timers say how slow the machine is.
	if least, bound := s.End-1000, s.End+1000+2*s.Slowest; s.Asked < least || s.Asked > bound {
		t.Errorf("the page asked %.0f ms after it was made, want %.0f to %.0f", s.Asked, least, bound)
	}
	w.at("/new-user")
	w.accessible()
	if got := w.brief("document.getElementById('name').value"); got != "Zoë" {
		t.Errorf("what was typed is now %q", got)
	}
	// The link opens a tab of its own.
	other, closeTab := w.tab("#session a")
	other.at("/sign-in")
	other.signIn("admin", adminPassword, true)
	other.says("You are signed in again", "Close this tab")
	closeTab()
	if !w.soon(func() bool { return w.brief("document.getElementById('session').hidden + ''") == "true" }) {
		t.Fatalf("the page does not notice that its person is back:\n%s", w.text())
	}
	w.follow("form[action='/users'] button.primary")
	w.says("Zoë", "Account created.")
}

// recorder runs in a page before its own scripts and takes down what the page says
// about the session, when it asks the server, and how late its timers come.
const recorder = `(() => {
	const said = [];
	let slowest = 0, last = performance.now();
	setInterval(() => {
		const now = performance.now();
		slowest = Math.max(slowest, now - last - 100);
		last = now;
	}, 100);
	new MutationObserver(() => {
		const bar = document.getElementById("session");
		if (bar && !bar.hidden && bar.textContent !== said.at(-1)) said.push(bar.textContent);
	}).observe(document, { subtree: true, childList: true, attributes: true });
	let end = 0;
	addEventListener("DOMContentLoaded", () => {
		end = performance.getEntriesByType("navigation")[0].responseStart + Number(document.body.dataset.idle);
	});
	window.recorded = () => {
		const asked = performance.getEntriesByType("resource")
			.filter((e) => e.name.endsWith("/profile/session")).map((e) => e.startTime);
		return { End: end, Asked: asked[0] || 0, Slowest: slowest, Said: said };
	};
})()`

// shortTimeout signs in the administrator, opens a page, and sets a session timeout
// of some seconds, which is several times as long as that has taken here. The page
// is then opened again, with the new timeout.
func (p *program) shortTimeout(w *window, path string) {
	p.Helper()
	p.admin = p.signIn("admin", "", true) // no session timeout applies to it
	began := time.Now()
	w.as("admin")
	w.visit(path)
	timeout := min(4+4*int64(time.Since(began)/time.Second), 59)
	p.settings(timeout)
	w.visit(path)
	w.at(path)
}

// timedOut is what a page says about a session that has timed out.
const timedOut = "Your session timed out for lack of activity."

// tab clicks a link that opens a tab of its own, and returns that.
func (w *window) tab(selector string) (opened *window, closeTab func()) {
	w.Helper()
	found := chromedp.WaitNewTarget(w.context, func(i *target.Info) bool { return i.Type == "page" })
	w.click(selector)
	ctx, cancel := chromedp.NewContext(w.context, chromedp.WithTargetID(<-found))
	w.must(chromedp.Do(ctx)) // the tab lives as long as this context
	return &window{TB: w.TB, url: w.url, look: w.look, context: ctx}, cancel
}

// The same without a script: the form comes back, and is sent again after a
// sign-in in another tab.
func TestTimeoutWithoutScript(t *testing.T) {
	t.Parallel()
	p := run(t, onSQLite(t), "--insecure-short-timeouts")
	p.admin = p.signIn("admin", "", true) // no session timeout applies to it
	w := p.open(t, look{noScript: true})
	w.as("admin")
	w.visit("/new-user")
	w.fill("#name", "Zoë")
	w.fill("#email", "zoe@example.com")
	w.click("input[name=how][value=typed]")
	w.fill("#password", userPassword)
	p.settings(2)
	session := w.cookie().Value
	if !w.soon(func() bool { return !p.accepts(session) }) {
		t.Fatal("the session does not time out")
	}
	w.follow("form[action='/users'] button.primary")
	w.says("Your session has ended", timedOut, "Enter them again")
	p.settings(600)
	other, closeTab := w.tab(".links a[target]")
	other.at("/sign-in")
	other.signIn("admin", adminPassword, false)
	other.says("You are signed in again")
	closeTab()
	w.fill("#held-password", userPassword)
	w.follow("main form button")
	w.says("Zoë", "Account created.")
	if got := w.brief("document.getElementById('email').value"); got != "zoe@example.com" {
		t.Errorf("the email is %q", got)
	}
}

// Nothing that an open page does keeps the session alive, and the button that
// says so does.
func TestOpenPageKeepsNothingAlive(t *testing.T) {
	t.Parallel()
	p := run(t, onSQLite(t), "--insecure-short-timeouts")
	w := p.open(t, look{})
	p.shortTimeout(w, "/profile")
	before := w.cookie().Value
	w.says("Your session times out soon")
	if w.cookie().Value != before {
		t.Error("the page has renewed the session by itself")
	}
	w.click("#session button")
	if !w.soon(func() bool { return w.cookie().Value != before }) {
		t.Error("“Stay signed in” has not renewed the session")
	}
	if !w.soon(func() bool { return w.brief("document.getElementById('session').hidden + ''") == "true" }) {
		t.Error("the warning is still there")
	}
	after := w.cookie().Value
	w.says(timedOut)
	if w.cookie().Value != after {
		t.Error("the page has renewed the session by itself")
	}
}

// onNewDocument runs a script in every page before the page's own scripts.
func (w *window) onNewDocument(script string) {
	w.Helper()
	call(w, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: script})
}

// asked is how often a page has asked for the state of its session.
const asked = `performance.getEntriesByType("resource").filter((e) => e.name.endsWith("/profile/session")).length + ""`

// A session that is revoked while a page is open: the page says so, and by whom,
// when the event stream says so. It asks nothing before: without the stream it would
// not notice.
func TestRevokedWhilePageIsOpen(t *testing.T) {
	t.Parallel()
	h := newFilledServer(t)
	w := h.open(t, look{})
	w.onNewDocument(`window.EventSource = class extends EventSource { constructor(...a) { super(...a); window.stream = this; } };`)
	w.as("Ada Lovelace")
	if !w.soon(func() bool {
		return w.brief("window.stream && stream.readyState === EventSource.OPEN ? 'open' : ''") == "open"
	}) {
		t.Fatal("the page opens no event stream")
	}
	if n := w.brief(asked); n != "0" {
		t.Errorf("the page has asked %s times before the revocation, want 0", n)
	}
	h.api(h.admin, http.MethodPost, "/v1/users/"+h.ada+"/revocations", map[string]any{"reason": "test", "keep_current": false}, nil)
	w.says("An administrator revoked your sessions.")
	if n := w.brief(asked); n != "1" {
		t.Errorf("the page has asked %s times, want once, for the reason", n)
	}
}

// A server that refuses the event stream, for example because the user has too many
// open: the page asks every 5 s until the stream opens.
func TestRevokedWithoutEventStream(t *testing.T) {
	t.Parallel()
	h := newFilledServer(t)
	w := h.open(t, look{})
	w.onNewDocument(`window.EventSource = class extends EventTarget {
		static CLOSED = 2;
		readyState = 2;
		constructor() { super(); setTimeout(() => this.dispatchEvent(new Event("error"))); }
		close() {}
	};`)
	w.as("Ada Lovelace")
	h.api(h.admin, http.MethodPost, "/v1/users/"+h.ada+"/revocations", map[string]any{"reason": "test", "keep_current": false}, nil)
	w.says("An administrator revoked your sessions.")
}

// The bar that says that the session has ended covers neither the end of the page
// nor a button that has the focus.
func TestBarCoversNothing(t *testing.T) {
	t.Parallel()
	h := newFilledServer(t)
	for _, width := range []int64{360, 1280} {
		w := h.open(t, look{width: width, height: 800})
		w.as("Ada Lovelace")
		w.visit("/profile")
		h.api(h.admin, http.MethodPost, "/v1/users/"+h.ada+"/revocations", map[string]any{"reason": "test", "keep_current": false}, nil)
		w.says("An administrator revoked your sessions.")
		if got := w.brief(`(() => {
			const bar = document.getElementById("session").getBoundingClientRect().top;
			const below = (e) => e.getBoundingClientRect().bottom > bar + 0.5;
			const covered = [...document.querySelectorAll("main button, main a, main input")].filter((e) => {
				if (e.closest("dialog, [hidden]")) return false;
				scrollTo(0, 0);
				e.focus();
				return below(e);
			});
			scrollTo(0, document.documentElement.scrollHeight);
			if (below(document.querySelector("footer"))) covered.push(document.querySelector("footer"));
			return covered.map((e) => e.outerHTML).join("\n");
		})()`); got != "" {
			t.Errorf("the bar in a window of %d covers:\n%s", width, got)
		}
	}
}

// What people and programs write is shown, and never acted on: whatever they
// write, and wherever.
func TestHostile(t *testing.T) {
	t.Parallel()
	h := newFilledServer(t)
	const script = `<script>alert(1)</script></title></textarea>"><img src=x onerror=alert(1)>`
	long := script + strings.Repeat("A", 80) + "\u0336"
	id := h.addUser(script)
	var revoked struct{ Epoch int64 }
	h.api(h.admin, http.MethodPost, "/v1/users/"+id+"/revocations", map[string]any{"reason": long + "\u2028\u202ejavascript:alert(1)", "keep_current": false}, &revoked)
	h.api(h.admin, http.MethodPost, "/v1/clients", map[string]any{"name": script, "capabilities": []string{"issue"}}, nil)
	h.signIn(script, script, false)
	h.signIn(script, "javascript:alert(1) \"'><b>", true)
	for _, l := range []look{{}, {noScript: true}, {width: 360, height: 800}} {
		w := h.open(t, l)
		w.as("admin")
		for _, path := range []string{
			"/users", "/users/" + id, "/users/" + id + "/revoke", "/users/" + id + "/disable", "/audit", "/services", "/", fmt.Sprintf("/revocations/%d", revoked.Epoch),
			"/users?search=%3Cscript%3Ealert(1)%3C/script%3E", "/audit?person=%22%3E%3Cscript%3Ealert(1)%3C/script%3E&action=%3Cb%3E",
			"/sign-in?return=javascript:alert(1)&why=%3Cscript%3E", "/settings/authentication?preset=%3Cscript%3E",
			"/settings/authentication/preview?session_timeout_seconds=%22%3E%3Cscript%3Ealert(1)%3C/script%3E", "/%3Cscript%3Ealert(1)%3C/script%3E",
			"/users?done=%3Cscript%3E", "/users/" + id + "?done=saved&renewed=%3Cscript%3E",
		} {
			w.visit(path)
			if got := w.brief("document.querySelectorAll('script, img, b, [onerror]').length + ''"); got != "1" {
				t.Errorf("%s: %s elements that are not ours", path, got)
			}
			if got := w.brief("document.documentElement.scrollWidth > innerWidth ? 'wider' : 'fits'"); got != "fits" {
				t.Errorf("%s: the page is wider than the window of %d", path, l.width)
			}
		}
		w.visit("/users/" + id)
		w.says("<script>alert(1)</script>")
	}
}

// A user who follows a link from another site is still signed in, and a form on
// another site changes nothing.
func TestForeignForm(t *testing.T) {
	t.Parallel()
	h := newFilledServer(t)
	w := h.open(t, look{})
	w.as("admin")
	foreign := foreignSite(t, `<!doctype html><form method="post" action="`+h.url+`/users/`+h.ada+`/disable"><button>Win a prize</button></form>`)
	ctx, cancel := context.WithTimeout(w.context, patience)
	defer cancel()
	w.must(chromedp.Do(ctx, chromedp.Navigate(foreign)))
	w.follow("button")
	w.says("Request from another site")
	w.visit("/users/" + h.ada)
	w.says("Enabled")
}
