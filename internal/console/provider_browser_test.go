package console_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"example.com/curfew/internal/oidc/oidctest"
)

// A user signs in through a provider, is led there to confirm a change, and signs out here
// and there. The pages are accessible, and their policy lets the browser go where they
// lead.
func TestProviderInABrowser(t *testing.T) {
	t.Parallel()
	ended := make(chan url.Values, 1)
	provider := oidctest.New(t)
	provider.Set(func(b *oidctest.Behavior) {
		b.Extra = map[string]any{"preferred_username": "zoe", "groups": []string{"staff"}}
		b.Answer = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/end" || r.ContentLength <= 0 {
				return false
			}
			if r.ParseForm() == nil {
				ended <- r.PostForm
			}
			http.Redirect(w, r, r.PostForm.Get("post_logout_redirect_uri")+"?state="+url.QueryEscape(r.PostForm.Get("state")), http.StatusSeeOther)
			return true
		}
	})
	p := run(t, onSQLite(t), "--reauthenticate-within", "5m")
	p.api(p.signIn("admin", "", false), http.MethodPost, "/v1/providers", map[string]any{
		"name": "corp", "issuer": provider.Issuer, "client_id": oidctest.ClientID, "client_secret": oidctest.Secret, "create_users": true,
		"groups_claim": "groups", "group_permissions": map[string][]string{"staff": {"AdministerSystem"}},
	}, nil)
	w := p.open(t, look{})
	w.visit("/sign-in?return=/services")
	w.says("Sign in with corp", "Sign in with corp and remember me")
	w.accessible()
	w.follow("main a[href*='remember_me=on']")
	w.at("/services")

	// The authentication was an hour ago.
	w.fill("#name", "ledger")
	w.click("input[name=follow]")
	w.follow("form[action='/services'] button")
	w.says("Confirm it is you", "You are about to add the service “ledger”.", "Authenticate with corp", "Send again")
	w.accessible()
	w.visit("/reauthenticate?return=/users")
	w.says("Authenticate with corp")
	w.accessible()
	w.follow("main a[href^='/sign-in/corp']")
	w.at("/users")

	w.click("details.account summary")
	w.follow("form[action='/sign-out'] button")
	w.says("Signed out", "You have signed out.", "Also sign out at corp")
	w.accessible()
	if w.cookie() != nil {
		t.Error("the session cookie is still there")
	}
	w.follow("main form button")
	if !w.soon(func() bool { return w.address() == "/sign-in?state=signed_out" }) {
		t.Fatalf("at %s, which says:\n%s", w.address(), w.text())
	}
	w.says("You have signed out.")
	form := <-ended
	if strings.Count(form.Get("id_token_hint"), ".") != 2 || form.Get("client_id") != oidctest.ClientID {
		t.Errorf("the provider got %v", form)
	}
}
