// Package jwks writes and reads JWK Set documents (RFC 7517). A server publishes in
// one the public keys that verify sessions.
//
// The API follows semantic versioning: within a major version nothing exported changes
// its meaning or disappears, and no interface that callers implement gains a method.
package jwks

import (
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/MicahParks/jwkset"

	"example.com/curfew/token"
)

// MediaType is the media type of a JWK Set document (RFC 7517, section 8.5.2).
const MediaType = "application/jwk-set+json"

// ErrInvalid is wrapped by the errors of [Parse]. Errors about a key that is too
// weak also wrap [token.ErrWeakKey].
var ErrInvalid = errors.New("invalid JWK Set")

// A set is a JWK Set document (RFC 7517, section 5).
type set struct {
	Keys []jwkset.JWKMarshal `json:"keys"`
}

// Marshal returns the JWK Set of the given keys in their order: the public members
// of each, with kid, alg and "use":"sig". Without keys it returns the empty set.
func Marshal(keys ...*token.Key) (json.RawMessage, error) {
	doc := set{Keys: make([]jwkset.JWKMarshal, 0, len(keys))}
	for _, k := range keys {
		m, err := public(k.Public())
		if err != nil {
			return nil, fmt.Errorf("key %s: %w", k.ID(), err)
		}
		m.KID, m.ALG, m.USE = k.ID(), jwkset.ALG(k.Algorithm()), jwkset.UseSig
		doc.Keys = append(doc.Keys, m)
	}
	return json.Marshal(doc)
}

// Thumbprint returns the SHA-256 thumbprint of a key in base64url (RFC 7638). It is
// the default key ID. The key must be of a kind that [token.NewKey] accepts.
func Thumbprint(key crypto.PublicKey) (string, error) {
	if _, err := token.NewKey("thumbprint", key); err != nil {
		return "", err
	}
	m, err := public(key)
	if err != nil {
		return "", err
	}
	// Only the required members, ordered by name (RFC 7638, section 3.2). No value
	// has a character that JSON would escape.
	var canonical string
	switch m.KTY {
	case jwkset.KtyEC:
		canonical = fmt.Sprintf(`{"crv":"%s","kty":"EC","x":"%s","y":"%s"}`, m.CRV, m.X, m.Y)
	case jwkset.KtyOKP:
		canonical = fmt.Sprintf(`{"crv":"%s","kty":"OKP","x":"%s"}`, m.CRV, m.X)
	default:
		canonical = fmt.Sprintf(`{"e":"%s","kty":"RSA","n":"%s"}`, m.E, m.N)
	}
	sum := sha256.Sum256([]byte(canonical))
	return base64.RawURLEncoding.EncodeToString(sum[:]), nil
}

// public returns the members that identify a public key: kty with crv, x, y or n, e
// (RFC 7518, section 6; RFC 8037, section 2).
func public(key crypto.PublicKey) (jwkset.JWKMarshal, error) {
	jwk, err := jwkset.NewJWKFromKey(key, jwkset.JWKOptions{})
	if err != nil {
		return jwkset.JWKMarshal{}, err
	}
	m := jwk.Marshal()
	return jwkset.JWKMarshal{KTY: m.KTY, CRV: m.CRV, X: m.X, Y: m.Y, N: m.N, E: m.E}, nil
}
