package hostile

import (
	"crypto"
	"crypto/hmac"
	_ "crypto/sha256" // for HS256
	_ "crypto/sha512" // for HS384 and HS512
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"

	"example.com/curfew/token"
	"example.com/curfew/token/tokentest"
)

// algorithms are attempts to have a token verified with another algorithm than that
// of its key.
func (f *forge) algorithms() {
	bad := func(raw, name string, args ...any) { f.add(token.ErrMalformed, raw, "alg: "+name, args...) }
	unsigned := func(header string) string { return encode(header) + "." + encode(f.claims.String()) + "." }

	for _, none := range []string{"none", "None", "NONE", "nOnE", "noNe", "none ", " none", "n\u200bone", ""} {
		h := f.header.with("alg", quote(none)).String()
		bad(unsigned(h), "%q, no signature", none)
		bad(unsigned(h)+encode("x"), "%q, any signature", none)
		bad(f.withHeader(h), "%q, well signed", none)
		bad(unsigned(f.header.with("alg", quote(none)).without("kid").String())+encode("x"), "%q, no kid", none)
	}
	for _, alg := range []string{
		"es256", "ES-256", "ES256 ", "ES256K", "ES384", "ES512", "RS384", "RS512", "PS256", "PS384", "PS512",
		"Ed25519", "Ed448", "eddsa", "ML-DSA-44", "HS256", "RSA-OAEP", "dir", "A128GCM", "null", "ES256,none",
	} {
		bad(f.withHeader(f.header.with("alg", quote(alg)).String()), "%q on an ES256 token", alg)
	}
	for _, raw := range []string{"null", "0", "256", "true", `["ES256"]`, `{"name":"ES256"}`} {
		bad(f.withHeader(f.header.with("alg", raw).String()), "%s for a text", raw)
	}
	bad(f.withHeader(f.header.without("alg").String()), "missing")

	// The public key as the secret of an HMAC (CVE-2015-9235 and similar).
	public := map[string][]byte{"nothing": nil, "the key ID": []byte(f.issuer.Key(token.ES256).ID())}
	if der, err := x509.MarshalPKIXPublicKey(f.issuer.Key(token.ES256).Public()); err == nil {
		public["the public key in DER"] = der
		public["the public key in PEM"] = pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	}
	for _, m := range []struct {
		alg  string
		hash crypto.Hash
	}{{"HS256", crypto.SHA256}, {"HS384", crypto.SHA384}, {"HS512", crypto.SHA512}} {
		for what, secret := range public {
			signed := encode(f.header.with("alg", quote(m.alg)).String()) + "." + encode(f.claims.String())
			mac := hmac.New(m.hash.New, secret)
			mac.Write([]byte(signed))
			bad(signed+"."+encode(string(mac.Sum(nil))), "%s with %s", m.alg, what)
		}
	}

	// Every pair of a key and another key's algorithm, signed by either key.
	algs := []string{token.ES256, token.EdDSA, token.RS256}
	for _, own := range algs {
		for _, claimed := range algs {
			if own == claimed {
				continue
			}
			h := f.header.with("kid", quote(f.issuer.Key(own).ID())).with("alg", quote(claimed)).String()
			bad(f.issuer.Sign(own, h, f.claims.String()), "%s claimed for the %s key, which signed", claimed, own)
			bad(f.issuer.Sign(claimed, h, f.claims.String()), "%s claimed for the %s key, signed as claimed", claimed, own)
			h = f.header.with("kid", quote(f.issuer.Key(own).ID())).with("alg", quote(own)).String()
			f.add(token.ErrBadSignature, f.issuer.Sign(claimed, h, f.claims.String()), "alg: %s, but signed by the %s key", own, claimed)
		}
	}
}

// keyIDs are attempts to have a token verified with an attacker's key, or to
// exploit the look-up of the key ID.
func (f *forge) keyIDs() {
	own := f.issuer.Key(token.ES256).ID()
	named := strings.NewReplacer(own, "ours", strings.ToUpper(own), "OURS", own[:len(own)-1], "our") // the key ID is random
	for _, kid := range []string{
		"unknown", own + " ", " " + own, strings.ToUpper(own), own[:len(own)-1], own + "/", "./" + own,
		"../../../../dev/null", "/dev/null", "file:///dev/null", "https://attacker.example/key.json", `C:\key`,
		"' OR '1'='1", "' UNION SELECT 'key' --", "x; DROP TABLE signing_keys", "$(id)", "`id`", "| id", "{{7*7}}", "%s%n",
		own + "\u0000", "\u200b" + own, "*", "0", "-1", "null", "kid", strings.Repeat("k", 3000),
	} {
		h := f.header.with("kid", strings.ReplaceAll(quote(kid), "\x00", `\u0000`)).String()
		f.add(token.ErrUnknownKey, f.withHeader(h), "kid: %.40q", named.Replace(kid))
	}
	bad := func(raw, name string, args ...any) { f.add(token.ErrMalformed, raw, "kid: "+name, args...) }
	for _, raw := range []string{"null", "0", "true", "[" + quote(own) + "]", `{"kid":` + quote(own) + "}", `""`} {
		bad(f.withHeader(f.header.with("kid", raw).String()), "%s", named.Replace(raw))
	}
	bad(f.withHeader(f.header.without("kid").String()), "missing")
	bad(f.withHeader(f.header.renamed("kid", "Kid").String()), "called Kid")
	bad(f.withHeader(f.header.renamed("kid", "\u212aid").String()), "called with a Kelvin sign")

	unknown, err := tokentest.NewKey(token.ES256)
	if err != nil {
		panic("hostile: " + err.Error()) // randomness does not fail
	}
	payload := "." + encode(f.claims.String())
	f.add(token.ErrUnknownKey, sign(unknown, encode(f.header.with("kid", quote(unknown.ID())).String())+payload), "kid: an unknown key")
	f.add(token.ErrBadSignature, sign(unknown, encode(f.header.String())+payload), "kid: ours, signed by an unknown key")
	// A key in the header, and its signature.
	for whose, kid := range map[string]string{"ours": own, "the unknown key's": unknown.ID()} {
		h := f.header.with("kid", quote(kid)).with("jwk", `{"kty":"EC","crv":"P-256","x":"AQ","y":"AQ"}`).String()
		bad(sign(unknown, encode(h)+payload), "%s, with an unknown key's jwk", whose)
	}
}

// headers are header parameters that are not allowed or have another value.
func (f *forge) headers() {
	bad := func(header members, name string, args ...any) {
		f.add(token.ErrMalformed, f.withHeader(header.String()), "header: "+name, args...)
	}
	for _, m := range []member{
		{"crit", `["exp"]`}, {"crit", `["b64"]`}, {"crit", `[]`}, {"crit", `null`}, {"crit", `"exp"`},
		{"jku", `"https://attacker.example/jwks.json"`}, {"jku", `null`}, {"x5u", `"https://attacker.example/cert.pem"`},
		{"jwk", `{"kty":"oct","k":"AA"}`}, {"jwk", `{}`}, {"x5c", `["MIIB"]`}, {"x5c", `[]`},
		{"b64", "false"}, {"b64", "true"}, {"zip", `"DEF"`}, {"enc", `"A128GCM"`}, {"cty", `"JWT"`}, {"cty", `"session+jwt"`},
	} {
		bad(append(slices.Clip(f.header), m), "%s is %s", m.name, m.value)
	}
	bad(f.header.with("b64", "false").with("crit", `["b64"]`), "b64 that is critical (RFC 7797)")
	f.add(token.ErrMalformed, f.withHeader(strings.Replace(f.header.String(), "{", `{"\u006aku":"https://attacker.example/",`, 1)),
		"header: jku with an escape in its name")

	for _, typ := range []string{
		`"JWT"`, `"jwt"`, `"at+jwt"`, `"logout+jwt"`, `"session"`, `"session+jws"`, `"session+jwt "`, `" session+jwt"`, `""`,
		`"application/"`, `"application/JWT"`, `"application/application/session+jwt"`, `"text/session+jwt"`, `"/session+jwt"`,
		`"session+jwt;charset=utf-8"`, `"ſession+jwt"`, `"session+jwt\u0000"`, "null", "1", "true", `["session+jwt"]`, `{"typ":"session+jwt"}`,
	} {
		bad(f.header.with("typ", typ), "typ is %s", typ)
	}
	bad(f.header.without("typ"), "typ is missing")
	bad(f.header.renamed("typ", "Typ"), "typ is called Typ")
	bad(f.header.renamed("alg", "ALG"), "alg is called ALG")

	// A token within a token (RFC 7519, section 5.2), with and without its
	// declaration.
	inner := f.good()
	f.add(token.ErrMalformed, f.issuer.Sign(token.ES256, f.header.with("cty", `"JWT"`).String(), inner), "nested: with cty")
	f.add(token.ErrMalformed, f.withClaims(inner), "nested: without cty")
	f.add(token.ErrMalformed, f.withClaims(quote(inner)), "nested: as a JSON string")
	f.add(token.ErrMalformed, encode(inner)+"."+encode(inner)+"."+encode(inner), "nested: three times itself")
}
