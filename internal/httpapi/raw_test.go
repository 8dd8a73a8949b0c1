package httpapi

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/curfew/internal/await"
)

var plainClient = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// silence is how long a connection is listened to for an answer that must not come.
const silence = time.Second

// raw sends bytes as they are and returns all answers: it waits for as many as are
// wanted, and then for more until the server closes the connection or is silent.
func (s *server) raw(text string, want int) []*http.Response {
	s.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		s.Error(err)
		return nil
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		return nil
	}
	r := bufio.NewReader(conn)
	var answers []*http.Response
	for {
		patience := silence
		if len(answers) < want {
			patience = await.Limit
		}
		if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
			s.Error(err)
		}
		a, err := http.ReadResponse(r, nil)
		if err != nil {
			return answers
		}
		body, _ := io.ReadAll(a.Body)
		a.Body.Close()
		a.Body = io.NopCloser(bytes.NewReader(body))
		answers = append(answers, a)
	}
}

// Requests that two programs may read differently. A request hidden in another must
// never be answered as if it had been sent.
func TestOddRequests(t *testing.T) {
	s := start(t)
	good := s.token(s.user("ann"))
	auth := "Authorization: Bearer " + good + "\r\n"
	hidden := "GET /v1/session HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n"
	tests := []struct {
		name     string
		request  string
		statuses string // of the answers, in order
	}{
		{"as it should be", "GET /v1/session HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n", "200"},
		{"two, one after the other", hidden + hidden, "200 200"},
		{"two lengths", "POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}" + hidden, "400"},
		{"a length and chunks", "POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 500\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden, "400"},
		{"chunked, and not", "POST /v1/sessions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + hidden, "501"},
		{"an encoding that hides", "POST /v1/sessions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + hidden, "501"},
		{"a negative length", "POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n" + hidden, "400"},
		{"a length with a sign", "POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: +2\r\n\r\n{}" + hidden, "400"},
		{"a chunk with a sign", "POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n+2\r\n{}\r\n0\r\n\r\n", "400"},
		{"a space before the colon", "GET /v1/session HTTP/1.1\r\nHost: x\r\nAuthorization : Bearer " + good + "\r\n\r\n", "400"},
		{"a folded header", "GET /v1/session HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer\r\n " + good + "\r\n\r\n", "200"},
		{"no host", "GET /v1/session HTTP/1.1\r\n" + auth + "\r\n", "400"},
		{"two hosts", "GET /v1/session HTTP/1.1\r\nHost: x\r\nHost: y\r\n" + auth + "\r\n", "400"},
		{"NUL in a header", "GET /v1/session HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n", "400"},
		{"a path that is a URL", "GET http://evil.example/v1/session HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n", "200"},
		{"a path without a slash", "GET v1/session HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n", "400"},
		{"asterisk", "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", "200"},
		{"CONNECT", "CONNECT /v1/session HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n", "405"},
		{"a tunnel", "CONNECT evil.example:443 HTTP/1.1\r\nHost: x\r\n\r\n", "404"},
		{"two slashes", "GET //v1/session HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n", "404"},
		{"two slashes inside", "GET /v1//session HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n", "404"},
		{"a slash at the end", "GET /v1/session/ HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n", "404"},
		{"dots", "GET /v1/users/../session HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n", "404"},
		{"hidden dots", "GET /v1/users/%2e%2e/sessions HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n", "404"},
		{"a hidden slash", "GET /v1%2Fsession HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n", "404"},
		{"other letters", "GET /V1/session HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n", "404"},
		{"a fragment", "GET /v1/session#x HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n", "404"},
		{"a percent sign", "GET /v1/users/% HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n", "400"},
		{"HTTP/1.0", "GET /v1/session HTTP/1.0\r\n" + auth + "\r\n", "200"},
		{"HTTP/0.9", "GET /v1/session\r\n\r\n", "400"},
		{"an upgrade", "GET /v1/session HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAAA\r\n" + auth + "\r\n", "200"},
		{"a method override", "POST /v1/session HTTP/1.1\r\nHost: x\r\nX-HTTP-Method-Override: DELETE\r\nContent-Length: 0\r\n" + auth + "\r\n", "405"},
		{"expecting what is not", "POST /v1/sessions HTTP/1.1\r\nHost: x\r\nExpect: 200-ok\r\nContent-Length: 2\r\n\r\n{}", "417"},
	}
	answers := make([][]*http.Response, len(tests)) // all at once, since each waits a second for more
	var all sync.WaitGroup
	for i, tt := range tests {
		all.Go(func() { answers[i] = s.raw(tt.request, len(strings.Fields(tt.statuses))) })
	}
	all.Wait()
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := s.on(t)
			var got []string
			for _, a := range answers[i] {
				got = append(got, fmt.Sprint(a.StatusCode))
				body, _ := io.ReadAll(a.Body)
				if a.StatusCode >= 500 && a.StatusCode != 501 || strings.Contains(string(body), good) {
					s.Errorf("%d %s", a.StatusCode, body)
				}
				if a.Header.Get("Location") != "" {
					s.Errorf("redirected to %q", a.Header.Get("Location"))
				}
			}
			if strings.Join(got, " ") != tt.statuses {
				s.Errorf("answers %v, want %s", got, tt.statuses)
			}
		})
	}
}

// What callers write never becomes a header of an answer.
func TestHeaderInjection(t *testing.T) {
	s := start(t, behindProxy)
	var all sync.WaitGroup
	for _, request := range []string{
		"GET /v1/verify?sign_in=1 HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: app.curfew.test\r\nX-Forwarded-Uri: /%0d%0aSet-Cookie:%20a=b\r\n\r\n",
		"GET /v1/verify?sign_in=1 HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: app.curfew.test\r\nX-Forwarded-Uri: /a\rSet-Cookie: a=b\r\n\r\n",
		"GET /v1/session HTTP/1.1\r\nHost: x\r\nX-Request-Id: a%0d%0aSet-Cookie: a=b\r\n\r\n",
		"GET /v1/session HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a\", error=\"b\r\n\r\n",
		"GET /v1/users/x%0d%0aSet-Cookie:%20a=b HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /v1/x%0d%0aSet-Cookie:%20a=b HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		all.Go(func() {
			for _, a := range s.raw(request, 1) {
				if a.Header.Get("Set-Cookie") != "" || strings.Contains(a.Header.Get("X-Request-Id"), "%") || strings.Contains(a.Header.Get("WWW-Authenticate"), `"b"`) {
					t.Errorf("%q: %v", request, a.Header)
				}
			}
		})
	}
	all.Wait()
	a := s.do("POST", "/v1/sessions", `{"username":"a","password":"b"}`, header{"X-Request-Id", "from-the-proxy-1"})
	if got := a.Header.Get("X-Request-Id"); got != "from-the-proxy-1" {
		t.Errorf("X-Request-Id: %q", got)
	}
}

// Paths, methods and sizes that are not the API's are problems like all others.
func TestNotTheAPI(t *testing.T) {
	s := start(t)
	raw := s.token(s.admin)
	for _, path := range []string{"/", "/nothing", "/v1", "/v1/", "/v1/nothing", "/v2/session", "/oauth/token", "/.well-known/x", "/livez/x", "/v1/users//sessions"} {
		s.do("GET", path, nil, bearerToken(raw)).problem(404, "not_found")
	}
	for _, route := range Routes() {
		if route.Method == "" {
			continue
		}
		path := strings.NewReplacer("{id}", "x", "{sid}", "x", "{epoch}", "1").Replace(route.Pattern)
		for _, method := range []string{"TRACE", "OPTIONS", "FOO", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"} {
			if answered(method, route.Pattern) {
				continue
			}
			a := s.doWith(plainClient, method, path, nil, bearerToken(raw)).must(405, nil)
			for allowed := range strings.SplitSeq(a.Header.Get("Allow"), ", ") {
				if !answered(allowed, route.Pattern) {
					t.Errorf("%s %s: Allow: %s", method, path, a.Header.Get("Allow"))
				}
			}
			if method != "HEAD" {
				a.problem(405, "method_not_allowed")
			}
		}
	}
	for _, path := range []string{"/livez", "/readyz", "/openapi.yaml", "/.well-known/jwks.json"} {
		get := s.do("GET", path, nil).must(200, nil)
		head := s.do("HEAD", path, nil).must(200, nil)
		if len(head.body) != 0 || head.ContentLength != int64(len(get.body)) {
			t.Errorf("HEAD %s: %d bytes, length %d, want %d", path, len(head.body), head.ContentLength, len(get.body))
		}
	}
}

func answered(method, pattern string) bool {
	for _, r := range Routes() {
		if r.Pattern == pattern && (r.Method == method || method == "HEAD" && r.Method == "GET") {
			return true
		}
	}
	return false
}

// Bodies are as long as may be, and no longer, with their length given or not.
func TestSizes(t *testing.T) {
	s := start(t)
	raw := s.token(s.admin)
	for _, tt := range []struct {
		path string
		most int
	}{{"/v1/users/me/revocations", 64 << 10}, {"/v1/revocations", 2 << 20}} {
		for _, more := range []int{-1, 0, 1} {
			for _, chunked := range []bool{false, true} {
				const around = len(`{"reason":""}`)
				body := `{"reason":"` + strings.Repeat("x", tt.most+more-around) + `"}`
				var reader io.Reader = strings.NewReader(body)
				if chunked {
					reader = io.MultiReader(reader) // net/http does not know its length
				}
				r, err := http.NewRequestWithContext(t.Context(), "POST", s.url+tt.path, reader)
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Content-Type", "application/json")
				bearerToken(raw).put(r)
				response, err := plainClient.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				response.Body.Close()
				want := http.StatusBadRequest // the reason is too long, but the body is not
				if more > 0 {
					want = http.StatusRequestEntityTooLarge
				}
				if response.StatusCode != want {
					t.Errorf("%s: %d bytes, chunked %v: %d, want %d", tt.path, len(body), chunked, response.StatusCode, want)
				}
			}
		}
	}
	s.do("POST", "/v1/sessions", []byte(strings.Repeat("x", 70<<10))).problem(413, "too_large")
}

// A handler that panics answers a problem, and the log says why.
func TestPanic(t *testing.T) {
	s := start(t, func(c *Config, _ *setup) {
		c.Rest = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("a defect") })
	})
	a := s.doWith(plainClient, "GET", "/console", nil).problem(500, "internal")
	if strings.Contains(a.Detail, "a defect") || !strings.Contains(s.logged.String(), "a defect") {
		t.Errorf("%+v", a)
	}
	s.do("GET", "/livez", nil).must(200, nil)
}
