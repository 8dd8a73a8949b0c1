package httpapi

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"example.com/curfew/internal/fault"
	"example.com/curfew/internal/webcookie"
	"example.com/curfew/token"
)

// mayGoToSignIn reports whether the refusal err may become a way to the sign-in
// page: the request came from a browser that shows pages, and a sign-in would help.
func (c *call) mayGoToSignIn(err error) bool {
	method := c.originalMethod()
	return c.base != nil && (method == http.MethodGet || method == http.MethodHead) && asksForHTML(c.r.Header) &&
		token.ReasonOf(err) != token.ErrUnavailable
}

// originalMethod returns the method of the request that the proxy asks about, if a
// trusted proxy says so, else that of the question: nginx and Caddy ask with GET.
func (c *call) originalMethod() string {
	for _, name := range []string{"X-Forwarded-Method", "X-Original-Method"} {
		if method := c.inbound.Forwarded(c.r, name); method != "" {
			return method
		}
	}
	return c.r.Method
}

// toSignIn sends the browser to the sign-in page, or to the page that asks the user
// to authenticate again. The page says why and sends the browser back if it is told where
// from, and may. nginx takes nothing but 2xx, 401 and 403
// for an answer, so with sign_in=location it is the proxy that redirects.
func (c *call) toSignIn(q *question, err error) error {
	back := c.returnAddress()
	to := c.signInAddress(q, back, err)
	if q.signIn == signInRedirects {
		c.private()
		c.w.Header().Set("Location", to)
		c.w.WriteHeader(http.StatusFound)
		return nil
	}
	for len(to) > maxLocation && back != "" {
		path, _, query := strings.Cut(back, "?")
		if back = path; !query {
			back = ""
		}
		to = c.signInAddress(q, back, err)
	}
	refused := fault.Of(err)
	refused.Location = to
	c.inbound.Code, c.inbound.Err = refused.Code, err
	refused.Write(c.w, c.r)
	return nil
}

// maxLocation is the maximum length of Location in bytes with sign_in=location. An
// address may treble when it is encoded, and nginx answers 500 if the headers do
// not fit into proxy_buffer_size, 4 KiB by default.
const maxLocation = 3 << 10

// signInAddress returns the address of the sign-in page, or of the start at the
// question's provider, for a browser that wants to go back to an address, unless that is
// "". A user who only must authenticate again goes to the page for that. err is why the
// token was refused, or nil. At a provider the reason is always named: a browser that
// arrives with one and a session is not sent on by itself, which could be without end.
func (c *call) signInAddress(q *question, back string, err error) string {
	query := url.Values{}
	if back != "" {
		query.Set("return", back)
	}
	if old, ok := errors.AsType[*token.AuthenticationError](err); ok {
		query.Set("max_age", strconv.FormatInt(old.Seconds(), 10))
		to := c.base.JoinPath(reauthenticatePage)
		to.RawQuery = query.Encode()
		return to.String()
	}
	two := (*webcookie.TwoSessions)(nil)
	switch reason := token.ReasonOf(err); {
	case reason == "" || reason == token.ErrMissing && q.provider == "":
	case errors.As(err, &two):
		query.Set("why", "two_sessions")
	default:
		query.Set("why", string(reason))
	}
	to := c.base.JoinPath("/sign-in", q.provider)
	to.RawQuery = query.Encode()
	return to.String()
}

// reauthenticatePage is the console's page that asks the user of a session to authenticate again.
const reauthenticatePage = "/reauthenticate"

// returnAddress returns the address that the browser had asked for, as a trusted
// proxy says, if it is one of those that people may be sent to; else "". The proxy
// says it with X-Forwarded-Proto, X-Forwarded-Host and X-Forwarded-Uri, with
// X-Original-URI in place of the last, or with X-Original-URL alone.
func (c *call) returnAddress() string {
	if !c.inbound.Trusted {
		return ""
	}
	scheme := c.inbound.Forwarded(c.r, "X-Forwarded-Proto")
	host := c.inbound.Forwarded(c.r, "X-Forwarded-Host")
	for _, name := range []string{"X-Forwarded-Uri", "X-Original-Uri"} {
		switch targets := c.r.Header[name]; { // which may have commas in them
		case len(targets) == 0:
		case len(targets) > 1 || scheme == "" || host == "":
			return ""
		default:
			return c.allowedReturn(scheme, host, targets[0])
		}
	}
	addresses := c.r.Header["X-Original-Url"]
	if len(addresses) != 1 {
		return ""
	}
	scheme, rest, _ := strings.Cut(addresses[0], "://")
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		return c.allowedReturn(scheme, rest, "/")
	}
	target := rest[end:]
	if target[0] == '?' {
		target = "/" + target
	}
	return c.allowedReturn(scheme, rest[:end], target)
}

// allowedReturn returns the address of the page that a browser asked a proxy for, or "" if
// it may not be sent back there. A host that the list lacks is noticed: the operator may
// have forgotten it.
func (c *call) allowedReturn(scheme, host, target string) string {
	address := c.Returns.Address(scheme, host, target)
	if address == "" {
		if unlisted := c.Returns.Unlisted(scheme, host); unlisted != "" {
			c.UnknownReturns.Note(c.ctx, unlisted, c.Logger)
		}
	}
	return address
}
