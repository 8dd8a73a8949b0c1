package app

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"example.com/curfew/internal/await"
)

const attackPassword = "correct horse battery"

// speak sends bytes as they are and returns the first answer.
func speak(t *testing.T, addr net.Addr, text string) (*http.Response, string) {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(await.Limit)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("%.200q: %v", text, err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatalf("%.200q: %v", text, err)
	}
	return answer, string(body)
}

// signInAs returns the token of a new session of admin.
func signInAs(t *testing.T, url string) string {
	t.Helper()
	status, body := send(t, http.MethodPost, url+"/v1/sessions", "", `{"username":"admin","password":"`+attackPassword+`"}`)
	var issued struct {
		Token string `json:"token"`
	}
	if err := json.Unmarshal([]byte(body), &issued); err != nil || status != http.StatusCreated {
		t.Fatalf("%d %s %v", status, body, err)
	}
	return issued.Token
}

// TRACE and its kind are not answered at either listener, and nothing of a request
// comes back: a script could read cookies by that which it may not see (cross-site
// tracing).
func TestTrace(t *testing.T) {
	a, _ := runApp(t, serverConfig(t), Options{})
	const secret = "a-secret-of-the-request"
	for what, addr := range map[string]net.Addr{"the server": a.Addr(), "the metrics": a.MetricsAddr()} {
		for _, method := range []string{"TRACE", "TRACK", "DEBUG", "trace", "PROPFIND", "CONNECT", "OPTIONS"} {
			for _, path := range []string{"/", "/sign-in", "/users", "/v1/session", "/v1/verify", "/livez", "/metrics", "/assets/style.css", "/nothing"} {
				answer, body := speak(t, addr, method+" "+path+" HTTP/1.1\r\nHost: x\r\nX-Marked: "+secret+"\r\nCookie: a="+secret+"\r\nMax-Forwards: 0\r\nConnection: close\r\n\r\n")
				// Proxies ask forward auth with the method of the original request,
				// and these requests carry no token.
				want := []int{http.StatusMethodNotAllowed, http.StatusNotFound}
				if path == "/v1/verify" {
					want = append(want, http.StatusUnauthorized)
				}
				if !slices.Contains(want, answer.StatusCode) {
					t.Errorf("%s: %s %s: %d, want one of %v", what, method, path, answer.StatusCode, want)
				}
				if strings.Contains(body, secret) || strings.Contains(fmt.Sprint(answer.Header), secret) {
					t.Errorf("%s: %s %s: the request comes back: %v %s", what, method, path, answer.Header, body)
				}
			}
		}
	}
}

// Nothing that helps to find faults is left open at either listener: profiles and
// variables hold tokens and keys.
func TestNoDebugging(t *testing.T) {
	a, _ := runApp(t, serverConfig(t), Options{})
	for what, addr := range map[string]net.Addr{"the server": a.Addr(), "the metrics": a.MetricsAddr()} {
		for _, path := range []string{
			"/debug", "/debug/", "/debug/pprof", "/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/goroutine?debug=2", "/debug/pprof/cmdline", "/debug/pprof/profile?seconds=1",
			"/debug/pprof/symbol", "/debug/pprof/trace?seconds=1", "/debug/vars", "/debug/requests", "/debug/events", "/debug/statsviz", "/pprof", "/vars", "/expvar",
			"//debug/pprof/", "/./debug/pprof/", "/x/../debug/pprof/", "/%64ebug/pprof/", "/metrics/../debug/vars", "/v1/debug", "/actuator", "/server-status", "/status", "/env",
			"/.env", "/.git/config", "/curfew.db", "/curfew.db.key", "/assets/", "/assets/../curfew.db", "/assets/%2e%2e/curfew.db", "/assets/..%2f..%2fetc%2fpasswd", "/assets/layout.html",
		} {
			for _, method := range []string{"GET", "POST"} {
				answer, body := speak(t, addr, method+" "+path+" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
				// ServeMux sends unclean paths to the clean ones, which are in this list.
				moved := answer.StatusCode >= 300 && answer.StatusCode < 400 && path != "/"+strings.TrimLeft(answer.Header.Get("Location"), "/")
				if answer.StatusCode != http.StatusNotFound && answer.StatusCode != http.StatusMethodNotAllowed && !moved {
					t.Errorf("%s: %s %s: %d, to %q", what, method, path, answer.StatusCode, answer.Header.Get("Location"))
				}
				for _, sign := range []string{"goroutine", "heap profile", "memstats", "cmdline", "SQLite format", "root:"} {
					if strings.Contains(body, sign) {
						t.Errorf("%s: %s %s answers %.200q", what, method, path, body)
					}
				}
			}
		}
	}
	if answer, _ := speak(t, a.MetricsAddr(), "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); answer.StatusCode != http.StatusOK {
		t.Errorf("the metrics answer %d: all this proves nothing", answer.StatusCode)
	}
}

// The method is that of the request line. A form or a link of another site can send
// no DELETE; it could, if a parameter or a header made one of its POST or GET.
func TestMethodOverrides(t *testing.T) {
	cfg := serverConfig(t)
	cfg.AdminPassword = attackPassword
	a, _ := runApp(t, cfg, Options{})
	at := "http://" + a.Addr().String()
	raw := signInAs(t, at)
	type way struct{ query, header, body string }
	ways := []way{{query: "?_method=%s"}, {query: "?method=%s"}, {query: "?X-HTTP-Method-Override=%s"}, {body: "_method=%s"}}
	for _, name := range []string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-Original-Method", "X-Forwarded-Method"} {
		ways = append(ways, way{header: name + ": %s\r\n"})
	}
	for _, path := range []string{"/v1/session", "/v1/session/refresh", "/sign-out", "/profile/revoke", "/v1/users/me/revocations", "/keys/rotate"} {
		for _, method := range []string{"GET", "POST", "PUT"} {
			for _, as := range []string{"DELETE", "POST"} {
				if method == "POST" && (as == "POST" || path != "/v1/session") {
					continue // what the request line says already
				}
				for _, w := range ways {
					fill := func(s string) string { return strings.ReplaceAll(s, "%s", as) }
					kind := ""
					if w.body != "" {
						kind = "Content-Type: application/x-www-form-urlencoded\r\n"
					}
					answer, _ := speak(t, a.Addr(), fmt.Sprintf("%s %s HTTP/1.1\r\nHost: x\r\n%sAuthorization: Bearer %s\r\nCookie: __Host-curfew_session=%s\r\n"+
						"%sContent-Length: %d\r\nConnection: close\r\n\r\n%s", method, path+fill(w.query), fill(w.header), raw, raw, kind, len(fill(w.body)), fill(w.body)))
					if answer.StatusCode == http.StatusNoContent || answer.StatusCode == http.StatusCreated || answer.StatusCode == http.StatusSeeOther {
						t.Errorf("%s %s with %+v as %s is answered with %d", method, path, w, as, answer.StatusCode)
					}
				}
			}
		}
	}
	if status, body := get(t, at+"/v1/session", raw); status != http.StatusOK {
		t.Errorf("the session has ended: %d %s", status, body)
	}
}

// lockedBuffer is a log that is read while a server writes it.
type lockedBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// Input of attackers cannot add lines to the log, cannot reverse, hide or execute
// anything on the terminal of its reader, and cannot fill the disk.
func TestLogInjection(t *testing.T) {
	const escape, c1, bidi, forged = "\x1b]0;title\x07\x1b[2J\x1b[31m", "\u009b31m", "\u202e\u2066", "\r\nlevel=ERROR msg=forged\n{\"level\":\"ERROR\",\"msg\":\"forged\"}\n"
	const nasty = "a" + escape + c1 + bidi + forged
	inHeader := "a" + c1 + bidi + "\tlevel=ERROR msg=forged {\"msg\":\"forged\"}" // no client gets more than that through
	long := strings.Repeat("n", 60<<10)
	for _, format := range []string{"text", "json"} {
		t.Run(format, func(t *testing.T) {
			cfg := serverConfig(t)
			cfg.AdminPassword = attackPassword
			cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
			log := &lockedBuffer{}
			a, stop := runApp(t, cfg, Options{Logger: NewLogger(log, format, slog.LevelDebug)})
			at := "http://" + a.Addr().String()
			raw := signInAs(t, at)
			quoted := func(s string) string {
				text, err := json.Marshal(s)
				if err != nil {
					t.Fatal(err)
				}
				return string(text)
			}
			// In bodies.
			for _, name := range []string{nasty, nasty + long, long} {
				for path, want := range map[string]int{"/v1/sessions": 401, "/v1/users": 400, "/v1/clients": 400, "/v1/users/me/revocations": 400} {
					body := map[string]string{
						"/v1/sessions": `{"username":%s,"password":"x"}`, "/v1/users": `{"name":%s}`,
						"/v1/clients": `{"name":%s,"capabilities":["follow"]}`, "/v1/users/me/revocations": `{"reason":"` + strings.Repeat("r", 2000) + `","nothing":%s}`,
					}[path]
					if status, answer := send(t, http.MethodPost, at+path, raw, fmt.Sprintf(body, quoted(name))); status != want {
						t.Errorf("%s with a name of %d bytes: %d %.200s, want %d", path, len(name), status, answer, want)
					}
				}
			}
			status, answer := send(t, http.MethodPost, at+"/v1/users/me/revocations", raw, `{"keep_current":true,"reason":`+quoted(nasty)+`}`)
			if status != http.StatusCreated {
				t.Errorf("a reason: %d %s", status, answer)
			}
			// In paths, queries, headers and the request line.
			path := "/" + url.PathEscape(nasty)
			for _, head := range []string{
				"GET " + path, "GET /v1" + path, "GET /v1/users" + path, "GET /v1/users/" + strings.Repeat("p", 20<<10), "GET /users" + path, "GET /?" + url.QueryEscape(nasty),
				"GET /v1/users?search=" + url.QueryEscape(nasty), "GET /v1/users?" + url.QueryEscape(nasty) + "=1", "GET /sign-in?return=" + url.QueryEscape(nasty) + "&why=" + url.QueryEscape(nasty),
				strings.Repeat("M", 10<<10) + " /v1/session", "M!#$%&'*+-.^_`|~ /v1/session",
			} {
				for _, headers := range []string{
					"", "User-Agent: " + inHeader + "\r\n", "X-Request-Id: " + inHeader + "\r\n", "X-Forwarded-For: " + inHeader + "\r\n", "X-Forwarded-For: 198.51.100.1%" + inHeader + "\r\n",
					"Authorization: Bearer " + inHeader + "\r\n", "Authorization: " + inHeader + "\r\n", "Cookie: __Host-curfew_session=" + inHeader + "\r\n", "Origin: " + inHeader + "\r\n",
				} {
					answer, _ := speak(t, a.Addr(), head+" HTTP/1.1\r\nHost: x\r\n"+headers+"Connection: close\r\n\r\n")
					for name, values := range answer.Header {
						if joined := strings.Join(values, ""); strings.ContainsFunc(joined, unicode.IsControl) || name == "Level" || name == "Msg" {
							t.Errorf("%.100q: %s: %q in the answer", head, name, joined)
						}
					}
				}
			}
			// A client's id.
			speak(t, a.Addr(), "GET /v1/clients/me HTTP/1.1\r\nHost: x\r\nAuthorization: Basic "+basicCredentials(nasty, "x")+"\r\nConnection: close\r\n\r\n")
			if err := stop(); err != nil {
				t.Fatal(err)
			}

			lines := strings.Split(strings.TrimSuffix(log.String(), "\n"), "\n")
			requests := 0
			for _, line := range lines {
				var entry struct{ Level, Msg string }
				if format == "json" {
					if err := json.Unmarshal([]byte(line), &entry); err != nil {
						t.Errorf("not one of our lines: %q", line)
					}
				} else if !strings.HasPrefix(line, "time=") {
					t.Errorf("not one of our lines: %q", line)
				}
				if strings.Contains(line, "msg=request") || entry.Msg == "request" {
					requests++
				}
				if entry.Msg == "forged" || strings.HasPrefix(line, "level=ERROR") || !utf8.ValidString(line) || strings.ContainsFunc(line, unprintable) {
					t.Errorf("input of an attacker is in the log unescaped: %q", line)
				}
				if len(line) > 4<<10 {
					t.Errorf("a line of %d bytes: %.200q…", len(line), line)
				}
			}
			if requests < 100 {
				t.Errorf("%d requests are in the log: this proves nothing", requests)
			}
		})
	}
}

func unprintable(r rune) bool { return r != ' ' && !unicode.IsPrint(r) }

func basicCredentials(id, secret string) string {
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(id, secret)
	return strings.TrimPrefix(r.Header.Get("Authorization"), "Basic ")
}
