//go:build interop

package interop

import (
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"example.com/curfew/internal/curfewtest"
	"example.com/curfew/internal/testnet"
)

// identityProvider is a running oidc-provider (npm), which is written elsewhere.
type identityProvider struct {
	issuer  string
	process *curfewtest.Process
	t       *testing.T
	command []string
	key     string // the file of its signing key

	before atomic.Pointer[func(path string)] // see dieAt
}

const providerClient, providerSecret = "curfew", "a secret of the client: with + and %"

// addProvider starts a provider with users and adds it to the server under a name.
func (s *server) addProvider(name string, users map[string]map[string]any, flags ...string) *identityProvider {
	s.t.Helper()
	p := s.startProvider(name, users)
	secret := filepath.Join(s.t.TempDir(), "secret")
	write(s.t, secret, providerSecret)
	s.curfew(append([]string{
		"provider", "add", name, "--issuer", p.issuer, "--client-id", providerClient, "--client-secret-file", secret, "--create-users",
	}, flags...)...)
	return p
}

// startProvider starts a provider for a name at the server. Browsers and Curfew reach it
// through a relay, which can kill it at a request.
func (s *server) startProvider(name string, users map[string]map[string]any) *identityProvider {
	s.t.Helper()
	listen, dir := testnet.Address(s.t), s.t.TempDir()
	p := &identityProvider{t: s.t, key: filepath.Join(dir, "key.json")}
	relay := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: listen})
			r.Out.Host = r.In.Host
			if before := p.before.Load(); before != nil {
				(*before)(r.In.URL.Path)
			}
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }, // as if it were not there
		ErrorLog:     log.New(io.Discard, "", 0),
	})
	relay.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.t.Cleanup(relay.Close)
	p.issuer = relay.URL
	settings, err := json.Marshal(map[string]any{
		"listen": listen, "issuer": p.issuer, "key_file": p.key, "client_id": providerClient, "client_secret": providerSecret, "users": users,
		"redirect_uris":             []string{"http://" + s.addr + "/sign-in/" + name + "/callback"},
		"post_logout_redirect_uris": []string{"http://" + s.addr + "/sign-in"},
		"backchannel_logout_uri":    "http://" + s.addr + "/oauth/backchannel-logout",
	})
	if err != nil {
		s.t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(curfewtest.Module(), ".cache/npm/interop/node_modules"), filepath.Join(dir, "node_modules")); err != nil {
		s.t.Fatal(err)
	}
	program, file := filepath.Join(dir, "oidc-provider.mjs"), filepath.Join(dir, "settings.json")
	write(s.t, program, read(s.t, filepath.Join("testdata", "oidc-provider.mjs")))
	write(s.t, file, string(settings))
	p.command = []string{find(s.t, "node"), program, file}
	p.start()
	return p
}

// start starts it, again with the same key. It has forgotten who is signed in.
func (p *identityProvider) start() {
	p.t.Helper()
	p.process = spawn(p.t, exec.Command(p.command[0], p.command[1:]...))
	waitFor(p.t, "the identity provider", func() bool {
		return status(p.t, p.issuer+"/.well-known/openid-configuration", "") == http.StatusOK
	})
}

// dieAt kills it at the next request for a path, before it answers. It returns a channel
// that is closed then.
func (p *identityProvider) dieAt(path string) <-chan struct{} {
	dead := make(chan struct{})
	var once sync.Once
	kill := func(asked string) {
		if asked == path {
			once.Do(func() {
				p.process.Kill()
				close(dead)
			})
		}
	}
	p.before.Store(&kill)
	return dead
}

// restart starts it after dieAt.
func (p *identityProvider) restart() {
	p.t.Helper()
	p.before.Store(nil)
	p.start()
}

// providerForm fills in the form of the provider.
func (b *tab) providerForm(p *identityProvider, name string) {
	b.t.Helper()
	b.arrives("the provider's form", func() bool {
		return strings.HasPrefix(b.brief("location.href"), p.issuer+"/") && b.brief(`document.querySelector("input[name=login]") ? "yes" : ""`) == "yes"
	})
	b.do(
		chromedp.SendKeys(chromedp.CSS("input[name=login]"), name),
		chromedp.SendKeys(chromedp.CSS("input[name=password]"), "any"),
		chromedp.Click(chromedp.CSS("form button, form input[type=submit]")),
	)
}

// forget takes the session cookie away, and leaves the provider's cookies.
func (b *tab) forget(address string) {
	b.t.Helper()
	if _, err := chromedp.Call(b.context, network.DeleteCookies, network.DeleteCookiesParams{Name: "__Host-curfew_session", URL: address}); err != nil {
		b.t.Fatal(err)
	}
	if b.cookie() != "" {
		b.t.Fatal("there is still a session cookie")
	}
}

// A user signs in at the console with an identity provider, is signed in by the provider's
// memory, and has to authenticate again after a revocation.
func TestBrowserSignsInThroughProvider(t *testing.T) {
	s := startBrowserServer(t, "127.0.0.1:1")
	p := s.addProvider("corp", map[string]map[string]any{"zoe": {"preferred_username": "zoë"}})
	console := "http://" + s.addr
	b := openTab(t)
	signedIn := func(what string) {
		t.Helper()
		b.arrives(what, func() bool {
			return b.brief("location.href") == console+"/profile" && strings.Contains(b.brief("document.body.innerText"), "zoë")
		})
	}
	b.do(chromedp.Navigate(console+"/sign-in?return=/profile"), chromedp.Click(chromedp.CSS(`a[href^="/sign-in/corp"]`)))
	b.providerForm(p, "zoe")
	signedIn("the profile")

	b.forget(console)
	b.do(chromedp.Navigate(console + "/sign-in/corp?return=/profile"))
	signedIn("silent single sign-on")

	s.curfew("revoke", "user", "zoë")
	b.arrives("the revocation", func() bool { return strings.Contains(b.fetch("/profile", "{}"), "revoked your sessions") })
	b.do(chromedp.Navigate(console + "/sign-in/corp?return=/profile"))
	b.providerForm(p, "zoe") // is really shown
	signedIn("the profile after the revocation")

	s.curfew("user", "disable", "zoë")
	refused := func() bool { return strings.Contains(b.brief("document.body.innerText"), "account is disabled") }
	b.do(chromedp.Navigate(console + "/sign-in/corp"))
	b.arrives("the refusal", refused)
	b.do(chromedp.Click(chromedp.CSS(`main a[href^="/sign-in/corp?prompt=login"]`)))
	b.providerForm(p, "zoe") // is shown for another account
	b.arrives("the refusal again", refused)
	b.do(chromedp.Navigate(console + "/profile"))
	b.arrives("the sign-in page", func() bool { return strings.HasPrefix(b.brief("location.href"), console+"/sign-in?") })

	p.process.Kill()
	b.do(chromedp.Navigate(console + "/sign-in"))
	b.signIn("admin", "")
	b.arrives("the overview", func() bool { return strings.HasPrefix(b.brief("location.href"), console+"/") && b.cookie() != "" })
}

// A service behind each proxy sends its users straight to the provider.
func TestBrowserBehindProxySignsInThroughProvider(t *testing.T) {
	for name, proxy := range map[string]func(s *server, front, back string){
		"nginx": func(s *server, front, back string) {
			s.nginx("include " + throughProvider(s.t, s.config("nginx.conf", front, back), "corp") + ";")
		},
		"Caddy": func(s *server, front, back string) {
			s.caddy(read(s.t, throughProvider(s.t, s.config("Caddyfile", front, back), "corp")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			front := testnet.Address(t)
			s := startBrowserServer(t, front)
			p := s.addProvider("corp", map[string]map[string]any{
				"zoe": {"preferred_username": "zoë", "email": "zoe@example.org", "email_verified": true, "groups": []string{"ops", "größe"}},
				"ben": {"preferred_username": "ben"},
			}, "--scope", "openid", "--scope", "profile", "--scope", "email", "--scope", "groups", "--groups-claim", "groups")
			proxy(s, front, application(t))
			url := "http://" + front
			waitFor(t, "the service", func() bool { return status(t, url+"/", "") == http.StatusUnauthorized })
			b := openTab(t)
			arrives := func(path string) {
				t.Helper()
				b.arrives("the page "+path, func() bool { return b.brief("location.href") == url+path })
				var told page
				b.arrives("what the service says", func() bool { return json.Unmarshal([]byte(b.brief("document.body.innerText")), &told) == nil })
				if told.Path != path || told.Identity["Remote-User"] != "zoë" || told.Identity["Remote-Email"] != "zoe@example.org" || told.Identity["Remote-Groups"] != "größe,ops" {
					t.Errorf("the service is told %+v", told)
				}
			}
			b.do(chromedp.Navigate(url + "/a/b?x=1&y=%26"))
			b.providerForm(p, "zoe")
			arrives("/a/b?x=1&y=%26")

			b.forget(url)
			b.do(chromedp.Navigate(url + "/silent?x=1"))
			arrives("/silent?x=1")

			// Signing out at the provider ends the session here: the provider tells Curfew.
			other := openTab(t)
			other.do(chromedp.Navigate(url + "/other"))
			other.providerForm(p, "ben")
			other.arrives("the page in another browser", func() bool { return other.brief("location.href") == url+"/other" })
			b.do(chromedp.Navigate(p.issuer+"/session/end"), chromedp.Click(chromedp.CSS("button[name=logout]")))
			b.arrives("the end of the provider's session", func() bool {
				return strings.HasPrefix(b.brief("location.href"), p.issuer+"/session/end/")
			})
			b.arrives("the end of the session", func() bool { return status(t, url+"/", b.cookie()) == http.StatusUnauthorized })
			b.do(chromedp.Navigate(url + "/again"))
			b.providerForm(p, "zoe")
			arrives("/again")
			if got := other.fetch("/work", "{}"); !strings.HasPrefix(got, "200 ") {
				t.Errorf("another session of the provider gets %s", got)
			}

			s.curfew("revoke", "user", "zoë")
			b.arrives("the revocation", func() bool { return strings.HasPrefix(b.fetch("/work", "{}"), "401 ") })
			b.do(chromedp.Navigate(url + "/after?x=1&y=2"))
			b.providerForm(p, "zoe")
			arrives("/after?x=1&y=2")

			p.process.Kill()
			if got := b.fetch("/work", "{}"); !strings.HasPrefix(got, "200 ") {
				t.Errorf("with the provider down, the session gets %s", got)
			}
		})
	}
}
