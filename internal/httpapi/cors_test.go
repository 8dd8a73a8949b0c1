package httpapi

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

const (
	listedOrigin  = "https://app.example"
	foreignOrigin = "https://evil.example"
)

func withPages(c *Config, _ *setup) { c.CORSOrigins = []string{listedOrigin, "http://localhost:5173"} }

// fromPage makes a request as a browser does for a page.
func (s *server) fromPage(method, path string, headers ...string) *http.Response {
	s.Helper()
	r, err := http.NewRequest(method, s.url+path, nil)
	if err != nil {
		s.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	a, err := plainClient.Do(r)
	if err != nil {
		s.Fatal(err)
	}
	a.Body.Close()
	return a
}

// corsHeaders returns the headers of the CORS protocol in an answer.
func corsHeaders(a *http.Response) []string {
	var names []string
	for name := range a.Header {
		if strings.HasPrefix(name, "Access-Control-") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Each call that a page may make, and each that it may not.
func TestCORSRoutes(t *testing.T) {
	s := start(t, withPages)
	known := map[string]bool{}
	for _, route := range Routes() {
		known[route.Method+" "+route.Pattern] = true
		path := strings.NewReplacer("{id}", "me", "{sid}", "AAAAAAAAAAAAAAAAAAAAAA", "{epoch}", "1").Replace(route.Pattern)
		method := route.Method
		if method == "" {
			method = http.MethodGet
		}
		allowed := forPages[route.Method+" "+route.Pattern]
		a := s.fromPage(http.MethodOptions, path, "Origin", listedOrigin, "Access-Control-Request-Method", method, "Access-Control-Request-Headers", "authorization,content-type")
		if got := a.StatusCode == http.StatusNoContent && a.Header.Get("Access-Control-Allow-Origin") == listedOrigin; got != allowed {
			t.Errorf("%s %s: preflight %d, %v; allowed: %v", method, path, a.StatusCode, a.Header, allowed)
		}
		if allowed && !slices.Contains(strings.Split(a.Header.Get("Access-Control-Allow-Methods"), ", "), method) {
			t.Errorf("%s %s: methods %q", method, path, a.Header.Get("Access-Control-Allow-Methods"))
		}
		if !allowed && len(corsHeaders(a)) > 0 {
			t.Errorf("%s %s: preflight has %v", method, path, corsHeaders(a))
		}
		// The request itself: refusals can be read as well.
		a = s.fromPage(method, path, "Origin", listedOrigin)
		if got := a.Header.Get("Access-Control-Allow-Origin") == listedOrigin; got != allowed || !allowed && len(corsHeaders(a)) > 0 {
			t.Errorf("%s %s: %d with %v; allowed: %v", method, path, a.StatusCode, corsHeaders(a), allowed)
		}
		// What another page may make of it.
		for _, origin := range []string{foreignOrigin, "null", listedOrigin + ".evil.example", "http://app.example", listedOrigin + ":8443", "https://APP.example", listedOrigin + "/", "*"} {
			for _, a := range []*http.Response{
				s.fromPage(http.MethodOptions, path, "Origin", origin, "Access-Control-Request-Method", method),
				s.fromPage(method, path, "Origin", origin),
			} {
				if len(corsHeaders(a)) > 0 {
					t.Errorf("%s %s from %s: %v", method, path, origin, a.Header)
				}
				if allowed && !strings.Contains(strings.Join(a.Header["Vary"], ","), "Origin") {
					t.Errorf("%s %s from %s: Vary %q", method, path, origin, a.Header["Vary"])
				}
			}
		}
	}
	for name := range forPages {
		if !known[name] {
			t.Errorf("%s is no call", name)
		}
	}
}

func TestCORSAnswers(t *testing.T) {
	s := start(t, withPages)
	good := "Bearer " + s.token(s.user("ann"))
	a := s.fromPage(http.MethodOptions, "/v1/session", "Origin", "http://localhost:5173", "Access-Control-Request-Method", "DELETE", "Access-Control-Request-Headers", "authorization")
	want := map[string]string{
		"Access-Control-Allow-Origin":      "http://localhost:5173",
		"Access-Control-Allow-Credentials": "true",
		"Access-Control-Allow-Methods":     "DELETE, GET",
		"Access-Control-Max-Age":           "7200",
	}
	for name, value := range want {
		if got := a.Header.Get(name); got != value {
			t.Errorf("%s: %s, want %s", name, got, value)
		}
	}
	for _, name := range []string{"Authorization", "Content-Type", "Prefer"} {
		if !slices.Contains(strings.Split(a.Header.Get("Access-Control-Allow-Headers"), ", "), name) {
			t.Errorf("a page may not send %s: %s", name, a.Header.Get("Access-Control-Allow-Headers"))
		}
	}
	a = s.fromPage(http.MethodGet, "/v1/session", "Origin", listedOrigin, "Authorization", good)
	if a.StatusCode != http.StatusOK || a.Header.Get("Access-Control-Allow-Credentials") != "true" || a.Header.Get("Access-Control-Allow-Methods") != "" {
		t.Errorf("%d, %v", a.StatusCode, a.Header)
	}
	for _, name := range []string{"WWW-Authenticate", "Retry-After"} {
		if !slices.Contains(strings.Split(a.Header.Get("Access-Control-Expose-Headers"), ", "), name) {
			t.Errorf("a page may not read %s: %s", name, a.Header.Get("Access-Control-Expose-Headers"))
		}
	}
	for _, tt := range []struct {
		name   string
		method string
		path   string
		header []string
		status int
		allows bool
	}{
		{"no token", http.MethodGet, "/v1/session", nil, 401, true},
		{"a method that the call has not", http.MethodPatch, "/v1/session", nil, 405, false},
		{"an unknown parameter", http.MethodGet, "/v1/session?x=y", nil, 400, true},
		{"a wrong media type, which needs no preflight", http.MethodPost, "/v1/sessions", []string{"Content-Type", "text/plain"}, 415, true},
		{"a preflight for a method that is for others", http.MethodOptions, "/v1/users/me/sessions", []string{"Access-Control-Request-Method", "POST"}, 405, false},
		{"OPTIONS that is no preflight", http.MethodOptions, "/v1/session", nil, 405, false},
		{"two origins", http.MethodGet, "/v1/session", []string{"Origin", foreignOrigin}, 401, false},
		{"HEAD", http.MethodHead, "/v1/session", []string{"Authorization", good}, 200, true},
	} {
		a := s.fromPage(tt.method, tt.path, append([]string{"Origin", listedOrigin}, tt.header...)...)
		if a.StatusCode != tt.status || (a.Header.Get("Access-Control-Allow-Origin") != "") != tt.allows {
			t.Errorf("%s: %d, %v; want %d, allowed: %v", tt.name, a.StatusCode, corsHeaders(a), tt.status, tt.allows)
		}
	}
	// Without --cors-origins nothing of the kind is there.
	s = start(t)
	for _, method := range []string{http.MethodGet, http.MethodOptions} {
		a := s.fromPage(method, "/v1/session", "Origin", listedOrigin, "Access-Control-Request-Method", "GET")
		if len(corsHeaders(a)) > 0 || a.Header.Get("Vary") != "" {
			t.Errorf("%s without origins: %v", method, a.Header)
		}
	}
}
