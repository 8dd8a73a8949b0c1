package httpapi

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"example.com/curfew/internal/fault"
	"example.com/curfew/token"
	"example.com/curfew/token/bearer"
)

// verify is /v1/verify: forward auth. A proxy asks it about each request, with
// that request's headers, and lets it through on 200 with the headers that say
// who it is from (nginx auth_request, Caddy forward_auth, Traefik ForwardAuth,
// Envoy ext_authz). The query says how to answer: see question.
//
// It never takes a cookie away: it answers many requests of a page at a time, and
// the refusal of an old one may arrive after a new sign-in.
func verify(c *call) error {
	q := c.questions.of(c.r)
	if q.preflight && c.isPreflight() {
		c.private()
		c.w.WriteHeader(http.StatusOK)
		return nil
	}
	if q.wrongAge != nil {
		return q.wrongAge
	}
	s, byCookie, err := c.validated(q)
	if err == nil && byCookie {
		s, err = c.renew(s)
	}
	if err != nil {
		if q.signIn != "" && byCookie && c.mayGoToSignIn(err) {
			return c.toSignIn(q, err)
		}
		return err
	}
	c.inbound.User = s.Subject
	who, err := c.member(s, q.groups)
	if errors.Is(err, fault.ErrNotInGroup) && asksForHTML(c.r.Header) {
		return c.denied(who, q.groups, err)
	}
	if err != nil {
		return err
	}
	if err := s.CheckAuthTime(q.maxAge, c.now()); err != nil {
		if q.signIn != "" && byCookie && c.mayGoToSignIn(err) {
			return c.toSignIn(q, err)
		}
		return err
	}
	c.private()
	introduce(c.w.Header(), s, who, "")
	c.w.WriteHeader(http.StatusOK)
	return nil
}

// validated returns the session of the request, and whether it is that of the
// cookie. A bearer token that is refused is refused: the cookie is not tried, or a
// request could have two identities.
func (c *call) validated(q *question) (s *token.Session, byCookie bool, err error) {
	var raw string
	if q.cookieOnly {
		if err := c.checkForeign(); err != nil {
			return nil, false, err
		}
		raw, err = c.Jar.Read(c.ctx, c.r, c.Validator.Validate)
		byCookie = true
	} else {
		raw, byCookie, err = c.tokenOrCookie()
	}
	if err != nil {
		return nil, byCookie, err
	}
	s, err = c.Validator.Validate(c.ctx, raw)
	return s, byCookie, err
}

// tokenOrCookie returns the token of the Authorization header or, without one,
// that of the cookie. An Authorization header of another scheme is meant for the
// service behind the proxy.
func (c *call) tokenOrCookie() (raw string, byCookie bool, err error) {
	raw, err = bearer.FromRequest(c.r)
	if err == nil || !errors.Is(err, token.ErrMissing) {
		return raw, false, err
	}
	raw, err = c.Jar.Read(c.ctx, c.r, c.Validator.Validate)
	return raw, true, err
}

// maxForeign is the maximum number of texts in Authorization headers that could be
// tokens: each may cost a signature check.
const maxForeign = 4

// joseStart is how every token that Curfew signs begins: '{"' in base64url.
const joseStart = "eyJ"

// checkForeign looks at the Authorization header of a request that is decided by
// its cookie. The header is meant for the service behind the proxy, so a text that
// none of our keys signed is ignored. A token that we signed and that is over is
// refused, however the header spells it: the service may take it for valid.
func (c *call) checkForeign() error {
	n := 0
	for _, line := range c.r.Header["Authorization"] {
		for text := range strings.FieldsFuncSeq(line, isNotInToken) {
			if strings.Count(text, ".") != 2 || !strings.HasPrefix(text, joseStart) {
				continue
			}
			if n++; n > maxForeign {
				return fmt.Errorf("%w: more than %d tokens in the Authorization header", token.ErrMalformed, maxForeign)
			}
			_, err := c.Validator.Validate(c.ctx, text)
			switch token.ReasonOf(err) {
			case "", token.ErrMalformed, token.ErrUnknownKey, token.ErrBadSignature:
			default:
				return err
			}
		}
	}
	return nil
}

// isNotInToken reports whether no token has the character.
func isNotInToken(r rune) bool {
	return r >= 0x80 || !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.')
}

// member returns who the user is. The error wraps fault.ErrNotInGroup if the user
// is in none of the groups, unless groups is nil. A token has the groups of the
// last refresh, so before a refusal a server asks the store.
func (c *call) member(s *token.Session, groups []string) (identity, error) {
	who, err := c.identityOf(c.ctx, s)
	if err != nil || groups == nil || who.isIn(groups) {
		return who, err
	}
	if c.Accounts != nil {
		if who, err = c.lookUp(c.ctx, s); err != nil || who.isIn(groups) {
			return who, err
		}
	}
	return who, fmt.Errorf("%w: requires membership in %s", fault.ErrNotInGroup, oneOf(groups))
}

// oneOf names the groups of which one is required.
func oneOf(groups []string) string {
	groups = slices.Clone(groups)
	for i := range groups {
		if groups[i] == "" {
			groups[i] = "(not a valid name)" // see readQuestion
		}
	}
	if len(groups) == 1 {
		return "the group " + groups[0]
	}
	return "one of the groups " + strings.Join(groups, ", ")
}
