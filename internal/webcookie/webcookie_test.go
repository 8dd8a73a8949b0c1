package webcookie

import (
	"errors"
	"net/http"
	"net/http/httptest"
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

func TestRead(t *testing.T) {
	for _, tt := range []struct {
		name    string
		jar     Jar
		cookies []string
		want    string
		err     error
	}{
		{"none", Jar{}, nil, "", token.ErrMissing},
		{"others", Jar{}, []string{"a=b; curfew_session=x"}, "", token.ErrMissing},
		{"the one", Jar{}, []string{"a=b; __Host-curfew_session=x.y.z; c=d"}, "x.y.z", nil},
		{"that of several hosts is not that of one", Jar{}, []string{"__Secure-curfew_session=x.y.z"}, "", token.ErrMissing},
		{"that of one host is not that of several", Jar{Domain: "example.com"}, []string{"__Host-curfew_session=x.y.z"}, "", token.ErrMissing},
		{"cleared", Jar{}, []string{"__Host-curfew_session="}, "", token.ErrMissing},
		{"in quotes", Jar{}, []string{`__Host-curfew_session="x.y.z"`}, "", token.ErrMalformed},
		{"two", Jar{}, []string{"__Host-curfew_session=x; __Host-curfew_session=x"}, "", token.ErrMalformed},
		{"two in two headers", Jar{}, []string{"__Host-curfew_session=x", "__Host-curfew_session=y"}, "", token.ErrMalformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &http.Request{Header: http.Header{"Cookie": tt.cookies}}
			got, err := tt.jar.Read(r)
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("Read = %q, %v; want %q, %v", got, err, tt.want, tt.err)
			}
		})
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
