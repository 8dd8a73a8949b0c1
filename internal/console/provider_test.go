package console

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/inbound"
	"example.com/curfew/internal/keyring"
	"example.com/curfew/internal/oidc"
	"example.com/curfew/internal/oidc/oidctest"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/token"
)

const sessionCookie = "__Host-curfew_session"

// providerSite is a site with providers.
type providerSite struct {
	*site
	mu       sync.Mutex
	outcomes []string // guarded by mu: "provider: outcome"
}

func openProviders(t *testing.T, timeout time.Duration) *providerSite {
	t.Helper()
	return openProvidersOn(open(t), timeout)
}

func openProvidersOn(on *site, timeout time.Duration) *providerSite {
	on.Helper()
	s := &providerSite{site: on}
	client := oidc.New(oidc.Config{Now: s.now, Timeout: timeout})
	s.Cleanup(client.Close)
	s.config.Providers = client
	s.config.SignedIn = func(provider, outcome string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.outcomes = append(s.outcomes, provider+": "+outcome)
	}
	handler, err := New(s.config)
	s.must(err)
	s.handler = inbound.Wrap(inbound.Config{}, handler)
	return s
}

// outcome returns the last outcome that was counted.
func (s *providerSite) outcome() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.outcomes) == 0 {
		return ""
	}
	return s.outcomes[len(s.outcomes)-1]
}

// add starts a provider and adds it under a name.
func (s *providerSite) add(name string, changes ...func(*account.ProviderChange)) *oidctest.Provider {
	s.Helper()
	p := oidctest.New(s.T)
	p.Set(func(b *oidctest.Behavior) {
		b.Now = s.now
		b.AuthTime = s.now().Add(-time.Hour)
		b.Extra = map[string]any{"preferred_username": "ann", "email": "ann@corp.test", "email_verified": true}
	})
	id, secret, yes := oidctest.ClientID, oidctest.Secret, true
	change := account.ProviderChange{Issuer: &p.Issuer, ClientID: &id, ClientSecret: &secret, CreateUsers: &yes}
	for _, c := range changes {
		c(&change)
	}
	_, err := s.accounts.CreateProvider(context.Background(), trusted, name, change)
	s.must(err)
	return p
}

// browser keeps all cookies.
type browser struct {
	*providerSite
	cookies map[string]string
}

func (s *providerSite) browser() *browser { return &browser{s, map[string]string{}} }

func (b *browser) get(path string, header ...string) answer {
	b.Helper()
	return b.send(http.MethodGet, path, nil, header...)
}

func (b *browser) post(path string, form url.Values) answer {
	b.Helper()
	return b.send(http.MethodPost, path, form, "Content-Type", "application/x-www-form-urlencoded")
}

func (b *browser) send(method, path string, form url.Values, header ...string) answer {
	b.Helper()
	r := httptest.NewRequest(method, issuer+path, strings.NewReader(form.Encode()))
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	if strings.Contains(path, "/callback?") {
		r.Header.Set("Sec-Fetch-Site", "cross-site")
	}
	r.Header.Set("Sec-Fetch-Dest", "document")
	r.RemoteAddr = "192.0.2.7:1234"
	for name, value := range b.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value}) // #nosec G124 -- of a request
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
		if header[i] == "Host" {
			r.Host = header[i+1]
		}
	}
	w := httptest.NewRecorder()
	b.handler.ServeHTTP(w, r)
	result := w.Result()
	for _, c := range result.Cookies() {
		if b.cookies[c.Name] = c.Value; c.MaxAge < 0 || c.Value == "" {
			delete(b.cookies, c.Name)
		}
	}
	return answer{b.T, w.Code, result.Header, w.Body.String(), result.Header.Get("Location"), result.Cookies()}
}

// respond asks the provider, to which an answer leads, and returns the path of its
// response.
func (b *browser) respond(a answer, name string) string {
	b.Helper()
	if a.status != http.StatusSeeOther {
		b.Fatalf("the answer is %d %s, not a way to a provider", a.status, a.body)
	}
	return "/sign-in/" + name + "/callback?" + oidctest.Authorize(b.T, a.location).Encode()
}

// through signs in through a provider, and follows a second attempt.
func (b *browser) through(path, name string) answer {
	b.Helper()
	a := b.get(b.respond(b.get(path), name))
	if a.status == http.StatusSeeOther && strings.Contains(a.location, "/auth?") {
		a = b.get(b.respond(a, name))
	}
	return a
}

// session returns the session of the cookie; nil if there is none.
func (b *browser) session() *token.Session {
	if b.cookies[sessionCookie] == "" {
		return nil
	}
	s, err := b.validator.Validate(context.Background(), b.cookies[sessionCookie])
	if err != nil {
		return nil
	}
	return s
}

func (b *browser) attempts() (n, size int) {
	for name, value := range b.cookies {
		if strings.HasPrefix(name, attemptCookie) {
			n++
			size += len(value)
		}
	}
	return n, size
}

func TestSignInThroughProvider(t *testing.T) {
	s := openProviders(t, 0)
	s.add("corp")
	b := s.browser()
	page := b.get("/sign-in?return=/profile").is(http.StatusOK).says("Sign in with corp")
	if !slices.Contains(page.hrefs(), "/sign-in/corp?return=%2Fprofile") || !asksForPassword(page) {
		t.Errorf("the sign-in page is %s", page.body)
	}
	first := b.get("/sign-in/corp?return=/profile")
	if len(first.cookies) != 1 {
		t.Fatalf("cookies %v", first.cookies)
	}
	c := first.cookies[0]
	if !strings.HasPrefix(c.Name, "__Host-") || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || c.MaxAge != 600 {
		t.Errorf("the cookie of the attempt is %+v", c)
	}
	to, err := url.Parse(first.location)
	s.must(err)
	for name, want := range map[string]string{
		"redirect_uri": issuer + "/sign-in/corp/callback", "code_challenge_method": "S256", "response_type": "code", "max_age": "34560000", "prompt": "",
	} {
		if got := to.Query().Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if strings.Contains(c.Value, to.Query().Get("state")) || strings.Contains(c.Name, to.Query().Get("state")) {
		t.Error("the cookie shows the state")
	}
	b.get(b.respond(first, "corp")).to("/profile")
	sess := b.session()
	if sess == nil || sess.Name != "ann" || sess.AuthTime.Time().After(s.now().Add(-59*time.Minute)) {
		t.Fatalf("the session is %+v", sess)
	}
	if n, _ := b.attempts(); n != 0 {
		t.Error("the cookie of the attempt is still there")
	}
	if s.outcome() != "corp: good" {
		t.Errorf("counted %q", s.outcome())
	}
	if e := s.audits(wire.ActionSignIn)[0]; !strings.Contains(e.Detail, `"provider":"corp"`) || e.Actor.Address != "192.0.2.7" {
		t.Errorf("the audit has %+v", e)
	}
	b.get("/profile").is(http.StatusOK).says("ann")
	// Another sign-in in this browser ends the session before.
	before := b.cookies[sessionCookie]
	b.through("/sign-in/corp", "corp").to("/")
	if b.session() == nil || s.reason(before) != token.ErrRevoked {
		t.Errorf("the session before is %q", s.reason(before))
	}
}

// A sign-in through a provider begins a session with remember me if the user chooses that,
// also after a second attempt, and only where the settings offer it. The provider's limit
// still ends the session.
func TestRememberMeThroughProvider(t *testing.T) {
	s := openProviders(t, 0)
	p := s.add("corp")
	const link = "/sign-in/corp?remember_me=on&return=%2Fprofile"
	b := s.browser()
	page := b.get("/sign-in?return=/profile").is(http.StatusOK).says("Sign in with corp and remember me")
	if hrefs := page.hrefs(); !slices.Contains(hrefs, link) || !slices.Contains(hrefs, "/sign-in/corp?return=%2Fprofile") {
		t.Errorf("the page leads to %v", hrefs)
	}
	b.through(link, "corp").to("/profile")
	sess := b.session()
	if sess == nil || !sess.RememberMe {
		t.Fatalf("the session is %+v", sess)
	}
	s.wait(2 * time.Hour) // beyond the session timeout
	if b.session() == nil {
		t.Error("the session has timed out")
	}
	_, err := s.sessions.RevokeUser(t.Context(), trusted, sess.Subject, "", false, 0)
	s.must(err)
	b.through(link, "corp").to("/profile") // by a second attempt
	if sess = b.session(); sess == nil || !sess.RememberMe || s.outcome() != "corp: good" || !slices.Contains(s.outcomes, "corp: authenticate_again") {
		t.Errorf("after a revocation: %+v, counted %v", sess, s.outcomes)
	}
	end := s.now().Add(3 * time.Hour).Unix()
	p.Set(func(b *oidctest.Behavior) { b.Extra["session_expiry"] = end })
	b.through(link, "corp").to("/profile")
	if sess = b.session(); sess == nil || !sess.RememberMe || int64(sess.SessionExpiry) != end || int64(sess.ExpiresAt) > end {
		t.Fatalf("with a limit: %+v", sess)
	}
	s.wait(3 * time.Hour)
	if b.session() != nil {
		t.Error("the session goes on after the provider's limit")
	}

	now, tag, err := s.sessions.Settings(t.Context())
	s.must(err)
	without := now.Settings
	without.RememberMeEnabled = false
	_, _, err = s.sessions.ChangeSettings(t.Context(), trusted, without, tag)
	s.must(err)
	p.Set(func(b *oidctest.Behavior) { delete(b.Extra, "session_expiry") })
	page = b.get("/sign-in").is(http.StatusOK)
	page.saysNot("remember me")
	b.through(link, "corp").to("/profile")
	if sess = b.session(); sess == nil || sess.RememberMe {
		t.Errorf("switched off: %+v", sess)
	}
}

// Attempts in several tabs do not disturb each other. Their number and size is bounded.
func TestAttemptsInTabs(t *testing.T) {
	s := openProviders(t, 0)
	s.add("corp")
	b := s.browser()
	one, two := b.get("/sign-in/corp?return=/profile"), b.get("/sign-in/corp?return=/users")
	b.get(b.respond(two, "corp")).to("/users")
	b.get(b.respond(one, "corp")).to("/profile")

	oldest := b.get("/sign-in/corp")
	var newest answer
	for i := range 30 {
		s.wait(time.Millisecond)
		newest = b.get("/sign-in/corp?return=/users%3Fq=" + strings.Repeat("x", 60*i))
		if n, size := b.attempts(); n > maxAttempts || size > maxAttemptBytes && n > 1 {
			t.Fatalf("%d attempts of %d bytes", n, size)
		}
	}
	b.get(b.respond(oldest, "corp")).is(http.StatusBadRequest).says("Sign-in not found", "You are signed in in this browser.")
	if a := b.get(b.respond(newest, "corp")); a.status != http.StatusSeeOther || !strings.HasPrefix(a.location, "/users?q=xxx") {
		t.Errorf("the newest attempt: %d %s", a.status, a.location)
	}
	b.cookies[attemptCookie+"unknown"] = "v1.AAAA"
	b.get("/sign-in/corp")
	if _, there := b.cookies[attemptCookie+"unknown"]; there {
		t.Error("a cookie that can't be opened stays")
	}
}

// A response is of use once, in the browser that has started the attempt, within 10
// minutes, at the provider's own address.
func TestResponsesOfOthers(t *testing.T) {
	s := openProviders(t, 0)
	s.add("corp")
	s.add("other")
	refused := func(what string, b *browser, path string, code int, outcome string) {
		t.Helper()
		if a := b.get(path); a.status != code || b.session() != nil || s.outcome() != outcome {
			t.Errorf("%s: %d, session %v, counted %q", what, a.status, b.session(), s.outcome())
		}
	}
	const unknown = ": unknown_attempt"

	victim, attacker := s.browser(), s.browser()
	path := attacker.respond(attacker.get("/sign-in/corp"), "corp")
	refused("the response of another browser", victim, path, http.StatusBadRequest, unknown)
	victim.get("/sign-in/corp")
	refused("the same, with an attempt of its own", victim, path, http.StatusBadRequest, unknown)
	mine := victim.respond(victim.get("/sign-in/corp"), "corp")
	mineQuery, err := url.ParseQuery(mine[strings.IndexByte(mine, '?')+1:])
	s.must(err)
	foreign, err := url.ParseQuery(path[strings.IndexByte(path, '?')+1:])
	s.must(err)
	foreign.Set("state", mineQuery.Get("state"))
	refused("the code of another browser", victim, "/sign-in/corp/callback?"+foreign.Encode(), http.StatusBadRequest, "corp: invalid_code")

	b := s.browser()
	path = b.respond(b.get("/sign-in/corp"), "corp")
	saved := maps.Clone(b.cookies)
	b.get(path).to("/")
	replay := s.browser()
	refused("a response again", replay, path, http.StatusBadRequest, unknown)
	replay.cookies = saved
	refused("a code again", replay, path, http.StatusBadRequest, unknown)

	b = s.browser()
	path = b.respond(b.get("/sign-in/corp"), "corp")
	refused("at another provider's address", b, strings.Replace(path, "/corp/", "/other/", 1), http.StatusBadRequest, "corp: mix_up")
	b = s.browser()
	path = b.respond(b.get("/sign-in/corp"), "corp")
	query, err := url.ParseQuery(path[strings.IndexByte(path, '?')+1:])
	s.must(err)
	query.Set("iss", "https://other.test")
	refused("with another iss", b, "/sign-in/corp/callback?"+query.Encode(), http.StatusBadRequest, "corp: mix_up")
	b = s.browser()
	path = b.respond(b.get("/sign-in/corp"), "corp")
	refused("with two states", b, path+"&state=x", http.StatusBadRequest, unknown)
	refused("without a state", b, "/sign-in/corp/callback?code=x", http.StatusBadRequest, unknown)

	for _, tt := range []struct {
		after time.Duration
		lives bool
	}{{attemptTime - time.Millisecond, true}, {attemptTime, false}, {attemptTime + time.Millisecond, false}} {
		a := attempt{Provider: "corp", Secrets: oidc.NewSecrets(), Began: 1_700_000_000_000_000}
		c, err := newAttempts(s.ring).seal(a)
		s.must(err)
		if _, ok := newAttempts(s.ring).open(c, time.UnixMicro(a.Began).Add(tt.after)); ok != tt.lives {
			t.Errorf("after %v: %v", tt.after, ok)
		}
	}
	// A browser drops a longer cookie. In JSON an ampersand takes six bytes.
	b = s.browser()
	a := b.get("/sign-in/corp?return=" + url.QueryEscape("/profile?"+strings.Repeat("&", 1900)))
	for name, value := range b.cookies {
		if len(name)+len(value) > 4096 {
			t.Errorf("the cookie has %d bytes", len(name)+len(value))
		}
	}
	b.get(b.respond(a, "corp")).to("/")
	s.browser().get("/sign-in/nope").is(http.StatusNotFound)
}

// What a provider does wrong ends on a page that says so, without a session, and does not
// touch other sessions.
func TestProviderFails(t *testing.T) {
	answer := func(path string, code int) func(*oidctest.Behavior) {
		return func(b *oidctest.Behavior) {
			b.Answer = func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path != path {
					return false
				}
				w.WriteHeader(code)
				return true
			}
		}
	}
	response := func(values map[string]string) func(*oidctest.Behavior) {
		return func(b *oidctest.Behavior) {
			b.Response = func(v url.Values) {
				v.Del("code")
				for name, value := range values {
					v.Set(name, value)
				}
			}
		}
	}
	claim := func(name string, value any) func(*oidctest.Behavior) {
		return func(b *oidctest.Behavior) { b.Extra = map[string]any{"preferred_username": "ann", name: value} }
	}
	slow := make(chan struct{})
	t.Cleanup(func() { close(slow) })
	rows := map[string]struct {
		change  func(*oidctest.Behavior)
		rotated bool // the token is signed with a key that is no longer published
		code    int
		outcome string
		says    string
	}{
		"down at the code":     {change: answer("/token", http.StatusBadGateway), code: 503, outcome: "provider_unreachable", says: "Try again in a moment."},
		"down at the keys":     {change: answer("/keys", http.StatusInternalServerError), code: 503, outcome: "provider_unreachable", says: "not affected"},
		"no longer our client": {change: answer("/token", http.StatusUnauthorized), code: 503, outcome: "provider_misconfigured", says: "curfew provider check corp"},
		"no keys":              {change: answer("/keys", http.StatusNotFound), code: 503, outcome: "provider_misconfigured", says: "administrator"},
		"slow": {change: func(b *oidctest.Behavior) {
			b.Answer = func(_ http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == "/token" {
					_, _ = io.Copy(io.Discard, r.Body) // else the server does not notice that the client has left
					select {
					case <-slow:
					case <-r.Context().Done():
					}
				}
				return false
			}
		}, code: 503, outcome: "provider_unreachable", says: "does not answer in time"},
		"rotated keys":              {rotated: true, code: 503, outcome: "invalid_id_token", says: "could not be verified"},
		"a clock that is behind":    {change: func(b *oidctest.Behavior) { b.Now = func() time.Time { return time.Now().Add(-5 * time.Minute) } }, code: 503, outcome: "clock", says: "synchronize both clocks"},
		"a clock that is ahead":     {change: func(b *oidctest.Behavior) { b.Now = func() time.Time { return time.Now().Add(5 * time.Minute) } }, code: 503, outcome: "clock", says: "synchronize both clocks"},
		"a subject of another type": {change: claim("sub", 7), code: 503, outcome: "invalid_id_token", says: "could not be verified"},
		"another audience":          {change: claim("aud", "another"), code: 503, outcome: "invalid_id_token", says: "could not be verified"},
		"another nonce":             {change: claim("nonce", "another"), code: 503, outcome: "invalid_id_token", says: "could not be verified"},
		"denied":                    {change: response(map[string]string{"error": "access_denied"}), code: 403, outcome: "denied", says: "did not allow the sign-in"},
		"an error of its own":       {change: response(map[string]string{"error": "server_error"}), code: 503, outcome: "provider_unreachable", says: "Try again in a moment."},
		"an interaction": {change: response(map[string]string{"error": "interaction_required", "error_description": "<b>go</b>"}), code: 403, outcome: "provider_refused",
			says: "interaction_required: <b>go</b>"},
		"no code":                 {change: response(nil), code: 400, outcome: "invalid_code", says: "Try again."},
		"no name":                 {change: claim("preferred_username", nil), code: 403, outcome: "not_admitted", says: "no valid sign-in name"},
		"the admin's name":        {change: claim("preferred_username", "admin"), code: 403, outcome: "not_admitted", says: "belongs to another user"},
		"a huge number of groups": {change: claim("groups", slices.Repeat([]string{"group"}, 9000)), code: 403, outcome: "not_admitted", says: "at most 64 names"},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			timeout := time.Duration(0)
			if name == "slow" {
				timeout = 200 * time.Millisecond
			}
			s := openProviders(t, timeout)
			groups := "groups"
			p := s.add("corp", func(c *account.ProviderChange) { c.GroupsClaim = &groups })
			existing := s.issue(s.admin, false)
			b := s.browser()
			if row.change != nil {
				p.Set(row.change)
			}
			if row.rotated {
				// The keys at the provider's address stay the new ones.
				old := p.Rotate()
				p.Set(func(b *oidctest.Behavior) {
					b.IDToken = func(claims map[string]any, _ func(string, []byte) string) string {
						return old("JWT", oidctest.Encode(claims))
					}
				})
			}
			a := b.get(b.respond(b.get("/sign-in/corp?return=/profile"), "corp")).is(row.code)
			a.says(row.says)
			again := "/sign-in/corp?return=%2Fprofile"
			if row.outcome == "not_admitted" { // the provider's form is shown, for another account
				again = "/sign-in/corp?prompt=login&return=%2Fprofile"
				if to := b.get(again).is(http.StatusSeeOther).location; !strings.Contains(to, "prompt=login") {
					t.Errorf("again leads to %s", to)
				}
			}
			if links := a.hrefs(); !slices.Contains(links, again) || !slices.Contains(links, "/sign-in?return=%2Fprofile") {
				t.Errorf("the page leads to %q", links)
			}
			if b.cookies[sessionCookie] != "" || s.outcome() != "corp: "+row.outcome {
				t.Errorf("cookie %q, counted %q", b.cookies[sessionCookie], s.outcome())
			}
			if (row.code == 503) != (a.header.Get("Retry-After") != "" || row.outcome != "provider_unreachable" && row.code == 503) {
				t.Errorf("Retry-After: %q", a.header.Get("Retry-After"))
			}
			if s.reason(existing) != "" {
				t.Error("a session that had begun has ended")
			}
			if n, err := s.store.CountUsers(t.Context()); err != nil || n != 1 {
				t.Errorf("there are %d users, %v", n, err)
			}
		})
	}
	t.Run("down at the beginning", func(t *testing.T) {
		s := openProviders(t, 0)
		p := s.add("corp")
		p.Set(answer("/.well-known/openid-configuration", http.StatusServiceUnavailable))
		b := s.browser()
		b.get("/sign-in/corp").is(http.StatusServiceUnavailable).says("can’t reach the identity provider corp")
		if n, _ := b.attempts(); n != 0 {
			t.Error("there is a cookie of an attempt that has not begun")
		}
		b.get("/sign-in").is(http.StatusOK)
		p.Set(func(b *oidctest.Behavior) { b.Answer = nil })
		b.get("/sign-in/corp").is(http.StatusServiceUnavailable) // the failure is kept for a second
		s.wait(time.Second)
		b.through("/sign-in/corp", "corp").to("/")
	})
}

// A revoked user authenticates again, in a second attempt that starts by itself. There is
// no third.
func TestRevokedAuthenticatesAgain(t *testing.T) {
	s := openProviders(t, 0)
	p := s.add("corp")
	b := s.browser()
	b.through("/sign-in/corp", "corp").to("/")
	id := b.session().Subject
	revoke := func() {
		t.Helper()
		_, err := s.sessions.RevokeUser(t.Context(), trusted, id, "", false, 0)
		s.must(err)
	}
	if p.Logins() != 0 {
		t.Fatalf("%d forms before a revocation", p.Logins())
	}
	revoke()
	second := b.get(b.respond(b.get("/sign-in/corp?return=/profile&remember_me=on"), "corp"))
	to, err := url.Parse(second.location)
	s.must(err)
	if to.Query().Get("prompt") != "login" || to.Query().Get("max_age") != "0" || b.session() != nil {
		t.Fatalf("after the revocation: %s", second.location)
	}
	if s.outcome() != "corp: authenticate_again" {
		t.Errorf("counted %q", s.outcome())
	}
	b.get(b.respond(second, "corp")).to("/profile")
	if p.Logins() != 1 || b.session() == nil || !b.session().RememberMe {
		t.Errorf("%d forms, session %+v", p.Logins(), b.session())
	}

	revoke()
	p.Set(func(b *oidctest.Behavior) { b.Ignores, b.AuthTime = true, s.now().Add(-time.Hour) })
	b.through("/sign-in/corp", "corp").is(http.StatusForbidden).says("corp did not ask you to", "prompt=login", "auth_time")
	if b.session() != nil || s.outcome() != "corp: not_authenticated_again" {
		t.Errorf("session %v, counted %q", b.session(), s.outcome())
	}
	p.Set(func(b *oidctest.Behavior) { b.Extra["auth_time"] = nil })
	b.through("/sign-in/corp", "corp").is(http.StatusForbidden).says("corp")
	if s.outcome() != "corp: not_authenticated_again" {
		t.Errorf("counted %q", s.outcome())
	}
	other := s.browser()
	p.Set(func(b *oidctest.Behavior) { b.Subject, b.Extra["preferred_username"] = "subject-2", "ben" })
	other.through("/sign-in/corp", "corp").to("/")
}

// Whatever ends while the user is at the provider ends the sign-in, and nothing else.
func TestEndedWhileAtProvider(t *testing.T) {
	rows := map[string]struct {
		end     func(s *providerSite, id string) error
		outcome string
		code    int
	}{
		"the user is revoked": {func(s *providerSite, id string) error {
			_, err := s.sessions.RevokeUser(s.Context(), trusted, id, "", false, 0)
			return err
		}, "revoked", 401},
		"everyone is revoked": {func(s *providerSite, _ string) error {
			_, err := s.sessions.RevokeMany(s.Context(), trusted, session.Many{Scope: "everyone"}, 0)
			return err
		}, "revoked", 401},
		"the user is disabled": {func(s *providerSite, id string) error {
			yes := true
			_, _, err := s.accounts.ChangeUser(s.Context(), trusted, id, account.UserChange{Disabled: &yes}, "")
			return err
		}, "not_admitted", 403},
		"the provider ends its session": {func(s *providerSite, _ string) error {
			return s.store.Update(s.Context(), func(tx store.Tx) error {
				epoch, err := tx.Advance(s.Context(), s.now())
				if err != nil {
					return err
				}
				p, err := tx.Provider(s.Context(), "corp")
				if err != nil {
					return err
				}
				return tx.EndProviderSession(s.Context(), p.Issuer, "provider-session-of-subject-1", "", epoch)
			})
		}, "revoked", 401},
		"the provider is removed": {func(s *providerSite, _ string) error {
			_, err := s.accounts.DeleteProvider(s.Context(), trusted, "corp", "")
			return err
		}, "provider_changed", 403},
		"the provider is changed": {func(s *providerSite, _ string) error {
			issuer, secret := "https://another.test", "s"
			_, _, err := s.accounts.ChangeProvider(s.Context(), trusted, "corp", account.ProviderChange{Issuer: &issuer, ClientSecret: &secret}, "")
			return err
		}, "provider_changed", 403},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			s := openProviders(t, 0)
			s.add("corp")
			b := s.browser()
			b.through("/sign-in/corp", "corp").to("/")
			id := b.session().Subject
			delete(b.cookies, sessionCookie)
			path := b.respond(b.get("/sign-in/corp"), "corp")
			s.must(row.end(s, id))
			b.get(path).is(row.code)
			if b.session() != nil || s.outcome() != "corp: "+row.outcome {
				t.Errorf("session %v, counted %q", b.session(), s.outcome())
			}
		})
	}
}

// A sign-in through a provider leads only to where one with a password does.
func TestProviderReturnAddresses(t *testing.T) {
	s := openProviders(t, 0)
	s.add("corp")
	for raw, want := range map[string]string{
		"/profile?x=1": "/profile?x=1", "javascript:alert(1)": "/", "//evil.test/": "/", "https://evil.test/": "/", `/\evil.test`: "/",
		"/sign-in/corp": "/", "/sign-in/corp/callback?x=1": "/", "/sign-in": "/", "/sign-out": "/", "/%2fevil.test": "/",
		issuer + "/sign-in/corp": "/", issuer + "/sign-out": "/",
	} {
		b := s.browser()
		if a := b.through("/sign-in/corp?return="+url.QueryEscape(raw), "corp"); a.status != http.StatusSeeOther || a.location != want || b.session() == nil {
			t.Errorf("return=%s: %d to %q, want %q", raw, a.status, a.location, want)
		}
	}
	// To a service behind forward auth: not by a redirect, which the policy of a form at
	// the provider could forbid.
	b := s.browser()
	a := b.through("/sign-in/corp?return=http://app.test/a?b=c&d=e", "corp").is(http.StatusOK)
	if refresh := a.header.Get("Refresh"); refresh != "0; url=http://app.test/a?b=c&d=e" {
		t.Errorf("Refresh: %q", refresh)
	}
}

// A browser with a session that a proxy sends here all the same is not sent on by itself:
// if the proxy does not take the cookie, that would have no end.
func TestStartWithSessionIsNoLoop(t *testing.T) {
	s := openProviders(t, 0)
	s.add("corp")
	b := s.browser()
	to := "/sign-in/corp?return=http%3A%2F%2Fapp.test%2Fa&why=missing"
	b.through(to, "corp").is(http.StatusOK)
	if a := b.get(to).is(http.StatusOK).says("You are signed in"); a.header.Get("Refresh") != "" || !slices.Contains(a.hrefs(), "http://app.test/a") {
		t.Errorf("Refresh %q, links %q", a.header.Get("Refresh"), a.hrefs())
	}
}

// A client that keeps the cookie of an attempt sends one code to the provider, not many.
func TestAttemptIsTakenOnce(t *testing.T) {
	s := openProviders(t, 0)
	p := s.add("corp")
	asked := 0
	p.Set(func(b *oidctest.Behavior) {
		b.Answer = func(_ http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/token" {
				asked++
			}
			return false
		}
	})
	b := s.browser()
	good := b.respond(b.get("/sign-in/corp"), "corp")
	query, err := url.ParseQuery(good[strings.IndexByte(good, '?')+1:])
	s.must(err)
	query.Set("code", "guessed")
	kept := maps.Clone(b.cookies)
	for i, outcome := range []string{"corp: invalid_code", ": unknown_attempt", ": unknown_attempt"} {
		b.get("/sign-in/corp/callback?" + query.Encode()).is(http.StatusBadRequest)
		if s.outcome() != outcome || asked != 1 {
			t.Errorf("code %d: counted %q, and the provider was asked %d times", i+1, s.outcome(), asked)
		}
		b.cookies = maps.Clone(kept)
	}
	b.get(good).is(http.StatusBadRequest)
	b.through("/sign-in/corp", "corp").to("/")
}

// A link of another site replaces no session.
func TestStartFromElsewhereKeepsTheSession(t *testing.T) {
	s := openProviders(t, 0)
	s.add("corp")
	b := s.browser()
	for _, site := range []string{"cross-site", "same-site"} { // signed out: as forward auth sends a browser
		b.get("/sign-in/corp", "Sec-Fetch-Site", site).is(http.StatusSeeOther)
		b.cookies = map[string]string{}
	}
	b.through("/sign-in/corp", "corp").to("/")
	for _, site := range []string{"cross-site", "same-site"} {
		if a := b.get("/sign-in/corp?return=/profile", "Sec-Fetch-Site", site); a.location != "/sign-in?return=%2Fprofile" || len(a.cookies) != 0 {
			t.Errorf("%s: %d to %s, cookies %v", site, a.status, a.location, a.cookies)
		}
	}
	for _, site := range []string{"none", "same-origin", ""} {
		b.get(b.respond(b.get("/sign-in/corp", "Sec-Fetch-Site", site), "corp")).to("/")
	}
}

// The cookie belongs to the issuer's host, to which the provider sends the browser: an
// attempt begins there.
func TestAttemptBeginsAtTheIssuer(t *testing.T) {
	s := openProviders(t, 0)
	s.add("corp")
	b := s.browser()
	a := b.get("/sign-in/corp?return=/profile", "Host", "localhost:8420").is(http.StatusSeeOther)
	if a.location != issuer+"/sign-in/corp?moved=1&return=%2Fprofile" || len(a.cookies) != 0 {
		t.Fatalf("to %s, cookies %v", a.location, a.cookies)
	}
	if a := b.get("/sign-in/a%2F..%2F..%2Fb%3Fx%0d%0a", "Host", "127.0.0.1:8420"); a.location != issuer+"/sign-in/a%2F..%2F..%2Fb%3Fx%0D%0A?moved=1" {
		t.Errorf("a name that is no path segment: to %q", a.location)
	}
	a = b.get("/sign-in/corp?moved=1&return=%2Fprofile", "Host", "behind.a.proxy") // which hides the host
	b.get(b.respond(a, "corp")).to("/profile")
}

func TestPasswordsOff(t *testing.T) {
	s := openProviders(t, 0)
	set := func(passwords bool) {
		t.Helper()
		s.must(s.store.Update(t.Context(), func(tx store.Tx) error {
			return tx.PutSignInMethods(t.Context(), store.SignInMethods{Passwords: passwords})
		}))
	}
	check := func(a answer, asks bool) {
		t.Helper()
		if asksForPassword(a) != asks {
			t.Errorf("a form for a password: %v, want %v", !asks, asks)
		}
	}
	set(false)
	check(s.signedOut().get("/sign-in").is(http.StatusOK).says("password is switched off"), false)
	s.add("corp")
	check(s.signedOut().get("/sign-in").is(http.StatusOK).says("Sign in with corp"), false)
	check(s.signedOut().post("/sign-in", "username", "admin", "password", password).is(http.StatusForbidden).says("switched off", "Sign in with corp"), false)
	set(true)
	check(s.signedOut().get("/sign-in").is(http.StatusOK).says("Sign in with corp"), true)
	s.signedOut().post("/sign-in", "username", "admin", "password", password).to("/")
}

// asksForPassword reports whether a page has a field for a password.
func asksForPassword(a answer) bool { return strings.Contains(a.body, `name="password"`) }

// The database was sealed with another key-encryption key than this server has.
func TestClientSecretOfAnotherKey(t *testing.T) {
	s := openProviders(t, 0)
	s.add("corp")
	s.must(s.store.Update(t.Context(), func(tx store.Tx) error {
		p, err := tx.Provider(t.Context(), "corp")
		if err != nil {
			return err
		}
		sealer, err := keyring.NewSealer(bytes.Repeat([]byte{77}, 32))
		if err != nil {
			return err
		}
		p.SealedSecret = sealer.Seal([]byte("secret"), account.BoundSecret(p))
		return tx.PutProvider(t.Context(), p)
	}))
	b := s.browser()
	b.get(b.respond(b.get("/sign-in/corp"), "corp")).is(http.StatusServiceUnavailable).says("curfew provider check corp")
	if got := s.outcome(); got != "corp: provider_misconfigured" {
		t.Errorf("counted %q", got)
	}
}
