package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/golang-jwt/jwt/v5"

	"example.com/curfew/internal/notify"
)

// The algorithms that a key may have (RFC 7518, section 3.1; RFC 8037). "none" is
// not allowed. HMACs are not allowed either: a service that can validate with a
// shared secret could also mint.
const (
	ES256 = "ES256" // ECDSA on P-256: the default
	EdDSA = "EdDSA" // Ed25519
	RS256 = "RS256" // RSA with PKCS #1 v1.5 padding, 2048 to 8192 bits
)

const maxKeyIDLength = 256

// ErrWeakKey is wrapped by errors about keys that are not accepted for sessions.
// The text gives the reason.
var ErrWeakKey = errors.New("key not acceptable")

// Key is a public key that verifies tokens. Its algorithm belongs to the key: the
// header of a token can only match it (RFC 8725, section 3.1).
type Key struct {
	id     string
	alg    string
	public crypto.PublicKey
	method jwt.SigningMethod
}

// NewKey returns a verification key. public is an *ecdsa.PublicKey on P-256, an
// ed25519.PublicKey or an *rsa.PublicKey; it determines the algorithm. The key ID
// has 1 to 256 printable ASCII characters. Errors wrap [ErrWeakKey].
func NewKey(id string, public crypto.PublicKey) (*Key, error) {
	if len(id) < 1 || len(id) > maxKeyIDLength {
		return nil, fmt.Errorf("%w: a key ID has 1 to %d characters, this one has %d", ErrWeakKey, maxKeyIDLength, len(id))
	}
	for i := range len(id) {
		if id[i] <= ' ' || id[i] > '~' {
			return nil, fmt.Errorf("%w: key ID %q has a character outside printable ASCII", ErrWeakKey, id)
		}
	}
	k := &Key{id: id, public: public}
	var err error
	switch p := public.(type) {
	case *ecdsa.PublicKey:
		k.alg, k.method, err = ES256, jwt.SigningMethodES256, checkECDSA(p)
	case ed25519.PublicKey:
		k.alg, k.method, err = EdDSA, jwt.SigningMethodEdDSA, checkEd25519(p)
	case *rsa.PublicKey:
		k.alg, k.method, err = RS256, jwt.SigningMethodRS256, checkRSA(p)
	default:
		err = fmt.Errorf("%w: %T is none of ECDSA P-256, Ed25519 and RSA", ErrWeakKey, public)
	}
	if err != nil {
		return nil, err
	}
	return k, nil
}

// ID returns the key ID (RFC 7515, section 4.1.4).
func (k *Key) ID() string { return k.id }

// Algorithm returns [ES256], [EdDSA] or [RS256].
func (k *Key) Algorithm() string { return k.alg }

// Public returns the public key.
func (k *Key) Public() crypto.PublicKey { return k.public }

// Equal reports whether both are the same public key with the same ID.
func (k *Key) Equal(other *Key) bool {
	if k == other {
		return true
	}
	if k == nil || other == nil {
		return false
	}
	p, ok := k.public.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.id == other.id && p.Equal(other.public)
}

func (k *Key) verify(signed string, signature []byte) error {
	if err := k.method.Verify(signed, signature, k.public); err != nil {
		return ErrBadSignature // the cause adds no useful information
	}
	return nil
}

// SigningKey is a private key that signs tokens.
type SigningKey struct {
	Key
	private crypto.Signer
}

// NewSigningKey returns a signing key with the given ID. private is an
// *ecdsa.PrivateKey on P-256, an ed25519.PrivateKey or an *rsa.PrivateKey. Its
// private and public halves must match: an Ed25519 key that signs with a wrong
// public half leaks its private half. Errors wrap [ErrWeakKey].
func NewSigningKey(id string, private crypto.Signer) (*SigningKey, error) {
	if err := checkPrivate(private); err != nil {
		return nil, err
	}
	k, err := NewKey(id, private.Public())
	if err != nil {
		return nil, err
	}
	const message = "do the halves belong together?"
	signature, err := k.method.Sign(message, private)
	if err == nil {
		err = k.verify(message, signature)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: what its private half signs, its public half does not verify: %w", ErrWeakKey, err)
	}
	return &SigningKey{Key: *k, private: private}, nil
}

// signatureSize returns the length of a signature in bytes.
func (k *SigningKey) signatureSize() int {
	if p, ok := k.public.(*rsa.PublicKey); ok {
		return p.Size()
	}
	return 64 // ES256 and EdDSA (RFC 7518, section 3.4; RFC 8032, section 5.1.6)
}

// Private returns the private key.
func (k *SigningKey) Private() crypto.Signer { return k.private }

// KeySet is an immutable set of trusted keys. The nil KeySet is empty.
type KeySet struct {
	keys []*Key
}

// NewKeySet returns the set of the given keys. It returns an error if two keys have
// the same ID.
func NewKeySet(keys ...*Key) (*KeySet, error) {
	for i, k := range keys {
		if slices.ContainsFunc(keys[:i], func(o *Key) bool { return o.id == k.id }) {
			return nil, fmt.Errorf("two keys have the ID %q", k.id)
		}
	}
	return &KeySet{keys: slices.Clone(keys)}, nil
}

// Find returns the key with the given ID, or nil.
func (s *KeySet) Find(id string) *Key {
	if s == nil {
		return nil
	}
	for _, k := range s.keys { // a set has only a few keys
		if k.id == id {
			return k
		}
	}
	return nil
}

// trusts reports whether the set contains a key equal to k.
func (s *KeySet) trusts(k *Key) bool {
	held := s.Find(k.id)
	return held != nil && held.Equal(k)
}

// All returns the keys in the order of NewKeySet's arguments.
func (s *KeySet) All() []*Key {
	if s == nil {
		return nil
	}
	return slices.Clone(s.keys)
}

// KeySource supplies the keys that a validator trusts now. Current must be safe for
// concurrent use, take no lock and do no I/O. The returned set is not modified
// later. A nil set trusts no key.
type KeySource interface {
	Current() *KeySet
}

// Keys is a [KeySource] that can be set. The zero value trusts no key. It is safe
// for concurrent use.
type Keys struct {
	p       atomic.Pointer[KeySet]
	changed notify.List[struct{}]
}

// Current returns the set that was last set.
func (k *Keys) Current() *KeySet { return k.p.Load() }

// Set replaces the set of trusted keys.
func (k *Keys) Set(s *KeySet) {
	k.p.Store(s)
	k.changed.Send(struct{}{})
}

// Subscribe registers f: every later Set calls f before it returns. f must return
// quickly and must not call Set. cancel ends the subscription.
func (k *Keys) Subscribe(f func()) (cancel func()) {
	return k.changed.Add(func(struct{}) { f() })
}
