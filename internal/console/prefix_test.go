package console_test

import (
	"encoding/json"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"
)

// belowPath is a server behind a proxy that has it below a path.
type belowPath struct {
	*filledServer
	root string // of the proxy
	base string // of the server, at the proxy

	mu   sync.Mutex
	seen []string // the paths that were asked for
}

// openBelow starts a server below /curfew of a proxy. The proxy puts instead in place
// of /curfew.
func openBelow(t *testing.T, instead, slash string) *belowPath {
	t.Helper()
	b := &belowPath{}
	proxy := httptest.NewUnstartedServer(nil)
	b.root = "http://" + proxy.Listener.Addr().String()
	b.base = b.root + "/curfew"
	b.filledServer = &filledServer{program: run(t, onSQLite(t), "--issuer", b.base+slash, "--trusted-proxies", "127.0.0.1")}
	b.fillServer()
	to, err := url.Parse(b.filledServer.url)
	if err != nil {
		t.Fatal(err)
	}
	forward := &httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.SetXForwarded()
		for _, path := range []*string{&r.Out.URL.Path, &r.Out.URL.RawPath} {
			if rest, below := strings.CutPrefix(*path, "/curfew"); below {
				*path = instead + rest
			}
		}
	}}
	proxy.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		b.seen = append(b.seen, r.URL.Path)
		b.mu.Unlock()
		if strings.HasPrefix(r.URL.Path, "/curfew/") || r.URL.Path == "/.well-known/oauth-authorization-server/curfew" {
			forward.ServeHTTP(w, r)
			return
		}
		t.Errorf("%s is asked for, which belongs to others", r.URL.Path)
		http.NotFound(w, r)
	})
	proxy.Start()
	t.Cleanup(proxy.Close)
	return b
}

// paths returns the paths that have been asked for.
func (b *belowPath) asked() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.seen)
}

// get asks for an address through the proxy, and follows no redirect.
func (b *belowPath) get(address string, header ...string) (status int, h http.Header, body string) {
	b.Helper()
	r, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		b.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	client := *web
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	answer, err := client.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		b.Fatal(err)
	}
	return answer.StatusCode, answer.Header, string(text)
}

// ways are how a proxy may have the server below a path, and how the issuer may be
// written.
var ways = []struct {
	name    string
	instead string
	slash   string
}{
	{"the proxy takes the path away", "", ""},
	{"the proxy passes the path on", "/curfew", ""},
	{"the issuer ends in a slash", "", "/"},
	{"the proxy leaves a slash too many", "/", "/"},
}

// Every page and every redirect of a server below a path leads below it, and so do the
// addresses that the API names.
func TestBelowPath(t *testing.T) {
	t.Parallel()
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			b := openBelow(t, way.instead, way.slash)
			cookie := "__Host-curfew_session=" + b.admin
			leads := regexp.MustCompile(`(?:href|action|src|formaction|data-receipt)="([^"]*)"|url=([^"]*)"`)
			for _, one := range append(b.filledServer.paths(t), place{"sign-in", "/sign-in?return=/users"}) {
				_, _, page := b.get(b.base+one.path, "Cookie", cookie, "Accept", "text/html")
				all := leads.FindAllStringSubmatch(page, -1)
				if len(all) < 4 {
					t.Errorf("%s: %d links:\n%s", one.path, len(all), page)
				}
				for _, m := range all {
					if to := html.UnescapeString(m[1] + m[2]); strings.HasPrefix(to, "/") && !strings.HasPrefix(to, "/curfew/") {
						t.Errorf("%s leads to %s", one.path, to)
					}
				}
				_, h, _ := b.get(b.base+one.path, "Accept", "text/html")
				if to := h.Get("Location"); to != "" && to != "/curfew/sign-in" && !strings.HasPrefix(to, "/curfew/sign-in?") {
					t.Errorf("without a session %s leads to %s", one.path, to)
				}
			}
			for from, want := range map[string]string{
				"/continue?return=/users": "/curfew/users",
				"//users":                 "/curfew/users",
			} {
				status, h, _ := b.get(b.base+from, "Cookie", cookie)
				if to := h.Get("Location"); to != want && (from != "//users" || status != http.StatusOK) {
					t.Errorf("%s: %d, leads to %q, want %q", from, status, to, want)
				}
			}

			issuer := b.base + way.slash
			for _, address := range []string{b.base + "/.well-known/oauth-authorization-server", b.root + "/.well-known/oauth-authorization-server/curfew"} {
				_, _, text := b.get(address)
				metadata := map[string]any{}
				if err := json.Unmarshal([]byte(text), &metadata); err != nil || metadata["issuer"] != issuer {
					t.Fatalf("%s: %v, %s", address, err, text)
				}
				for name, value := range metadata {
					if to, ok := value.(string); ok && name != "issuer" && !strings.HasPrefix(to, b.base+"/") || strings.Contains(name, "uri") && value != b.base+"/.well-known/jwks.json" {
						t.Errorf("%s: %s is %v", address, name, value)
					}
				}
			}
			if status, _, text := b.get(b.base + "/.well-known/jwks.json"); status != http.StatusOK || !strings.Contains(text, `"keys"`) {
				t.Errorf("keys: %d, %s", status, text)
			}
			if status, h, _ := b.get(b.base+"/v1/verify?sign_in=1", "Accept", "text/html"); status != http.StatusFound || !strings.HasPrefix(h.Get("Location"), b.base+"/sign-in") {
				t.Errorf("forward auth: %d, leads to %s", status, h.Get("Location"))
			}
			if status, _, _ := b.get(b.base+"/v1/verify", "Cookie", cookie); status != http.StatusOK {
				t.Errorf("forward auth with a session: %d", status)
			}
			r, err := http.NewRequest(http.MethodPost, b.base+"/v1/users", strings.NewReader(`{"name":"below"}`))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer "+b.admin)
			r.Header.Set("Content-Type", "application/json")
			made, err := web.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			made.Body.Close()
			if to := made.Header.Get("Location"); made.StatusCode != http.StatusCreated || !strings.HasPrefix(to, "/curfew/v1/users/") {
				t.Errorf("a new user: %d, at %s", made.StatusCode, to)
			}
			if at := b.filledServer.url + "/curfew/"; !strings.Contains(b.process.String(), strings.TrimSuffix(at, "/")) {
				t.Errorf("the start does not name %s", at)
			}
		})
	}
}

// A browser gets through the console below a path: pages, dialogs, the watch over the
// session, signing out.
func TestBrowserBelowPath(t *testing.T) {
	t.Parallel()
	for _, way := range ways[:2] {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			b := openBelow(t, way.instead, way.slash)
			w := b.open(t, look{})
			w.url = b.base
			w.as("admin")
			if !w.soon(func() bool { return slices.Contains(b.asked(), "/curfew/v1/session/events") }) {
				t.Error("the page does not listen for the end of its session")
			}
			w.follow("nav a[href='/curfew/users']")
			w.fill("#search", "ada")
			w.follow("form[role=search] button")
			w.follow("main a[href='/curfew/users/" + b.ada + "']")
			w.confirmed("a.danger[href$='/revoke']", because(w, "Offboarding"))
			w.at("/users/" + b.ada)
			w.says("Sessions revoked.", "In force everywhere")
			// As for a tab that the user comes back to.
			w.do(chromedp.Evaluate[chromedp.Void](`document.dispatchEvent(new Event("visibilitychange"))`))
			if !w.soon(func() bool { return slices.Contains(b.asked(), "/curfew/profile/session") }) {
				t.Error("the page does not ask for the state of its session")
			}
			w.click("details.account summary")
			w.follow("details.account form button")
			w.at("/sign-in")
			w.says("You have signed out.")
			w.visit("/profile")
			w.signIn("Ada Lovelace", userPassword, false)
			w.at("/profile")
		})
	}
}
