//go:build interop

package interop

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/curfew/internal/curfewtest"
	"example.com/curfew/internal/testnet"
)

// proxies are put before Curfew itself, at door, with connections that they keep,
// and before a service that Curfew protects, at service, as the documentation says.
var proxies = map[string]func(s *server, door, service, back string){
	"nginx": func(s *server, door, service, back string) {
		s.nginx("upstream curfew_nodes { server " + s.addr + "; keepalive 4; }\n" +
			"server { listen " + door + "; location / { proxy_pass http://curfew_nodes; proxy_http_version 1.1; proxy_request_buffering off;" +
			` proxy_set_header Connection ""; proxy_set_header X-Request-Id px-$request_id; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; } }` + "\n" +
			"include " + s.config("nginx.conf", service, back) + ";")
	},
	"Caddy": func(s *server, door, service, back string) {
		s.caddy("http://" + door + " {\n\treverse_proxy " + s.addr + " {\n\t\theader_up X-Request-Id px-{http.request.uuid}\n\t}\n}\n" +
			read(s.t, s.config("Caddyfile", service, back)))
	},
	"HAProxy": func(s *server, door, service, back string) {
		s.haproxy(read(s.t, s.config("haproxy.cfg", service, back)) +
			"\nfrontend door\n    bind " + door + "\n    http-request set-header X-Request-Id px-%[uuid()]\n    option forwardfor\n    default_backend nodes\n" +
			"\nbackend nodes\n    http-reuse always\n    server one " + s.addr + "\n")
	},
}

// begin begins a session of a user, and makes the user if there is none.
func (s *server) begin(user string) (raw string) {
	s.t.Helper()
	if s.issuer.id == "" {
		var made struct{ ID, Secret string }
		if err := json.Unmarshal(s.curfew("client", "add", "issuer", "--can", "issue", "--json"), &made); err != nil {
			s.t.Fatal(err)
		}
		s.issuer.id, s.issuer.secret = made.ID, made.Secret
	}
	r, err := http.NewRequest(http.MethodPost, "http://"+s.addr+"/v1/users/"+user+"/sessions", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	r.SetBasicAuth(s.issuer.id, s.issuer.secret)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	var issued struct{ Token string }
	if err := json.NewDecoder(resp.Body).Decode(&issued); err != nil || resp.StatusCode != http.StatusCreated {
		s.t.Fatalf("a session of %s: %s, %v", user, resp.Status, err)
	}
	return issued.Token
}

// ambiguous are ends of requests, from the first header of which that matters on,
// that two programs may see at two places. LONG is a length up to the end of HIDDEN,
// which is another request; SHORT is one up to its beginning in CHUNKS, and TE the
// usual header for those.
var ambiguous = func() (ends []string) {
	for _, te := range []string{
		"TE", "Transfer-Encoding: xchunked\r\n", "Transfer-Encoding : chunked\r\n", "Transfer-Encoding:\tchunked\r\n", "Transfer-Encoding:\x0bchunked\r\n",
		"TETransfer-Encoding: identity\r\n", "Transfer-Encoding: identity\r\nTE", "Transfer-Encoding: identity, chunked\r\n",
		"Transfer-Encoding: chunked, identity\r\n", "Transfer-Encoding: \"chunked\"\r\n", "Transfer-Encoding:\r\n chunked\r\n",
		"X: y\r\n TE", "X: y\nTE", "X: y\rTE", "Transfer\x00-Encoding: chunked\r\n", "Transfer_Encoding: chunked\r\n",
		"Connection: Transfer-Encoding\r\nTE", "Connection: Content-Length\r\nTE",
	} {
		ends = append(ends, "LONG"+te+"\r\n0\r\n\r\nHIDDEN", te+"SHORT\r\nCHUNKS")
	}
	for _, length := range []string{
		"Content-Length: 2\r\nLONG", "LONGContent-Length: 2\r\n", "Content-Length: 2, 9\r\n", "Content-Length: +2\r\n", "Content-Length: 0x2\r\n",
		"Content-Length : 2\r\n", "Content-Length: 18446744073709551618\r\n", "Content_Length: 2\r\n", "Content-Length:\r\n 2\r\n",
		"X: y\nContent-Length: 2\r\n", "X: y\rContent-Length: 2\r\n",
	} {
		ends = append(ends, length+"\r\n{}HIDDEN")
	}
	for _, first := range []string{ // chunk
		"2;a=b\r\n{}\r\n", "2;a\n{}\r\n", "2;a\rb\r\n{}\r\n", "2\n{}\r\n", "10000000000000002\r\n{}\r\n", "+2\r\n{}\r\n", "0x2\r\n{}\r\n", "2\r\n{}xx", "2\r\n{}\n",
	} {
		ends = append(ends, "TE\r\n"+first+"0\r\n\r\nHIDDEN")
	}
	return append(ends, "TE\r\n2\r\n{}\r\n0\r\nContent-Length: 9\r\n\r\nHIDDEN", "TE\r\n2\r\n{}\r\n0\n\nHIDDEN",
		"Expect: 100-continue\r\nLONG\r\nHIDDEN", "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\nHIDDEN")
}()

// fill puts a hidden request into an end.
func fill(end, hidden string) string {
	size := fmt.Sprintf("%x\r\n", len(hidden))
	return strings.NewReplacer(
		"TE", "Transfer-Encoding: chunked\r\n", "HIDDEN", hidden, "CHUNKS", size+hidden+"\r\n0\r\n\r\n",
		"LONG", fmt.Sprintf("Content-Length: %d\r\n", len("0\r\n\r\n"+hidden)), "SHORT", fmt.Sprintf("Content-Length: %d\r\n", len(size)),
	).Replace(end)
}

// attack sends bytes on a connection of its own and returns all that comes back
// until that has been nothing for a while.
func attack(addr, text string) string {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return ""
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, text) // it may be closed in the middle
	var all bytes.Buffer
	for buf := make([]byte, 4096); ; {
		_ = conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		n, err := conn.Read(buf)
		all.Write(buf[:n])
		if err != nil {
			return all.String()
		}
	}
}

// A request that is smuggled past a proxy gets no answer and takes no answer from
// others: Curfew answers only requests that the proxy made, and users whose
// requests share the connections get their own answers.
func TestSmuggling(t *testing.T) {
	for name, proxy := range proxies {
		t.Run(name, func(t *testing.T) {
			s := start(t, "--trusted-proxies", "127.0.0.1/32", "--log-format", "json", "--log-level", "debug")
			door, service := testnet.Address(t), testnet.Address(t)
			saw := new(curfewtest.Output) // by the service, of the hidden request
			back := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.Contains(r.URL.Path, "hidden") {
					fmt.Fprintf(saw, "%s for %q\n", r.URL.Path, r.Header["Remote-User"])
				}
				_, _ = io.Copy(io.Discard, r.Body)
				fmt.Fprint(w, r.Header.Get("Remote-User"))
			}))
			t.Cleanup(back.Close)
			proxy(s, door, service, back.Listener.Addr().String())
			waitFor(t, "the door", func() bool { return status(t, "http://"+door+"/livez", "") == http.StatusOK })
			waitFor(t, "the service", func() bool { return status(t, "http://"+service+"/", "") == http.StatusUnauthorized })
			waitFor(t, "an ordinary request, or nothing would be proven", func() bool {
				got := attack(door, "GET /v1/session HTTP/1.1\r\nHost: "+door+"\r\n\r\n")
				return strings.HasPrefix(got, "HTTP/1.1 401 ") && strings.Contains(got, ": px-")
			})
			stop := s.people(door, service)
			defer stop()
			mallory := "Authorization: Bearer " + s.begin("mallory") + "\r\n"
			type sent struct{ addr, text string }
			var requests []sent
			for _, at := range []struct{ addr, first, auth string }{
				{door, "POST /v1/sessions", ""}, {door, "GET /v1/session", mallory}, {door, "GET /v1/verify", mallory},
				{service, "POST /", mallory}, {service, "GET /", ""},
			} {
				for _, protocol := range []string{"HTTP/1.1\r\n", "HTTP/1.0\r\nConnection: keep-alive\r\n"} {
					for _, end := range ambiguous {
						for _, ending := range []string{"\r\n\r\n", "\r\nX: "} { // a whole request, and a part that swallows the next
							hidden := fmt.Sprintf("GET /v1/hidden-%d HTTP/1.1\r\nHost: %s", len(requests), at.addr) + ending
							requests = append(requests, sent{at.addr, at.first + " " + protocol + "Host: " + at.addr + "\r\nContent-Type: application/json\r\n" + at.auth + fill(end, hidden)})
						}
					}
				}
			}
			var all sync.WaitGroup
			turns := make(chan struct{}, 32)
			for _, r := range requests {
				all.Go(func() {
					turns <- struct{}{}
					defer func() { <-turns }()
					if got := attack(r.addr, r.text); strings.Contains(got, "alice") || strings.Contains(got, "bob") {
						t.Errorf("%q is answered with the answer of another request: %q", r.text, got)
					}
				})
			}
			all.Wait()
			stop()

			logged := 0
			for line := range strings.SplitSeq(s.log.String(), "\n") {
				var request struct {
					Path string
					ID   string `json:"request_id"`
				}
				if json.Unmarshal([]byte(line), &request) == nil && strings.Contains(request.Path, "hidden") {
					logged++
					if !strings.HasPrefix(request.ID, "px-") {
						t.Errorf("Curfew has answered %s, which the proxy has not asked", request.Path)
					}
				}
			}
			t.Logf("%d attacks; of the hidden requests Curfew has seen %d as the proxy's own; the service: %s", len(requests), logged, saw)
			if saw.String() != "" {
				t.Errorf("the service has answered a request that was not let in:\n%s", saw)
			}
		})
	}
}

// people sends requests as alice and as bob, through both proxies, again and again,
// and returns a function that stops it. Any answer but the user's own fails the
// test.
func (s *server) people(door, service string) (stop func()) {
	t := s.t
	t.Helper()
	done := make(chan struct{})
	var asking sync.WaitGroup
	for _, user := range []string{"alice", "bob"} {
		raw := s.begin(user)
		for _, ask := range []struct{ url, want string }{{"http://" + door + "/v1/session", `"id":"` + user + `"`}, {"http://" + service + "/", user}} {
			asking.Go(func() {
				for asked := 0; ; asked++ {
					select {
					case <-done:
						if asked < 20 {
							t.Errorf("%s has asked %s only %d times", user, ask.url, asked)
						}
						return
					case <-time.After(3 * time.Millisecond):
					}
					code, body, err := get(ask.url, raw)
					if err != nil || code != http.StatusOK || !strings.Contains(body, ask.want) {
						t.Errorf("%s asks %s and gets %d %q (%v)", user, ask.url, code, body, err)
						return
					}
				}
			})
		}
	}
	return sync.OnceFunc(func() { close(done); asking.Wait() })
}
