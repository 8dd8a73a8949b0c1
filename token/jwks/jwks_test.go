package jwks_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"

	"example.com/curfew/token"
	"example.com/curfew/token/jwks"
)

// The RSA key of RFC 7638, section 3.1.
const rfcN = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"

func rfcKey(t testing.TB) *rsa.PublicKey {
	n, err := base64.RawURLEncoding.DecodeString(rfcN)
	if err != nil {
		t.Fatal(err)
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: 65537}
}

func ecKey(t testing.TB, curve elliptic.Curve) *ecdsa.PublicKey {
	k, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &k.PublicKey
}

func edKey(t testing.TB) ed25519.PublicKey {
	k, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func verificationKey(t testing.TB, id string, public crypto.PublicKey) *token.Key {
	t.Helper()
	k, err := token.NewKey(id, public)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestThumbprint(t *testing.T) {
	ed, err := base64.RawURLEncoding.DecodeString("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		key  crypto.PublicKey
		want string
	}{
		{"RFC 7638, section 3.1", rfcKey(t), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"},
		{"RFC 8037, appendix A.3", ed25519.PublicKey(ed), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := jwks.Thumbprint(test.key)
			if err != nil || got != test.want {
				t.Errorf("Thumbprint = %q, %v; want %q", got, err, test.want)
			}
		})
	}
	if got, err := jwks.Thumbprint(ecKey(t, elliptic.P384())); !errors.Is(err, token.ErrWeakKey) {
		t.Errorf("Thumbprint of a P-384 key = %q, %v; want %v", got, err, token.ErrWeakKey)
	}
}

func TestRoundTrip(t *testing.T) {
	keys := []*token.Key{
		verificationKey(t, "ec", ecKey(t, elliptic.P256())),
		verificationKey(t, "ed", edKey(t)),
		verificationKey(t, "rsa", rfcKey(t)),
	}
	for n := range len(keys) + 1 {
		data, err := jwks.Marshal(keys[:n]...)
		if err != nil {
			t.Fatal(err)
		}
		got, err := jwks.Parse(data)
		if err != nil {
			t.Fatalf("Parse(%s): %v", data, err)
		}
		if !slices.EqualFunc(got, keys[:n], (*token.Key).Equal) {
			t.Errorf("%d keys came back as others: %s", n, data)
		}
		for i, k := range got {
			if k.Algorithm() != keys[i].Algorithm() {
				t.Errorf("%s came back as %s", keys[i].Algorithm(), k.Algorithm())
			}
		}
	}
}

// What other programs find in the document.
func TestMarshalMembers(t *testing.T) {
	data, err := jwks.Marshal(
		verificationKey(t, "ec", ecKey(t, elliptic.P256())),
		verificationKey(t, "ed", edKey(t)),
		verificationKey(t, "rsa", rfcKey(t)))
	if err != nil {
		t.Fatal(err)
	}
	var doc struct{ Keys []map[string]string }
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	want := []map[string]string{
		{"kty": "EC", "crv": "P-256", "x": "", "y": "", "kid": "ec", "alg": "ES256", "use": "sig"},
		{"kty": "OKP", "crv": "Ed25519", "x": "", "kid": "ed", "alg": "EdDSA", "use": "sig"},
		{"kty": "RSA", "n": rfcN, "e": "AQAB", "kid": "rsa", "alg": "RS256", "use": "sig"},
	}
	for i, w := range want {
		for name, value := range doc.Keys[i] {
			if name == "x" || name == "y" {
				if len(value) != 43 {
					t.Errorf("key %d: %s has %d characters, want 43 for 32 bytes", i, name, len(value))
				}
				value = ""
			}
			if w, there := w[name]; !there || w != value {
				t.Errorf("key %d: %s is %q, want %q (there: %v)", i, name, value, w, there)
			}
		}
		if len(doc.Keys[i]) != len(w) {
			t.Errorf("key %d has the members %v, want %v", i, slices.Sorted(maps.Keys(doc.Keys[i])), slices.Sorted(maps.Keys(w)))
		}
	}
	if empty, err := jwks.Marshal(); err != nil || string(empty) != `{"keys":[]}` {
		t.Errorf("Marshal() = %s, %v", empty, err)
	}
}

// changed returns a set of one good key, changed.
func changed(t testing.TB, public crypto.PublicKey, change func(map[string]any)) string {
	t.Helper()
	data, err := jwks.Marshal(verificationKey(t, "k", public))
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Keys []map[string]any `json:"keys"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	change(doc.Keys[0])
	if data, err = json.Marshal(doc); err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestParseRefuses(t *testing.T) {
	ec := ecKey(t, elliptic.P256())
	set := func(name string, value any) func(map[string]any) {
		return func(m map[string]any) { m[name] = value }
	}
	without := func(name string) func(map[string]any) {
		return func(m map[string]any) { delete(m, name) }
	}
	padded := func(name string) func(map[string]any) {
		return func(m map[string]any) { m[name] = m[name].(string) + "=" }
	}
	weak := base64.RawURLEncoding.EncodeToString(append([]byte{1}, make([]byte, 254)...))
	for _, test := range []struct {
		name string
		data string
		also error // beside ErrInvalid
	}{
		{"nothing", ``, nil},
		{"no object", `[]`, nil},
		{"null", `null`, nil},
		{"no keys", `{}`, nil},
		{"keys is null", `{"keys":null}`, nil},
		{"Keys in capitals", `{"KEYS":[]}`, nil},
		{"keys is an object", `{"keys":{}}`, nil},
		{"a key is a string", `{"keys":["k"]}`, nil},
		{"a key is null", `{"keys":[null]}`, nil},
		{"an empty key", `{"keys":[{}]}`, nil},
		{"text behind the document", `{"keys":[]} {}`, nil},
		{"kty unknown", changed(t, ec, set("kty", "AKP")), nil},
		{"kty missing", changed(t, ec, without("kty")), nil},
		{"kty of another key", changed(t, ec, set("kty", "OKP")), nil},
		{"kty a number", changed(t, ec, set("kty", 1)), nil},
		{"symmetric", `{"keys":[{"kty":"oct","kid":"k","alg":"HS256","k":"c2VjcmV0"}]}`, nil},
		{"symmetric without the key", `{"keys":[{"kty":"oct","kid":"k","alg":"HS256"}]}`, nil},
		{"alg none", changed(t, ec, set("alg", "none")), nil},
		{"alg HS256", changed(t, ec, set("alg", "HS256")), nil},
		{"alg of another key", changed(t, ec, set("alg", "RS256")), nil},
		{"alg in small letters", changed(t, ec, set("alg", "es256")), nil},
		{"alg missing", changed(t, ec, without("alg")), nil},
		{"RSA with PS256", changed(t, rfcKey(t), set("alg", "PS256")), nil},
		{"kid missing", changed(t, ec, without("kid")), token.ErrWeakKey},
		{"kid empty", changed(t, ec, set("kid", "")), token.ErrWeakKey},
		{"kid null", changed(t, ec, set("kid", nil)), nil},
		{"kid with a line feed", changed(t, ec, set("kid", "a\nb")), token.ErrWeakKey},
		{"use enc", changed(t, ec, set("use", "enc")), nil},
		{"use empty", changed(t, ec, set("use", "")), nil},
		{"private d", changed(t, ec, set("d", "AQAB")), nil},
		{"private d, null", changed(t, ec, set("d", nil)), nil},
		{"private p", changed(t, rfcKey(t), set("p", "AQAB")), nil},
		{"private q", changed(t, rfcKey(t), set("q", "AQAB")), nil},
		{"private dp", changed(t, rfcKey(t), set("dp", "AQAB")), nil},
		{"private dq", changed(t, rfcKey(t), set("dq", "AQAB")), nil},
		{"private qi", changed(t, rfcKey(t), set("qi", "AQAB")), nil},
		{"private oth", changed(t, rfcKey(t), set("oth", []any{})), nil},
		{"private k", changed(t, ec, set("k", "AQAB")), nil},
		{"P-384", changed(t, ec, set("crv", "P-384")), nil},
		{"secp256k1", changed(t, ec, set("crv", "secp256k1")), nil},
		{"x missing", changed(t, ec, without("x")), nil},
		{"y missing", changed(t, ec, without("y")), nil},
		{"x is y: not on the curve", changed(t, ec, func(m map[string]any) { m["x"] = m["y"] }), nil},
		{"x padded", changed(t, ec, padded("x")), nil},
		{"x with a zero byte in front", changed(t, ec, func(m map[string]any) {
			b, err := base64.RawURLEncoding.DecodeString(m["x"].(string))
			if err != nil {
				t.Fatal(err)
			}
			m["x"] = base64.RawURLEncoding.EncodeToString(append([]byte{0}, b...))
		}), nil},
		{"a member of RSA in an EC key", changed(t, ec, set("n", "AQAB")), nil},
		{"Ed448", changed(t, edKey(t), set("crv", "Ed448")), nil},
		{"X25519", changed(t, edKey(t), set("crv", "X25519")), nil},
		{"Ed25519 of 31 bytes", changed(t, edKey(t), set("x", base64.RawURLEncoding.EncodeToString(make([]byte, 31)))), nil},
		{"Ed25519 with y", changed(t, edKey(t), set("y", "AQAB")), nil},
		{"RSA of 2033 bits", changed(t, rfcKey(t), set("n", weak)), token.ErrWeakKey},
		{"RSA with exponent 3", changed(t, rfcKey(t), set("e", "Aw")), token.ErrWeakKey},
		{"RSA with an exponent that wraps to 65537", changed(t, rfcKey(t), set("e", "AQAAAAAAAQAB")), nil},
		{"RSA with n in standard base64", changed(t, rfcKey(t), set("n", strings.ReplaceAll(rfcN, "_", "/"))), nil},
		{"RSA n missing", changed(t, rfcKey(t), without("n")), nil},
		{"RSA e missing", changed(t, rfcKey(t), without("e")), nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			keys, err := jwks.Parse([]byte(test.data))
			if !errors.Is(err, jwks.ErrInvalid) || keys != nil {
				t.Fatalf("Parse(%s) = %v, %v; want %v", test.data, keys, err, jwks.ErrInvalid)
			}
			if test.also != nil && !errors.Is(err, test.also) {
				t.Errorf("Parse = %v; want one that wraps %v", err, test.also)
			}
		})
	}
}

func TestParseRefusesTwoKeysOfOneID(t *testing.T) {
	data, err := jwks.Marshal(
		verificationKey(t, "k", ecKey(t, elliptic.P256())), verificationKey(t, "k", edKey(t)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := jwks.Parse(data); !errors.Is(err, jwks.ErrInvalid) {
		t.Errorf("Parse = %v; want %v", err, jwks.ErrInvalid)
	}
}

// RFC 7517, section 4: members that are not understood are ignored. A certificate
// URL is never fetched.
func TestParseIgnores(t *testing.T) {
	data := changed(t, ecKey(t, elliptic.P256()), func(m map[string]any) {
		delete(m, "use")
		m["x5u"] = "https://192.0.2.1/certificate"
		m["x5c"] = []string{"not a certificate"}
		m["key_ops"] = []string{"verify"}
		m["D"] = "no private member: names are exact"
		m["ext"] = true
	})
	keys, err := jwks.Parse([]byte(data))
	if err != nil || len(keys) != 1 {
		t.Errorf("Parse(%s) = %v, %v; want one key", data, keys, err)
	}
}
