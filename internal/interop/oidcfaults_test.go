//go:build interop

package interop

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"example.com/curfew/internal/curfewtest"
	"example.com/curfew/internal/testnet"
)

// shows waits until the page has a text.
func (b *tab) shows(what, text string) {
	b.t.Helper()
	b.arrives(what, func() bool { return strings.Contains(b.brief("document.body.innerText"), text) })
}

// The provider is killed at each step of a sign-in, of a confirmation and of a logout. The
// page says what happened, no sign-in is half done, sessions that have begun go on, and
// once the provider is back, "Try again" works.
func TestBrowserProviderIsKilled(t *testing.T) {
	s := startBrowserServer(t, "127.0.0.1:1")
	p := s.addProvider("corp", map[string]map[string]any{"zoe": {"preferred_username": "zoë"}})
	console := "http://" + s.addr
	const start = "/sign-in/corp?return=/profile"

	other := openTab(t) // has a session that began with a password
	other.do(chromedp.Navigate(console + "/sign-in?return=/profile"))
	other.signIn(userName, "")
	other.shows("the profile", userName)
	b := openTab(t)
	goesOn := func(step string) {
		t.Helper()
		if got := other.fetch("/profile", "{}"); !strings.HasPrefix(got, "200 ") {
			t.Errorf("%s: a session that has begun gets %s", step, got)
		}
	}
	// unavailable holds the page of a sign-in that could not be completed.
	unavailable := func(step string) {
		t.Helper()
		b.shows(step, "can’t reach the identity provider corp")
		if text := b.brief("document.body.innerText"); !strings.Contains(text, "Try again in a moment.") || !strings.Contains(text, "Other ways to sign in") {
			t.Errorf("%s: the page says\n%s", step, text)
		}
		if code := b.brief("String(performance.getEntriesByType('navigation')[0].responseStatus)"); code != "503" {
			t.Errorf("%s: the status of the page is %s", step, code)
		}
		goesOn(step)
	}
	formGone := func() bool { return b.brief(`document.querySelector("input[name=login]") ? "" : "gone"`) == "gone" }
	// again follows "Try again" until the sign-in succeeds: a failure is kept for a second.
	again := func(step string) {
		t.Helper()
		b.arrives("a sign-in after the provider is back: "+step, func() bool {
			b.brief(`document.querySelector('main a[href^="/sign-in/corp"]')?.click()`)
			if b.brief(`document.querySelector("input[name=login]") ? "yes" : ""`) == "yes" {
				b.providerForm(p, "zoe")
				b.arrives("the answer to the form", formGone)
			}
			return b.brief("location.href") == console+"/profile" && strings.Contains(b.brief("document.body.innerText"), "zoë")
		})
	}
	signedOut := func(step string) {
		t.Helper()
		if b.cookie() != "" {
			t.Errorf("%s: there is a session", step)
		}
		goesOn(step)
	}

	p.process.Kill()
	b.do(chromedp.Navigate(console + start))
	unavailable("before the discovery")
	signedOut("before the discovery")
	p.restart()
	dead := p.dieAt("/jwks")
	b.arrives("the provider's form", func() bool {
		b.brief(`document.querySelector('main a[href^="/sign-in/corp"]')?.click()`)
		return strings.HasPrefix(b.brief("location.href"), p.issuer+"/")
	})
	b.providerForm(p, "zoe")
	<-dead
	unavailable("at the keys")
	signedOut("at the keys")
	p.restart()
	again("at the keys")

	b.forget(console)
	p.process.Kill()
	p.restart() // so that its form is shown
	b.do(chromedp.Navigate(console + start))
	b.arrives("the provider's form", func() bool { return b.brief(`document.querySelector("input[name=login]") ? "yes" : ""`) == "yes" })
	p.process.Kill()
	b.providerForm(p, "zoe")
	b.arrives("the browser's own page", formGone)
	signedOut("after the redirect")
	p.restart()
	b.do(chromedp.Navigate(console + start))
	dead = p.dieAt("/token")
	b.providerForm(p, "zoe")
	<-dead
	unavailable("at the exchange of the code")
	signedOut("at the exchange of the code")
	p.restart()
	again("at the exchange of the code")

	// A confirmation replaces the session only when it succeeds.
	before := b.cookie()
	b.do(chromedp.Navigate(console + start + "&prompt=login&max_age=0"))
	dead = p.dieAt("/token")
	b.providerForm(p, "zoe")
	<-dead
	unavailable("at a confirmation")
	if b.cookie() != before || status(t, console+"/v1/session", before) != http.StatusOK {
		t.Error("a confirmation that failed has changed the session")
	}
	p.restart()
	again("at a confirmation")
	if b.cookie() == before || status(t, console+"/v1/session", before) != http.StatusUnauthorized {
		t.Error("the confirmation has not replaced the session")
	}

	// A logout that can't be verified ends nothing. A server that has just started asks for
	// the keys.
	before = b.cookie()
	s.log.Kill()
	s.serve()
	dead = p.dieAt("/jwks")
	b.do(chromedp.Navigate(p.issuer+"/session/end"), chromedp.Click(chromedp.CSS("button[name=logout]")))
	<-dead
	const path = `"path":"/oauth/backchannel-logout"`
	waitFor(t, "the answer to the logout", func() bool { return strings.Contains(s.log.String(), path) })
	_, answer, _ := strings.Cut(s.log.String(), path)
	if answer, _, _ = strings.Cut(answer, "\n"); !strings.Contains(answer, `"code":"unavailable"`) {
		t.Errorf("the answer to the logout is %s", answer)
	}
	if code := status(t, console+"/v1/session", before); code != http.StatusOK {
		t.Errorf("at a logout: the session gets %d", code)
	}
	goesOn("at a logout")
	p.restart()
	b.do(chromedp.Navigate(console + start))
	again("at a logout")
	// The same logout with the provider there.
	before = b.cookie()
	b.do(chromedp.Navigate(p.issuer+"/session/end"), chromedp.Click(chromedp.CSS("button[name=logout]")))
	b.arrives("the end of the session", func() bool { return status(t, console+"/v1/session", before) == http.StatusUnauthorized })
	goesOn("after everything")

	// New keys, as after a rotation.
	p.process.Kill()
	if err := os.Remove(p.key); err != nil {
		t.Fatal(err)
	}
	p.restart()
	b.do(chromedp.Navigate(console + start))
	again("with new keys") // which are asked for once in ten seconds
}

// Users of two providers with the same subject and address are different users. The
// sign-in page has a link for each, a name is given once, and a proxy can choose one.
func TestBrowserTwoProviders(t *testing.T) {
	front := testnet.Address(t)
	s := startBrowserServer(t, front)
	zoe := func(name string) map[string]any {
		return map[string]any{"preferred_username": name, "email": "zoe@example.org", "email_verified": true}
	}
	scopes := []string{"--scope", "openid", "--scope", "profile", "--scope", "email"}
	corp := s.addProvider("corp", map[string]map[string]any{"zoe": zoe("zoë"), "ben": zoe("ben")}, scopes...)
	partner := s.addProvider("partner", map[string]map[string]any{"zoe": zoe("zoe of partner"), "ben": zoe("ben")}, scopes...)
	console := "http://" + s.addr
	profile := func(b *tab, name string) {
		t.Helper()
		b.arrives("the profile of "+name, func() bool {
			return b.brief("location.href") == console+"/profile" && strings.Contains(b.brief("document.body.innerText"), name)
		})
	}
	choose := func(b *tab, name string, p *identityProvider, user string) {
		t.Helper()
		b.do(chromedp.Navigate(console+"/sign-in?return=/profile"), chromedp.Click(chromedp.CSS(`a[href^="/sign-in/`+name+`?"]`)))
		b.providerForm(p, user)
	}
	at := openTab(t)
	choose(at, "corp", corp, "zoe")
	profile(at, "zoë")
	elsewhere := openTab(t)
	choose(elsewhere, "partner", partner, "zoe")
	profile(elsewhere, "zoe of partner")

	// The name of the other provider's user is not taken over.
	first, second := openTab(t), openTab(t)
	choose(first, "corp", corp, "ben")
	profile(first, "ben")
	choose(second, "partner", partner, "ben")
	second.shows("the refusal", "belongs to another user")
	if second.cookie() != "" {
		t.Error("a user of partner has a session as the user of corp with the same name")
	}

	// Signing out at one of them ends nothing that began at the other, for the same subject.
	elsewhere.do(chromedp.Navigate(partner.issuer+"/session/end"), chromedp.Click(chromedp.CSS("button[name=logout]")))
	old := elsewhere.cookie()
	elsewhere.arrives("the end of the session", func() bool { return status(t, console+"/v1/session", old) == http.StatusUnauthorized })
	if got := at.fetch("/profile", "{}"); !strings.HasPrefix(got, "200 ") {
		t.Errorf("after the logout at partner, the session of corp's user gets %s", got)
	}

	s.nginx("include " + throughProvider(t, s.config("nginx.conf", front, application(t)), "partner") + ";")
	waitFor(t, "the service", func() bool { return status(t, "http://"+front+"/", "") == http.StatusUnauthorized })
	elsewhere.do(chromedp.Navigate("http://" + front + "/a?b=c"))
	elsewhere.providerForm(partner, "zoe")
	elsewhere.arrives("the page of the service", func() bool { return elsewhere.brief("location.href") == "http://"+front+"/a?b=c" })
	elsewhere.shows("what the service says", "zoe of partner")
}

// An open WebSocket behind a proxy ends when its user signs out at the provider, and the
// socket of another user does not. The service behind the proxy follows the change feed.
func TestBrowserSocketEndsAtProvider(t *testing.T) {
	for name, proxy := range map[string]func(s *server, front, back string){
		"nginx": func(s *server, front, back string) {
			file := throughProvider(s.t, s.config("nginx.conf", front, back), "corp")
			write(s.t, file, strings.Replace(read(s.t, file), "proxy_pass http://"+back+";",
				"proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; proxy_pass http://"+back+";", 1))
			s.nginx("include " + file + ";")
		},
		"Caddy": func(s *server, front, back string) {
			s.caddy(read(s.t, throughProvider(s.t, s.config("Caddyfile", front, back), "corp")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			front, back := testnet.Address(t), testnet.Address(t)
			s := startBrowserServer(t, front)
			p := s.addProvider("corp", map[string]map[string]any{"zoe": {"preferred_username": "zoë"}, "ben": {"preferred_username": "ben"}})
			s.socketService(back)
			proxy(s, front, back)
			page := "http://" + front + "/page"
			waitFor(t, "the service", func() bool { return status(t, page, "") == http.StatusUnauthorized })
			open := func(user string) *tab {
				t.Helper()
				b := openTab(t)
				b.do(chromedp.Navigate(page))
				b.providerForm(p, user)
				b.arrives("the page", func() bool { return b.brief("location.href") == page && b.brief("document.readyState") == "complete" })
				b.brief(`socket = new WebSocket("ws://" + location.host + "/socket"); said = ""; ended = "";
					socket.onmessage = async e => { said = await e.data.text() }; socket.onclose = e => { ended = e.code + " " + e.reason }; socket.onopen = () => socket.send("hello"); ""`)
				b.arrives("the socket's answer", func() bool { return b.brief(`said + ended`) != "" })
				if got := b.brief(`said + ended`); got != "hello" {
					t.Fatalf("the socket says %q", got)
				}
				return b
			}
			zoe, ben := open("zoe"), open("ben")
			out := openTabLike(t, zoe)
			out.do(chromedp.Navigate(p.issuer + "/session/end"))
			began := time.Now()
			out.do(chromedp.Click(chromedp.CSS("button[name=logout]")))
			zoe.arrives("the end of the socket", func() bool { return zoe.brief("ended") != "" })
			t.Logf("the socket has ended %v after the click", time.Since(began))
			if got := zoe.brief("ended"); got != "1008 revoked" {
				t.Errorf("the socket has ended with %q", got)
			}
			if code := status(t, page, zoe.cookie()); code != http.StatusUnauthorized {
				t.Errorf("the session gets %d", code)
			}
			ben.brief(`said = ""; socket.send("still there"); ""`)
			ben.arrives("the answer of another user's socket", func() bool { return ben.brief("said") == "still there" })
		})
	}
}

// throughProvider makes the configuration of a proxy send browsers straight to a provider.
func throughProvider(t *testing.T, file, name string) string {
	t.Helper()
	text := read(t, file)
	with := strings.NewReplacer("sign_in=1", "sign_in=1&provider="+name, "sign_in=location", "sign_in=location&provider="+name).Replace(text)
	if with == text {
		t.Fatalf("%s does not send browsers to the sign-in", file)
	}
	write(t, file, with)
	return file
}

// socketService runs the documentation's WebSocket service on Node behind a proxy: the
// token is in the cookie, and a GET has a page.
func (s *server) socketService(address string) {
	s.t.Helper()
	var client struct{ ID, Secret string }
	if err := json.Unmarshal(s.curfew("client", "add", "sockets", "--can", "follow", "--json"), &client); err != nil {
		s.t.Fatal(err)
	}
	file := s.config("websockets.mjs", address, "")
	text := read(s.t, file)
	for old, replacement := range map[string]string{
		"'" + issuer + "'": "'http://" + s.addr + "'",
		"(request.headers.authorization ?? '').replace(/^Bearer +/i, '')": "/__Host-curfew_session=([^;]+)/.exec(request.headers.cookie)?.[1] ?? ''",
		"(trustedUntil ? 426 : 503).end()":                                "(trustedUntil ? 200 : 503).end('a page')",
	} {
		if !strings.Contains(text, old) {
			s.t.Fatalf("websockets.mjs has no %s", old)
		}
		text = strings.Replace(text, old, replacement, 1)
	}
	write(s.t, file, text)
	if err := os.Symlink(filepath.Join(curfewtest.Module(), ".cache/npm/interop/node_modules"), filepath.Join(s.dir, "node_modules")); err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command(find(s.t, "node"), file)
	cmd.Env = append(os.Environ(), "CURFEW_URL=http://"+s.addr, "CURFEW_CLIENT="+client.ID, "CURFEW_SECRET="+client.Secret)
	spawn(s.t, cmd)
	waitFor(s.t, "the service of sockets", func() bool { return status(s.t, "http://"+address+"/", "") == http.StatusOK })
}

// openTabLike opens another tab with the cookies of b.
func openTabLike(t *testing.T, b *tab) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(b.context)
	t.Cleanup(cancel)
	another := &tab{t, ctx}
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	return another
}
