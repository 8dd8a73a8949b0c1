package bearer_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"example.com/curfew/revocation"
	"example.com/curfew/token"
	"example.com/curfew/token/bearer"
	"example.com/curfew/token/tokentest"
)

// authenticated sets how long ago the user authenticated by the issuer's clock.
func authenticated(issuer *tokentest.Issuer, ago time.Duration) func(*token.Session) {
	return func(s *token.Session) { s.AuthTime = token.UnixTime(issuer.Now().Add(-ago).Unix()) }
}

const insufficient = `Bearer realm="curfew", error="insufficient_user_authentication", ` +
	`error_description="The user authenticated too long ago for this request. Authenticate again, then repeat the request with the new token.", max_age="300"`

// A session is accepted up to the maximum age of its authentication, and then
// challenged, by every kind of middleware.
func TestMaxAge(t *testing.T) {
	issuer := tokentest.New(t)
	const age = 5 * time.Minute
	v := issuer.Validator()
	unknown := issuer.Token("ann")
	revoked := issuer.Token("ben", authenticated(issuer, age+time.Second))
	issuer.Revoke(revocation.User("ben"))
	of := func(ago time.Duration) string { return issuer.Token("ann", authenticated(issuer, ago)) }
	for name, m := range map[string]bearer.Middleware{
		"plain":    {Validator: v},
		"live":     {Validator: v, EndWithSession: true},
		"optional": {Validator: v, Optional: true, EndWithSession: true},
	} {
		for _, tt := range []struct {
			what      string
			max       time.Duration
			raw       string
			status    int
			challenge string
		}{
			{"a second younger", age, of(age - time.Second), 200, ""},
			{"exactly as old", age, of(age), 200, ""},
			{"a second older", age, of(age + time.Second), 401, insufficient},
			{"much older", age, of(100 * 24 * time.Hour), 401, insufficient},
			{"of an unknown time", age, unknown, 401, insufficient},
			{"no limit", 0, of(100 * 24 * time.Hour), 200, ""},
			{"no limit, of an unknown time", 0, unknown, 200, ""},
			{"a negative limit refuses all", -time.Second, of(0), 401, ""},
			{"a fraction of a second older", age - time.Millisecond, of(age), 401, ""},
			{"a revoked session is over before it is too old", age, revoked, 401, bearer.Challenge("curfew", token.ErrRevoked)},
		} {
			m.MaxAge, m.Now = tt.max, issuer.Now
			a := answer(m.Wrap(who), "Bearer "+tt.raw)
			if a.StatusCode != tt.status || tt.challenge != "" && a.Header.Get("WWW-Authenticate") != tt.challenge {
				t.Errorf("%s, %s: %d %s, want %d %s", name, tt.what, a.StatusCode, a.Header["Www-Authenticate"], tt.status, tt.challenge)
			}
			if (a.Header.Get("Who") != "") != (tt.status == 200) {
				t.Errorf("%s, %s: the handler ran, or did not: %q", name, tt.what, a.Header.Get("Who"))
			}
		}
		m.MaxAge = age
		if a := answer(m.Wrap(who), ""); m.Optional != (a.StatusCode == 200) {
			t.Errorf("%s without a token: %d", name, a.StatusCode)
		}
	}
}

// The age is that of the moment of the request: the clock moves on while the token
// stays the same.
func TestMaxAgeWithTime(t *testing.T) {
	issuer := tokentest.New(t)
	m := bearer.Middleware{Validator: issuer.Validator(), MaxAge: time.Minute, Now: issuer.Now}
	raw := issuer.Token("ann", authenticated(issuer, 0))
	for _, step := range []struct {
		by   time.Duration
		want int
	}{{59 * time.Second, 200}, {time.Second, 200}, {time.Millisecond, 401}, {-time.Millisecond, 200}, {time.Second, 401}} {
		issuer.Advance(step.by)
		if a := answer(m.Wrap(who), "Bearer "+raw); a.StatusCode != step.want {
			t.Errorf("%v later: %d, want %d", issuer.Now().Sub(tokentest.Start), a.StatusCode, step.want)
		}
	}
}

// The refusal is a problem with the code of RFC 9470, and an own ErrorHandler gets the
// error with the ages.
func TestMaxAgeRefusal(t *testing.T) {
	issuer := tokentest.New(t)
	raw := issuer.Token("ann", authenticated(issuer, time.Hour))
	m := bearer.Middleware{Validator: issuer.Validator(), MaxAge: 90*time.Second + 999*time.Millisecond, Now: issuer.Now}
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", "Bearer "+raw)
	m.Wrap(who).ServeHTTP(w, r)
	var p struct {
		Status       int
		Code, Detail string
	}
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Header().Get("Content-Type") != "application/problem+json" {
		t.Fatalf("%v in %s", err, w.Body)
	}
	if p.Status != 401 || p.Code != "insufficient_user_authentication" || p.Detail != bearer.Describe(token.ErrInsufficientAuthentication) {
		t.Errorf("problem %+v", p)
	}
	var got error
	m.ErrorHandler = func(_ http.ResponseWriter, _ *http.Request, err error) { got = fmt.Errorf("wrapped: %w", err) }
	m.Wrap(who).ServeHTTP(httptest.NewRecorder(), r)
	old, ok := errors.AsType[*token.AuthenticationError](got)
	if !ok || old.Seconds() != 90 || old.AuthTime != token.UnixTime(tokentest.Start.Add(-time.Hour).Unix()) || token.ReasonOf(got) != token.ErrInsufficientAuthentication {
		t.Errorf("the error is %v", got)
	}
	if c := bearer.ChallengeOf("r", got); c != bearer.Challenge("r", token.ErrInsufficientAuthentication)+`, max_age="90"` {
		t.Errorf("challenge %s", c)
	}
	if status := bearer.Status(token.ErrInsufficientAuthentication); status != 401 {
		t.Errorf("status %d", status)
	}
}

// RequireRecent protects single routes behind a middleware. It reads the real clock.
func TestRequireRecent(t *testing.T) {
	issuer := tokentest.New(t)
	require := bearer.Require(issuer.Validator())
	at := func(ago time.Duration) string {
		return issuer.Token("ann", func(s *token.Session) { s.AuthTime = token.UnixTime(time.Now().Add(-ago).Unix()) })
	}
	recent := bearer.RequireRecent(5 * time.Minute)
	for _, tt := range []struct {
		what   string
		h      http.Handler
		auth   string
		status int
		code   string
	}{
		{"just now", require(recent(who)), "Bearer " + at(0), 200, ""},
		{"within", require(recent(who)), "Bearer " + at(4*time.Minute), 200, ""},
		{"too old", require(recent(who)), "Bearer " + at(5*time.Minute+2*time.Second), 401, insufficient},
		{"unknown", require(recent(who)), "Bearer " + issuer.Token("ann"), 401, insufficient},
		{"without a session", bearer.Optional(issuer.Validator())(recent(who)), "", 401, `Bearer realm="curfew"`},
		{"without a middleware", recent(who), "Bearer " + at(0), 401, `Bearer realm="curfew"`},
		{"zero means no limit", require(bearer.RequireRecent(0)(who)), "Bearer " + at(time.Hour), 200, ""},
	} {
		a := answer(tt.h, tt.auth)
		if a.StatusCode != tt.status || a.Header.Get("WWW-Authenticate") != tt.code {
			t.Errorf("%s: %d %s, want %d %s", tt.what, a.StatusCode, a.Header["Www-Authenticate"], tt.status, tt.code)
		}
	}
}
