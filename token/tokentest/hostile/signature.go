package hostile

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"example.com/curfew/token"
)

// signatures are tokens of each algorithm whose signature does not verify.
func (f *forge) signatures() {
	for _, alg := range []string{token.ES256, token.EdDSA, token.RS256} {
		h := f.header.with("alg", quote(alg)).with("kid", quote(f.issuer.Key(alg).ID())).String()
		good := f.issuer.Sign(alg, h, f.claims.String())
		dot := strings.LastIndexByte(good, '.')
		signed, signature := good[:dot], decode(good[dot+1:])
		bad := func(signature []byte, name string) {
			f.add(token.ErrBadSignature, signed+"."+encode(string(signature)), "signature: %s: %s", alg, name)
		}
		flipped := func(i int, bit byte) []byte {
			s := slices.Clone(signature)
			s[i] ^= bit
			return s
		}
		last := len(signature) - 1
		bad(flipped(0, 0x80), "first bit flipped")
		bad(flipped(0, 0x01), "eighth bit flipped")
		bad(flipped(last/2, 0x10), "a bit in the middle flipped")
		bad(flipped(last, 0x01), "last bit flipped")
		bad(signature[:last], "a byte short")
		bad(signature[1:], "the first byte missing")
		bad(signature[:1], "one byte")
		bad(signature[:len(signature)/2], "half of it")
		bad(append(slices.Clone(signature), 0), "a zero behind")
		bad(append([]byte{0}, signature...), "a zero in front")
		bad(append(slices.Clone(signature), signature...), "twice")
		bad(make([]byte, len(signature)), "all zeros")
		bad(slices.Repeat([]byte{0xff}, len(signature)), "all ones")
		bad([]byte(base64.RawURLEncoding.EncodeToString(signature)), "encoded twice")
		other := f.issuer.Sign(alg, h, f.claims.with("sub", `"another"`).String())
		bad(decode(other[strings.LastIndexByte(other, '.')+1:]), "of another token")

		// The signed text changed after signing.
		changed := func(name, header, payload string) {
			f.add(token.ErrBadSignature, encode(header)+"."+encode(payload)+"."+encode(string(signature)), "signature: %s: %s", alg, name)
		}
		changed("another sub", h, f.claims.with("sub", `"attacker"`).String())
		changed("a later exp", h, f.claims.with("exp", "99999999999").String())
		changed("a higher epoch", h, f.claims.with("epoch", f.claims[f.claims.index("epoch")].value+"0").String())
		changed("remember_me set", h, f.claims.with("remember_me", "true").String())
		changed("a space in the header", h+" ", f.claims.String())
		changed("a space in the payload", h, f.claims.String()+" ")
		for _, m := range []struct{ name, signed string }{
			{"over the decoded texts", h + "." + f.claims.String()},
			{"over the payload alone", encode(f.claims.String())},
			{"over both and a dot", signed + "."},
			{"over nothing", ""},
		} {
			s := sign(f.issuer.Key(alg), m.signed)
			bad(decode(s[strings.LastIndexByte(s, '.')+1:]), m.name)
		}
		switch alg {
		case token.ES256:
			f.ecdsa(signature, bad)
		case token.EdDSA:
			f.ed25519(signature, bad)
		case token.RS256:
			f.rsa(signed, signature, bad)
		}
	}
}

// ecdsa are other forms of an ECDSA signature. (r, n − s) also verifies, by the
// nature of ECDSA, and is not among them.
func (f *forge) ecdsa(signature []byte, bad func([]byte, string)) {
	n := elliptic.P256().Params().N
	r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
	if der, err := asn1.Marshal(struct{ R, S *big.Int }{r, s}); err == nil {
		bad(der, "in DER")
	}
	pair := func(r, s *big.Int) []byte {
		var b [64]byte
		r.FillBytes(b[:32])
		s.FillBytes(b[32:])
		return b[:]
	}
	zero, one := new(big.Int), big.NewInt(1)
	bad(pair(s, r), "r and s exchanged")
	bad(pair(zero, s), "r is 0")
	bad(pair(r, zero), "s is 0")
	bad(pair(one, one), "r and s are 1")
	bad(pair(n, s), "r is n")
	bad(pair(r, n), "s is n")
	bad(pair(n, n), "r and s are n") // CVE-2022-21449, with zeros
	bad(pair(new(big.Int).Sub(n, r), s), "r is n − r")
	bad(append(append(make([]byte, 16), signature[:32]...), append(make([]byte, 16), signature[32:]...)...), "of the length of ES384")
	bad([]byte(hex.EncodeToString(signature)), "hexadecimal")
}

// ed25519 are other forms of an Ed25519 signature.
func (f *forge) ed25519(signature []byte, bad func([]byte, string)) {
	// S + L is congruent to S (RFC 8032, section 5.1.7, requires S < L).
	l, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	le := slices.Clone(signature[32:])
	slices.Reverse(le)
	sum := new(big.Int).Add(new(big.Int).SetBytes(le), l)
	var b [32]byte
	sum.FillBytes(b[:])
	slices.Reverse(b[:])
	bad(slices.Concat(signature[:32], b[:]), "S is S + L")
	bad(slices.Concat(signature[32:], signature[:32]), "R and S exchanged")
	identity := append([]byte{1}, make([]byte, 63)...)
	bad(identity, "R is the identity and S is 0")
	if _, unknown, err := ed25519.GenerateKey(rand.Reader); err == nil {
		bad(ed25519.Sign(unknown, []byte("x")), "an unknown key's")
	}
}

// rsa are other forms of an RSA signature.
func (f *forge) rsa(signed string, signature []byte, bad func([]byte, string)) {
	key, ok := f.issuer.Key(token.RS256).Private().(*rsa.PrivateKey)
	if !ok {
		panic(fmt.Sprintf("hostile: the RS256 key is a %T", f.issuer.Key(token.RS256).Private()))
	}
	sum256, sum512 := sha256.Sum256([]byte(signed)), sha512.Sum512([]byte(signed))
	if s, err := rsa.SignPSS(rand.Reader, key, crypto.SHA256, sum256[:], nil); err == nil {
		bad(s, "PSS padding")
	}
	if s, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA512, sum512[:]); err == nil {
		bad(s, "SHA-512")
	}
	if s, err := rsa.SignPKCS1v15(rand.Reader, key, 0, sum256[:]); err == nil {
		bad(s, "no hash identifier")
	}
	plus := new(big.Int).Add(new(big.Int).SetBytes(signature), key.N)
	bad(plus.Bytes(), "the modulus added")
	bad(append(make([]byte, len(signature)-1), 1), "the number 1")
	if _, ok := f.issuer.Key(token.ES256).Private().(*ecdsa.PrivateKey); ok {
		s := sign(f.issuer.Key(token.ES256), signed)
		bad(decode(s[strings.LastIndexByte(s, '.')+1:]), "by the ES256 key")
	}
}

func decode(part string) []byte {
	b, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		panic(err) // it was encoded above
	}
	return b
}

// SecondSignature returns an ES256 token with its other valid signature, (r, n −
// s), which an attacker can compute. A validator must accept it like the first. A
// program that distinguishes tokens by their bytes must not be deceived by it.
func SecondSignature(raw string) string {
	dot := strings.LastIndexByte(raw, '.')
	signature := decode(raw[dot+1:])
	s := new(big.Int).SetBytes(signature[32:])
	s.Sub(elliptic.P256().Params().N, s).FillBytes(signature[32:])
	return raw[:dot+1] + encode(string(signature))
}
