// Package zitadel signs in with the example provider of github.com/zitadel/oidc, which is
// written elsewhere. It is a module of its own, so that the provider does not become a
// requirement of Curfew's.
//
// The provider has no back-channel logout and no iss in its responses (RFC 9207). Its
// claims about the user are at the userinfo endpoint only.
package zitadel

import (
	"encoding/json"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"

	"example.com/curfew/internal/await"
	"example.com/curfew/internal/curfewtest"
	"example.com/curfew/internal/testnet"
)

const (
	clientID, secret = "curfew", "a-secret-of-the-client"
	userName         = "test-user2" // of the example's users
	userPassword     = "verysecure"
)

// jar keeps cookies as a browser does on this machine: those with Secure are sent over
// http:// to a loopback address.
type jar struct {
	mu      sync.Mutex
	cookies map[string]map[string]string // guarded by mu: by host with port
}

func (j *jar) SetCookies(u *url.URL, cookies []*http.Cookie) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.cookies == nil {
		j.cookies = map[string]map[string]string{}
	}
	if j.cookies[u.Host] == nil {
		j.cookies[u.Host] = map[string]string{}
	}
	for _, c := range cookies {
		if j.cookies[u.Host][c.Name] = c.Value; c.MaxAge < 0 {
			delete(j.cookies[u.Host], c.Name)
		}
	}
}

func (j *jar) Cookies(u *url.URL) []*http.Cookie {
	j.mu.Lock()
	defer j.mu.Unlock()
	var cookies []*http.Cookie
	for name, value := range j.cookies[u.Host] {
		cookies = append(cookies, &http.Cookie{Name: name, Value: value})
	}
	return cookies
}

// browser follows redirects and keeps cookies.
type browser struct {
	t *testing.T
	*http.Client
	callbacks []string // the requests that the provider has led to
}

func newBrowser(t *testing.T) *browser {
	b := &browser{t: t, Client: &http.Client{Jar: &jar{}}}
	b.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if strings.HasSuffix(r.URL.Path, "/callback") && r.URL.Query().Has("state") {
			b.callbacks = append(b.callbacks, r.URL.String())
		}
		return nil
	}
	return b
}

// page is what the browser has arrived at.
type page struct {
	status  int
	address string
	body    string
}

func (b *browser) read(r *http.Response, err error) page {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return page{r.StatusCode, r.Request.URL.String(), string(body)}
}

func (b *browser) open(address string) page { b.t.Helper(); return b.read(b.Get(address)) }

var formID = regexp.MustCompile(`name="id" value="([^"]*)"`)

// submit fills in the provider's form on a page.
func (b *browser) submit(p page) page {
	b.t.Helper()
	id := formID.FindStringSubmatch(p.body)
	if id == nil {
		b.t.Fatalf("no form of the provider, but %d at %s:\n%s", p.status, p.address, p.body)
	}
	u, err := url.Parse(p.address)
	if err != nil {
		b.t.Fatal(err)
	}
	u.Path, u.RawQuery = "/login/username", ""
	return b.read(b.PostForm(u.String(), url.Values{"id": {html.UnescapeString(id[1])}, "username": {userName}, "password": {userPassword}}))
}

// The whole of a sign-in, with a provider of another make.
func TestZitadel(t *testing.T) {
	dir := t.TempDir()
	binary, err := curfewtest.Build(filepath.Join("..", "..", ".."), dir, "curfew")
	if err != nil {
		t.Fatal(err)
	}
	listen := testnet.Address(t)
	console := "http://" + listen
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.Command(binary, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("curfew %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	serve := exec.Command(binary, "serve", "--listen", listen, "--issuer", console, "--metrics-listen", "")
	serve.Dir, serve.Env = dir, append(os.Environ(), "CURFEW_ADMIN_PASSWORD=a password for interop")
	server, err := curfewtest.Spawn(serve)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Kill)
	await.Until(t, "the server is ready", func() bool {
		r, err := http.Get(console + "/readyz")
		if err != nil {
			return false
		}
		r.Body.Close()
		return r.StatusCode == http.StatusOK
	})

	storage.RegisterClients(
		storage.WebClient(clientID, secret, console+"/sign-in/zitadel/callback"),
		storage.WebClient("another", secret, console+"/sign-in/wrong/callback"),
	)
	var provider http.Handler
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { provider.ServeHTTP(w, r) }))
	t.Cleanup(front.Close)
	provider = exampleop.SetupServer(front.URL, storage.NewStorage(storage.NewUserStore(front.URL)), slog.New(slog.DiscardHandler), false)

	add := func(name, client, secret string) {
		t.Helper()
		file := filepath.Join(dir, "secret")
		if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
			t.Fatal(err)
		}
		run("provider", "add", name, "--issuer", front.URL, "--client-id", client, "--client-secret-file", file, "--create-users",
			"--scope", "openid", "--scope", "profile", "--scope", "email")
	}
	add("zitadel", clientID, secret)
	add("wrong", "another", "not the secret")
	if out := run("provider", "check", "zitadel"); !strings.Contains(out, "its configuration fits") || !strings.Contains(out, "does not announce back-channel logout") {
		t.Errorf("the check says\n%s", out)
	}

	b := newBrowser(t)
	const profile = "/sign-in/zitadel?return=/profile"
	signedIn := func(what string, p page) {
		t.Helper()
		if p.status != http.StatusOK || p.address != console+"/profile" || !strings.Contains(p.body, userName) {
			t.Fatalf("%s: %d at %s\n%s\n%s", what, p.status, p.address, p.body, server.String())
		}
	}
	signedIn("the first sign-in", b.submit(b.open(console+profile)))
	var user struct {
		Email      string
		Identities []struct{ Issuer, Subject string }
	}
	if err := json.Unmarshal([]byte(run("user", "show", userName, "--json")), &user); err != nil {
		t.Fatal(err)
	}
	if user.Email != "test-user2@zitadel.ch" || len(user.Identities) != 1 || user.Identities[0].Issuer != front.URL || user.Identities[0].Subject != "id2" {
		t.Errorf("the user is %+v", user)
	}

	// A response again: in the same browser, in another one.
	if len(b.callbacks) != 1 {
		t.Fatalf("the provider has led to %q", b.callbacks)
	}
	another := newBrowser(t)
	for name, who := range map[string]*browser{"the same browser": b, "another browser": another} {
		if p := who.open(b.callbacks[0]); p.status != http.StatusBadRequest {
			t.Errorf("the response again, in %s: %d", name, p.status)
		}
	}
	signedIn("after that", b.open(console+"/profile"))

	// Within a minute after a revocation the user is asked twice: the second attempt
	// demands an authentication that is later than its own beginning.
	run("revoke", "user", userName)
	first := b.submit(b.open(console + profile))
	signedIn("the second attempt after a revocation", b.submit(first))

	// A confirmation demands one form.
	signedIn("a confirmation", b.submit(b.open(console+profile+"&prompt=login&max_age=0")))

	wrong := newBrowser(t)
	p := wrong.submit(wrong.open(console + "/sign-in/wrong"))
	if p.status != http.StatusServiceUnavailable || !strings.Contains(p.body, "curfew provider check wrong") {
		t.Errorf("with a wrong client secret: %d\n%s", p.status, p.body)
	}
	run("user", "disable", userName)
	refused := b.submit(b.open(console + profile))
	if formID.MatchString(refused.body) { // again asked twice: disabling has revoked the sessions
		refused = b.submit(refused)
	}
	if refused.status != http.StatusForbidden || !strings.Contains(refused.body, "account is disabled") {
		t.Errorf("a disabled user: %d at %s\n%s", refused.status, refused.address, refused.body)
	}
}
