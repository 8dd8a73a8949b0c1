package console_test

import (
	"net/http"
	"testing"
)

// A form that grants much and is sent with an old authentication leads to the page
// "Confirm it is you", which keeps the form: a wrong password changes nothing, and with
// the right one the action is done, with a script and without. The service behind
// forward auth asks the same way.
func TestConfirmInABrowser(t *testing.T) {
	t.Parallel()
	var p *program
	service := guarded(t, func() string { return p.url + "/v1/verify?sign_in=1&max_age=10" })
	host := service.Listener.Addr().String()
	p = run(t, onSQLite(t), "--trusted-proxies", "127.0.0.1", "--return-hosts", host, "--reauthenticate-within", "10s")
	// old waits until the window's authentication is older than ten seconds.
	old := func(w *window) {
		raw := w.cookie().Value
		if !w.soon(func() bool {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url+"/v1/verify?max_age=10", nil)
			w.must(err)
			r.Header.Set("Authorization", "Bearer "+raw)
			a, err := http.DefaultTransport.RoundTrip(r)
			w.must(err)
			_ = a.Body.Close()
			return a.StatusCode == http.StatusUnauthorized
		}) {
			t.Fatal("the authentication stays recent")
		}
	}
	for name, l := range map[string]look{"ledger": {}, "archive": {noScript: true, width: 360, height: 640}} {
		w := p.open(t, l)
		w.visit("/services")
		w.signIn("admin", adminPassword, false)
		w.at("/services")
		old(w)
		w.fill("#name", name)
		w.click("input[name=follow]")
		w.follow("form[action='/services'] button")
		what := []string{"Confirm it is you", "Configuration › Services", "You are about to add the service “" + name + "”.", "Nothing was changed yet, and your input is kept.", "You are signed in as admin."}
		w.says(append(what, "in the last 10 seconds")...)
		if to := w.brief(`[...document.querySelectorAll("main form a.button")].map((a) => a.getAttribute("href")).join()`); to != "/services" {
			t.Errorf("Cancel leads to %s", to)
		}
		if !w.soon(func() bool { return w.brief("document.activeElement.id") == "confirm_password" }) {
			t.Errorf("the focus is on %q", w.brief("document.activeElement.outerHTML"))
		}
		if !l.noScript {
			w.accessible()
		}
		w.fill("#confirm_password", "not the password")
		w.follow("main button.primary")
		w.says(append(what, "This is not your password.")...)
		if !l.noScript {
			w.accessible()
		}
		w.fill("#confirm_password", adminPassword)
		w.follow("main button.primary")
		w.says(name, "secret")
		w.saysNot("Confirm it is you")
		w.visit("/services")
		w.says(name)

		old(w)
		w.visitSite(service.URL + "/pay?x=1")
		w.says("Confirm it is you", "You are confirming for "+host)
		w.fill("#confirm_password", adminPassword)
		w.follow("main button.primary")
		if !w.soon(func() bool { return w.brief("location.href") == service.URL+"/pay?x=1" }) {
			t.Errorf("at %s, which says:\n%s", w.address(), w.text())
		}
		w.says("The page of the service.")
	}
}
