//go:build interop

package interop

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"example.com/curfew/internal/testnet"
)

// told is a service that answers with every identity that a program behind it might
// take for the caller's. CGI, WSGI, Rack and PHP give headers the names of
// variables: to them Remote-User, remote_user and Remote.User are one.
func told(t *testing.T) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who := []string{}
		for name, values := range r.Header {
			switch strings.NewReplacer("-", "_", ".", "_").Replace(strings.ToUpper(name)) {
			case "REMOTE_USER", "REMOTE_NAME", "REMOTE_EMAIL", "REMOTE_GROUPS", "CURFEW_USER_ID", "CURFEW_SESSION":
				who = append(who, values...)
			}
		}
		if err := json.NewEncoder(w).Encode(who); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

// What a client says of who it is never reaches the service, in whatever spelling:
// with the configurations that the documentation shows, and those that were tried.
func TestIdentityLies(t *testing.T) {
	const lie = "somebody-else"
	for name, proxy := range map[string]func(s *server, service, back string){
		"nginx": func(s *server, service, back string) {
			s.nginx("include " + s.config("nginx.conf", service, back) + ";")
		},
		"Caddy":                 func(s *server, service, back string) { s.caddy(read(s.t, s.config("Caddyfile", service, back))) },
		"HAProxy":               func(s *server, service, back string) { s.haproxy(read(s.t, s.config("haproxy.cfg", service, back))) },
		"HAProxy, forward auth": browserProxies["HAProxy"],
		"Apache":                func(s *server, service, back string) { s.apache(service, s.config("apache.conf", service, back)) },
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			service := testnet.Address(t)
			proxy(s, service, told(t))
			waitFor(t, "the service", func() bool { return status(t, "http://"+service+"/", "") == http.StatusUnauthorized })
			raw := s.signIn()
			good, session := "Authorization: Bearer "+raw+"\r\n", sessionOf(t, raw)
			var seen atomic.Int32
			var all sync.WaitGroup
			lies := []string{
				"", "Remote-User: LIE\r\n", "remote-user: LIE\r\n", "REMOTE-USER: LIE\r\n", "Remote-User: LIE\r\nRemote-User: LIE\r\n",
				"Remote_User: LIE\r\n", "remote_user: LIE\r\n", "REMOTE_USER: LIE\r\n", "Remote-User:\r\nRemote_User: LIE\r\n",
				"Remote-User : LIE\r\n", "Remote-User\t: LIE\r\n", "Remote-User\x00: LIE\r\n", "X: y\r\n Remote-User: LIE\r\n", "X: y\nRemote-User: LIE\r\n",
				"X: y\rRemote-User: LIE\r\n", "Remote-User:\r\n LIE\r\n", "Curfew-Session: LIE\r\n", "Curfew_Session: LIE\r\n", "curfew_session: LIE\r\n",
				"Connection: Remote-User\r\nRemote-User: LIE\r\n", "Connection: close, Remote-User, Curfew-Session\r\n", "Connection: Remote_User\r\nRemote_User: LIE\r\n",
				"Connection: Authorization\r\nRemote-User: LIE\r\n", "Trailer: Remote-User\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nRemote-User: LIE\r\n",
			}
			_, forwardAuth := browserProxies[strings.TrimSuffix(name, ", forward auth")]
			forwardAuth = forwardAuth && name != "HAProxy"
			if forwardAuth { // with all headers
				for _, other := range []string{"Remote-User", "Remote-Name", "Remote-Email", "Remote-Groups", "Curfew-User-Id", "Curfew-Session"} {
					for _, mark := range []string{"-", "_", "."} {
						lies = append(lies, strings.ReplaceAll(other, "-", mark)+": LIE\r\n", "Connection: "+strings.ReplaceAll(other, "-", mark)+"\r\n")
					}
				}
				lies = append(lies, "Connection: Upgrade, Remote-User\r\nUpgrade: websocket\r\n", "Connection: remote-user, upgrade\r\nUpgrade: x\r\n")
			}
			for _, headers := range lies {
				for _, auth := range []string{good, ""} {
					all.Go(func() {
						headers := strings.ReplaceAll(headers, "LIE", lie)
						answer := attack(service, "GET / HTTP/1.1\r\nHost: "+service+"\r\n"+auth+headers+"\r\n")
						if strings.Contains(answer, lie) {
							t.Errorf("%q: the service is told %q", headers, answer)
						}
						resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(answer)), nil)
						if err != nil || resp.StatusCode != http.StatusOK {
							return // refused, or cut off
						}
						var who []string
						body, _ := io.ReadAll(resp.Body)
						if err := json.Unmarshal(body, &who); err != nil || auth == "" {
							t.Errorf("%q, signed in %v: %q, %v", headers, auth != "", body, err)
						}
						// A client that could remove a header would be anonymous to the service.
						if forwardAuth && !slices.Contains(who, userName) {
							t.Errorf("%q: the service is told %q, want %q among it", headers, who, userName)
						}
						// Beside the user, there is the session's id where it is passed on.
						who = slices.DeleteFunc(who, func(v string) bool { return v == session || v == "" })
						if headers == "" && len(who) == 0 || slices.ContainsFunc(who, func(v string) bool { return v != s.user && v != userName }) {
							t.Errorf("%q: the service is told %q, want %q or %q", headers, who, s.user, userName)
						}
						seen.Add(1)
					})
				}
			}
			all.Wait()
			if seen.Load() < 5 {
				t.Errorf("the service was asked %d times only", seen.Load())
			}
		})
	}
}

// sessionOf returns the id of a token's session.
func sessionOf(t *testing.T, raw string) string {
	t.Helper()
	var claims struct{ Sid string }
	text, err := base64.RawURLEncoding.DecodeString(strings.Split(raw, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &claims); err != nil {
		t.Fatal(err)
	}
	return claims.Sid
}

// Where a sign-in came from is what the proxy in front has seen, whatever the
// client says in X-Forwarded-For and its kind.
func TestForwardedLies(t *testing.T) {
	const lie = "198.51.100.66"
	for name, proxy := range proxies {
		t.Run(name, func(t *testing.T) {
			s := start(t, "--trusted-proxies", "127.0.0.1/32", "--return-hosts", "app.test")
			door, service := testnet.Address(t), testnet.Address(t)
			proxy(s, door, service, told(t))
			waitFor(t, "the door", func() bool { return status(t, "http://"+door+"/livez", "") == http.StatusOK })
			// A client at an address of its own, which is not a proxy's.
			client := &http.Client{
				Transport: &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
					d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 7)}}
					return d.DialContext(ctx, network, addr)
				}},
				CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			}
			defer client.CloseIdleConnections()
			send := func(method, path, body string, headers ...string) (*http.Response, string) {
				t.Helper()
				r, err := http.NewRequest(method, "http://"+door+path, strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				for i := 0; i < len(headers); i += 2 {
					r.Header[headers[i]] = append(r.Header[headers[i]], headers[i+1])
				}
				resp, err := client.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				text, err := io.ReadAll(resp.Body)
				if err != nil {
					t.Fatal(err)
				}
				return resp, string(text)
			}
			for _, lies := range [][]string{
				{}, {"X-Forwarded-For", lie}, {"X-Forwarded-For", lie, "X-Forwarded-For", lie}, {"X-Forwarded-For", lie + ", 127.0.0.1"},
				{"x-forwarded-for", lie}, {"X_Forwarded_For", lie}, {"Forwarded", "for=" + lie}, {"X-Real-Ip", lie}, {"X-Client-Ip", lie}, {"True-Client-Ip", lie},
				{"Connection", "X-Forwarded-For"}, {"X-Forwarded-For", "unknown"}, {"X-Forwarded-For", ""},
			} {
				headers := append([]string{"Content-Type", "application/json"}, lies...)
				resp, text := send(http.MethodPost, "/v1/sessions", fmt.Sprintf(`{"username":%q,"password":%q}`, userName, password), headers...)
				var issued struct{ Token string }
				if err := json.Unmarshal([]byte(text), &issued); err != nil || resp.StatusCode != http.StatusCreated {
					t.Fatalf("%q: %s %s", lies, resp.Status, text)
				}
				var list struct {
					Sessions []struct {
						Address string
						Current bool
					}
				}
				_, text = send(http.MethodGet, "/v1/users/me/sessions", "", "Authorization", "Bearer "+issued.Token)
				if err := json.Unmarshal([]byte(text), &list); err != nil {
					t.Fatalf("%v in %s", err, text)
				}
				for _, one := range list.Sessions {
					if one.Current && one.Address != "127.0.0.7" {
						t.Errorf("%q: the sign-in came from %q, want 127.0.0.7", lies, one.Address)
					}
				}
				send(http.MethodDelete, "/v1/session", "", "Authorization", "Bearer "+issued.Token)
			}
			// Users are not sent to the address that the client claims, unless it
			// is allowed.
			for _, host := range []string{"evil.test", "app.test@evil.test", "evil.test, app.test", "app.test.evil.test", "evil.test/app.test", "evil.test#app.test"} {
				resp, _ := send(http.MethodGet, "/v1/verify?sign_in=1", "", "Accept", "text/html",
					"X-Forwarded-Host", host, "X-Forwarded-Proto", "https", "X-Forwarded-Uri", "/", "X-Forwarded-Method", "GET")
				if to := resp.Header.Get("Location"); !strings.HasPrefix(to, issuer+"/sign-in") || strings.Contains(to, "evil") {
					t.Errorf("%q: %s, sent to %q", host, resp.Status, to)
				}
			}
		})
	}
}
