package oidc_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"example.com/curfew/internal/oidc"
)

// newDocument starts a server whose discovery document is made of members; edit may
// change them, and remove one by setting it to nil.
func newDocument(t *testing.T, edit func(issuer string, members map[string]any)) string {
	t.Helper()
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/.well-known/openid-configuration" {
			http.NotFound(w, r)
			return
		}
		members := map[string]any{
			"issuer": server.URL, "authorization_endpoint": server.URL + "/auth", "token_endpoint": server.URL + "/token",
			"jwks_uri": server.URL + "/keys", "id_token_signing_alg_values_supported": []string{"RS256", "HS256", "none"},
			"response_types_supported": []string{"code"},
		}
		edit(server.URL, members)
		for name, value := range members {
			if value == nil {
				delete(members, name)
			}
		}
		_ = json.NewEncoder(w).Encode(members)
	})
	return server.URL
}

func TestDiscover(t *testing.T) {
	for name, test := range map[string]struct {
		edit func(issuer string, members map[string]any)
		want error  // nil: accepted
		says string // part of the error
	}{
		"as it should be":                {func(string, map[string]any) {}, nil, ""},
		"another issuer":                 {func(_ string, m map[string]any) { m["issuer"] = "https://other.example" }, oidc.ErrMisconfigured, "https://other.example"},
		"a slash at the end":             {func(issuer string, m map[string]any) { m["issuer"] = issuer + "/" }, oidc.ErrMisconfigured, "only the slash at the end differs"},
		"no issuer":                      {func(_ string, m map[string]any) { m["issuer"] = nil }, oidc.ErrMisconfigured, "calls itself"},
		"no token endpoint":              {func(_ string, m map[string]any) { m["token_endpoint"] = nil }, oidc.ErrMisconfigured, "token_endpoint"},
		"no keys":                        {func(_ string, m map[string]any) { m["jwks_uri"] = nil }, oidc.ErrMisconfigured, "jwks_uri"},
		"a token endpoint without https": {func(_ string, m map[string]any) { m["token_endpoint"] = "http://provider.example/token" }, oidc.ErrMisconfigured, "https://"},
		"a script as an endpoint":        {func(_ string, m map[string]any) { m["authorization_endpoint"] = "javascript:alert(1)" }, oidc.ErrMisconfigured, "authorization_endpoint"},
		"a script to sign out with":      {func(_ string, m map[string]any) { m["end_session_endpoint"] = "javascript:alert(1)" }, oidc.ErrMisconfigured, "end_session_endpoint"},
		"a password in an endpoint":      {func(_ string, m map[string]any) { m["token_endpoint"] = "https://a:b@provider.example/" }, oidc.ErrMisconfigured, "token_endpoint"},
		"HMAC only": {func(_ string, m map[string]any) {
			m["id_token_signing_alg_values_supported"] = []string{"HS256", "none"}
		}, oidc.ErrMisconfigured, "HS256"},
		"implicit flow only":       {func(_ string, m map[string]any) { m["response_types_supported"] = []string{"id_token"} }, oidc.ErrMisconfigured, "authorization code flow"},
		"PKCE without S256":        {func(_ string, m map[string]any) { m["code_challenge_methods_supported"] = []string{"plain"} }, oidc.ErrMisconfigured, "S256"},
		"a member of another type": {func(_ string, m map[string]any) { m["token_endpoint"] = 7 }, oidc.ErrMisconfigured, "not valid"},
		"a large document":         {func(_ string, m map[string]any) { m["padding"] = strings.Repeat("x", 1<<20) }, oidc.ErrMisconfigured, "larger than"},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := oidc.New(oidc.Config{}).Discover(t.Context(), newDocument(t, test.edit))
			if !errors.Is(err, test.want) || err != nil && !strings.Contains(err.Error(), test.says) {
				t.Fatalf("got %v, want %v that says %q", err, test.want, test.says)
			}
			if err == nil && (len(m.Algorithms) != 1 || m.Algorithms[0] != "RS256") {
				t.Errorf("accepts the algorithms %v", m.Algorithms)
			}
		})
	}
}

// A provider that can't be asked is another matter than a provider that answers
// something wrong: the first may pass by itself.
func TestDiscoverFaults(t *testing.T) {
	elsewhere := newDocument(t, func(string, map[string]any) {})
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		want   error
	}{
		"server error":           {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, oidc.ErrUnreachable},
		"too many requests":      {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) }, oidc.ErrUnreachable},
		"not found":              {http.NotFound, oidc.ErrMisconfigured},
		"a page":                 {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }, oidc.ErrMisconfigured},
		"no answer":              {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, oidc.ErrUnreachable},
		"a connection that ends": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, oidc.ErrUnreachable},
		"a redirect to another one": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere+r.URL.Path, http.StatusFound)
		}, oidc.ErrMisconfigured},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(test.answer)
			defer server.Close()
			_, err := oidc.New(oidc.Config{Timeout: 200 * time.Millisecond}).Discover(t.Context(), server.URL)
			if !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	if _, err := oidc.New(oidc.Config{}).Discover(t.Context(), closed.URL); !errors.Is(err, oidc.ErrUnreachable) {
		t.Errorf("a provider that is down: got %v, want %v", err, oidc.ErrUnreachable)
	}
}

func TestCheckIssuer(t *testing.T) {
	for issuer, good := range map[string]bool{
		"https://id.example":          true,
		"https://id.example/":         true,
		"https://id.example/realms/a": true,
		"http://127.0.0.1:8080":       true,
		"http://127.8.8.8":            true,
		"http://[::1]:8080/a":         true,
		"http://localhost":            true,
		"http://a.localhost":          false,
		"http://id.example":           false,
		"http://localhost.example":    false,
		"http://127.0.0.1.example":    false,
		"http://[::ffff:10.0.0.1]":    false,
		"ftp://id.example":            false,
		"https://id.example?a":        false,
		"https://id.example?":         false,
		"https://id.example#":         false,
		"https://a@id.example":        false,
		"https:id.example":            false,
		"https:///a":                  false,
		"id.example":                  false,
		"javascript:alert(1)":         false,
		"":                            false,
		"https://id.example\n":        false,
	} {
		if err := oidc.CheckIssuer(issuer); (err == nil) != good || err != nil && !errors.Is(err, oidc.ErrMisconfigured) {
			t.Errorf("%q: got %v, want accepted=%v", issuer, err, good)
		}
	}
}
