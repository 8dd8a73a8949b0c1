package webcookie

import (
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/curfew/settings"
	"example.com/curfew/token"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestSet(t *testing.T) {
	began := now.Add(-24 * time.Hour)
	for _, tt := range []struct {
		name     string
		jar      Jar
		remember bool
		want     string
	}{
		{"for the browser's session", Jar{}, false,
			"__Host-curfew_session=a.b.c; Path=/; HttpOnly; Secure; SameSite=Lax"},
		{"remember me: until the maximum duration", Jar{}, true,
			"__Host-curfew_session=a.b.c; Path=/; Expires=Fri, 20 Mar 2026 12:00:00 GMT; Max-Age=1641600; HttpOnly; Secure; SameSite=Lax"},
		{"several hosts", Jar{Domain: "example.com"}, false,
			"__Secure-curfew_session=a.b.c; Path=/; Domain=example.com; HttpOnly; Secure; SameSite=Lax"},
		{"a name of its own", Jar{Domain: "example.com", CookieName: "b"}, false,
			"b=a.b.c; Path=/; Domain=example.com; HttpOnly; Secure; SameSite=Lax"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			s := token.Session{IssuedAt: token.UnixTime(began.Unix()), RememberMe: tt.remember}
			tt.jar.Set(w, "a.b.c", s, settings.Default(), now)
			if got := w.Header().Get("Set-Cookie"); got != tt.want {
				t.Errorf("Set-Cookie\n got %s\nwant %s", got, tt.want)
			}
		})
	}
}

// A session at its end must not become a cookie without Max-Age, which would last
// as long as the browser runs: net/http leaves out Max-Age=0.
func TestSetAtTheEnd(t *testing.T) {
	w := httptest.NewRecorder()
	began := now.Add(-settings.DefaultMaximumSessionDuration)
	Jar{}.Set(w, "a.b.c", token.Session{IssuedAt: token.UnixTime(began.Unix()), RememberMe: true}, settings.Default(), now)
	c := w.Result().Cookies()[0]
	if c.MaxAge != 1 {
		t.Errorf("Max-Age = %d, want 1", c.MaxAge)
	}
}

func TestClear(t *testing.T) {
	w := httptest.NewRecorder()
	Jar{Domain: "example.com"}.Clear(w)
	const want = "__Secure-curfew_session=; Path=/; Domain=example.com; Max-Age=0; HttpOnly; Secure; SameSite=Lax"
	if got := w.Header().Get("Set-Cookie"); got != want {
		t.Errorf("Set-Cookie\n got %s\nwant %s", got, want)
	}
}

// Other cookies of the name are those of the host and of each domain from the host up
// to the configured one, which is the cookie's own.
func TestClearOthers(t *testing.T) {
	for _, tt := range []struct {
		jar  Jar
		host string
		want []string // the domains
	}{
		{Jar{}, "a.example.com", nil},
		{Jar{CookieName: "__host-x"}, "a.example.com", nil},
		{Jar{Domain: "example.com"}, "example.com", []string{""}},
		{Jar{Domain: ".Example.com"}, "example.com:8443", []string{""}},
		{Jar{Domain: "example.com"}, "a.example.com", []string{"", "a.example.com"}},
		{Jar{Domain: "example.com"}, "C.b.a.example.com.:443", []string{"", "c.b.a.example.com", "b.a.example.com", "a.example.com"}},
		{Jar{Domain: "a.example.com"}, "b.a.example.com", []string{"", "b.a.example.com"}},
		{Jar{Domain: "example.com", CookieName: "x"}, "a.example.com", []string{"", "a.example.com"}},
		{Jar{Domain: "example.com"}, "a.example.org", []string{""}},
		{Jar{Domain: "example.com"}, "aexample.com", []string{""}},
		{Jar{Domain: "example.com"}, "192.0.2.1:80", []string{""}},
		{Jar{Domain: "example.com"}, "", []string{""}},
		{Jar{Domain: "example.com"}, strings.Repeat("a.", 50) + "example.com", nil}, // as many as there may be
		{Jar{CookieName: "x"}, "a.example.com", []string{"a.example.com"}},
		{Jar{CookieName: "x"}, "[::1]:8420", nil},
		{Jar{CookieName: "x"}, "localhost:8420", nil},
		{Jar{CookieName: "x"}, "127.0.0.1", nil},
	} {
		w := httptest.NewRecorder()
		tt.jar.ClearOthers(w, tt.host)
		var got []string
		for _, c := range w.Result().Cookies() {
			if c.Name != tt.jar.Name() || c.Value != "" || c.MaxAge != -1 || c.Path != "/" || !c.Secure || !c.HttpOnly {
				t.Errorf("%+v at %q: %s", tt.jar, tt.host, c.Raw)
			}
			got = append(got, c.Domain)
		}
		if len(tt.host) > 100 {
			if len(got) != maxParents+1 {
				t.Errorf("%d cookies for a long host, want %d", len(got), maxParents+1)
			}
		} else if !slices.Equal(got, tt.want) {
			t.Errorf("%+v at %q: domains %q, want %q", tt.jar, tt.host, got, tt.want)
		}
	}
}

func TestDue(t *testing.T) {
	for _, tt := range []struct {
		name    string
		timeout time.Duration
		due     time.Duration // after the last refresh
	}{
		{"a quarter of the timeout", 20 * time.Minute, 5 * time.Minute},
		{"at most once a minute", 2 * time.Minute, time.Minute},
		{"but in time", time.Minute, 30 * time.Second},
		{"even in development", 2 * time.Second, time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, remember := range []bool{false, true} {
				s := &token.Session{LastRefresh: token.UnixTime(now.Unix()), RememberMe: remember}
				in := settings.Settings{SessionTimeout: tt.timeout}
				for _, at := range []struct {
					shift time.Duration
					want  bool
				}{{-time.Millisecond, false}, {0, true}, {time.Millisecond, true}} {
					if got := Due(s, in, now.Add(tt.due+at.shift)); got != at.want {
						t.Errorf("remember me %v, at %v%+v: Due = %v, want %v", remember, tt.due, at.shift, got, at.want)
					}
				}
			}
		})
	}
}
