package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/fault"
	"example.com/curfew/internal/inbound"
	"example.com/curfew/revocation"
	"example.com/curfew/token"
)

// call is one request on its way through a handler.
type call struct {
	*api
	route   *Route
	w       http.ResponseWriter
	r       *http.Request
	ctx     context.Context // a call is as short-lived as its context
	inbound *inbound.Request
	query   url.Values

	// The credential's owner: a session, or a client.
	session *token.Session
	caller  authz.Caller
	// clientsEpoch is that of the view before the client was looked up.
	clientsEpoch revocation.Epoch
}

// origin is where the call comes from, as it is kept.
func (c *call) origin() authz.Origin {
	return authz.Origin{Address: c.inbound.Text(), RequestID: c.inbound.ID, Device: c.inbound.Device}
}

// serve answers one request for a route.
func (a *api) serve(route *Route, w http.ResponseWriter, r *http.Request) {
	c := &call{api: a, route: route, w: w, r: r, inbound: inbound.Of(r)}
	c.inbound.Route, c.inbound.Quiet = route.Pattern, route.quiet
	if err := c.answer(); err != nil {
		fail(w, r, err)
	}
}

// fail answers with the problem that err is, and leaves the rest to the log.
func fail(w http.ResponseWriter, r *http.Request, err error) {
	f := fault.Of(err)
	q := inbound.Of(r)
	q.Code, q.Err = f.Code, err
	f.Write(w, r)
}

func (c *call) answer() error {
	if c.route.forwardAuth {
		c.clearIdentity() // before anything can go wrong
	}
	most := max(c.route.body, ordinaryBody)
	if c.r.ContentLength > most && !c.route.forwardAuth {
		return fmt.Errorf("%w: at most %d bytes are allowed", fault.ErrTooLarge, most)
	}
	if !c.route.AnyQuery {
		q, err := checkQuery(c.r.URL.RawQuery, c.route.Query)
		if err != nil {
			return err
		}
		c.query = q
	}
	if err := c.receive(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), c.within())
	defer cancel()
	c.ctx = ctx
	if err := c.authenticate(); err != nil {
		return err
	}
	return c.route.handle(c)
}

// within returns how long the call may take.
func (c *call) within() time.Duration { return max(c.route.timeout, c.timeout()) }

// receive reads the whole body, up to the route's limit, before anything is
// decided: a caller that holds a body back is authenticated when it has arrived,
// not before. The content is looked at by the handler alone, so an unauthenticated
// caller learns nothing about it but that it is too large.
func (c *call) receive() error {
	c.r.Body = http.MaxBytesReader(c.w, c.r.Body, c.route.body)
	if c.route.body == 0 {
		return nil
	}
	body, err := io.ReadAll(c.r.Body)
	if err != nil {
		return bodyError(err)
	}
	c.r.Body = io.NopCloser(bytes.NewReader(body))
	return nil
}

// hold lets the call take longer by wait. The deadlines of the connection are
// meant for calls that are answered at once; a read deadline that passes while a
// handler waits would look as if the caller had gone. Call it when the caller has
// been authenticated, never before.
func (c *call) hold(wait time.Duration) (cancel context.CancelFunc) {
	const rest = 30 * time.Second // to write the answer
	end := c.now().Add(wait + rest)
	control := http.NewResponseController(c.w)
	// Neither fails on a connection that is there; in a test there may be none.
	_ = control.SetReadDeadline(end)
	_ = control.SetWriteDeadline(end)
	c.ctx, cancel = context.WithTimeout(c.r.Context(), wait+c.within())
	return cancel
}

// private keeps an answer out of every cache (RFC 9111, section 5.2.2.5).
func (c *call) private() { c.w.Header().Set("Cache-Control", "no-store") }

// json answers with v.
func (c *call) json(status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("%w: %w", fault.ErrInternal, err)
	}
	c.private()
	h := c.w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	c.w.WriteHeader(status)
	_, _ = c.w.Write(append(body, '\n')) // the caller is gone if this fails
	return nil
}

// nothing answers 204.
func (c *call) nothing() error {
	c.private()
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// userID returns the user that the path names; "me" is the caller.
func (c *call) userID() (string, error) {
	id := c.r.PathValue("id")
	if id == "me" && c.session != nil {
		return c.session.Subject, nil
	}
	if !token.ValidSubject(id) {
		return "", fmt.Errorf("%w: the path has no valid user id", fault.ErrNotFound)
	}
	return id, nil
}
