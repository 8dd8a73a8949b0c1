package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"errors"

	"github.com/golang-jwt/jwt/v5"
)

// es256 is the jwt.SigningMethod of ES256.
//
// Its signatures are r‖s, 32 bytes each (RFC 7518, section 3.4); crypto/ecdsa
// takes and gives them as an ASN.1 SEQUENCE of two INTEGERs. The method that comes
// with golang-jwt goes from one to the other by big integers: that is a few
// microseconds and a dozen allocations at every first check and every minting.
// The arithmetic is crypto/ecdsa's alone.
type es256 struct{}

var _ jwt.SigningMethod = es256{}

func (es256) Alg() string { return ES256 }

const (
	es256Half = 32
	// es256DER is the length of the longest encoding: 2 bytes for the sequence,
	// and for each half 2 and one more where the highest bit is set.
	es256DER = 2 + 2*(3+es256Half)
)

// Verify implements jwt.SigningMethod. key is an *ecdsa.PublicKey.
func (es256) Verify(signed string, signature []byte, key any) error {
	public, ok := key.(*ecdsa.PublicKey)
	if !ok {
		return jwt.ErrInvalidKeyType
	}
	if len(signature) != 2*es256Half {
		return jwt.ErrECDSAVerification
	}
	digest := sha256.Sum256([]byte(signed))
	b := make([]byte, 2, es256DER)
	b = appendInteger(b, signature[:es256Half])
	b = appendInteger(b, signature[es256Half:])
	b[0], b[1] = asn1Sequence, byte(len(b)-2)
	if !ecdsa.VerifyASN1(public, digest[:], b) {
		return jwt.ErrECDSAVerification
	}
	return nil
}

const (
	asn1Sequence = 0x30
	asn1Integer  = 0x02
)

// appendInteger appends a number of 32 bytes as DER has it: without leading
// zeros, but with one where the first bit would read as a sign.
func appendInteger(b, n []byte) []byte {
	for len(n) > 1 && n[0] == 0 {
		n = n[1:]
	}
	if n[0] >= 0x80 {
		b = append(b, asn1Integer, byte(len(n)+1), 0)
	} else {
		b = append(b, asn1Integer, byte(len(n)))
	}
	return append(b, n...)
}

// Sign implements jwt.SigningMethod. key is a crypto.Signer on P-256.
func (es256) Sign(signed string, key any) ([]byte, error) {
	private, ok := key.(crypto.Signer)
	if !ok {
		return nil, jwt.ErrInvalidKeyType
	}
	digest := sha256.Sum256([]byte(signed))
	der, err := private.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	return fixedES256(der)
}

// fixedES256 turns the ASN.1 form into r‖s.
func fixedES256(der []byte) ([]byte, error) {
	if len(der) < 2 || der[0] != asn1Sequence || int(der[1]) != len(der)-2 {
		return nil, errNotSignature
	}
	r, rest, ok := cutInteger(der[2:])
	if !ok {
		return nil, errNotSignature
	}
	s, rest, ok := cutInteger(rest)
	if !ok || len(rest) != 0 {
		return nil, errNotSignature
	}
	fixed := make([]byte, 2*es256Half)
	copy(fixed[es256Half-len(r):], r)
	copy(fixed[2*es256Half-len(s):], s)
	return fixed, nil
}

var errNotSignature = errors.New("the signer returned something that is no ECDSA signature")

// cutInteger reads a positive number of up to 32 bytes off the front of b.
func cutInteger(b []byte) (n, rest []byte, ok bool) {
	if len(b) < 2 || b[0] != asn1Integer || b[1] == 0 || int(b[1]) > len(b)-2 {
		return nil, nil, false
	}
	n, rest = b[2:2+b[1]], b[2+b[1]:]
	if n[0] >= 0x80 {
		return nil, nil, false
	}
	if n[0] == 0 {
		n = n[1:]
	}
	return n, rest, len(n) <= es256Half
}
