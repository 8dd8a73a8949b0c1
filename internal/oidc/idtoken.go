package oidc

import (
	"context"
	"crypto/subtle"
	"fmt"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
)

// Identity is what a valid ID token says.
type Identity struct {
	Issuer  string
	Subject string // never reused within the issuer; compared byte for byte
	// SessionID is the provider's session (claim sid); "" if the token does not name it.
	SessionID string
	// AuthTime is when the user authenticated at the provider; zero if it does not say.
	AuthTime time.Time
	// ACR is the authentication context class; "" if the provider does not say.
	ACR string
	// SessionExpiry is when the provider wants the session to end (claim session_expiry,
	// IPSIE SL1); zero if it does not say.
	SessionExpiry time.Time
	// Claims are all claims, with those of the userinfo endpoint that were wanted.
	Claims Claims
	// Raw is the ID token, for the id_token_hint of a sign-out.
	Raw string
}

// maxTokenAge is the maximum time since an ID token was issued: a code lives a minute
// (IPSIE SL1), and clocks may differ by another one.
const maxTokenAge = 2 * time.Minute

// verifyIDToken validates an ID token that the token endpoint has sent, as Core, section
// 3.1.3.7 says.
func (c *Client) verifyIDToken(ctx context.Context, k *known, r Registration, raw, nonce, accessToken string) (Identity, error) {
	if len(raw) > maxJWT {
		return Identity{}, fmt.Errorf("%w: the ID token has %d bytes; at most %d are accepted; send fewer groups in it", ErrMisconfigured, len(raw), maxJWT)
	}
	token, claims, err := verifyJWT(ctx, k, r, raw, (*oidc.IDTokenVerifier).Verify, "jwt")
	if err != nil {
		return Identity{}, err
	}
	// The provider has just issued the token, so iat is also a reading of its clock: if
	// that is wrong, so is auth_time.
	if err := c.checkDates(claims, maxTokenAge, leeway); err != nil {
		return Identity{}, err
	}
	// No other audience is trusted (points 3 to 5).
	_, given := claims["azp"]
	aud, err := claims.Texts("aud")
	if azp, _ := claims.text("azp"); err != nil || len(aud) != 1 || given && azp != r.ClientID {
		return Identity{}, fmt.Errorf("%w: it is for another client as well", ErrToken)
	}
	if given, _ := claims.text("nonce"); nonce == "" || subtle.ConstantTimeCompare([]byte(given), []byte(nonce)) != 1 {
		return Identity{}, fmt.Errorf("%w: its nonce is not that of this attempt", ErrToken)
	}
	if _, given := claims["at_hash"]; given {
		if err := token.VerifyAccessToken(accessToken); err != nil {
			return Identity{}, fmt.Errorf("%w: at_hash does not match the access token", ErrToken)
		}
	}
	return c.identity(r, claims, raw)
}

// identity returns what the claims of a valid ID token say of the user.
func (c *Client) identity(r Registration, claims Claims, raw string) (Identity, error) {
	id := Identity{Issuer: r.Issuer, Claims: claims, Raw: raw}
	for name, to := range map[string]*string{"sub": &id.Subject, "sid": &id.SessionID, "acr": &id.ACR} {
		var err error
		if *to, err = claims.identifier(name); err != nil {
			return Identity{}, err
		}
	}
	for name, to := range map[string]*time.Time{"auth_time": &id.AuthTime, "session_expiry": &id.SessionExpiry} {
		var err error
		if *to, err = claims.date(name); err != nil {
			return Identity{}, err
		}
	}
	switch {
	case id.Subject == "":
		return Identity{}, fmt.Errorf("%w: the claim sub is missing or empty", ErrToken)
	case !id.SessionExpiry.IsZero() && !c.now().Before(id.SessionExpiry):
		return Identity{}, fmt.Errorf("%w: its session_expiry has passed", ErrToken)
	case id.AuthTime.After(c.now().Add(leeway)):
		return Identity{}, fmt.Errorf("%w: its auth_time is in the future", ErrClock)
	}
	return id, nil
}
