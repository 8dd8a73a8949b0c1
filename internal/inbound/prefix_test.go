package inbound_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"example.com/curfew/internal/inbound"
)

func TestPrefix(t *testing.T) {
	for _, tt := range []struct {
		issuer, want string
		fails        bool
	}{
		{"https://curfew.example", "", false},
		{"https://curfew.example/", "", false},
		{"https://curfew.example/curfew", "/curfew", false},
		{"https://curfew.example/curfew/", "/curfew", false},
		{"https://curfew.example:8443/a/B-c_d.e~1", "/a/B-c_d.e~1", false},
		{"https://curfew.example/a//b", "", true},
		{"https://curfew.example//", "", true},
		{"https://curfew.example/./a", "", true},
		{"https://curfew.example/a/..", "", true},
		{"https://curfew.example/%61", "", true},
		{"https://curfew.example/a%2fb", "", true},
		{"https://curfew.example/a b", "", true},
		{"https://curfew.example/café", "", true},
		{"https://curfew.example/a;b", "", true},
		{`https://curfew.example/a"b`, "", true},
		{"%zz", "", true},
	} {
		if got, err := inbound.Prefix(tt.issuer); got != tt.want || (err != nil) != tt.fails {
			t.Errorf("Prefix(%q) = %q, %v; want %q, error: %v", tt.issuer, got, err, tt.want, tt.fails)
		}
	}
}

// The path that next sees, behind a proxy that removes the prefix and behind a
// proxy that does not.
func TestBelow(t *testing.T) {
	for _, tt := range []struct{ prefix, target, want string }{
		{"", "/users", "/users"},
		{"", "/curfew/users", "/curfew/users"},
		{"/curfew", "/curfew", "/"},
		{"/curfew", "/curfew/", "/"},
		{"/curfew", "/curfew/users?a=/curfew/b", "/users?a=/curfew/b"},
		{"/curfew", "/curfew/users/a%2Fb", "/users/a%2Fb"},
		{"/curfew", "/users", "/users"},
		{"/curfew", "/", "/"},
		{"/curfew", "/curfews", "/curfews"},
		{"/curfew", "/Curfew/users", "/Curfew/users"},
		{"/curfew", "/%63urfew/users", "/%63urfew/users"},
		{"/curfew", "/curfew%2Fusers", "/curfew%2Fusers"},
		{"/curfew", "/curfew//users", "//users"},
		{"/curfew", "//users", "/users"},
		{"/curfew", "//users/a%2Fb", "/users/a%2Fb"},
		{"/curfew", "///users", "//users"},
		{"/curfew", "/%2Fusers", "/%2Fusers"},
		{"", "//users", "//users"},
		{"/curfew", "/curfew/curfew/users", "/curfew/users"},
		{"/curfew", "/curfew/../users", "/../users"},
		{"/a/b", "/a/b/v1/verify", "/v1/verify"},
		{"/a/b", "/b/v1/verify", "/b/v1/verify"},
		{"/curfew", "/.well-known/oauth-authorization-server/curfew", "/.well-known/oauth-authorization-server"},
		{"/curfew", "/.well-known/oauth-authorization-server/curfew/", "/.well-known/oauth-authorization-server"},
		{"/curfew", "/.well-known/oauth-authorization-server/other", "/.well-known/oauth-authorization-server/other"},
		{"/curfew", "/.well-known/jwks.json/curfew", "/.well-known/jwks.json/curfew"},
		{"", "/.well-known/oauth-authorization-server/curfew", "/.well-known/oauth-authorization-server/curfew"},
	} {
		var got string
		handler := inbound.Below(tt.prefix, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.URL.RequestURI() }))
		r := httptest.NewRequest(http.MethodGet, "http://curfew.example"+tt.target, nil)
		handler.ServeHTTP(httptest.NewRecorder(), r)
		if got != tt.want {
			t.Errorf("below %q: %s is seen as %s, want %s", tt.prefix, tt.target, got, tt.want)
		}
		if r.URL.RequestURI() != tt.target {
			t.Errorf("below %q: the caller's request has become %s", tt.prefix, r.URL.RequestURI())
		}
	}
}
