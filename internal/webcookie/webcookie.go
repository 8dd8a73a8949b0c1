// Package webcookie keeps a session's token in a browser: the name of the
// cookie, how long the browser keeps it, and when a person's own request should
// renew it. The console and forward auth share it, so that one sign-in serves
// both.
package webcookie

import (
	"fmt"
	"net/http"
	"time"

	"example.com/curfew/settings"
	"example.com/curfew/token"
)

// Jar says where the cookie is valid. The zero Jar is for one host.
type Jar struct {
	// Domain makes the cookie valid for every host under the domain, so that one
	// sign-in serves several. Empty: only for the host that sets it.
	Domain string
}

// Name returns the cookie's name. The prefixes (RFC 6265bis, section 4.1.3) make
// browsers refuse a cookie of that name that was set without Secure, and with
// __Host- also a cookie that a neighbouring host has set for the whole domain.
func (j Jar) Name() string {
	if j.Domain == "" {
		return "__Host-curfew_session"
	}
	return "__Secure-curfew_session"
}

// Read returns the token in the cookie of r. The error wraps [token.ErrMissing]
// when there is none, and [token.ErrMalformed] when there are several: with a
// Domain, an attacker who controls a neighbouring host can set a second one, and
// choosing one of two would let the attacker choose the session.
func (j Jar) Read(r *http.Request) (raw string, err error) {
	found := r.CookiesNamed(j.Name())
	switch {
	case len(found) == 0 || len(found) == 1 && found[0].Value == "":
		return "", fmt.Errorf("%w: no cookie %s", token.ErrMissing, j.Name())
	case len(found) > 1:
		return "", fmt.Errorf("%w: %d cookies %s", token.ErrMalformed, len(found), j.Name())
	case found[0].Quoted:
		return "", fmt.Errorf("%w: cookie %s is in quotes, but Curfew sets it without", token.ErrMalformed, j.Name())
	}
	return found[0].Value, nil
}

// Set gives the browser the token of s. It keeps the cookie until it is closed;
// with remember me, until the session reaches the maximum duration that the
// settings allow. When the session ends is decided by the server alone: the
// cookie's life only saves the browser a useless request.
func (j Jar) Set(w http.ResponseWriter, raw string, s token.Session, in settings.Settings, now time.Time) {
	c := j.cookie(raw)
	if s.RememberMe {
		// Max-Age counts by the browser's own clock, and wins over Expires.
		end := s.MaximumEnd(in).Time()
		c.Expires = end
		c.MaxAge = max(1, int(end.Sub(now)/time.Second))
	}
	http.SetCookie(w, c)
}

// Clear takes the cookie away. Never do that with a 503: what cannot be told now
// may be good in a second.
func (j Jar) Clear(w http.ResponseWriter) {
	c := j.cookie("")
	c.MaxAge = -1
	http.SetCookie(w, c)
}

func (j Jar) cookie(value string) *http.Cookie {
	return &http.Cookie{
		Name:     j.Name(),
		Value:    value,
		Domain:   j.Domain,
		Path:     "/",
		Secure:   true,
		HttpOnly: true,
		SameSite: http.SameSiteLaxMode,
	}
}

// Due reports whether a request that a person has made should renew the cookie
// of s: a quarter of the session timeout after the last refresh, and not more
// than once a minute, since each refresh asks the store. Where timeouts are so
// short that a minute would be too late, half the timeout is the limit.
//
// Remember-me sessions are renewed as often: nothing ends them for lack of
// activity, but people want to see when a session was last used, and its key is
// retired some day.
func Due(s *token.Session, in settings.Settings, now time.Time) bool {
	every := max(in.SessionTimeout/4, min(time.Minute, in.SessionTimeout/2))
	return now.Sub(s.LastRefresh.Time()) >= every
}
