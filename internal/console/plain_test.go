package console

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

const safariAgent = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Safari/605.1.15"

func TestPlain(t *testing.T) {
	const chrome = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0.0.0 Safari/537.36"
	for _, tt := range []struct {
		name   string
		host   string
		header []string
		tls    bool
		want   bool
	}{
		{"a name in the house", "nas.lan:8420", nil, false, true},
		{"an address in the house", "192.168.1.2:8420", nil, false, true},
		{"IPv6", "[fd00::1]:8420", nil, false, true},
		{"a name that begins like the machine's own", "localhost.lan", nil, false, true},
		{"a name that ends like it", "notlocalhost", nil, false, true},
		{"plain, as the proxy says", "nas.lan", []string{"X-Forwarded-Proto", "http"}, false, true},
		{"a proxy that renames: the browser's own word", "127.0.0.1:8420", []string{"Origin", "http://nas.lan"}, false, true},
		{"a proxy that renames and says so", "127.0.0.1:8420", []string{"X-Forwarded-Host", "nas.lan"}, false, true},
		{"Safari on the machine itself", "localhost:8420", []string{"User-Agent", safariAgent, "Sec-Fetch-Site", "same-origin"}, false, true},

		{"the machine itself", "localhost:8420", nil, false, false},
		{"in capitals", "LOCALHOST", nil, false, false},
		{"a name of the machine", "curfew.localhost:8420", nil, false, false},
		{"its address", "127.0.0.1:8420", nil, false, false},
		{"another of its addresses", "127.1.2.3", nil, false, false},
		{"its IPv6 address", "[::1]:8420", nil, false, false},
		{"Chrome there", "localhost:8420", []string{"User-Agent", chrome}, false, false},
		{"TLS", "nas.lan", nil, true, false},
		{"TLS at a proxy", "nas.lan", []string{"X-Forwarded-Proto", "https"}, false, false},
		{"TLS at the first of two", "nas.lan", []string{"X-Forwarded-Proto", "HTTPS, http"}, false, false},
		{"TLS at a proxy, RFC 7239", "nas.lan", []string{"Forwarded", "for=192.0.2.1;Proto=https;by=203.0.113.43"}, false, false},
		{"TLS, as the browser says at a form", "nas.lan", []string{"Origin", "https://nas.lan"}, false, false},
		{"TLS, as the browser says at a link", "nas.lan", []string{"Referer", "https://nas.lan/profile"}, false, false},
		{"an address that the browser trusts", "nas.lan", []string{"Sec-Fetch-Site", "none"}, false, false},
		{"Safari with TLS", "localhost", []string{"User-Agent", safariAgent}, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/sign-in", nil)
			r.Host = tt.host
			for i := 0; i < len(tt.header); i += 2 {
				r.Header.Set(tt.header[i], tt.header[i+1])
			}
			if tt.tls {
				r.TLS = &tls.ConnectionState{}
			}
			x := &exchange{base: &base{}, r: r}
			if got := new(signInPages).plain(x) != nil; got != tt.want {
				t.Errorf("plain: %v, want %v", got, tt.want)
			}
		})
	}
}

// At an address where browsers drop the cookie the page says so before a password is
// typed, a sign-in goes by way of a look at the cookie, and the log says it once.
func TestSignInOverPlainHTTP(t *testing.T) {
	s := open(t)
	plain := func(raw, method, path string, fields ...string) answer {
		t.Helper()
		form := map[string][]string{}
		for i := 0; i+1 < len(fields); i += 2 {
			form[fields[i]] = []string{fields[i+1]}
		}
		return s.send(raw, method, path, form, "Sec-Fetch-Site", "", "Origin", "http://console.test")
	}
	const warning = "This page is not encrypted"
	for range 2 {
		plain("", http.MethodGet, "/sign-in").is(http.StatusOK).says(warning, "--tls-cert and --tls-key", "http://localhost works")
	}
	plain("", http.MethodPost, "/sign-in", "username", "admin", "password", "wrong password!").is(http.StatusUnauthorized).says(warning)
	a := plain("", http.MethodPost, "/sign-in", "username", "admin", "password", password, "return", "/users").to("/continue")
	if len(a.cookies) != 1 {
		t.Fatalf("cookies %v", a.cookies)
	}
	lost := plain("", http.MethodGet, a.location).is(http.StatusOK).says("your browser did not keep the session cookie", warning)
	if lost.input("return") != "/users" {
		t.Errorf("leads back to %q", lost.input("return"))
	}
	// A browser that keeps it all the same, as its configuration can make it do.
	plain(a.cookies[0].Value, http.MethodGet, a.location).to("/users")
	if n := strings.Count(s.logged.String(), "over plain HTTP"); n != 1 {
		t.Errorf("the log says it %d times:\n%s", n, s.logged.String())
	}
	// The cookie is lost where it should not be; and it is revoked in between.
	s.signedOut().get("/continue?return=/users").is(http.StatusOK).says("did not keep the session cookie", "Allow cookies for this site").saysNot(warning)
	p := s.as(s.admin)
	raw := p.token
	p.post("/sign-out").to("/sign-in")
	s.send(raw, http.MethodGet, "/continue?return=/users", nil).to("/sign-in")
	// To a service, too.
	p = s.as(s.admin)
	if a := p.get("/continue?return=http://app.test/x").is(http.StatusOK); a.header.Get("Refresh") != "0; url=http://app.test/x" {
		t.Errorf("Refresh: %s", a.header.Get("Refresh"))
	}
	p.get("/continue?return=http://evil.test/").to("/")
	s.signedOut().get("/sign-in").is(http.StatusOK).saysNot(warning, "did not keep")
}

// Where the issuer is encrypted, the page leads there.
func TestPlainHTTPLeadsToIssuer(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "http://nas.lan/sign-in", nil)
	p := &signInPages{issuer: "https://curfew.example/"}
	if view := p.plain(&exchange{base: &base{}, r: r}); view == nil || view.Encrypted != "https://curfew.example/sign-in" {
		t.Errorf("%+v", view)
	}
}
