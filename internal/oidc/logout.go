package oidc

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
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
	parts := strings.Split(raw, ".")
	if len(parts) != 3 || len(raw) > maxIDToken {
		return "", nil, fmt.Errorf("%w: it is not a JWS in compact form", ErrToken)
	}
	payload, err := base64.RawURLEncoding.Strict().DecodeString(parts[1])
	if err != nil {
		return "", nil, fmt.Errorf("%w: its payload is not base64url", ErrToken)
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
	k, err := c.known(ctx, r.Issuer)
	if err != nil {
		return Logout{}, err
	}
	if len(raw) > maxIDToken {
		return Logout{}, fmt.Errorf("%w: it is too long", ErrToken)
	}
	// An ID token, which the same key has signed, is no logout token, whatever its claims.
	if err := checkHeader(raw, "logout+jwt", "jwt"); err != nil {
		return Logout{}, fmt.Errorf("%w: %w", ErrToken, err)
	}
	keys := &captured{keys: k.keys, algorithms: k.metadata.Algorithms}
	token, err := oidc.NewVerifier(r.Issuer, keys, &oidc.Config{
		ClientID: r.ClientID, SupportedSigningAlgs: k.metadata.Algorithms,
		SkipExpiryCheck: true, // below
	}).VerifyLogout(ctx, raw)
	switch {
	case errors.Is(keys.err, ErrUnreachable), errors.Is(keys.err, ErrMisconfigured):
		return Logout{}, keys.err
	case errors.Is(keys.err, errKeyUnknown):
		// A provider that has just rotated its keys sends the token again.
		return Logout{}, fmt.Errorf("%w: %w", ErrUnreachable, keys.err)
	case err != nil:
		return Logout{}, fmt.Errorf("%w: %s", ErrToken, printable(err.Error()))
	}
	var payload json.RawMessage
	if err := token.Claims(&payload); err != nil {
		return Logout{}, fmt.Errorf("%w: %w", ErrToken, err)
	}
	claims, err := readClaims(payload)
	if err != nil {
		return Logout{}, fmt.Errorf("%w: %w", ErrToken, err)
	}
	// go-oidc reads names of claims in any letter case.
	if iss, _ := claims.text("iss"); iss != r.Issuer {
		return Logout{}, fmt.Errorf("%w: its issuer is not %s", ErrToken, r.Issuer)
	}
	if aud, err := claims.Texts("aud"); err != nil || !slices.Contains(aud, r.ClientID) {
		return Logout{}, fmt.Errorf("%w: it is for another client", ErrToken)
	}
	if _, given := claims["nonce"]; given {
		return Logout{}, fmt.Errorf("%w: it has a nonce, as an ID token", ErrToken)
	}
	if err := checkEvents(claims["events"]); err != nil {
		return Logout{}, err
	}
	if err := c.checkLogoutDates(claims); err != nil {
		return Logout{}, err
	}
	out := Logout{Issuer: r.Issuer}
	for _, claim := range []struct {
		name     string
		to       *string
		required bool
	}{{"jti", &out.TokenID, true}, {"sid", &out.SessionID, false}, {"sub", &out.Subject, false}} {
		if _, given := claims[claim.name]; !given && !claim.required {
			continue
		}
		text, ok := claims.text(claim.name)
		if !ok || text == "" || len(text) > maxSubject || strings.ContainsFunc(text, isControl) {
			return Logout{}, fmt.Errorf("%w: the claim %s is not a string of 1 to %d bytes without control characters", ErrToken, claim.name, maxSubject)
		}
		*claim.to = text
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

func (c *Client) checkLogoutDates(claims Claims) error {
	now := c.now()
	for _, name := range []string{"iat", "exp"} {
		at, given, err := claims.seconds(name)
		switch t := time.Unix(at, 0); {
		case err != nil:
			return err
		case !given:
			return fmt.Errorf("%w: the claim %s is missing", ErrToken, name)
		case name == "iat" && (t.Before(now.Add(-logoutLeeway)) || t.After(now.Add(logoutLeeway))):
			return fmt.Errorf("%w: the logout token was issued at %s, and the time here is %s", ErrClock, t.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
		case name == "exp" && !now.Before(t.Add(leeway)):
			return fmt.Errorf("%w: it has expired", ErrToken)
		}
	}
	return nil
}
