package httpapi

import (
	"context"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"example.com/curfew/internal/metrics"
	"example.com/curfew/internal/webcookie"
	"example.com/curfew/revocation"
	"example.com/curfew/token"
	"example.com/curfew/token/tokentest"
)

// quiet is the level of logging at which the short way is open.
func quiet(c *Config, _ *setup) {
	c.Logger = slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// quickHandler is the short way with nothing behind it but a note that it was not taken.
type quickHandler struct {
	testing.TB
	issuer  *tokentest.Issuer
	api     *api
	handler http.Handler
	missed  bool
}

func newQuickHandler(t testing.TB, level slog.Level) *quickHandler {
	w := &quickHandler{TB: t, issuer: tokentest.New(t)}
	m, err := metrics.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	w.api = &api{now: w.issuer.Now, Config: Config{
		Validator: w.issuer.Validator(), Settings: &w.issuer.Settings, Metrics: m, Jar: webcookie.Jar{},
		Logger: slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: level})),
	}}
	w.build()
	return w
}

// build builds the handler of the API.
func (w *quickHandler) build() {
	w.handler = w.api.quick(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { w.missed = true }))
}

// remembered returns a token that the validator has proven.
func (w *quickHandler) remembered(change ...func(*token.Session)) string {
	w.Helper()
	named := func(s *token.Session) { s.Name, s.Groups = "Ann", []string{"ops"} }
	raw := w.issuer.Token("ann", append([]func(*token.Session){named}, change...)...)
	if _, err := w.api.Validator.Validate(context.Background(), raw); err != nil {
		w.Fatal(err)
	}
	return raw
}

// ask reports whether the short way was taken.
func (w *quickHandler) ask(method, target string, change func(*http.Request)) (quick bool, answer *httptest.ResponseRecorder) {
	r := httptest.NewRequest(method, target, nil)
	change(r)
	answer, w.missed = httptest.NewRecorder(), false
	w.handler.ServeHTTP(answer, r)
	return !w.missed, answer
}

func TestQuickWayIsForOneQuestion(t *testing.T) {
	w := newQuickHandler(t, slog.LevelInfo)
	raw := w.remembered()
	bearer := func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+raw) }
	cookie := func(r *http.Request) { r.AddCookie(&http.Cookie{Name: w.api.Jar.Name(), Value: raw}) }
	with := func(changes ...func(*http.Request)) func(*http.Request) {
		return func(r *http.Request) {
			for _, c := range changes {
				c(r)
			}
		}
	}
	for _, row := range []struct {
		name, method, target string
		change               func(*http.Request)
		quick                bool
	}{
		{"bearer", "GET", "/v1/verify", bearer, true},
		{"cookie", "GET", "/v1/verify", cookie, true},
		{"another method", "PROPFIND", "/v1/verify", bearer, true},
		{"HEAD", "HEAD", "/v1/verify", bearer, true},
		{"bearer and cookie", "GET", "/v1/verify", with(bearer, cookie), true},
		{"forwarded headers", "GET", "/v1/verify", with(bearer, func(r *http.Request) { r.Header.Set("X-Forwarded-For", "192.0.2.1") }), true},
		{"nobody", "GET", "/v1/verify", with(), false},
		{"a query", "GET", "/v1/verify?sign_in=1&preflight=1&credentials=cookie&group=ops", cookie, true},
		{"a group that the user is not in", "GET", "/v1/verify?group=admins", bearer, false},
		{"one that may be a preflight", "GET", "/v1/verify?preflight=1", with(bearer, func(r *http.Request) { r.Header.Set("Access-Control-Request-Method", "PUT") }), false},
		{"the cookie alone, and a bearer", "GET", "/v1/verify?credentials=cookie", with(bearer, cookie), false},
		{"another path", "GET", "/v1/session", bearer, false},
		{"a longer path", "GET", "/v1/verify/", bearer, true},
		{"a longer path with encoded characters", "GET", "/v1/verify/a%2Fb//../c", bearer, true},
		{"a path that only begins like it", "GET", "/v1/verifying", bearer, false},
		{"an escaped path", "GET", "/v1%2Fverify", bearer, false},
		{"a body", "POST", "/v1/verify", with(bearer, func(r *http.Request) { r.ContentLength = 1 }), false},
		{"a body of unknown length", "POST", "/v1/verify", with(bearer, func(r *http.Request) { r.ContentLength = -1 }), false},
		{"chunks", "POST", "/v1/verify", with(bearer, func(r *http.Request) { r.TransferEncoding = []string{"chunked"} }), false},
		{"a request id", "GET", "/v1/verify", with(bearer, func(r *http.Request) { r.Header.Set("X-Request-Id", "1") }), false},
		{"two tokens", "GET", "/v1/verify", with(bearer, func(r *http.Request) { r.Header.Add("Authorization", "Bearer "+raw) }), false},
		{"two cookies", "GET", "/v1/verify", with(cookie, cookie), false},
		{"another scheme and a cookie", "GET", "/v1/verify", with(cookie, func(r *http.Request) { r.Header.Set("Authorization", "Basic YTpi") }), true},
		{"a token never seen", "GET", "/v1/verify", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+w.issuer.Token("ben")) }, false},
		{"a forged token", "GET", "/v1/verify", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+raw[:len(raw)-4]+"AAAA") }, false},
	} {
		quick, answer := w.ask(row.method, row.target, row.change)
		if quick != row.quick {
			t.Errorf("%s: the short way was taken: %v, want %v", row.name, quick, row.quick)
		}
		if !quick && len(answer.Header()) > 0 {
			t.Errorf("%s: something was said before the ordinary way: %v", row.name, answer.Header())
		}
		if quick && (answer.Code != http.StatusOK || answer.Header().Get("Remote-User") != "Ann" || answer.Header().Get("Curfew-User-Id") != "ann") {
			t.Errorf("%s: %d %v", row.name, answer.Code, answer.Header())
		}
	}
	if w := newQuickHandler(t, slog.LevelDebug); true {
		raw := w.remembered()
		if quick, _ := w.ask("GET", "/v1/verify", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+raw) }); quick {
			t.Error("with a log that wants every line the short way was taken")
		}
	}
}

// Whatever ends a session, or makes its cookie due, closes the short way at once.
func TestQuickWayCloses(t *testing.T) {
	for name, row := range map[string]struct {
		happens func(*quickHandler)
		bearer  bool // still open to a bearer token
	}{
		"nothing":                {func(*quickHandler) {}, true},
		"revoked":                {func(w *quickHandler) { w.issuer.Revoke(revocation.User("ann")) }, false},
		"everyone revoked":       {func(w *quickHandler) { w.issuer.Revoke(revocation.Everyone()) }, false},
		"the cookie is due":      {func(w *quickHandler) { w.issuer.Advance(5 * time.Minute) }, true},
		"the session timed out":  {func(w *quickHandler) { w.issuer.Advance(20 * time.Minute) }, false},
		"the lease has run out":  {func(w *quickHandler) { w.noAnswer(); w.issuer.View.SetTrusted(false) }, false},
		"the key is gone":        {func(w *quickHandler) { w.issuer.Keys.Set(nil) }, false},
		"a second before is due": {func(w *quickHandler) { w.issuer.Advance(5*time.Minute - time.Second) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newQuickHandler(t, slog.LevelInfo)
			raw := w.remembered()
			row.happens(w)
			if quick, _ := w.ask("GET", "/v1/verify", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+raw) }); quick != row.bearer {
				t.Errorf("bearer: %v, want %v", quick, row.bearer)
			}
			byCookie := row.bearer && name != "the cookie is due"
			if quick, _ := w.ask("GET", "/v1/verify", func(r *http.Request) {
				r.AddCookie(&http.Cookie{Name: w.api.Jar.Name(), Value: raw})
			}); quick != byCookie {
				t.Errorf("cookie: %v, want %v", quick, byCookie)
			}
		})
	}
}

func (w *quickHandler) noAnswer() {
	w.issuer.View.SetCatchUp(func(context.Context) error { return token.ErrUnavailable })
}

// The first question goes the ordinary way, the second the short one.
func TestQuickAnswerIsTheOrdinaryOne(t *testing.T) {
	s := start(t, quiet)
	ann := s.user("ann")
	raw := s.token(ann)
	for _, with := range []credential{bearerToken(raw), cookie(raw)} {
		var answers [3]*answer
		for i := range answers {
			answers[i] = s.do("GET", "/v1/verify", nil, with).must(200, nil)
			s.identity(answers[i], ann, claims(t, raw).ID)
		}
		for _, a := range answers[1:] {
			if a.Header.Get("X-Request-Id") == answers[0].Header.Get("X-Request-Id") || len(a.Header.Get("X-Request-Id")) != 16 {
				t.Errorf("request ids %q and %q", answers[0].Header.Get("X-Request-Id"), a.Header.Get("X-Request-Id"))
			}
			for _, name := range []string{"Date", "X-Request-Id"} {
				a.Header.Del(name)
			}
		}
		first := answers[0].Header.Clone()
		first.Del("Date")
		first.Del("X-Request-Id")
		if !maps.EqualFunc(first, answers[2].Header, slices.Equal) {
			t.Errorf("the ordinary way says\n%v, the short one\n%v", first, answers[2].Header)
		}
	}
	s.do("DELETE", "/v1/session", nil, bearerToken(raw)).must(204, nil)
	s.do("GET", "/v1/verify", nil, bearerToken(raw)).problem(401, "revoked")
	s.do("GET", "/v1/verify", nil, cookie(raw)).problem(401, "revoked")
}

func TestQuickAnswersAreCounted(t *testing.T) {
	w := newQuickHandler(t, slog.LevelInfo)
	registry := prometheus.NewRegistry()
	var err error
	if w.api.Metrics, err = metrics.New(registry); err != nil {
		t.Fatal(err)
	}
	w.build()
	raw := w.remembered()
	var b strings.Builder
	for range 3 {
		if quick, _ := w.ask("GET", "/v1/verify", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+raw) }); !quick {
			t.Fatal("the short way was not taken")
		}
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "curfew_http_requests_total" {
			b.WriteString(f.String())
		}
	}
	if !strings.Contains(b.String(), "value:3") || !strings.Contains(b.String(), "/v1/verify") {
		t.Errorf("counted %s", b.String())
	}
}

// An answer on the short way takes two allocations: the values of the headers, and
// the request's id. The race detector adds one.
func TestQuickWayAllocatesLittle(t *testing.T) {
	w := newQuickHandler(t, slog.LevelInfo)
	raw := w.remembered()
	for name, row := range map[string]struct{ target, header, value string }{
		"bearer":               {"/v1/verify", "Authorization", "Bearer " + raw},
		"cookie":               {"/v1/verify", "Cookie", "a=b; " + w.api.Jar.Name() + "=" + raw + "; c=d"},
		"cookie and the query": {"/v1/verify?sign_in=1&group=ops&credentials=cookie", "Cookie", w.api.Jar.Name() + "=" + raw},
		"below its path":       {"/v1/verify/a%2Fb?c", "Authorization", "Bearer " + raw},
	} {
		r := httptest.NewRequest("GET", row.target, nil)
		r.Header.Set(row.header, row.value)
		s := &sink{header: http.Header{}}
		w.missed = false
		if n := testing.AllocsPerRun(100, func() { clear(s.header); w.handler.ServeHTTP(s, r) }); n > 3 || w.missed {
			t.Errorf("%s: %v allocations, the short way was missed: %v", name, n, w.missed)
		}
	}
}

// sink is an answer of which only the headers are kept.
type sink struct{ header http.Header }

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) Write(b []byte) (int, error) { return len(b), nil }
func (s *sink) WriteHeader(int)             {}

func BenchmarkVerify(b *testing.B) {
	w := newQuickHandler(b, slog.LevelInfo)
	w.api.now = time.Now
	raw := w.remembered()
	for name, put := range map[string]func(*http.Request){
		"bearer": func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+raw) },
		"cookie": func(r *http.Request) { r.Header.Set("Cookie", "a=b; "+w.api.Jar.Name()+"="+raw) },
	} {
		b.Run(name, func(b *testing.B) {
			r := httptest.NewRequest("GET", "/v1/verify", nil)
			put(r)
			s := &sink{header: http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				clear(s.header)
				w.handler.ServeHTTP(s, r)
			}
			if w.missed {
				b.Error("the short way was missed")
			}
		})
	}
}
