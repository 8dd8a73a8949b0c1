package httpapi

import (
	"net/http"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/servertoken"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/wire"
	"example.com/curfew/internal/wireform"
	"example.com/curfew/token"
	"example.com/curfew/token/bearer"
)

// signIn is POST /v1/sessions.
func signIn(c *call) error {
	var body wire.SignIn
	if err := decode(c.r, &body, false); err != nil {
		return err
	}
	from := c.origin()
	from.Presented = c.presented()
	var issued session.Issued
	var err error
	if body.NewPassword == nil {
		issued, err = c.Sessions.SignIn(c.ctx, body.Username, body.Password, body.RememberMe, from)
	} else {
		issued, err = c.Sessions.SignInChanging(c.ctx, body.Username, body.Password, *body.NewPassword, body.RememberMe, from)
	}
	if err != nil {
		return err
	}
	c.inbound.User = issued.User.ID
	return c.issued(http.StatusCreated, issued)
}

// presented returns the session of the token that came along, if it is proven and
// not revoked; it may have timed out. A sign-in needs none: whatever is wrong with
// the token is as if there were none.
func (c *call) presented() *token.Session {
	raw, err := bearer.FromRequest(c.r)
	if err != nil {
		return nil
	}
	s, err := servertoken.Ending(c.ctx, c.Validator, raw)
	if err != nil {
		return nil
	}
	return s
}

// issue is POST /v1/users/{id}/sessions.
func issue(c *call) error {
	id := c.r.PathValue("id")
	if !token.ValidSubject(id) {
		return account.InvalidField("id", "must be a user's id: 1 to 128 letters, digits and . _ ~ : @ - |, but not ., .. or me")
	}
	var body wire.Issue
	if err := decode(c.r, &body, true); err != nil {
		return err
	}
	issued, err := c.Sessions.Issue(c.ctx, c.caller, id, body.RememberMe, c.origin())
	if err != nil {
		return err
	}
	return c.issued(http.StatusCreated, issued)
}

func (c *call) issued(status int, issued session.Issued) error {
	return c.json(status, wireform.Issued(issued))
}

// describe is GET /v1/session.
func describe(c *call) error {
	s, err := c.Sessions.Describe(c.ctx, c.session)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, wireform.Session(s))
}

// refresh is POST /v1/session/refresh.
func refresh(c *call) error {
	if err := decode(c.r, &struct{}{}, true); err != nil {
		return err
	}
	issued, err := c.Sessions.Refresh(c.ctx, c.session)
	if err != nil {
		return err
	}
	return c.issued(http.StatusOK, issued)
}

// reauthenticate is POST /v1/session/reauthenticate.
func reauthenticate(c *call) error {
	var body wire.Reauthenticate
	if err := decode(c.r, &body, false); err != nil {
		return err
	}
	issued, err := c.Sessions.Reauthenticate(c.ctx, c.caller, body.Password, c.origin())
	if err != nil {
		return err
	}
	return c.issued(http.StatusOK, issued)
}

// signOut is DELETE /v1/session. A session that is over needs no ending. A token
// that has only timed out may be an old one of a session that lives on with a
// newer token: that is ended as well.
func signOut(c *call) error {
	raw, err := bearer.FromRequest(c.r)
	if err != nil {
		return err
	}
	s, err := c.ending(raw)
	if err != nil {
		return err
	}
	if s == nil {
		return c.nothing()
	}
	c.inbound.User = s.Subject
	if err := c.Sessions.SignOut(c.ctx, s, c.origin()); err != nil {
		return err
	}
	return c.nothing()
}

// listSessions is GET /v1/users/{id}/sessions.
func listSessions(c *call) error {
	id, err := c.userID()
	if err != nil {
		return err
	}
	n, err := limit(c.query)
	if err != nil {
		return err
	}
	after, err := position(c.query, "sessions")
	if err != nil {
		return err
	}
	all, err := c.Sessions.List(c.ctx, c.caller, id)
	if err != nil {
		return err
	}
	page, next := pageAfter(all, after, n, func(s session.Live) string { return s.ID })
	answer := wire.LiveSessions{Sessions: wireform.LiveSessions(page)}
	if next != "" {
		answer.NextCursor = cursor("sessions", next)
	}
	return c.json(http.StatusOK, answer)
}

// pageAfter returns at most n of all, from behind the one with the key after, and
// the key behind which the next page begins. If the one named after is gone, the
// list begins anew: nothing is left out that way.
func pageAfter[T any](all []T, after string, n int, key func(T) string) (page []T, next string) {
	start := 0
	for i, one := range all {
		if after != "" && key(one) == after {
			start = i + 1
		}
	}
	end := min(start+n, len(all))
	if end < len(all) {
		next = key(all[end-1])
	}
	return append([]T{}, all[start:end]...), next // never null
}

// revokeSession is DELETE /v1/users/{id}/sessions/{sid}.
func revokeSession(c *call) error {
	id, err := c.userID()
	if err != nil {
		return err
	}
	receipt, err := c.Sessions.RevokeSession(c.ctx, c.caller, id, c.r.PathValue("sid"), c.query.Get("reason"))
	if err != nil {
		return err
	}
	c.w.Header().Set("Location", c.receiptAddress(receipt))
	return c.nothing()
}
