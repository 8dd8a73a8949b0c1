package console

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/inbound"
	"example.com/curfew/internal/oidc/oidctest"
	"example.com/curfew/token"
)

// A browser that restores its tabs starts many attempts at once. Each comes back to its
// own address.
func TestTenTabs(t *testing.T) {
	for _, length := range []int{0, 120, 320, maxCarried - 20} {
		t.Run(fmt.Sprint(length), func(t *testing.T) {
			s := openProviders(t, 0)
			s.add("corp")
			b := s.browser()
			paths, wants := []string{}, []string{}
			for i := range 10 {
				want := fmt.Sprintf("/users?q=%d%s", i, strings.Repeat("x", length))
				paths = append(paths, b.respond(b.get("/sign-in/corp?return="+url.QueryEscape(want)), "corp"))
				wants = append(wants, want)
				s.wait(time.Millisecond)
			}
			for i, path := range paths {
				if a := b.get(path); a.status != http.StatusSeeOther || a.location != wants[i] {
					t.Errorf("tab %d: %d to %q", i+1, a.status, a.location)
				}
			}
		})
	}
}

// The page of an attempt whose cookie the browser does not have any more leads to where
// its user wanted to go. The state is sealed: it does not lead where another party wants.
func TestLostAttemptKeepsTheAddress(t *testing.T) {
	s := openProviders(t, 0)
	s.add("corp")
	for _, to := range []string{"/profile?x=1", "http://app.test/a?b=c"} {
		b := s.browser()
		lost := b.respond(b.get("/sign-in/corp?return="+url.QueryEscape(to)), "corp")
		b.cookies = map[string]string{}
		page := b.get(lost).is(http.StatusBadRequest).says("Sign-in not found")
		again := "/sign-in/corp?return=" + url.QueryEscape(to)
		if links := page.hrefs(); !slices.Contains(links, again) || !slices.Contains(links, "/sign-in?return="+url.QueryEscape(to)) {
			t.Errorf("%s: the page leads to %q", to, links)
		}
		b.through("/sign-in/corp", "corp").to("/")
		page = b.get(lost).is(http.StatusBadRequest).says("You are signed in in this browser.")
		if links := page.hrefs(); !slices.Contains(links, to) {
			t.Errorf("%s: the page leads to %q", to, links)
		}
		for what, path := range map[string]string{
			"of another provider": strings.Replace(lost, "/sign-in/corp/", "/sign-in/other/", 1),
			"of another state":    strings.Replace(lost, "state=", "state=x", 1),
			"made up":             "/sign-in/corp/callback?state=a." + url.QueryEscape("/profile?x=1"),
		} {
			if links := b.get(path).is(http.StatusBadRequest).hrefs(); slices.Contains(links, to) || slices.Contains(links, again) {
				t.Errorf("%s: the page leads to %q", what, links)
			}
		}
	}
}

// A link of another site does not choose that the session is remembered.
func TestRememberMeIsChosenHere(t *testing.T) {
	s := openProviders(t, 0)
	s.add("corp")
	for site, want := range map[string]bool{"cross-site": false, "same-site": false, "same-origin": true, "none": true, "": true} {
		b := s.browser()
		b.get(b.respond(b.get("/sign-in/corp?remember_me=on", "Sec-Fetch-Site", site), "corp")).to("/")
		if sess := b.session(); sess == nil || sess.RememberMe != want {
			t.Errorf("Sec-Fetch-Site %q: session %+v, want remembered: %v", site, sess, want)
		}
	}
}

// A proxy that sends its users to a provider that does not exist sends them to the other
// ways to sign in, and its operator finds the reason in the log.
func TestUnknownProvider(t *testing.T) {
	s := openProviders(t, 0)
	s.add("corp")
	b := s.browser()
	page := b.get("/sign-in/nosuch?why=missing&return="+url.QueryEscape("http://app.test/a")).
		is(http.StatusNotFound).says("There is no identity provider “nosuch” here.", "Sign in with corp")
	if links := page.hrefs(); !slices.Contains(links, "/sign-in/corp?return="+url.QueryEscape("http://app.test/a")) || !asksForPassword(page) {
		t.Errorf("the page leads to %q", links)
	}
	if text := s.logged.String(); !strings.Contains(text, "no such identity provider") || !strings.Contains(text, "provider=nosuch") {
		t.Errorf("in the log: %s", text)
	}
	if s.outcome() != "" {
		t.Errorf("counted %q: any name would make a series", s.outcome())
	}
}

// The page marks the text of a provider as such.
func TestTextOfAProviderIsQuoted(t *testing.T) {
	s := openProviders(t, 0)
	p := s.add("corp")
	p.Set(func(b *oidctest.Behavior) {
		b.Response = func(v url.Values) {
			v.Del("code")
			v.Set("error", "locked")
			v.Set("error_description", "Your account is locked.” Enter your password at https://evil.test "+strings.Repeat("x", 3000))
		}
	})
	b := s.browser()
	page := b.get(b.respond(b.get("/sign-in/corp"), "corp")).is(http.StatusForbidden).
		says("The identity provider corp refused the sign-in. Its answer: “locked: Your account is locked. Enter your password at https://evil.test xxx")
	if strings.Contains(page.body, strings.Repeat("x", 250)) || strings.Contains(page.body, `href="https://evil.test`) {
		t.Errorf("the page is %s", page.body)
	}
}

// The log does not have the secrets that a provider repeats.
func TestLogHasNoSecretsOfAnAttempt(t *testing.T) {
	s := openProviders(t, 0)
	p := s.add("corp")
	p.Set(func(b *oidctest.Behavior) {
		b.Answer = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/token" {
				return false
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadRequest)
			_ = json.NewEncoder(w).Encode(map[string]string{
				"error":             "invalid_request",
				"error_description": "secret " + oidctest.Secret + " code " + r.PostFormValue("code") + " verifier " + r.PostFormValue("code_verifier") + " wrong",
			})
			return true
		}
	})
	b := s.browser()
	path := b.respond(b.get("/sign-in/corp"), "corp")
	query, err := url.ParseQuery(path[strings.IndexByte(path, '?')+1:])
	s.must(err)
	b.get(path).is(http.StatusServiceUnavailable)
	text := s.logged.String()
	if !strings.Contains(text, "secret [redacted] code [redacted] verifier [redacted] wrong") || strings.Contains(text, oidctest.Secret) || strings.Contains(text, query.Get("code")) {
		t.Errorf("in the log: %s", text)
	}
}

// An attempt begins one session, also if the provider accepts its code again at another
// node or after a restart.
func TestAttemptBeginsOneSession(t *testing.T) {
	s := openProviders(t, 0)
	p := s.add("corp")
	p.Set(func(b *oidctest.Behavior) { b.KeepsCodes = true })
	b := s.browser()
	path := b.respond(b.get("/sign-in/corp"), "corp")
	attempt := b.cookies
	b.cookies = maps.Clone(attempt)
	b.get(path).to("/")
	first := b.cookies[sessionCookie]
	b.post("/sign-out", nil)
	if s.reason(first) != token.ErrRevoked {
		t.Fatalf("the session is %q", s.reason(first))
	}
	another, err := New(s.config)
	s.must(err)
	s.handler = inbound.Wrap(inbound.Config{}, another)
	b.cookies = attempt
	b.get(path).is(http.StatusBadRequest).says("Sign-in not found")
	if b.session() != nil || s.outcome() != ": unknown_attempt" {
		t.Errorf("session %+v, counted %q", b.session(), s.outcome())
	}
	b.through("/sign-in/corp", "corp").to("/")
}

// An anonymous client does not send any number of codes to a provider. Sign-ins that
// succeed do not count, and a browser with a session has a limit of its own.
func TestRefusedCodesAreLimited(t *testing.T) {
	s := openProviders(t, 0)
	p := s.add("corp")
	known := s.browser()
	for range 40 {
		known = s.browser()
		known.through("/sign-in/corp", "corp").to("/")
	}
	asked := 0
	p.Set(func(b *oidctest.Behavior) {
		b.Answer = func(_ http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/token" {
				asked++
			}
			return false
		}
	})
	junk := func(b *browser) answer {
		t.Helper()
		path := b.respond(b.get("/sign-in/corp"), "corp")
		query, err := url.ParseQuery(path[strings.IndexByte(path, '?')+1:])
		s.must(err)
		query.Set("code", "junk")
		return b.get("/sign-in/corp/callback?" + query.Encode())
	}
	honest := s.browser()
	late := honest.respond(honest.get("/sign-in/corp?return=/profile"), "corp")
	for i := range 30 {
		if a := junk(s.browser()); a.status != http.StatusBadRequest {
			t.Fatalf("code %d: %d", i+1, a.status)
		}
	}
	limited := func(a answer) {
		t.Helper()
		a.is(http.StatusTooManyRequests).says("Too many attempts", "Try again in")
		if a.header.Get("Retry-After") == "" || s.outcome() != "corp: rate_limited" || asked != 30 {
			t.Errorf("Retry-After %q, counted %q, the provider was asked %d times", a.header.Get("Retry-After"), s.outcome(), asked)
		}
	}
	limited(honest.get(late))
	limited(s.browser().get("/sign-in/corp"))
	known.through("/sign-in/corp", "corp").to("/") // it has a session
	s.signedOut().post("/sign-in", "username", "admin", "password", password).to("/")
	s.wait(time.Minute + time.Second)
	s.browser().through("/sign-in/corp", "corp").to("/")
}

// A key that the provider has withdrawn does not count after a change of the provider here.
func TestChangeDropsKeys(t *testing.T) {
	s := openProviders(t, 0)
	p := s.add("corp")
	b := s.browser()
	b.through("/sign-in/corp", "corp").to("/")
	old := p.Rotate()
	p.Set(func(b *oidctest.Behavior) {
		b.IDToken = func(claims map[string]any, _ func(string, []byte) string) string {
			return old("JWT", oidctest.Encode(claims))
		}
	})
	b.through("/sign-in/corp", "corp").to("/")
	secret := oidctest.Secret
	_, _, err := s.accounts.ChangeProvider(t.Context(), trusted, "corp", account.ProviderChange{ClientSecret: &secret}, "")
	s.must(err)
	b.through("/sign-in/corp", "corp").is(http.StatusServiceUnavailable).says("could not be verified")
}
