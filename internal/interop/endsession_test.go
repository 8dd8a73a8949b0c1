//go:build interop

package interop

import (
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"example.com/curfew/internal/testnet"
)

// A user of a service behind a proxy signs out of Curfew, and then at the provider: its
// session has really ended, so that its form is shown at the next sign-in. Without the
// second step the provider signs the user in again.
func TestBrowserSignsOutAtProvider(t *testing.T) {
	front := testnet.Address(t)
	s := startBrowserServer(t, front)
	p := s.addProvider("corp", map[string]map[string]any{"zoe": {"preferred_username": "zoë"}})
	s.caddy(read(t, s.config("Caddyfile", front, application(t))))
	service, console := "http://"+front, "http://"+s.addr
	waitFor(t, "the service", func() bool { return status(t, service+"/", "") == http.StatusUnauthorized })
	b := openTab(t)
	text := func() string { return b.brief("document.body.innerText") }
	signOut := func() {
		t.Helper()
		old := b.cookie()
		b.do(
			chromedp.Navigate(console+"/profile"),
			chromedp.Click(chromedp.CSS("details.account summary")),
			chromedp.Click(chromedp.CSS(`form[action="/sign-out"] button`)),
		)
		b.arrives("the page after the sign-out", func() bool { return strings.Contains(text(), "Also sign out at corp") })
		if b.cookie() != "" || status(t, service+"/", old) != http.StatusUnauthorized {
			t.Fatal("the session has not ended")
		}
	}
	b.do(chromedp.Navigate(console + "/sign-in/corp?return=/profile"))
	b.providerForm(p, "zoe")
	profile := func() bool { return b.brief("location.href") == console+"/profile" }
	b.arrives("the profile", profile)
	if got := status(t, service+"/", b.cookie()); got != http.StatusOK {
		t.Fatalf("the service answers %d", got)
	}

	signOut()
	b.do(chromedp.Navigate(console + "/sign-in/corp?return=/profile"))
	b.arrives("the profile, without a question", profile)

	signOut()
	// This provider takes no form, so there is a link without the ID token.
	b.do(chromedp.Click(chromedp.CSS(`a[href^="` + p.issuer + `/session/end?"]`)))
	b.arrives("the provider's question", func() bool { return strings.HasPrefix(b.brief("location.href"), p.issuer+"/session/end?") })
	if at := b.brief("location.href"); strings.Contains(at, "id_token") {
		t.Errorf("the address has the ID token: %s", at)
	}
	b.do(chromedp.Click(chromedp.CSS("button[name=logout]")))
	b.arrives("the sign-in page", func() bool {
		return b.brief("location.href") == console+"/sign-in?state=signed_out" && strings.Contains(text(), "You have signed out.")
	})
	b.do(chromedp.Navigate(console + "/sign-in/corp?return=/profile"))
	b.providerForm(p, "zoe") // is really shown
	b.arrives("the profile", profile)
}
