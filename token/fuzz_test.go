package token_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"encoding/base64"
	"reflect"
	"strings"
	"testing"

	"example.com/curfew/token"
	"example.com/curfew/token/tokentest"
	"example.com/curfew/token/tokentest/hostile"
)

// newFuzzIssuer returns an issuer whose keys are the same in each process: a
// fuzzer has several, and keeps inputs for the next time.
func newFuzzIssuer(f *testing.F) *tokentest.Issuer {
	issuer := tokentest.New(f)
	secret := bytes.Repeat([]byte{7}, 32)
	for id, private := range map[string]crypto.Signer{
		"fuzz-ec": must(ecdsa.ParseRawPrivateKey(elliptic.P256(), secret)),
		"fuzz-ed": ed25519.NewKeyFromSeed(secret),
	} {
		issuer.UseKey(must(token.NewSigningKey(id, private)))
	}
	return issuer
}

// seeds returns tokens for a fuzzer to begin with: good ones and all hostile ones
// that are not enormous.
func seeds(issuer *tokentest.Issuer) []string {
	out := []string{
		issuer.Token("ann"), issuer.MintWith(token.EdDSA, issuer.Session("ann")), issuer.MintWith(token.RS256, issuer.Session("ann")),
		issuer.Token("ann", func(s *token.Session) {
			s.RememberMe, s.NotBefore, s.Audience = true, 5, []string{"a", issuer.Audience}
		}),
		issuer.Token("ann", func(s *token.Session) {
			s.AuthTime, s.ACR, s.SessionExpiry = s.IssuedAt-5, "urn:mace:incommon:iap:silver", s.IssuedAt+60
		}),
		issuer.Token("ann", func(s *token.Session) {
			s.RememberMe, s.LastRefresh, s.AuthTime, s.SessionExpiry = true, s.IssuedAt+9, s.IssuedAt+9, s.IssuedAt+10
		}),
		issuer.Mint(issuer.Session("ann").WithIdentity("Zoë", "zoe@example.com", []string{"ops", "admins"})),
		issuer.Mint(issuer.Session("ann").WithIdentity("", "", numberedGroups(256, 40))),
	}
	for _, h := range hostile.Tokens(issuer) {
		if len(h.Raw) < 2*token.MaxLength {
			out = append(out, h.Raw)
		}
	}
	return out
}

// The oracle agrees on every token that has a name.
func TestOracleOnHostileTokens(t *testing.T) {
	issuer := tokentest.New(t)
	v := issuer.Validator()
	if got := oracle(issuer, issuer.Token("ann")); got != "" {
		t.Errorf("the oracle refuses a good token: %s", got)
	}
	for _, h := range hostile.Tokens(issuer) {
		_, err := v.Validate(t.Context(), h.Raw)
		if got, want := token.ReasonOf(err), oracle(issuer, h.Raw); got != want {
			t.Errorf("%s: %q, the oracle says %q", h.Name, got, want)
		}
	}
}

// FuzzValidate wants no panic, the oracle's verdict, and no piece of the token in
// an error.
func FuzzValidate(f *testing.F) {
	issuer := newFuzzIssuer(f)
	v := issuer.Validator()
	for _, raw := range seeds(issuer) {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		s, err := v.Validate(t.Context(), raw)
		got := token.ReasonOf(err)
		if want := oracle(issuer, raw); got != want {
			t.Errorf("%q, the oracle says %q: %q", got, want, raw)
		}
		if (s == nil) != (err != nil) {
			t.Errorf("a session and an error: %v, %v", s, err)
		}
		if err != nil && len(raw) > 40 && strings.Contains(err.Error(), raw) {
			t.Errorf("the error repeats the token: %v", err)
		}
	})
}

// FuzzClaims fuzzes the content: any header and payload, well signed, so that the
// fuzzer gets behind the signature.
func FuzzClaims(f *testing.F) {
	issuer := newFuzzIssuer(f)
	v := issuer.Validator()
	for _, raw := range seeds(issuer) {
		if header, payload, ok := open(raw); ok {
			f.Add(header, payload)
		}
	}
	f.Fuzz(func(t *testing.T, header, payload string) {
		raw := issuer.Sign(token.ES256, header, payload)
		_, err := v.Validate(t.Context(), raw)
		if got, want := token.ReasonOf(err), oracle(issuer, raw); got != want {
			t.Errorf("%q (%v), the oracle says %q\nheader  %s\npayload %s", got, err, want, header, payload)
		}
	})
}

// open returns the texts in the first two parts of a token.
func open(raw string) (header, payload string, ok bool) {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return "", "", false
	}
	h, err1 := base64.RawURLEncoding.DecodeString(parts[0])
	p, err2 := base64.RawURLEncoding.DecodeString(parts[1])
	return string(h), string(p), err1 == nil && err2 == nil
}

// FuzzRoundTrip: whatever the parser takes for a session is written and read again
// as the very same session, and there is but one text for the bytes of a token.
func FuzzRoundTrip(f *testing.F) {
	issuer := newFuzzIssuer(f)
	for _, raw := range seeds(issuer) {
		f.Add(raw)
	}
	key := issuer.Key(token.ES256)
	header := base64.RawURLEncoding.EncodeToString(token.WriteHeader(&key.Key))
	f.Fuzz(func(t *testing.T, raw string) {
		p, err := token.Parse(raw)
		if err != nil {
			if got := token.ReasonOf(err); got != token.ErrMalformed && got != token.ErrMissing {
				t.Errorf("the parser says %s: %v", got, err)
			}
			return
		}
		// The same bytes have no other text.
		h, c, ok := open(raw)
		encode := base64.RawURLEncoding.EncodeToString
		if again := encode([]byte(h)) + "." + encode([]byte(c)) + "." + encode(p.Signature); !ok || again != raw || !strings.HasPrefix(raw, p.Signed+".") {
			t.Errorf("%q and %q are one token", raw, again)
		}
		claims, err := token.WriteClaims(p.Session)
		if err != nil {
			t.Fatalf("read, but cannot be written: %v", err)
		}
		again, err := token.Parse(header + "." + encode(claims) + ".AAAA")
		if err != nil && len(claims) < token.MaxLength/2 {
			t.Fatalf("written, but cannot be read: %v\n%s", err, claims)
		}
		if err == nil && !reflect.DeepEqual(again.Session, p.Session) {
			t.Errorf("%+v became %+v", p.Session, again.Session)
		}
		// Claims have one written form: writing them once more gives the same bytes.
		if twice, err := token.WriteClaims(again.Session); err == nil && string(twice) != string(claims) {
			t.Errorf("%s became %s", claims, twice)
		}
	})
}
