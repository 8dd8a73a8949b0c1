package oidc

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"example.com/curfew/internal/strictjson"
)

// Logout is what a valid logout token says (OpenID Connect Back-Channel Logout 1.0). At
// least one of SessionID and Subject is not "".
type Logout struct {
	Issuer    string
	SessionID string // the provider's session that has ended
	Subject   string // whose sessions have ended, if SessionID is ""
	TokenID   string // claim jti: the caller accepts each once
}

const (
	// logoutLeeway is the maximum time between a logout token's iat and now.
	logoutLeeway = 5 * time.Minute
	logoutEvent  = "http://schemas.openid.net/event/backchannel-logout"
)

// LogoutIssuer returns the issuer that a logout token claims to be from, and its
// audiences. Nothing of it is verified: it selects the registrations that
// [Client.VerifyLogout] is called with. The error wraps [ErrToken].
func LogoutIssuer(raw string) (issuer string, audiences []string, err error) {
	payload, err := decodedPart(raw, 1)
	if err != nil {
		return "", nil, err
	}
	claims, err := readClaims(payload)
	if err != nil {
		return "", nil, fmt.Errorf("%w: %w", ErrToken, err)
	}
	issuer, _ = claims.text("iss")
	audiences, err = claims.Texts("aud")
	if err != nil || issuer == "" || len(audiences) == 0 {
		return "", nil, fmt.Errorf("%w: it names no issuer or no audience", ErrToken)
	}
	return issuer, audiences, nil
}

// VerifyLogout validates a logout token (Back-Channel Logout, section 2.6), except that it
// accepts a token any number of times: see [Logout]. Errors wrap [ErrToken], and
// [ErrUnreachable] or [ErrMisconfigured] if the provider's keys can't be had, or can't be
// asked for again yet because of an unknown key.
func (c *Client) VerifyLogout(ctx context.Context, r Registration, raw string) (Logout, error) {
	k, err := c.known(ctx, r.Issuer, r.Changed)
	if err != nil {
		return Logout{}, err
	}
	// Some providers set the type of an ID token. The claims nonce and events tell those
	// apart.
	_, claims, err := verifyJWT(ctx, k, r, raw, (*oidc.IDTokenVerifier).VerifyLogout, "logout+jwt", "jwt")
	switch {
	case errors.Is(err, errKeyUnknown):
		// A provider that has just rotated its keys may send the token again.
		return Logout{}, fmt.Errorf("%w: %w", ErrUnreachable, errKeyUnknown)
	case err != nil:
		return Logout{}, err
	}
	if _, given := claims["nonce"]; given {
		return Logout{}, fmt.Errorf("%w: it has a nonce, as an ID token", ErrToken)
	}
	if err := checkEvents(claims["events"]); err != nil {
		return Logout{}, err
	}
	if err := c.checkDates(claims, logoutLeeway, logoutLeeway); err != nil {
		return Logout{}, err
	}
	out := Logout{Issuer: r.Issuer}
	for name, to := range map[string]*string{"jti": &out.TokenID, "sid": &out.SessionID, "sub": &out.Subject} {
		if *to, err = claims.identifier(name); err != nil {
			return Logout{}, err
		}
		if _, given := claims[name]; given && *to == "" {
			return Logout{}, fmt.Errorf("%w: the claim %s is empty", ErrToken, name)
		}
	}
	if out.TokenID == "" {
		return Logout{}, fmt.Errorf("%w: the claim jti is missing", ErrToken)
	}
	if out.SessionID == "" && out.Subject == "" {
		return Logout{}, fmt.Errorf("%w: it names neither a session nor a subject", ErrToken)
	}
	return out, nil
}

// checkEvents checks that the event of a logout token is a logout: a member whose value is
// an object (section 2.4).
func checkEvents(events strictjson.Value) error {
	found := false
	if events.Kind() == strictjson.Object {
		err := events.Members(func(name []byte, v strictjson.Value) error {
			found = found || string(name) == logoutEvent && v.Kind() == strictjson.Object
			return nil
		})
		if err != nil {
			return fmt.Errorf("%w: its events can't be read", ErrToken)
		}
	}
	if !found {
		return fmt.Errorf("%w: it is not about a logout", ErrToken)
	}
	return nil
}
