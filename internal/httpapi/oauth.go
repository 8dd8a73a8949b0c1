package httpapi

import (
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/fault"
	"example.com/curfew/internal/servertoken"
	"example.com/curfew/token"
	"example.com/curfew/token/bearer"
)

// introspection is RFC 7662, section 2.2. scope and client_id are absent: a
// session is of a user alone and may do whatever the user may.
type introspection struct {
	Active      bool           `json:"active"`
	TokenType   string         `json:"token_type"`
	Issuer      string         `json:"iss"`
	Audience    []string       `json:"aud"`
	Subject     string         `json:"sub"`
	SessionID   string         `json:"sid"`
	IssuedAt    token.UnixTime `json:"iat"`
	NotBefore   token.UnixTime `json:"nbf,omitempty"`
	ExpiresAt   token.UnixTime `json:"exp"`
	LastRefresh token.UnixTime `json:"last_refresh"`
	RememberMe  bool           `json:"remember_me"`
	Epoch       int64          `json:"epoch"`

	// RFC 9470, section 6.2; and a limit on the session.
	AuthTime      token.UnixTime `json:"auth_time,omitempty"`
	ACR           string         `json:"acr,omitempty"`
	SessionExpiry token.UnixTime `json:"session_expiry,omitempty"`
}

// introspect is POST /oauth/introspect. Of a token that is not active nothing is
// said but that, not even why: the caller may not be the one it was meant for.
func introspect(c *call) error {
	form, err := readForm(c.r, "token")
	if err != nil {
		return err
	}
	s, err := c.Validator.Validate(c.ctx, form.Get("token"))
	if token.ReasonOf(err) == token.ErrUnavailable {
		return err
	}
	if refused := c.again(); refused != nil {
		return refused
	}
	if err != nil {
		return c.json(http.StatusOK, map[string]bool{"active": false})
	}
	// exp is when the session ends by the present settings, so that a client which
	// caches this answer until then does not accept the token for too long.
	in := c.Settings.Current().Settings
	exp := min(s.ExpiresAt, s.MaximumEnd(in))
	if !s.RememberMe {
		exp = min(exp, s.IdleEnd(in))
	}
	return c.json(http.StatusOK, introspection{
		Active: true, TokenType: "Bearer",
		Issuer: s.Issuer, Audience: s.Audience, Subject: s.Subject, SessionID: s.ID,
		IssuedAt: s.IssuedAt, NotBefore: s.NotBefore, ExpiresAt: exp, LastRefresh: s.LastRefresh,
		RememberMe: s.RememberMe, Epoch: int64(s.Epoch),
		AuthTime: s.AuthTime, ACR: s.ACR, SessionExpiry: s.SessionExpiry,
	})
}

// revokeToken is POST /oauth/revoke (RFC 7009). A holder of the token may end its
// session: an authenticated client that was given it, or its user, whose proof is
// the token itself. An unknown, forged or ended token is no error: it cannot be
// used, as the caller wants.
func revokeToken(c *call) error {
	byClient, err := c.clientOrHolder()
	if err != nil {
		return err
	}
	form, err := readForm(c.r, "token")
	if err != nil {
		return err
	}
	s, err := c.ending(form.Get("token"))
	switch {
	case token.ReasonOf(err) == token.ErrUnavailable:
		return err
	case err != nil || s == nil:
		return c.done()
	case byClient:
		err = c.Sessions.EndToken(c.ctx, c.caller, s)
	default:
		c.inbound.User = s.Subject
		err = c.Sessions.SignOut(c.ctx, s, c.origin())
	}
	if err != nil {
		return err
	}
	return c.done()
}

// done answers 200 without a body, as RFC 7009, section 2.2 has it.
func (c *call) done() error {
	c.private()
	c.w.WriteHeader(http.StatusOK)
	return nil
}

// clientOrHolder proves the credential in the Authorization header, if there is
// one. A bearer token there must be valid, or the token to revoke.
func (c *call) clientOrHolder() (byClient bool, err error) {
	headers := c.r.Header["Authorization"]
	if len(headers) == 0 {
		return false, nil
	}
	if raw, err := bearer.FromRequest(c.r); err == nil {
		_, err := servertoken.Ending(c.ctx, c.Validator, raw)
		if over(err) { // the session is over: nothing to say against asking for that again
			err = nil
		}
		return false, err
	}
	return true, c.loadClient()
}

// readForm reads a form with a token in a field (RFC 7009, section 2.1; RFC 7662,
// section 2.1). Parameters that are not known are ignored, as both demand; no
// parameter may be there twice (RFC 6749, section 3.2). The query is not looked
// at: tokens in it would end up in logs.
func readForm(r *http.Request, field string) (url.Values, error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, fmt.Errorf("%w: send a form, with Content-Type: application/x-www-form-urlencoded", fault.ErrMediaType)
	}
	body, err := readBody(r)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, fmt.Errorf("%w: the form is malformed", fault.ErrInvalid)
	}
	for name, values := range form {
		if len(values) > 1 {
			return nil, account.InvalidField(cutName(strings.ToValidUTF8(name, "\ufffd")), "is given twice")
		}
	}
	if form.Get(field) == "" {
		return nil, account.InvalidField(field, "is required")
	}
	return form, nil
}

// globalRevocation is the body of POST /oauth/global-token-revocation
// (draft-parecki-oauth-global-token-revocation). Subject is what earlier drafts
// called the member.
type globalRevocation struct {
	SubID   *subjectIdentifier `json:"sub_id"`
	Subject *subjectIdentifier `json:"subject"`
}

// subjectIdentifier is RFC 9493, section 3.
type subjectIdentifier struct {
	Format  string `json:"format"`
	ID      string `json:"id"`
	Email   string `json:"email"`
	Issuer  string `json:"iss"`
	Subject string `json:"sub"`
}

// revokeSubject is POST /oauth/global-token-revocation.
func revokeSubject(c *call) error {
	var body globalRevocation
	if err := decode(c.r, &body, false); err != nil {
		return err
	}
	who := body.SubID
	if who == nil {
		who = body.Subject
	}
	if who == nil || body.SubID != nil && body.Subject != nil {
		return account.InvalidField("sub_id", "is required, and subject must not be given")
	}
	users, err := c.subjects(who)
	if err != nil {
		return err
	}
	if err := c.Sessions.RevokeFor(c.ctx, c.caller, users, "global token revocation"); err != nil {
		return err
	}
	return c.nothing()
}

// subjects returns the ids of the users that an identifier stands for. An email
// stands for every user who has it: a second account with the address must not
// stop an identity provider from ending the sessions of the first.
func (c *call) subjects(who *subjectIdentifier) ([]string, error) {
	members := map[string]bool{"id": who.ID != "", "email": who.Email != "", "iss": who.Issuer != "", "sub": who.Subject != ""}
	var want []string
	switch who.Format {
	case "opaque":
		want = []string{"id"}
	case "email":
		want = []string{"email"}
	case "iss_sub":
		want = []string{"iss", "sub"}
	default:
		return nil, account.InvalidField("sub_id.format", "must be opaque, email or iss_sub")
	}
	for name, there := range members {
		if there != slices.Contains(want, name) {
			return nil, account.InvalidField("sub_id", "of format %s must have exactly the members %s", who.Format, strings.Join(want, " and "))
		}
	}
	unknown := fmt.Errorf("%w: no user has that identifier", fault.ErrNotFound)
	id := who.ID
	switch who.Format {
	case "email":
		users, err := c.Accounts.UsersByEmail(c.ctx, c.caller, who.Email)
		if err != nil {
			return nil, err
		}
		if len(users) == 0 {
			return nil, unknown
		}
		ids := make([]string, len(users))
		for i, u := range users {
			ids[i] = u.ID
		}
		return ids, nil
	case "iss_sub":
		if !c.acceptsIssuer(who.Issuer) {
			return nil, unknown
		}
		id = who.Subject
	}
	if !token.ValidSubject(id) || !utf8.ValidString(id) {
		return nil, unknown
	}
	return []string{id}, nil
}

// acceptsIssuer reports whether sessions of an issuer are accepted now.
func (a *api) acceptsIssuer(issuer string) bool {
	if a.Issuers == nil {
		return issuer == a.Issuer
	}
	return a.Issuers.Current().Until(issuer) > token.UnixTime(a.now().Unix())
}
