package console_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
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
	p := run(t, onSQLite(t))
	p.addUser("Ada Lovelace")
	for _, remember := range []bool{false, true} {
		w := p.open(t, look{})
		w.visit("/")
		w.signIn("Ada Lovelace", userPassword, remember)
		w.at("/")
		c := w.cookie()
		if c == nil || !c.HTTPOnly || !c.Secure || c.SameSite != network.CookieSameSiteLax || c.Path != "/" || c.Domain != "127.0.0.1" {
			t.Fatalf("cookie %+v", c)
		}
		left := time.Until(time.Unix(int64(c.Expires), 0))
		switch {
		case !remember && !c.Session:
			t.Errorf("without remember me the browser keeps the cookie for %v", left)
		case remember && (c.Session || left < 20*24*time.Hour-time.Minute || left > 20*24*time.Hour+time.Minute):
			t.Errorf("with remember me the browser keeps the cookie for %v, want 20 days", left)
		}
		if got := w.brief("document.cookie"); got != "" {
			t.Errorf("scripts see the cookie: %q", got)
		}
	}
}

// After signing out the back button shows nothing of what was there.
func TestBackAfterSigningOut(t *testing.T) {
	h := furnished(t)
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
	p := run(t, onSQLite(t), "--insecure-short-timeouts")
	p.settings(6)
	p.signInAdmin()
	w := p.open(t, look{})
	w.as("admin")
	w.visit("/new-user")
	began := time.Now()
	w.fill("#name", "Zoë")
	w.fill("#password", userPassword)
	w.says("Your session times out soon, because nothing has happened.")
	if took := time.Since(began); took > 6*time.Second {
		t.Errorf("the warning came after %v", took)
	}
	if !w.soon(func() bool {
		return strings.Contains(w.text(), "Your session timed out after 6 seconds without activity.")
	}) {
		t.Fatalf("the page does not say that the session has timed out:\n%s", w.text())
	}
	if took := time.Since(began); took < 4*time.Second || took > 9*time.Second {
		t.Errorf("the page said so after %v, and the session timeout is 6 s", took)
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
	other.says("You are signed in again", "You can close this tab now")
	closeTab()
	if !w.soon(func() bool { return w.brief("document.getElementById('session').hidden + ''") == "true" }) {
		t.Fatalf("the page does not notice that its person is back:\n%s", w.text())
	}
	w.follow("form[action='/users'] button.primary")
	w.says("Zoë", "The account is there.")
}

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
	p := run(t, onSQLite(t), "--insecure-short-timeouts")
	p.settings(2)
	w := p.open(t, look{noScript: true})
	w.as("admin")
	w.visit("/new-user")
	w.fill("#name", "Zoë")
	w.fill("#email", "zoe@example.com")
	w.fill("#password", userPassword)
	time.Sleep(2100 * time.Millisecond)
	w.follow("form[action='/users'] button.primary")
	w.says("Your session has ended", "Your session timed out after 2 seconds without activity.", "Please type it again")
	p.signInAdmin()
	p.settings(600)
	other, closeTab := w.tab(".links a[target]")
	other.at("/sign-in")
	other.signIn("admin", adminPassword, false)
	other.says("You are signed in again")
	closeTab()
	w.fill("#held-password", userPassword)
	w.follow("main form button")
	w.says("Zoë", "The account is there.")
	if got := w.brief("document.getElementById('email').value"); got != "zoe@example.com" {
		t.Errorf("the email is %q", got)
	}
}

// Nothing that an open page does keeps the session alive, and the button that
// says so does.
func TestOpenPageKeepsNothingAlive(t *testing.T) {
	p := run(t, onSQLite(t), "--insecure-short-timeouts")
	p.settings(6)
	w := p.open(t, look{})
	w.as("admin")
	w.visit("/profile")
	before := w.cookie().Value
	w.says("Your session times out soon")
	if w.cookie().Value != before {
		t.Error("the page has renewed the session by itself")
	}
	w.click("#session button")
	if !w.soon(func() bool { return w.cookie().Value != before }) {
		t.Error("“I am still here” has not renewed the session")
	}
	if !w.soon(func() bool { return w.brief("document.getElementById('session').hidden + ''") == "true" }) {
		t.Error("the warning is still there")
	}
	after := w.cookie().Value
	w.says("Your session timed out after 6 seconds without activity.")
	if w.cookie().Value != after {
		t.Error("the page has renewed the session by itself")
	}
}

// A session that is revoked while a page is open: the page says by whom.
func TestRevokedWhilePageIsOpen(t *testing.T) {
	h := furnished(t)
	w := h.open(t, look{})
	w.as("Ada Lovelace")
	h.api(h.admin, http.MethodPost, "/v1/users/"+h.ada+"/revocations", map[string]any{"reason": "test", "keep_current": false}, nil)
	time.Sleep(5 * time.Second) // as long as the page may take to ask
	w.says("Your sessions were revoked by an administrator.")
}

// What people and programs write is shown, and never acted on: whatever they
// write, and wherever.
func TestHostile(t *testing.T) {
	h := furnished(t)
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

// Whoever follows a link from another site is signed in there, and a form on
// another site changes nothing.
func TestForeignForm(t *testing.T) {
	h := furnished(t)
	w := h.open(t, look{})
	w.as("admin")
	foreign := foreignSite(t, `<!doctype html><form method="post" action="`+h.url+`/users/`+h.ada+`/disable"><button>Win a prize</button></form>`)
	ctx, cancel := context.WithTimeout(w.context, 15*time.Second)
	defer cancel()
	w.must(chromedp.Do(ctx, chromedp.Navigate(foreign)))
	w.follow("button")
	w.says("That came from another site")
	w.visit("/users/" + h.ada)
	w.says("Enabled")
}
