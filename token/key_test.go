package token_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/hex"
	"errors"
	"math/big"
	"strings"
	"testing"

	"example.com/curfew/token"
	"example.com/curfew/token/tokentest"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// modulus returns a number of so many bits, the last of them given.
func modulus(bits int, last uint) *big.Int {
	n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
	return n.SetBit(n, 0, last)
}

func TestNewKey(t *testing.T) {
	p256 := &must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)).PublicKey
	ed := must(tokentest.NewKey(token.EdDSA)).Public().(ed25519.PublicKey)
	//lint:ignore SA1019 such a key cannot be had in another way
	off := &ecdsa.PublicKey{Curve: elliptic.P256(), X: big.NewInt(1), Y: big.NewInt(1)}
	//lint:ignore SA1019 such a key cannot be had in another way
	infinity := &ecdsa.PublicKey{Curve: elliptic.P256(), X: new(big.Int), Y: new(big.Int)}
	point := func(s string) ed25519.PublicKey { return must(hex.DecodeString(s)) }
	zeros := strings.Repeat("00", 30)
	ffs := strings.Repeat("ff", 30)
	for _, test := range []struct {
		name   string
		id     string
		public crypto.PublicKey
		alg    string // "" if refused
	}{
		{"P-256", "k", p256, token.ES256},
		{"Ed25519", "k", ed, token.EdDSA},
		{"RSA", "k", &rsa.PublicKey{N: modulus(2048, 1), E: 65537}, token.RS256},
		{"ID of 256 characters", strings.Repeat("k", 256), p256, token.ES256},
		{"ID with the outermost characters", "!~", p256, token.ES256},

		{"no ID", "", p256, ""},
		{"ID of 257 characters", strings.Repeat("k", 257), p256, ""},
		{"ID with a space", "a b", p256, ""},
		{"ID with a DEL", "a\x7f", p256, ""},
		{"ID with a line feed", "a\n", p256, ""},
		{"ID beyond ASCII", "schlüssel", p256, ""},

		{"no key", "k", nil, ""},
		{"a secret", "k", []byte("secret"), ""},
		{"a private key", "k", must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), ""},
		{"P-256 by value", "k", *p256, ""},
		{"a nil P-256", "k", (*ecdsa.PublicKey)(nil), ""},
		{"P-224", "k", &must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader)).PublicKey, ""},
		{"P-384", "k", &must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)).PublicKey, ""},
		{"a point off P-256", "k", off, ""},
		{"the point at infinity", "k", infinity, ""},

		{"Ed25519 of 31 bytes", "k", ed[:31], ""},
		{"Ed25519 of 33 bytes", "k", append(ed[:32:32], 0), ""},
		{"Ed25519: a nil key", "k", ed25519.PublicKey(nil), ""},
		{"Ed25519: the identity", "k", point("01" + zeros + "00"), ""},
		{"Ed25519: the identity with the sign set", "k", point("01" + zeros + "80"), ""},
		{"Ed25519: the identity, p more", "k", point("ee" + ffs + "7f"), ""},
		{"Ed25519: of order 2", "k", point("ec" + ffs + "7f"), ""},
		{"Ed25519: of order 2 with the sign set", "k", point("ec" + ffs + "ff"), ""},
		{"Ed25519: of order 4", "k", point("00" + zeros + "00"), ""},
		{"Ed25519: of order 4, the other one", "k", point("00" + zeros + "80"), ""},
		{"Ed25519: of order 4, p more", "k", point("ed" + ffs + "7f"), ""},
		{"Ed25519: of order 8", "k", point("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), ""},
		{"Ed25519: of order 8, the other one", "k", point("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), ""},
		{"Ed25519: of order 8, with the sign set", "k", point("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85"), ""},

		{"RSA of 2047 bits", "k", &rsa.PublicKey{N: modulus(2047, 1), E: 65537}, ""},
		{"RSA of 2049 bits", "k", &rsa.PublicKey{N: modulus(2049, 1), E: 65537}, token.RS256},
		{"RSA of 8191 bits", "k", &rsa.PublicKey{N: modulus(8191, 1), E: 65537}, token.RS256},
		{"RSA of 8192 bits", "k", &rsa.PublicKey{N: modulus(8192, 1), E: 65537}, token.RS256},
		{"RSA of 8193 bits", "k", &rsa.PublicKey{N: modulus(8193, 1), E: 65537}, ""},
		{"RSA, even", "k", &rsa.PublicKey{N: modulus(2048, 0), E: 65537}, ""},
		{"RSA, negative", "k", &rsa.PublicKey{N: new(big.Int).Neg(modulus(2048, 1)), E: 65537}, ""},
		{"RSA without a modulus", "k", &rsa.PublicKey{E: 65537}, ""},
		{"a nil RSA key", "k", (*rsa.PublicKey)(nil), ""},
		{"RSA with exponent 3", "k", &rsa.PublicKey{N: modulus(2048, 1), E: 3}, ""},
		{"RSA with exponent 65535", "k", &rsa.PublicKey{N: modulus(2048, 1), E: 65535}, ""},
		{"RSA with exponent 65539", "k", &rsa.PublicKey{N: modulus(2048, 1), E: 65539}, token.RS256},
		{"RSA with an even exponent", "k", &rsa.PublicKey{N: modulus(2048, 1), E: 65538}, ""},
		{"RSA with exponent 2³¹ − 1", "k", &rsa.PublicKey{N: modulus(2048, 1), E: 1<<31 - 1}, token.RS256},
		{"RSA with exponent 2³¹ + 1", "k", &rsa.PublicKey{N: modulus(2048, 1), E: 1<<31 + 1}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			k, err := token.NewKey(test.id, test.public)
			if test.alg == "" {
				if !errors.Is(err, token.ErrWeakKey) || k != nil {
					t.Errorf("NewKey = %v, %v; want %v", k, err, token.ErrWeakKey)
				}
				return
			}
			if err != nil || k.Algorithm() != test.alg || k.ID() != test.id || k.Public() == nil {
				t.Errorf("NewKey = %+v, %v; want %s", k, err, test.alg)
			}
		})
	}
}

// signer is a key elsewhere, such as in a hardware module.
type signer struct{ crypto.Signer }

func TestNewSigningKey(t *testing.T) {
	ec := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	mixed := *ec
	mixed.PublicKey = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)).PublicKey
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	_, other, _ := ed25519.GenerateKey(rand.Reader)
	whole := must(rsa.GenerateKey(rand.Reader, 2048))
	noPrimes := &rsa.PrivateKey{PublicKey: whole.PublicKey, D: whole.D} // it signs all the same
	for _, test := range []struct {
		name    string
		private crypto.Signer
	}{
		{"nothing", nil},
		{"a nil ECDSA key", (*ecdsa.PrivateKey)(nil)},
		{"P-384", must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))},
		{"ECDSA with another's public half", &mixed},
		{"a nil Ed25519 key", ed25519.PrivateKey(nil)},
		{"an Ed25519 key of 63 bytes", ed[:63]},
		{"Ed25519 with another's public half", append(ed[:32:32], other[32:]...)},
		{"a nil RSA key", (*rsa.PrivateKey)(nil)},
		{"an empty RSA key", &rsa.PrivateKey{}},
		{"RSA of 1024 bits", must(weakRSA())},
		{"RSA without its primes", noPrimes},
		{"RSA whose numbers are not each other's", &rsa.PrivateKey{
			PublicKey: rsa.PublicKey{N: modulus(2048, 1), E: 65537}, D: big.NewInt(5), Primes: []*big.Int{big.NewInt(3), big.NewInt(5)}}},
		{"a key elsewhere", signer{ec}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if k, err := token.NewSigningKey("k", test.private); !errors.Is(err, token.ErrWeakKey) || k != nil {
				t.Errorf("NewSigningKey = %v, %v; want %v", k, err, token.ErrWeakKey)
			}
		})
	}
	if k, err := token.NewSigningKey("", ec); !errors.Is(err, token.ErrWeakKey) {
		t.Errorf("without an ID: %v, %v; want %v", k, err, token.ErrWeakKey)
	}
	k, err := token.NewSigningKey("k", ec)
	if err != nil || k.Private() != ec || k.ID() != "k" || k.Algorithm() != token.ES256 {
		t.Errorf("NewSigningKey = %+v, %v", k, err)
	}
}

// weakRSA returns a key of 1024 bits, which crypto/rsa makes no more: two primes
// found here.
func weakRSA() (*rsa.PrivateKey, error) {
	for {
		p, err := rand.Prime(rand.Reader, 512)
		if err != nil {
			return nil, err
		}
		q, err := rand.Prime(rand.Reader, 512)
		if err != nil {
			return nil, err
		}
		one := big.NewInt(1)
		phi := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
		if d := new(big.Int).ModInverse(big.NewInt(65537), phi); d != nil {
			return &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: new(big.Int).Mul(p, q), E: 65537}, D: d, Primes: []*big.Int{p, q}}, nil
		}
	}
}

func TestKeyEqual(t *testing.T) {
	newKey := func(id string, public crypto.PublicKey) *token.Key { return must(token.NewKey(id, public)) }
	a, b := must(tokentest.NewKey(token.ES256)), must(tokentest.NewKey(token.EdDSA))
	k := newKey("k", a.Public())
	for _, test := range []struct {
		name  string
		other *token.Key
		want  bool
	}{
		{"itself", k, true},
		{"the same once more", newKey("k", a.Public()), true},
		{"another ID", newKey("l", a.Public()), false},
		{"another key of that ID", newKey("k", b.Public()), false},
		{"none", nil, false},
	} {
		if got := k.Equal(test.other); got != test.want {
			t.Errorf("%s: Equal = %v, want %v", test.name, got, test.want)
		}
	}
}

func TestKeySet(t *testing.T) {
	a, b := &must(tokentest.NewKey(token.ES256)).Key, &must(tokentest.NewKey(token.ES256)).Key
	set, err := token.NewKeySet(a, b)
	if err != nil {
		t.Fatal(err)
	}
	if set.Find(a.ID()) != a || set.Find(b.ID()) != b || set.Find("another") != nil || set.Find("") != nil {
		t.Error("Find does not find the keys of the set, and no other")
	}
	if all := set.All(); len(all) != 2 || all[0] != a || all[1] != b {
		t.Errorf("All = %v", all)
	}
	if set, err := token.NewKeySet(a, b, must(token.NewKey(a.ID(), b.Public()))); err == nil || set != nil {
		t.Errorf("two keys with one ID: %v, %v", set, err)
	}
	var none *token.KeySet
	if none.Find("k") != nil || none.All() != nil {
		t.Error("the nil set holds something")
	}
	var keys token.Keys
	if keys.Current() != nil {
		t.Error("the zero Keys hold something")
	}
	if keys.Set(set); keys.Current() != set {
		t.Error("Current is not what was set")
	}
}
