package inbound

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func prefixes(texts ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, t := range texts {
		out = append(out, netip.MustParsePrefix(t))
	}
	return out
}

func request(peer string, headers ...string) *http.Request {
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = peer
	for pair := range slices.Chunk(headers, 2) {
		r.Header.Add(pair[0], pair[1])
	}
	return r
}

func TestClientAddress(t *testing.T) {
	const xff = "X-Forwarded-For"
	proxies := prefixes("10.0.0.0/8", "fd00::/8", "::ffff:172.16.0.0/108")
	for _, tt := range []struct {
		name    string
		peer    string
		headers []string
		want    string
		trusted bool
	}{
		{"no proxy", "192.0.2.1:1234", nil, "192.0.2.1", false},
		{"an untrusted peer", "192.0.2.1:1234", []string{xff, "198.51.100.9"}, "192.0.2.1", false},
		{"a proxy that says nothing", "10.0.0.1:1234", nil, "10.0.0.1", true},
		{"a proxy", "10.0.0.1:1234", []string{xff, "198.51.100.9"}, "198.51.100.9", true},
		{"what the client wrote stands left", "10.0.0.1:1234", []string{xff, "127.0.0.1, 198.51.100.9"}, "198.51.100.9", true},
		{"two proxies", "10.0.0.1:1234", []string{xff, "127.0.0.1, 198.51.100.9, 10.0.0.2"}, "198.51.100.9", true},
		{"in several lines", "10.0.0.1:1234", []string{xff, "127.0.0.1, 198.51.100.9", xff, "10.0.0.2"}, "198.51.100.9", true},
		{"proxies only", "10.0.0.1:1234", []string{xff, "10.0.0.3, 10.0.0.2"}, "10.0.0.3", true},
		{"nonsense at the end", "10.0.0.1:1234", []string{xff, "198.51.100.9, unknown"}, "10.0.0.1", true},
		{"nonsense behind a proxy", "10.0.0.1:1234", []string{xff, "198.51.100.9, <script>, 10.0.0.2"}, "10.0.0.2", true},
		{"empty", "10.0.0.1:1234", []string{xff, ""}, "10.0.0.1", true},
		{"with a port", "10.0.0.1:1234", []string{xff, "198.51.100.9:4444"}, "198.51.100.9", true},
		{"IPv6", "[fd00::1]:1234", []string{xff, "2001:db8::7"}, "2001:db8::7", true},
		{"IPv6 with a port", "[fd00::1]:1234", []string{xff, "[2001:db8::7]:80"}, "2001:db8::7", true},
		{"IPv6 in brackets", "[fd00::1]:1234", []string{xff, "[2001:db8::7]"}, "2001:db8::7", true},
		{"IPv4 in IPv6", "[::ffff:10.0.0.1]:1234", []string{xff, "::ffff:198.51.100.9"}, "198.51.100.9", true},
		{"a prefix of IPv4 in IPv6", "172.16.0.1:1234", []string{xff, "198.51.100.9"}, "198.51.100.9", true},
		{"a zone", "[fd00::1%eth0]:1234", []string{xff, "fe80::1%eth0"}, "fe80::1", true},
		{"a Unix socket", "@", []string{xff, "198.51.100.9"}, "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, trusted := clientAddress(request(tt.peer, tt.headers...), proxies)
			if got := (&Request{Address: a}).Text(); got != tt.want || trusted != tt.trusted {
				t.Errorf("%q, trusted %v; want %q, %v", got, trusted, tt.want, tt.trusted)
			}
		})
	}
}

func TestForwarded(t *testing.T) {
	for _, tt := range []struct {
		name    string
		trusted bool
		values  []string
		want    string
	}{
		{"believed", true, []string{"https"}, "https"},
		{"not from an untrusted peer", false, []string{"https"}, ""},
		{"none", true, nil, ""},
		{"two headers", true, []string{"https", "http"}, ""},
		{"two values", true, []string{"https, http"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &http.Request{Header: http.Header{"X-Forwarded-Proto": tt.values}}
			if got := (&Request{Trusted: tt.trusted}).Forwarded(r, "X-Forwarded-Proto"); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestRequestID(t *testing.T) {
	long := strings.Repeat("a", 128)
	for _, tt := range []struct {
		name, peer, id string
		kept           bool
	}{
		{"a proxy's", "10.0.0.1:1", "req-1.2_3:4", true},
		{"an untrusted peer's", "192.0.2.1:1", "req-1", false},
		{"none", "10.0.0.1:1", "", false},
		{"the longest", "10.0.0.1:1", long, true},
		{"too long", "10.0.0.1:1", long + "a", false},
		{"a line break", "10.0.0.1:1", "a\nb", false},
		{"a quote", "10.0.0.1:1", `a"b`, false},
		{"not ASCII", "10.0.0.1:1", "é", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var seen string
			h := Wrap(Config{TrustedProxies: prefixes("10.0.0.0/8")}, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				seen = Of(r).ID
			}))
			w := httptest.NewRecorder()
			h.ServeHTTP(w, request(tt.peer, "X-Request-Id", tt.id))
			if seen == "" || seen != w.Header().Get("X-Request-Id") {
				t.Errorf("the handler saw %q, the answer says %q", seen, w.Header().Get("X-Request-Id"))
			}
			if kept := seen == tt.id; kept != tt.kept {
				t.Errorf("the id is %q, kept: %v; want %v", seen, kept, tt.kept)
			}
		})
	}
}

func TestDevice(t *testing.T) {
	for _, tt := range []struct{ name, agent, want string }{
		{"none", "", ""},
		{"a browser", "Mozilla/5.0 (X11)", "Mozilla/5.0 (X11)"},
		{"invalid UTF-8", "a\xff\xfeb", "ab"},
		{"control characters", "a\x00b\x1b[31mc\u202ed", "ab[31mcd"},
		{"too long, never half a character", strings.Repeat("x", 255) + "é", strings.Repeat("x", 255)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := device(tt.agent); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestPanic(t *testing.T) {
	const secret = "a line of the stack is for the log"
	for _, tt := range []struct {
		name   string
		handle http.HandlerFunc
		status int  // answered; 0: the connection is cut
		logged bool // as a panic
	}{
		{"before the answer", func(http.ResponseWriter, *http.Request) { panic(secret) }, 500, true},
		{"within the answer", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200); panic(secret) }, 0, true},
		{"an abort", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var logged bytes.Buffer
			var observed []Record
			h := Wrap(Config{
				Logger:  slog.New(slog.NewTextHandler(&logged, nil)),
				Observe: func(r Record) { observed = append(observed, r) },
			}, tt.handle)
			w := httptest.NewRecorder()
			cut := func() (cut bool) {
				defer func() {
					cause, _ := recover().(error)
					cut = errors.Is(cause, http.ErrAbortHandler)
				}()
				h.ServeHTTP(w, request("192.0.2.1:1"))
				return false
			}()
			if cut != (tt.status == 0) {
				t.Errorf("cut off: %v", cut)
			}
			if tt.status != 0 && w.Code != tt.status {
				t.Errorf("answered %d, want %d", w.Code, tt.status)
			}
			if strings.Contains(w.Body.String(), secret) {
				t.Errorf("the panic is in the answer: %s", w.Body)
			}
			if got := strings.Contains(logged.String(), secret); got != tt.logged {
				t.Errorf("logged: %v, want %v", got, tt.logged)
			}
			if len(observed) != 1 {
				t.Errorf("observed %d times, want once", len(observed))
			}
		})
	}
}

func TestLog(t *testing.T) {
	const jwt = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln"
	line := func(r *http.Request, handle http.HandlerFunc) string {
		var logged bytes.Buffer
		Wrap(Config{Logger: slog.New(slog.NewTextHandler(&logged, nil))}, handle).ServeHTTP(httptest.NewRecorder(), r)
		return logged.String()
	}
	good := func(w http.ResponseWriter, r *http.Request) {
		q := Of(r)
		q.Route, q.User, q.Quiet = "/v1/users/{id}", "u1", r.URL.Query().Has("quiet")
		if s := r.URL.Query().Get("status"); s == "503" {
			q.Code = "unavailable"
			w.WriteHeader(503)
		}
	}

	r := httptest.NewRequest("GET", "/v1/users/"+jwt+"?token="+jwt, nil)
	r.Header.Set("Authorization", "Bearer "+jwt)
	got := line(r, good)
	if strings.Contains(got, jwt) || strings.Contains(got, "c2ln") {
		t.Errorf("a token is in the log: %s", got)
	}
	for _, want := range []string{"level=INFO", "path=/v1/users/(removed)", "route=/v1/users/{id}", "status=200", "user=u1", "address=192.0.2.1"} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is not in the log: %s", want, got)
		}
	}

	got = line(httptest.NewRequest("GET", "/v1/a%0Alevel=ERROR%1b[31m/"+strings.Repeat("b/", 4000), nil), good)
	if strings.Count(got, "\n") != 1 || strings.Contains(got, "\x1b") || len(got) > 1000 {
		t.Errorf("a path breaks the log: %q", got)
	}
	r = httptest.NewRequest("GET", "/", nil)
	r.Method = "X\nlevel=ERROR " + strings.Repeat("y", 4000)
	if got = line(r, good); strings.Count(got, "\n") != 1 || len(got) > 1000 {
		t.Errorf("a method breaks the log: %q", got)
	}
	if got = line(httptest.NewRequest("GET", "/?quiet", nil), good); got != "" {
		t.Errorf("a quiet success is logged: %s", got)
	}
	if got = line(httptest.NewRequest("GET", "/?quiet&status=503", nil), good); !strings.Contains(got, "level=WARN") || !strings.Contains(got, "code=unavailable") {
		t.Errorf("a quiet failure is not logged as a warning with its code: %s", got)
	}
}

// A client that leaves cancels the work on its request, which then fails. That is no
// failure of the server: neither a warning nor a 5xx that an alert counts.
func TestClientGone(t *testing.T) {
	for _, c := range []struct {
		name         string
		gone         bool
		status, want int
		level        string
	}{
		{"the client waits", false, 503, 503, "level=WARN"},
		{"the client left", true, 503, ClientGone, "level=INFO"},
		{"the client left, and the handler succeeded", true, 200, 200, "level=INFO"},
		{"the client left, and the handler is broken", true, 500, 500, "level=ERROR"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var logged bytes.Buffer
			var observed int
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			Wrap(Config{
				Logger:  slog.New(slog.NewTextHandler(&logged, nil)),
				Observe: func(r Record) { observed = r.Status },
			}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if c.gone {
					leave()
				}
				w.WriteHeader(c.status)
			})).ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "GET", "/", nil))
			if observed != c.want {
				t.Errorf("status %d is observed as %d, want %d", c.status, observed, c.want)
			}
			if got := logged.String(); !strings.Contains(got, c.level) || !strings.Contains(got, fmt.Sprintf("status=%d", c.want)) {
				t.Errorf("log: %s, want %s and status=%d", got, c.level, c.want)
			}
		})
	}
}

// A handler must reach the connection's deadlines through the wrapper.
func TestUnwrap(t *testing.T) {
	h := Wrap(Config{}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Errorf("Flush: %v", err)
		}
	}))
	h.ServeHTTP(httptest.NewRecorder(), request("192.0.2.1:1"))
}
