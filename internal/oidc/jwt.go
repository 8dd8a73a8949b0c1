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

const (
	leeway = time.Minute // between two clocks
	// maxJWT is the maximum size of a token in bytes. Only hundreds of groups make an ID
	// token so large.
	maxJWT = 128 << 10
)

// verifyJWT checks what ID tokens and logout tokens have in common: form, type, signature,
// issuer and audience. verify is the method of the verifier for the kind of token. The
// error wraps [ErrToken], also [errKeyUnknown] if a key is not known yet, or
// [ErrUnreachable] or [ErrMisconfigured] if the keys can't be had.
func verifyJWT[T interface{ Claims(v any) error }](ctx context.Context, k *known, r Registration, raw string,
	verify func(*oidc.IDTokenVerifier, context.Context, string) (T, error), types ...string,
) (token T, claims Claims, err error) {
	if err := checkHeader(raw, types...); err != nil {
		return token, nil, err
	}
	keys := &captured{keys: k.keys, algorithms: k.metadata.Algorithms}
	token, err = verify(oidc.NewVerifier(r.Issuer, keys, &oidc.Config{
		ClientID: r.ClientID, SupportedSigningAlgs: k.metadata.Algorithms,
		SkipExpiryCheck: true, // see checkDates
	}), ctx, raw)
	switch {
	case errors.Is(keys.err, ErrUnreachable), errors.Is(keys.err, ErrMisconfigured):
		return token, nil, keys.err
	case errors.Is(keys.err, errKeyUnknown):
		return token, nil, fmt.Errorf("%w: %w", ErrToken, keys.err)
	case err != nil:
		return token, nil, fmt.Errorf("%w: %s", ErrToken, printable(err.Error()))
	}
	var payload json.RawMessage
	if err := token.Claims(&payload); err != nil {
		return token, nil, fmt.Errorf("%w: %w", ErrToken, err)
	}
	if claims, err = readClaims(payload); err != nil {
		return token, nil, fmt.Errorf("%w: %w", ErrToken, err)
	}
	// go-oidc accepts the names of claims in any letter case.
	if iss, _ := claims.text("iss"); iss != r.Issuer {
		return token, nil, fmt.Errorf("%w: its issuer is not %s", ErrToken, r.Issuer)
	}
	if aud, err := claims.Texts("aud"); err != nil || !slices.Contains(aud, r.ClientID) {
		return token, nil, fmt.Errorf("%w: it is for another client", ErrToken)
	}
	return token, claims, nil
}

// checkHeader checks the type in the header of a token, which may be missing, is one of
// types. Without this check a token of another kind that the same key has signed could
// pass for one of these (RFC 8725, section 3.11). The error wraps [ErrToken].
func checkHeader(raw string, types ...string) error {
	header, err := decodedPart(raw, 0)
	if err != nil {
		return err
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
	switch {
	case err != nil:
		return fmt.Errorf("%w: its header is not valid: %w", ErrToken, err)
	case typ != "" && !slices.Contains(types, typ):
		return fmt.Errorf("%w: its type is %q", ErrToken, printable(typ))
	}
	return nil
}

// decodedPart returns a part of a JWS in compact form: 0 is the header, 1 the payload.
// Nothing of it is verified. The error wraps [ErrToken].
func decodedPart(raw string, i int) ([]byte, error) {
	parts := strings.Split(raw, ".")
	// The base64 package skips line breaks.
	if len(raw) > maxJWT || len(parts) != 3 || strings.ContainsAny(raw, "\r\n") {
		return nil, fmt.Errorf("%w: it is not a JWS in compact form of at most %d bytes", ErrToken, maxJWT)
	}
	part, err := base64.RawURLEncoding.Strict().DecodeString(parts[i])
	if err != nil {
		return nil, fmt.Errorf("%w: it is not a JWS in compact form", ErrToken)
	}
	return part, nil
}

// checkDates checks iat, exp and nbf (RFC 7519, sections 4.1.4 to 4.1.6). iat must be at
// most maxAge before now, and at most maxAhead after it. The error wraps [ErrToken], or
// [ErrClock] if iat is out of these bounds.
func (c *Client) checkDates(claims Claims, maxAge, maxAhead time.Duration) error {
	now := c.now()
	var dates [3]time.Time
	for i, name := range []string{"iat", "exp", "nbf"} {
		var err error
		if dates[i], err = claims.date(name); err != nil {
			return err
		}
		if dates[i].IsZero() && name != "nbf" {
			return fmt.Errorf("%w: the claim %s is missing", ErrToken, name)
		}
	}
	switch iat, exp, nbf := dates[0], dates[1], dates[2]; {
	case iat.Before(now.Add(-maxAge)), iat.After(now.Add(maxAhead)):
		return fmt.Errorf("%w: the token was issued at %s, and the time here is %s", ErrClock, iat.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	case !now.Before(exp.Add(leeway)):
		return fmt.Errorf("%w: it has expired", ErrToken)
	case nbf.After(now.Add(leeway)):
		return fmt.Errorf("%w: it is not valid yet", ErrToken)
	}
	return nil
}
