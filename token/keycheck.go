package token

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"math"
	"math/big"
	"slices"
)

const (
	minRSABits  = 2048
	maxRSABits  = 8192 // a larger key would make each validation slow
	minExponent = 65537
)

func checkECDSA(p *ecdsa.PublicKey) error {
	if p == nil || p.Curve != elliptic.P256() {
		return fmt.Errorf("%w: an elliptic-curve key must be on P-256", ErrWeakKey)
	}
	if _, err := p.ECDH(); err != nil {
		return fmt.Errorf("%w: the elliptic-curve point is not on P-256", ErrWeakKey)
	}
	return nil
}

func checkRSA(p *rsa.PublicKey) error {
	if p == nil || p.N == nil {
		return fmt.Errorf("%w: the RSA key has no modulus", ErrWeakKey)
	}
	if bits := p.N.BitLen(); bits < minRSABits || bits > maxRSABits {
		return fmt.Errorf("%w: an RSA key has %d to %d bits, this one has %d", ErrWeakKey, minRSABits, maxRSABits, bits)
	}
	if p.N.Sign() < 0 || p.N.Bit(0) == 0 {
		return fmt.Errorf("%w: the RSA modulus must be positive and odd", ErrWeakKey)
	}
	if p.E < minExponent || p.E > math.MaxInt32 || p.E%2 == 0 {
		return fmt.Errorf("%w: the RSA exponent must be odd, at least %d and less than 2³¹; this one is %d", ErrWeakKey, minExponent, p.E)
	}
	return nil
}

func checkEd25519(p ed25519.PublicKey) error {
	if len(p) != ed25519.PublicKeySize {
		return fmt.Errorf("%w: an Ed25519 public key has %d bytes, this one has %d", ErrWeakKey, ed25519.PublicKeySize, len(p))
	}
	if smallOrder(p) {
		return fmt.Errorf("%w: this Ed25519 public key is a point of small order, so signatures can be forged without the private key", ErrWeakKey)
	}
	return nil
}

// smallOrder reports whether p is one of the eight points of small order (1 to 8).
// For such a key an attacker can forge signatures without a private key. X25519
// multiplies by a multiple of eight on the same curve in another form (RFC 7748,
// section 4.1) and refuses a result of zero.
func smallOrder(p ed25519.PublicKey) bool {
	prime := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))
	littleEndian := slices.Clone(p)
	littleEndian[31] &= 0x7f // the sign of x
	slices.Reverse(littleEndian)
	y := new(big.Int).SetBytes(littleEndian)

	one := big.NewInt(1)
	// u = (1 + y) / (1 − y)
	denominator := new(big.Int).Sub(one, y)
	denominator.Mod(denominator, prime)
	if denominator.Sign() == 0 {
		return true // the identity
	}
	u := new(big.Int).Add(one, y)
	u.Mul(u, denominator.ModInverse(denominator, prime)).Mod(u, prime)

	coordinate := u.FillBytes(make([]byte, 32))
	slices.Reverse(coordinate)
	point, err := ecdh.X25519().NewPublicKey(coordinate)
	if err != nil {
		return true // cannot happen: any 32 bytes are a valid coordinate
	}
	scalar, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return true // cannot happen: the system's randomness does not fail
	}
	_, err = scalar.ECDH(point)
	return err != nil
}

// checkPrivate refuses keys that would cause a panic or cannot sign.
func checkPrivate(private crypto.Signer) error {
	switch p := private.(type) {
	case *ecdsa.PrivateKey:
		if p == nil {
			return fmt.Errorf("%w: there is no ECDSA key", ErrWeakKey)
		}
		return checkECDSA(&p.PublicKey)
	case ed25519.PrivateKey:
		if len(p) != ed25519.PrivateKeySize {
			return fmt.Errorf("%w: an Ed25519 private key has %d bytes, this one has %d", ErrWeakKey, ed25519.PrivateKeySize, len(p))
		}
	case *rsa.PrivateKey:
		if p == nil {
			return fmt.Errorf("%w: there is no RSA key", ErrWeakKey)
		}
		if err := p.Validate(); err != nil {
			return fmt.Errorf("%w: %w", ErrWeakKey, err)
		}
	default:
		return fmt.Errorf("%w: %T is none of ECDSA P-256, Ed25519 and RSA", ErrWeakKey, private)
	}
	return nil
}
