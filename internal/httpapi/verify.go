package httpapi

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"example.com/curfew/internal/fault"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/webcookie"
	"example.com/curfew/token"
	"example.com/curfew/token/bearer"
)

// verify is /v1/verify: forward auth. A proxy asks it about each request, with
// that request's headers, and lets it through on 200 with the headers that say
// who it is from (nginx auth_request, Caddy forward_auth, Traefik ForwardAuth,
// Envoy ext_authz).
//
// It never takes a cookie away: it answers many requests of a page at a time, and
// the refusal of an old one may arrive after a new sign-in.
func verify(c *call) error {
	raw, byCookie, err := c.tokenOrCookie()
	var s *token.Session
	if err == nil {
		s, err = c.Validator.Validate(c.ctx, raw)
	}
	if err == nil && byCookie {
		err = c.renew(s)
	}
	if err != nil {
		if c.mayGoToSignIn(err, byCookie) {
			return c.toSignIn(err)
		}
		return err
	}
	c.inbound.User = s.Subject
	c.private()
	h := c.w.Header()
	h.Set("Remote-User", s.Subject) // only characters that a header can carry: token.ValidSubject
	h.Set("Curfew-Session", s.ID)
	c.w.WriteHeader(http.StatusOK)
	return nil
}

// clearIdentity sets the identity headers to "". They are on every answer, so that
// a proxy which copies them overwrites those that a client has made up.
func (c *call) clearIdentity() {
	h := c.w.Header()
	h.Set("Remote-User", "")
	h.Set("Curfew-Session", "")
}

// tokenOrCookie returns the token of the Authorization header or, without one,
// that of the cookie. A bearer token that is refused is refused: the cookie is not
// tried, or a request could have two identities. An Authorization header of
// another scheme is meant for the service behind the proxy.
func (c *call) tokenOrCookie() (raw string, byCookie bool, err error) {
	raw, err = bearer.FromRequest(c.r)
	if err == nil || !errors.Is(err, token.ErrMissing) {
		return raw, false, err
	}
	raw, err = c.Jar.Read(c.r)
	return raw, true, err
}

// renew passes on a renewed cookie when one is due. The session may be found to
// have ended by that, since a refresh asks the store; that it cannot be renewed
// for another reason is no reason to refuse it.
func (c *call) renew(s *token.Session) error {
	in := c.Settings.Current().Settings
	if c.Sessions == nil || !webcookie.Due(s, in, c.now()) {
		return nil
	}
	issued, err := c.refresh.do(c.ctx, s, c.Sessions.Refresh)
	switch reason := token.ReasonOf(err); {
	case err == nil:
		c.Jar.Set(c.w, issued.Token, issued.Session, issued.InForce.Settings, c.now())
		return nil
	case reason == token.ErrUnavailable || reason == token.ErrMalformed:
		return nil
	}
	return err
}

// refreshGroup makes one refresh for the many requests that a page makes with
// the same cookie at a time.
type refreshGroup struct {
	mu      sync.Mutex
	running map[refreshKey]*refreshing // guarded by mu
}

type refreshKey struct {
	session string
	last    token.UnixTime
}

type refreshing struct {
	done   chan struct{}
	issued session.Issued
	err    error
}

func (g *refreshGroup) do(ctx context.Context, s *token.Session, refresh func(context.Context, *token.Session) (session.Issued, error)) (session.Issued, error) {
	key := refreshKey{s.ID, s.LastRefresh}
	g.mu.Lock()
	if one := g.running[key]; one != nil {
		g.mu.Unlock()
		select {
		case <-one.done:
			return one.issued, one.err
		case <-ctx.Done():
			return session.Issued{}, token.ErrUnavailable
		}
	}
	if g.running == nil {
		g.running = map[refreshKey]*refreshing{}
	}
	one := &refreshing{done: make(chan struct{}), err: token.ErrUnavailable}
	g.running[key] = one
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		delete(g.running, key)
		g.mu.Unlock()
		close(one.done)
	}()
	// The first caller may hang up; the others still wait for the answer.
	shared := context.WithoutCancel(ctx)
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		shared, cancel = context.WithDeadline(shared, deadline)
		defer cancel()
	}
	one.issued, one.err = refresh(shared, s)
	return one.issued, one.err
}

// The values of the parameter sign_in.
const (
	signInRedirects = "1"        // 302 to the sign-in page
	signInLocates   = "location" // 401, with the sign-in page in Location
)

// mayGoToSignIn reports whether the refusal err may become a way to the sign-in
// page: the proxy has asked for that, the request came from a browser that shows
// pages, and a sign-in would help.
func (c *call) mayGoToSignIn(err error, byCookie bool) bool {
	mode, method := c.r.URL.Query().Get("sign_in"), c.originalMethod()
	return (mode == signInRedirects || mode == signInLocates) && byCookie && c.base != nil &&
		(method == http.MethodGet || method == http.MethodHead) && asksForHTML(c.r.Header) &&
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

// toSignIn sends the browser to the sign-in page, which says why and sends it
// back if it is told where from, and may. nginx takes nothing but 2xx, 401 and 403
// for an answer, so with sign_in=location it is the proxy that redirects.
func (c *call) toSignIn(err error) error {
	back := c.returnAddress()
	to := c.signInAddress(back, err)
	if c.r.URL.Query().Get("sign_in") == signInRedirects {
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
		to = c.signInAddress(back, err)
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

// signInAddress returns the address of the sign-in page for a browser that was
// refused with err and wants to go back to an address, or "".
func (c *call) signInAddress(back string, err error) string {
	query := url.Values{}
	if back != "" {
		query.Set("return", back)
	}
	if reason := token.ReasonOf(err); reason != token.ErrMissing {
		query.Set("why", string(reason))
	}
	to := c.base.JoinPath("/sign-in")
	to.RawQuery = query.Encode()
	return to.String()
}

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
			return c.Returns.Address(scheme, host, targets[0])
		}
	}
	addresses := c.r.Header["X-Original-Url"]
	if len(addresses) != 1 {
		return ""
	}
	scheme, rest, _ := strings.Cut(addresses[0], "://")
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		return c.Returns.Address(scheme, rest, "/")
	}
	target := rest[end:]
	if target[0] == '?' {
		target = "/" + target
	}
	return c.Returns.Address(scheme, rest[:end], target)
}
