package console

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"example.com/curfew/internal/inbound"
	"example.com/curfew/internal/oidc"
	"example.com/curfew/internal/oidc/oidctest"
	"example.com/curfew/token"
)

// Every page of a signed-in user has the button to sign out (OWASP ASVS 7.4.4).
func TestSignOutIsOnEveryPage(t *testing.T) {
	s := open(t)
	p := s.as(s.admin)
	pages := 0
	for _, rt := range routes(s.config) {
		method, address := fitting(rt.pattern, s.admin)
		if method != http.MethodGet || rt.needs == anyone {
			continue
		}
		a := p.get(address)
		if a.status != http.StatusOK || !strings.Contains(a.body, "<html") {
			continue
		}
		pages++
		if !strings.Contains(a.body, `action="/sign-out"`) {
			t.Errorf("%s: no way to sign out", address)
		}
	}
	if pages < 7 {
		t.Errorf("only %d pages were looked at", pages)
	}
}

var formPattern = regexp.MustCompile(`<form method="post" action="([^"]*)">`)

// offered returns where the forms of the page after a sign-out go, and their fields.
func (a answer) offered() (targets []string, fields url.Values) {
	for _, found := range formPattern.FindAllStringSubmatch(a.body, -1) {
		targets = append(targets, html.UnescapeString(found[1]))
	}
	fields = url.Values{}
	for _, found := range regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`).FindAllStringSubmatch(a.body, -1) {
		fields.Add(found[1], html.UnescapeString(found[2]))
	}
	return targets, fields
}

// A sign-out of a session that began at a provider ends the session, and then offers the
// sign-out there, with the ID token of that session and of no other.
func TestSignOutAtProvider(t *testing.T) {
	s := openProviders(t, 0)
	p := s.add("corp")
	hints := map[string]string{} // by subject
	p.Set(func(b *oidctest.Behavior) {
		b.IDToken = func(claims map[string]any, sign func(string, []byte) string) string {
			raw := sign("JWT", oidctest.Encode(claims))
			hints[claims["sub"].(string)] = raw
			return raw
		}
	})
	ann, ben := s.browser(), s.browser()
	ann.through("/sign-in/corp", "corp").to("/")
	p.Set(func(b *oidctest.Behavior) {
		b.Subject, b.Extra = "subject-2", map[string]any{"preferred_username": "ben"}
	})
	ben.through("/sign-in/corp", "corp").to("/")

	raw := ann.cookies[sessionCookie]
	a := ann.post("/sign-out", url.Values{"return": {"https://evil.test/"}, "post_logout_redirect_uri": {"https://evil.test/"}}).is(http.StatusOK).
		says("You have signed out.", "Also sign out at corp")
	a.lacks("evil.test", hints["subject-2"])
	if s.reason(raw) != token.ErrRevoked || ann.session() != nil {
		t.Errorf("the session is %q, the cookie %q", s.reason(raw), ann.cookies[sessionCookie])
	}
	targets, fields := a.offered()
	want := url.Values{
		"id_token_hint": {hints["subject-1"]}, "client_id": {oidctest.ClientID}, "state": {"signed_out"},
		"post_logout_redirect_uri": {issuer + "/sign-in"},
	}
	if len(targets) != 1 || targets[0] != p.Issuer+"/end" || fields.Encode() != want.Encode() {
		t.Errorf("the form goes to %v with %v, want %v", targets, fields, want)
	}
	if got := a.header.Get("Content-Security-Policy"); got != strings.Replace(policy, "form-action 'self';", "form-action 'self' "+p.Issuer+";", 1) {
		t.Errorf("the policy is %q", got)
	}
	if got := a.header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control is %q", got)
	}
	for name, values := range a.header {
		if strings.Contains(strings.Join(values, " "), hints["subject-1"]) {
			t.Errorf("the header %s has the ID token", name)
		}
	}
	// The provider leads back to a page that says what has happened, and no other word. That
	// it signed the user out is not known: it leads back after a refusal, too.
	back := ann.get("/sign-in?state=signed_out").is(http.StatusOK).
		says("You have signed out. You are signed out at the identity provider too, if you went on there and did not decline.", "Sign in with corp")
	ann.get("/sign-in?why=signed_out").is(http.StatusOK).says("You have signed out.").saysNot("identity provider too")
	if got := back.header.Get("Content-Security-Policy"); got != policy {
		t.Errorf("the policy of another page is %q", got)
	}
	ann.get("/sign-in?state=%3Cb%3Eanother").is(http.StatusOK).lacks("You have signed out.", "another")

	// A session that has ended gets no ID token any more.
	ann.cookies[sessionCookie] = raw
	ann.post("/sign-out", nil).to("/sign-in").lacks(hints["subject-1"])
	if ben.session() == nil {
		t.Fatal("the session of another browser has ended as well")
	}
	ben.get("/sign-in?state=signed_out").to("/") // is still signed in
	a = ben.post("/sign-out", nil).is(http.StatusOK)
	a.lacks(hints["subject-1"])
	_, fields = a.offered()
	if fields.Get("id_token_hint") != hints["subject-2"] {
		t.Errorf("the other browser is offered %v", fields)
	}
}

// Where a provider takes no form, the page has a link without the ID token. Where it has no
// way to sign out, or can't be asked, a sign-out ends the session as without a
// provider, and offers nothing.
func TestSignOutWithoutForm(t *testing.T) {
	for name, tt := range map[string]struct {
		provider func(*oidctest.Behavior) // when the user signs out
		password bool
		offers   string // markup of the page
	}{
		"the metadata are known": {offers: `name="id_token_hint"`},
		"a provider that takes no form": {
			provider: func(b *oidctest.Behavior) { b.NoLogoutForms = true },
			offers:   `/end?client_id=` + oidctest.ClientID + `&amp;post_logout_redirect_uri=` + url.QueryEscape(issuer+"/sign-in") + `&amp;state=signed_out">Also sign out at corp</a>`,
		},
		"a provider that takes no form, with a query": {
			provider: func(b *oidctest.Behavior) {
				b.NoLogoutForms = true
				b.Metadata = map[string]any{"end_session_endpoint": "http://127.0.0.1:1/end?p=policy"}
			},
			offers: `href="http://127.0.0.1:1/end?client_id=` + oidctest.ClientID + `&amp;p=policy&amp;post_logout_redirect_uri=`,
		},
		"a password":  {password: true},
		"no endpoint": {provider: func(b *oidctest.Behavior) { b.Metadata = map[string]any{"end_session_endpoint": nil} }},
		"an endpoint that is no address": {provider: func(b *oidctest.Behavior) {
			b.Metadata = map[string]any{"end_session_endpoint": "javascript:alert(1)"}
		}},
		"an endpoint without TLS": {provider: func(b *oidctest.Behavior) {
			b.Metadata = map[string]any{"end_session_endpoint": "http://login.example.com/end"}
		}},
		"the provider is down": {provider: func(b *oidctest.Behavior) {
			b.Answer = func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusBadGateway); return true }
		}},
		"the provider does not answer": {provider: func(b *oidctest.Behavior) {
			b.Answer = func(_ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true }
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := openProviders(t, 0)
			p := s.add("corp")
			b := s.browser()
			b.through("/sign-in/corp", "corp").to("/")
			if tt.password {
				b.cookies[sessionCookie] = s.issue(s.admin, false)
			}
			if tt.provider != nil {
				// A node that has not asked the provider yet.
				p.Set(tt.provider)
				client := oidc.New(oidc.Config{Now: s.now, Timeout: 2 * metadataWithin})
				t.Cleanup(client.Close)
				s.config.Providers = client
				handler, err := New(s.config)
				s.must(err)
				s.handler = inbound.Wrap(inbound.Config{}, handler)
			}
			raw := b.cookies[sessionCookie]
			a := b.post("/sign-out", nil)
			if tt.offers != "" {
				a.is(http.StatusOK).says("Also sign out at corp").contains(tt.offers)
				if takes := strings.Contains(tt.offers, "id_token_hint"); !takes && (strings.Contains(a.body, "id_token_hint") || a.header.Get("Content-Security-Policy") != policy) {
					t.Errorf("a link comes with %s and the page %s", a.header.Get("Content-Security-Policy"), a.body)
				}
			} else {
				a.to("/sign-in").lacks("id_token_hint")
			}
			if s.reason(raw) != token.ErrRevoked || b.cookies[sessionCookie] != "" {
				t.Errorf("the session is %q, the cookie %q", s.reason(raw), b.cookies[sessionCookie])
			}
		})
	}
}

// A form may go to the provider and, with TLS, to where that leads on.
func TestFormTargets(t *testing.T) {
	for want, endpoints := range map[string][]string{
		"":                              nil,
		" https:":                       {"https://login.example.com/end?tenant=1", "https://other.example.com/end"},
		" http://127.0.0.1:4000":        {"http://127.0.0.1:4000/end", "http://127.0.0.1:4000/other"},
		" http://127.0.0.1:4000 https:": {"http://127.0.0.1:4000/end", "https://login.example.com/end"},
	} {
		var all []providerSignOut
		for _, endpoint := range endpoints {
			all = append(all, providerSignOut{Address: endpoint, Fields: []heldField{{}}})
		}
		all = append(all, providerSignOut{Address: "http://127.0.0.1:5000/link"})
		if got := formTargets(all); got != want {
			t.Errorf("for %v: %q, want %q", endpoints, got, want)
		}
	}
}
