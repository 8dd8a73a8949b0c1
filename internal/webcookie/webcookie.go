// Package webcookie keeps a session's token in a browser: the name of the
// cookie, how long the browser keeps it, and when a person's own request should
// renew it. The console and forward auth share it, so that one sign-in serves
// both.
package webcookie

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"example.com/curfew/settings"
	"example.com/curfew/token"
)

// Jar says where the cookie is valid, and how it is called. The zero Jar is for one
// host.
type Jar struct {
	// Domain makes the cookie valid for every host under the domain, so that one
	// sign-in serves several. Empty: only for the host that sets it.
	Domain string
	// CookieName is the name of the cookie. It must be a token (RFC 6265, section
	// 4.1.1), and with a Domain it must not have the prefix __Host-. Empty:
	// __Host-curfew_session, or with a Domain __Secure-curfew_session.
	CookieName string
}

// Name returns the cookie's name. The prefixes (RFC 6265bis, section 4.1.3) make
// browsers refuse a cookie of that name that was set without Secure, and with
// __Host- also a cookie that a neighbouring host has set for the whole domain.
func (j Jar) Name() string {
	switch {
	case j.CookieName != "":
		return j.CookieName
	case j.Domain == "":
		return "__Host-curfew_session"
	}
	return "__Secure-curfew_session"
}

const hostPrefix = "__Host-"

func hasPrefixFold(text, prefix string) bool {
	return len(text) >= len(prefix) && strings.EqualFold(text[:len(prefix)], prefix)
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

// Clear takes the cookie away. Never do that with a 503: a session whose status is
// unknown now may be good in a second.
func (j Jar) Clear(w http.ResponseWriter) { j.expire(w, j.Domain) }

// ClearOthers takes away cookies of the same name that the browser may have for the
// host, or for a domain between the host and the Domain, and that would be sent
// beside the one of Set or Clear: of another installation, or of a time when Domain
// was different. host is the host that the browser asked, with or without a port.
// Call ClearOthers before Set: some clients take a cookie for the host and one for a
// domain of the same name for one.
func (j Jar) ClearOthers(w http.ResponseWriter, host string) {
	if hasPrefixFold(j.Name(), hostPrefix) {
		return // there can be no others
	}
	domain := strings.ToLower(strings.TrimPrefix(j.Domain, "."))
	if domain != "" {
		j.expire(w, "")
	}
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil || !strings.Contains(host, ".") {
		return // browsers accept no domain for it
	}
	if domain == "" {
		j.expire(w, host)
		return
	}
	for range maxParents {
		if !strings.HasSuffix(host, "."+domain) {
			return
		}
		j.expire(w, host)
		_, host, _ = strings.Cut(host, ".")
	}
}

// maxParents is the maximum number of domains for which ClearOthers takes a cookie
// away.
const maxParents = 8

// expire takes away the cookie of a domain; "" is the host alone.
func (j Jar) expire(w http.ResponseWriter, domain string) {
	c := j.cookie("")
	c.Domain, c.MaxAge = domain, -1
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
