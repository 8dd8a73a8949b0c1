package oidc

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"example.com/curfew/internal/strictjson"
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

const (
	leeway = time.Minute // between two clocks
	// maxTokenAge is the maximum time since the ID token was issued: a code lives a minute
	// (IPSIE SL1), and clocks may differ by another one.
	maxTokenAge = 2 * time.Minute
	maxSubject  = 255 // bytes (Core, section 2)
	// maxIDToken bounds an ID token in bytes. Only hundreds of groups make one so large.
	maxIDToken = 128 << 10
)

// verifyIDToken validates an ID token that the token endpoint has sent, as Core, section
// 3.1.3.7 says.
func (c *Client) verifyIDToken(ctx context.Context, k *known, r Registration, raw, nonce, accessToken string) (Identity, error) {
	payload, token, err := c.verifyJWT(ctx, k, r, raw)
	if err != nil {
		return Identity{}, err
	}
	claims, err := readClaims(payload)
	if err != nil {
		return Identity{}, fmt.Errorf("%w: %w", ErrToken, err)
	}
	if err := c.checkDates(claims); err != nil {
		return Identity{}, err
	}
	// go-oidc reads names of claims in any letter case.
	if iss, _ := claims.text("iss"); iss != r.Issuer {
		return Identity{}, fmt.Errorf("%w: its issuer is not %s", ErrToken, r.Issuer)
	}
	// Only this client may be meant: no other audience is trusted here (points 3 to 5).
	_, given := claims["azp"]
	aud, err := claims.Texts("aud")
	if azp, _ := claims.text("azp"); err != nil || len(aud) != 1 || aud[0] != r.ClientID || given && azp != r.ClientID {
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
	id := Identity{Issuer: r.Issuer, Claims: claims, Raw: raw}
	for _, claim := range []struct {
		name     string
		to       *string
		required bool
	}{{"sub", &id.Subject, true}, {"sid", &id.SessionID, false}, {"acr", &id.ACR, false}} {
		if _, given := claims[claim.name]; !given && !claim.required {
			continue
		}
		text, ok := claims.text(claim.name)
		if !ok || text == "" && claim.required || len(text) > maxSubject || strings.ContainsFunc(text, isControl) {
			return Identity{}, fmt.Errorf("%w: the claim %s is not a string of 1 to %d bytes without control characters", ErrToken, claim.name, maxSubject)
		}
		*claim.to = text
	}
	for _, claim := range []struct {
		name string
		to   *time.Time
	}{{"auth_time", &id.AuthTime}, {"session_expiry", &id.SessionExpiry}} {
		at, given, err := claims.seconds(claim.name)
		if err != nil {
			return Identity{}, err
		}
		if given {
			*claim.to = time.Unix(at, 0)
		}
	}
	if !id.SessionExpiry.IsZero() && !c.now().Before(id.SessionExpiry) {
		return Identity{}, fmt.Errorf("%w: its session_expiry has passed", ErrToken)
	}
	if id.AuthTime.After(c.now().Add(leeway)) {
		return Identity{}, fmt.Errorf("%w: its auth_time is in the future", ErrClock)
	}
	return id, nil
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// verifyJWT checks form, header, signature, issuer and audience.
func (c *Client) verifyJWT(ctx context.Context, k *known, r Registration, raw string) ([]byte, *oidc.IDToken, error) {
	if len(raw) > maxIDToken {
		return nil, nil, fmt.Errorf("%w: the ID token has %d bytes; at most %d are accepted; send fewer groups in it", ErrMisconfigured, len(raw), maxIDToken)
	}
	if err := checkHeader(raw, "jwt"); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrToken, err)
	}
	keys := &captured{keys: k.keys, algorithms: k.metadata.Algorithms}
	verifier := oidc.NewVerifier(r.Issuer, keys, &oidc.Config{
		ClientID: r.ClientID, SupportedSigningAlgs: k.metadata.Algorithms,
		SkipExpiryCheck: true, // by checkDates
	})
	token, err := verifier.Verify(ctx, raw)
	switch {
	case errors.Is(keys.err, ErrUnreachable), errors.Is(keys.err, ErrMisconfigured):
		return nil, nil, keys.err
	case err != nil:
		return nil, nil, fmt.Errorf("%w: %s", ErrToken, printable(err.Error()))
	}
	var payload json.RawMessage
	if err := token.Claims(&payload); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrToken, err)
	}
	return payload, token, nil
}

// checkHeader checks that a token is in compact form and that its header, if it names a
// type, names one of types. A token of another kind that the same key has signed must
// not pass for an ID token (RFC 8725, section 3.11).
func checkHeader(raw string, types ...string) error {
	if strings.Count(raw, ".") != 2 || strings.ContainsFunc(raw, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.')
	}) {
		return errors.New("it is not a JWS in compact form")
	}
	encoded, _, _ := strings.Cut(raw, ".")
	header, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return errors.New("its header is not base64url")
	}
	typ := ""
	err = strict.Object(header, func(name []byte, v strictjson.Value) error {
		if string(name) != "typ" {
			return nil
		}
		text, ok := v.Text()
		if !ok {
			return errors.New("typ is not a string")
		}
		typ = strings.TrimPrefix(strings.ToLower(text), "application/")
		return nil
	})
	if err != nil {
		return fmt.Errorf("its header is not valid: %w", err)
	}
	if typ == "" {
		return nil
	}
	for _, accepted := range types {
		if typ == accepted {
			return nil
		}
	}
	return fmt.Errorf("its type is %q", printable(typ))
}

// checkDates checks iat, exp and nbf. The provider has just issued the token, so iat is
// also a reading of its clock: if that is wrong, so is auth_time.
func (c *Client) checkDates(claims Claims) error {
	now := c.now()
	iat, given, err := claims.seconds("iat")
	switch {
	case err != nil:
		return err
	case !given:
		return fmt.Errorf("%w: the claim iat is missing", ErrToken)
	}
	if issued := time.Unix(iat, 0); issued.After(now.Add(leeway)) || issued.Before(now.Add(-maxTokenAge)) {
		return fmt.Errorf("%w: the ID token was issued at %s, and the time here is %s", ErrClock, issued.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	exp, given, err := claims.seconds("exp")
	switch {
	case err != nil:
		return err
	case !given:
		return fmt.Errorf("%w: the claim exp is missing", ErrToken)
	case !now.Before(time.Unix(exp, 0).Add(leeway)):
		return fmt.Errorf("%w: it has expired", ErrToken)
	}
	nbf, given, err := claims.seconds("nbf")
	switch {
	case err != nil:
		return err
	case given && time.Unix(nbf, 0).After(now.Add(leeway)):
		return fmt.Errorf("%w: it is not valid yet", ErrToken)
	}
	return nil
}
