//go:build interop

package interop

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"example.com/curfew/internal/testnet"
)

// asking are proxies that ask /v1/verify with a query, as small as can be.
var asking = map[string]func(s *server, query, service, back string){
	"nginx": func(s *server, query, service, back string) {
		s.nginx(fmt.Sprintf(`server { listen %s;
			location / { auth_request /curfew; auth_request_set $to $upstream_http_location; error_page 401 = @sign_in; proxy_pass http://%s; }
			location = /curfew { internal; proxy_pass http://%s/v1/verify?%s; proxy_pass_request_body off; proxy_set_header Content-Length "";
				proxy_set_header X-Original-URL $scheme://$http_host$request_uri; proxy_set_header X-Original-Method $request_method; }
			location @sign_in { if ($to = "") { return 401; } return 302 $to; } }`, service, back, s.addr, query))
	},
	"Caddy": func(s *server, query, service, back string) {
		s.caddy(fmt.Sprintf("http://%s {\n\tforward_auth %s {\n\t\turi /v1/verify?%s\n\t}\n\treverse_proxy %s\n}\n",
			service, s.addr, strings.ReplaceAll(query, "location", "1"), back))
	},
}

// The parameters of /v1/verify do behind real proxies what they say.
func TestParametersOfVerify(t *testing.T) {
	type seen struct {
		Method, Authorization string
	}
	back := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := json.NewEncoder(w).Encode(seen{r.Method, r.Header.Get("Authorization")}); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(back.Close)
	for name, proxy := range asking {
		t.Run(name, func(t *testing.T) {
			service := testnet.Address(t)
			s := start(t, "--trusted-proxies", "127.0.0.1", "--return-hosts", service)
			proxy(s, "sign_in=location&credentials=cookie&preflight=1", service, back.Listener.Addr().String())
			waitFor(t, "the service", func() bool { return status(t, "http://"+service+"/", "") == http.StatusUnauthorized })
			client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
			t.Cleanup(client.CloseIdleConnections)
			send := func(method, target string, headers map[string]string) (*http.Response, seen) {
				t.Helper()
				r, err := http.NewRequestWithContext(t.Context(), method, "http://"+service+"/", http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				r.URL.Opaque = "//" + service + target // sent as it is
				for name, value := range headers {
					r.Header.Set(name, value)
				}
				resp, err := client.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				body, _ := io.ReadAll(resp.Body)
				var at seen
				if resp.StatusCode == http.StatusOK && method != http.MethodHead {
					if err := json.Unmarshal(body, &at); err != nil {
						t.Errorf("%s %s: %q", method, target, body)
					}
				}
				return resp, at
			}

			// A browser comes back to the whole address.
			for _, target := range []string{"/list?page=2&q=a%26b", "/a%23b/c+d;e=1?f=%2B&g=+&h=100%25", "/b%C3%BCcher?q=%E6%97%A5&'=\"", "/?return=/&why=x"} {
				resp, _ := send("GET", target, map[string]string{"Accept": "text/html"})
				to, err := url.Parse(resp.Header.Get("Location"))
				want := "http://" + service + strings.ReplaceAll(target, `"`, "%22")
				if err != nil || resp.StatusCode != http.StatusFound || to.Path != "/sign-in" || to.Query().Get("return") != want {
					t.Errorf("%s: %d to %s, want back to %s", target, resp.StatusCode, to, want)
				}
			}
			for _, headers := range []map[string]string{nil, {"Accept": "application/json"}} {
				if resp, _ := send("GET", "/", headers); resp.StatusCode != http.StatusUnauthorized || resp.Header.Get("Location") != "" {
					t.Errorf("an API gets %d to %q", resp.StatusCode, resp.Header.Get("Location"))
				}
			}
			if resp, _ := send("POST", "/", map[string]string{"Accept": "text/html"}); resp.StatusCode != http.StatusUnauthorized {
				t.Errorf("a form gets %d", resp.StatusCode)
			}

			// The service has an Authorization header of its own.
			cookie, ended := "__Host-curfew_session="+s.signIn(), s.signIn()
			s.signOut(ended)
			for _, own := range []string{"Token abc", "Basic dTpw", "Bearer ghp_0123456789abcdef", "Bearer null", "Bearer eyJhbGciOiJIUzI1NiJ9.e30.c2ln"} {
				if resp, at := send("GET", "/api", map[string]string{"Cookie": cookie, "Authorization": own}); resp.StatusCode != http.StatusOK || at.Authorization != own {
					t.Errorf("%q: %d, the service sees %q", own, resp.StatusCode, at.Authorization)
				}
			}
			if resp, _ := send("GET", "/api", map[string]string{"Cookie": cookie, "Authorization": "Bearer " + ended}); resp.StatusCode != http.StatusUnauthorized {
				t.Errorf("an ended token beside a good cookie: %d", resp.StatusCode)
			}

			// A preflight passes, and nothing that says it is one.
			preflight := map[string]string{"Origin": "https://spa.test", "Access-Control-Request-Method": "PUT"}
			if resp, at := send("OPTIONS", "/api", preflight); resp.StatusCode != http.StatusOK || at.Method != "OPTIONS" {
				t.Errorf("a preflight: %d, the service sees %q", resp.StatusCode, at.Method)
			}
			for _, lie := range []string{"X-Forwarded-Method", "X-Original-Method"} {
				for _, method := range []string{"GET", "PUT", "DELETE"} {
					headers := maps.Clone(preflight)
					headers[lie] = "OPTIONS"
					if resp, _ := send(method, "/api", headers); resp.StatusCode != http.StatusUnauthorized {
						t.Errorf("%s with %s: OPTIONS: %d", method, lie, resp.StatusCode)
					}
				}
			}
		})
	}
}
