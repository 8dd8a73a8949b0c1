//go:build interop

package interop

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"example.com/curfew/internal/await"
	"example.com/curfew/internal/curfewtest/chromium"
	"example.com/curfew/internal/testnet"
)

// browser is the one of all tests of this process.
var browser chromium.Browser

// tab is a browser window with cookies of its own.
type tab struct {
	t       *testing.T
	context context.Context
}

func openTab(t *testing.T) *tab {
	t.Helper()
	ctx, cancel, err := browser.Tab(func() (string, error) { return filepath.Join(filepath.Dir(binary), "profile"), nil })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cancel)
	b := &tab{t, ctx}
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.context, await.Limit)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		b.t.Fatalf("%v\nat %s\n%s", err, b.brief("location.href"), b.brief("document.body.innerText"))
	}
}

// brief returns a text that the page computes; "" while it is being replaced.
func (b *tab) brief(expression string) string {
	ctx, cancel := context.WithTimeout(b.context, 5*time.Second)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](expression))
	if err != nil {
		return ""
	}
	return text
}

// fetch returns status and body of a request that the page makes.
func (b *tab) fetch(path, options string) string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.context, await.Limit)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](
		fmt.Sprintf(`fetch(%q, %s).then(async r => r.status + " " + await r.text(), e => "0 " + e)`, path, options), chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatal(err)
	}
	return text
}

func (b *tab) arrives(what string, holds func() bool) {
	b.t.Helper()
	if !await.Holds(await.Limit, holds) {
		b.t.Fatalf("%s: it does not come\nat %s\n%s", what, b.brief("location.href"), b.brief("document.body.innerText"))
	}
}

// cookie returns the value of the session cookie.
func (b *tab) cookie() string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.context, await.Limit)
	defer cancel()
	result, err := chromedp.Call(ctx, network.GetCookies, network.GetCookiesParams{})
	if err != nil {
		b.t.Fatal(err)
	}
	for _, c := range result.Cookies {
		if strings.HasSuffix(c.Name, "curfew_session") {
			return c.Value
		}
	}
	return ""
}

func (b *tab) forgetCookies() {
	b.t.Helper()
	if _, err := chromedp.Call(b.context, network.ClearBrowserCookies, cdp.Empty{}); err != nil {
		b.t.Fatal(err)
	}
}

// signIn fills in the form of the sign-in page, and sends it.
func (b *tab) signIn(name, service string) {
	b.t.Helper()
	b.arrives("the sign-in page", func() bool { return b.brief(`document.querySelector("#username") ? "yes" : ""`) == "yes" })
	if text := b.brief("document.body.innerText"); !strings.Contains(text, service) {
		b.t.Errorf("the sign-in page does not name %s:\n%s", service, text)
	}
	b.do(
		chromedp.SendKeys(chromedp.CSS("#username"), name),
		chromedp.SendKeys(chromedp.CSS("#password"), password),
		chromedp.Click(chromedp.CSS("main button.primary")),
	)
}

// page is what the service says of the request for a page.
type page struct {
	Path     string
	Identity map[string]string
}

// application is a service behind a proxy: it shows who it was told that the user
// is, takes uploads, answers errors, and sets a cookie of its own.
func application(t *testing.T) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "app", Value: "1", Path: "/"})
		if r.Method == http.MethodPost {
			n, err := io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, n, err)
			return
		}
		if code, err := strconv.Atoi(r.URL.Query().Get("status")); err == nil {
			w.WriteHeader(code)
		}
		p := page{Path: r.RequestURI, Identity: map[string]string{}}
		for name, values := range r.Header {
			switch strings.NewReplacer("-", "_", ".", "_").Replace(strings.ToLower(name)) {
			case "remote_user", "remote_name", "remote_email", "remote_groups", "curfew_user_id", "curfew_session":
				p.Identity[name] = strings.Join(values, " | ")
			}
		}
		if err := json.NewEncoder(w).Encode(p); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

var browserProxies = map[string]func(s *server, front, back string){
	"nginx": func(s *server, front, back string) {
		s.nginx("include " + s.config("nginx.conf", front, back) + ";")
	},
	"Caddy": func(s *server, front, back string) { s.caddy(read(s.t, s.config("Caddyfile", front, back))) },
	"HAProxy": func(s *server, front, back string) {
		s.config("curfew.lua", front, back)
		file := s.config("haproxy-forward-auth.cfg", front, back)
		spawn(s.t, exec.Command(find(s.t, "haproxy"), "-db", "-f", file))
	},
}

// A user of a service behind each proxy: goes to a page of it, signs in and is back
// at that page, works for longer than the session timeout, uploads a large file,
// and is out with the revocation.
func TestBrowserBehindProxy(t *testing.T) {
	const timeout = 6 * time.Second
	for name, proxy := range browserProxies {
		t.Run(name, func(t *testing.T) {
			front := testnet.Address(t)
			s := startBrowserServer(t, front)
			s.curfew("settings", "set", "--session-timeout", timeout.String(), "--insecure-short-timeouts")
			groups := []string{"größe", "ops"}
			for i := range 15 { // as many as still fit into a token
				groups = append(groups, fmt.Sprintf("team-%02d-of-the-department-of-things-to-do-before-the-night", i))
			}
			user := s.addUser("zoë", "zoe@example.org", groups...)
			proxy(s, front, application(t))
			url := "http://" + front
			waitFor(t, "the service", func() bool { return status(t, url+"/", "") == http.StatusUnauthorized })

			b := openTab(t)
			for _, path := range []string{"/", "/a/b?x=1&y=2", "/%26?x=a%26b&y=%23+%2B&z=%C3%BC", "/p;v=1,2?q=%27&r=(a)&s=[b]&next=http://x/?a=1&b=2"} {
				b.forgetCookies()
				b.do(chromedp.Navigate(url + path))
				b.signIn("zoë", front)
				b.arrives("the page "+path, func() bool { return strings.HasPrefix(b.brief("location.href"), url) })
				var p page
				b.arrives("what the service says", func() bool { return json.Unmarshal([]byte(b.brief("document.body.innerText")), &p) == nil })
				if p.Path != path {
					t.Errorf("the browser came back to %s, want %s", p.Path, path)
				}
				if p.Identity["Remote-User"] != "zoë" || p.Identity["Remote-Email"] != "zoe@example.org" ||
					p.Identity["Remote-Groups"] != strings.Join(groups, ",") || p.Identity["Curfew-User-Id"] != user || p.Identity["Curfew-Session"] == "" || len(p.Identity) != 6 {
					t.Errorf("the service is told %v", p.Identity)
				}
			}

			first := b.cookie()
			if first == "" {
				t.Fatal("there is no session cookie")
			}
			// Activity: pages, errors of the service, and requests of the page.
			for began, i := time.Now(), 0; time.Since(began) < timeout*5/2; i++ {
				want := []string{"200", "404", "500", "403"}[i%4]
				if got := b.fetch("/work?status="+want, "{}"); !strings.HasPrefix(got, want) {
					t.Fatalf("after %v of activity: %s, want %s", time.Since(began), got, want)
				}
				time.Sleep(timeout / 10) // activity within the timeout
			}
			if b.cookie() == first {
				t.Error("the cookie was not renewed at the browser")
			}
			if got := b.fetch("/upload", `{method: "POST", body: new Uint8Array(20 << 20)}`); got != "200 20971520 <nil>" && got != "200 20971520<nil>" {
				t.Errorf("the upload of 20 MB: %s", got)
			}

			s.curfew("revoke", "user", "zoë")
			b.arrives("the revocation", func() bool { return strings.HasPrefix(b.fetch("/work", "{}"), "401 ") })
			b.do(chromedp.Navigate(url + "/after?x=1&y=2"))
			b.signIn("zoë", front)
			b.arrives("the page after the revocation", func() bool { return b.brief("location.href") == url+"/after?x=1&y=2" })
		})
	}
}

// startBrowserServer starts a server whose issuer is the address that it listens
// at, so that browsers find the sign-in page.
func startBrowserServer(t *testing.T, front string) *server {
	t.Helper()
	s := &server{t: t, dir: t.TempDir(), addr: testnet.Address(t)}
	s.command = []string{
		"serve", "--listen", s.addr, "--issuer", "http://" + s.addr, "--metrics-listen", "", "--lease", "2s",
		"--insecure-short-timeouts", "--trusted-proxies", "127.0.0.1/32", "--return-hosts", front,
	}
	s.serve()
	s.signIn()
	return s
}

// serve runs the server's command until it is ready.
func (s *server) serve() {
	s.t.Helper()
	s.log = s.spawn(exec.Command(binary, s.command...))
	waitFor(s.t, "the server", func() bool { return status(s.t, "http://"+s.addr+"/readyz", "") == http.StatusOK })
}

// addUser adds a user, whose password is the administrator's, and returns its id.
func (s *server) addUser(name, email string, groups ...string) string {
	s.t.Helper()
	body, err := json.Marshal(map[string]any{"name": name, "email": email, "groups": groups, "password": password})
	if err != nil {
		s.t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, "http://"+s.addr+"/v1/users", bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.signIn())
	r.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close()
	var made struct{ ID string }
	if err := json.NewDecoder(answer.Body).Decode(&made); err != nil || answer.StatusCode != http.StatusCreated {
		s.t.Fatalf("adding a user: %s, %v", answer.Status, err)
	}
	return made.ID
}
