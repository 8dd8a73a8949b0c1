package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/fault"
	"example.com/curfew/internal/servertoken"
	"example.com/curfew/internal/store"
	"example.com/curfew/token"
	"example.com/curfew/token/bearer"
)

// authenticate proves the credential that the route takes. The services decide what
// the caller may do with it.
func (c *call) authenticate() error {
	switch c.route.Who {
	case Bearer:
		if c.route.Pattern == "/v1/session" && c.r.Method == http.MethodDelete {
			return nil // signing out takes tokens that nothing else does
		}
		if err := c.validate(); err != nil {
			return err
		}
		if c.route.Self || c.route.Permissions != nil {
			return c.loadUser()
		}
	case Client:
		return c.loadClient()
	case Anyone, BearerOrCookie, Holder: // the handlers' own business
	}
	return nil
}

// validate validates the token in the Authorization header.
func (c *call) validate() error {
	raw, err := bearer.FromRequest(c.r)
	if err != nil {
		return err
	}
	s, err := c.Validator.Validate(c.ctx, raw)
	if err != nil {
		return err
	}
	c.session, c.inbound.User = s, s.Subject
	return nil
}

// loadUser reads the user of the session: permissions are those in the store now,
// never those of the day of the sign-in.
func (c *call) loadUser() error {
	caller, err := c.Accounts.UserCaller(c.ctx, c.session, c.origin())
	if err != nil {
		return err
	}
	c.caller = caller
	return c.guard()
}

// guard refuses callers that the table of routes excludes, before it reads the
// body. The services check again, and more.
func (c *call) guard() error {
	if c.route.Self || len(c.route.Permissions) == 0 {
		return nil
	}
	if slices.ContainsFunc(c.route.Permissions, c.caller.Can) {
		return nil
	}
	return authz.Forbidden(c.route.Permissions[0])
}

// loadClient proves the service client that calls. The capability is checked here
// as well as where the work is done, since not all the work of clients has a room
// that knows them: an edge's feed, introspection.
func (c *call) loadClient() error {
	c.clientsEpoch = c.Feed.ClientsEpoch()
	caller, err := c.identify(c.ctx, c.r, c.route.Capability, c.origin())
	if err != nil && caller.Client == nil {
		return err
	}
	c.caller, c.inbound.Client = caller, caller.Actor.ID
	return err
}

// identify proves the service client that makes a request, and that it has the
// capability, unless that is "". A client without it is returned with the error.
func (a *api) identify(ctx context.Context, r *http.Request, capability string, from authz.Origin) (authz.Caller, error) {
	id, secret, err := clientCredentials(r)
	if err != nil {
		return authz.Caller{}, err
	}
	identify := a.Clients.ClientCaller
	if a.followers != nil && capability == store.Follow {
		identify = a.followers.caller
	}
	caller, err := identify(ctx, id, secret, from)
	if err != nil {
		return authz.Caller{}, err
	}
	if capability != "" && !caller.Client.Can(capability) {
		return caller, authz.Forbidden(capability)
	}
	return caller, nil
}

// again decides the client once more, right before an answer that no transaction
// protects: validating a token may take a while. An edge has no store to ask.
func (c *call) again() error {
	if c.Accounts == nil {
		return nil
	}
	return c.Accounts.Again(c.ctx, c.caller, authz.Using(c.route.Capability))
}

// clientCredentials reads HTTP Basic. RFC 6749, section 2.3.1, has id and secret
// form-encoded first; ours have no character that this would change.
func clientCredentials(r *http.Request) (id, secret string, err error) {
	if n := len(r.Header["Authorization"]); n > 1 {
		return "", "", fmt.Errorf("%w: %d Authorization headers", authz.ErrBadClient, n)
	}
	id, secret, ok := basicAuth(r.Header.Get("Authorization"))
	switch {
	case !ok:
		return "", "", fmt.Errorf("%w: send a client's id and secret with HTTP Basic authentication", fault.ErrNoClient)
	case !isClientID(id):
		return "", "", fmt.Errorf("%w: no client has this id", authz.ErrBadClient)
	}
	return id, secret, nil
}

// basicAuth is [http.Request.BasicAuth] with one or more spaces behind the scheme (RFC
// 9110, section 11.4).
func basicAuth(header string) (id, secret string, ok bool) {
	if scheme, rest, spaced := strings.Cut(header, " "); spaced {
		header = scheme + " " + strings.TrimLeft(rest, " ")
	}
	return (&http.Request{Header: http.Header{"Authorization": {header}}}).BasicAuth()
}

// over reports whether a session has ended for good: there is nothing left to end.
func over(err error) bool {
	return errors.Is(err, token.ErrRevoked) || errors.Is(err, token.ErrMaximumDuration)
}

// ending returns the session that a token may end, or nil if there is nothing left
// to end. A revoked token is left to the services: a newer one may have taken its
// place.
func (c *call) ending(raw string) (*token.Session, error) {
	s, err := servertoken.Ending(c.ctx, c.Validator, raw)
	if over(err) {
		return s, nil
	}
	return s, err
}

// isClientID reports whether a client could have the id.
func isClientID(id string) bool {
	return id != "" && len(id) <= 128 && utf8.ValidString(id) && !strings.ContainsFunc(id, unicode.IsControl)
}
