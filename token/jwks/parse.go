package jwks

import (
	"encoding/json"
	"fmt"

	"github.com/MicahParks/jwkset"

	"example.com/curfew/token"
)

// Parse reads a JWK Set. It returns no keys if one key is unknown, not accepted,
// not in canonical form, or a duplicate. A validator that knows only some of the
// keys would refuse valid sessions.
//
// Every key must have kid and its own alg, and may have "use":"sig". A member of a
// private or symmetric key is an error, because its publisher must learn of the
// leak. Other members are ignored (RFC 7517, section 4). Certificates in particular
// are neither read nor fetched.
//
// Errors wrap [ErrInvalid].
func Parse(data []byte) ([]*token.Key, error) {
	// With a map, unlike with a struct, encoding/json does not fold the case of
	// names.
	var doc map[string]json.RawMessage
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("%w: not a JSON object: %w", ErrInvalid, err)
	}
	var members []map[string]json.RawMessage
	if err := json.Unmarshal(doc["keys"], &members); err != nil || members == nil {
		return nil, fmt.Errorf("%w: keys is missing or not an array of objects", ErrInvalid)
	}
	keys := make([]*token.Key, 0, len(members))
	for i, m := range members {
		k, err := parseKey(m)
		if err != nil {
			return nil, fmt.Errorf("%w: keys[%d]: %w", ErrInvalid, i, err)
		}
		keys = append(keys, k)
	}
	if _, err := token.NewKeySet(keys...); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return keys, nil
}

// private are the members of private and symmetric keys (RFC 7518, sections
// 6.2.2, 6.3.2 and 6.4; RFC 8037, section 2).
var private = []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"}

func parseKey(m map[string]json.RawMessage) (*token.Key, error) {
	for _, name := range private {
		if _, there := m[name]; there {
			return nil, fmt.Errorf("it has the member %q of a private key, which should not have been published: replace the key", name)
		}
	}
	in, err := textMembers(m)
	if err != nil {
		return nil, err
	}
	if use, there := in["use"]; there && use != string(jwkset.UseSig) {
		return nil, fmt.Errorf("use is %q, want %q", use, jwkset.UseSig)
	}
	claimed := jwkset.JWKMarshal{
		KTY: jwkset.KTY(in["kty"]), CRV: jwkset.CRV(in["crv"]),
		X: in["x"], Y: in["y"], N: in["n"], E: in["e"],
	}
	jwk, err := jwkset.NewJWKFromMarshal(claimed, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{SkipMetadata: true})
	if err != nil {
		return nil, err
	}
	k, err := token.NewKey(in["kid"], jwk.Key())
	if err != nil {
		return nil, err
	}
	if in["alg"] != k.Algorithm() {
		return nil, fmt.Errorf("key %q: alg is %q, but the key's own is %q", k.ID(), in["alg"], k.Algorithm())
	}
	// Padding, stray bits, leading zeros or members of another key type are
	// refused: a key has only its canonical form.
	if own, err := public(k.Public()); err != nil || !same(own, claimed) {
		return nil, fmt.Errorf("key %q: not in canonical form", k.ID())
	}
	return k, nil
}

// textMembers returns the known members. All of them are strings.
func textMembers(m map[string]json.RawMessage) (map[string]string, error) {
	out := map[string]string{}
	for _, name := range []string{"kty", "crv", "x", "y", "n", "e", "kid", "alg", "use"} {
		raw, there := m[name]
		if !there {
			continue
		}
		var text *string
		if err := json.Unmarshal(raw, &text); err != nil || text == nil {
			return nil, fmt.Errorf("%s is not a string", name)
		}
		out[name] = *text
	}
	return out, nil
}

func same(a, b jwkset.JWKMarshal) bool {
	return a.KTY == b.KTY && a.CRV == b.CRV && a.X == b.X && a.Y == b.Y && a.N == b.N && a.E == b.E
}
