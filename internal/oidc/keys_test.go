package oidc_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"example.com/curfew/internal/oidc"
	"example.com/curfew/internal/oidc/oidctest"
)

// publish makes a provider publish keys.
func publish(p *oidctest.Provider, keys ...any) {
	body, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		panic(err)
	}
	p.Set(func(b *oidctest.Behavior) {
		b.Answer = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/keys" {
				return false
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(body)
			return true
		}
		b.Metadata = map[string]any{"id_token_signing_alg_values_supported": []string{"ES256", "ES384", "RS256"}}
	})
}

// logoutClaims are those of a valid logout token.
func logoutClaims(p *oidctest.Provider) []byte {
	return oidctest.Encode(map[string]any{
		"iss": p.Issuer, "aud": oidctest.ClientID, "sid": "s", "jti": "j", "iat": now.Unix(), "exp": now.Add(2 * time.Minute).Unix(),
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	})
}

// A key whose check takes seconds is not used. A key that is used and does not fit is
// told from it by the error: a token that a known key has not signed is ErrToken.
func TestBoundsOfRSAKeys(t *testing.T) {
	modulus := func(bits int) *big.Int {
		n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), uint(bits-1)))
		if err != nil {
			t.Fatal(err)
		}
		n.SetBit(n, bits-1, 1)
		return n.SetBit(n, 0, 1)
	}
	for name, tt := range map[string]struct {
		bits     int
		exponent int64
		want     error
	}{
		"just too short":        {2047, 65537, oidc.ErrMisconfigured},
		"the shortest":          {2048, 65537, oidc.ErrToken},
		"the longest":           {8192, 65537, oidc.ErrToken},
		"just too long":         {8193, 65537, oidc.ErrMisconfigured},
		"256 kilobits":          {256 << 10, 1<<31 - 1, oidc.ErrMisconfigured},
		"exponent 1":            {2048, 1, oidc.ErrMisconfigured},
		"exponent 2":            {2048, 2, oidc.ErrMisconfigured},
		"exponent 3":            {2048, 3, oidc.ErrToken},
		"an even exponent":      {2048, 65536, oidc.ErrMisconfigured},
		"the largest exponent":  {2048, 1<<31 - 1, oidc.ErrToken},
		"too large an exponent": {2048, 1<<31 + 1, oidc.ErrMisconfigured},
	} {
		t.Run(name, func(t *testing.T) {
			p := oidctest.New(t)
			n := modulus(tt.bits)
			publish(p, map[string]string{
				"kty": "RSA", "n": base64.RawURLEncoding.EncodeToString(n.Bytes()), "e": base64.RawURLEncoding.EncodeToString(big.NewInt(tt.exponent).Bytes()),
			})
			encode := base64.RawURLEncoding.EncodeToString
			signature := make([]byte, len(n.Bytes()))
			raw := encode([]byte(`{"alg":"RS256"}`)) + "." + encode(logoutClaims(p)) + "." + encode(signature)
			c := oidc.New(oidc.Config{Now: func() time.Time { return now }})
			if _, err := c.VerifyLogout(t.Context(), registration(p), raw); !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
}

// Few keys are tried for a token, and only those that fit its header.
func TestCandidatesOfAToken(t *testing.T) {
	curve := func(c elliptic.Curve) crypto.Signer {
		key, err := ecdsa.GenerateKey(c, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	short, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	several := func(n int, c elliptic.Curve, id func(int) string) (keys []any) {
		for i := range n {
			keys = append(keys, jose.JSONWebKey{Key: curve(c).Public(), KeyID: id(i)})
		}
		return keys
	}
	none := func(int) string { return "" }
	same := func(int) string { return "same" }
	each := func(i int) string { return fmt.Sprint("key-", i) }
	signer := curve(elliptic.P256())
	for name, tt := range map[string]struct {
		others []any  // besides the signing key
		id     string // of the signing key
		named  string // in the header
		want   error
	}{
		"no ID, 3 others":                {several(3, elliptic.P256(), each), "mine", "", nil},
		"no ID, 4 others":                {several(4, elliptic.P256(), each), "mine", "", oidc.ErrToken},
		"no ID, others without IDs":      {several(4, elliptic.P256(), none), "", "", oidc.ErrToken},
		"no ID, others of another curve": {several(9, elliptic.P384(), each), "mine", "", nil},
		"no ID, others of another type": {[]any{
			jose.JSONWebKey{Key: short.Public()}, jose.JSONWebKey{Key: short.Public()}, jose.JSONWebKey{Key: short.Public()}, jose.JSONWebKey{Key: short.Public()},
		}, "mine", "", nil},
		"an ID of its own":         {several(20, elliptic.P256(), each), "mine", "mine", nil},
		"an ID that 3 others have": {several(3, elliptic.P256(), same), "same", "same", nil},
		"an ID that 4 others have": {several(4, elliptic.P256(), same), "same", "same", oidc.ErrToken},
	} {
		t.Run(name, func(t *testing.T) {
			p := oidctest.New(t)
			publish(p, append(tt.others, jose.JSONWebKey{Key: signer.Public(), KeyID: tt.id})...)
			c := oidc.New(oidc.Config{Now: func() time.Time { return now }})
			raw := oidctest.SignWith(signer, jose.ES256, tt.named, "logout+jwt", logoutClaims(p))
			if _, err := c.VerifyLogout(t.Context(), registration(p), raw); !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
}

// No signature is checked for a client that has gone.
func TestChecksEndWithTheRequest(t *testing.T) {
	p := oidctest.New(t)
	c := oidc.New(oidc.Config{Now: func() time.Time { return now }})
	raw := p.Sign("logout+jwt", nil)
	if _, err := c.VerifyLogout(t.Context(), registration(p), raw); !errors.Is(err, oidc.ErrToken) {
		t.Fatalf("error %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.VerifyLogout(gone, registration(p), raw); !errors.Is(err, oidc.ErrUnreachable) {
		t.Errorf("error %v, want %v", err, oidc.ErrUnreachable)
	}
}

// A change of the provider here drops its keys at once, and not those of others.
func TestKeysEndWithAChange(t *testing.T) {
	p := oidctest.New(t)
	c := oidc.New(oidc.Config{Now: func() time.Time { return now }})
	r := registration(p)
	r.Changed = 1
	verify := func(what, raw string, want error) {
		t.Helper()
		if _, err := c.VerifyLogout(t.Context(), r, raw); !errors.Is(err, want) {
			t.Errorf("%s: error %v, want %v", what, err, want)
		}
	}
	verify("before", validLogout(p), nil)
	old := p.Rotate()("logout+jwt", logoutClaims(p))
	verify("withdrawn there", old, nil)
	requests := p.KeyRequests()
	r.Changed = 2
	verify("changed here", old, oidc.ErrToken)
	verify("signed with the new key", validLogout(p), nil)
	r.Changed = 1                                                // another registration at the same issuer
	verify("for another registration", old, oidc.ErrUnreachable) // the keys were asked for just now
	if n := p.KeyRequests() - requests; n != 1 {
		t.Errorf("%d requests for keys, want 1", n)
	}
	r.Changed = 3
	p.Set(func(b *oidctest.Behavior) {
		b.Answer = func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusBadGateway); return true }
	})
	verify("the provider is away", validLogout(p), oidc.ErrUnreachable)
}

// validLogout returns a valid logout token.
func validLogout(p *oidctest.Provider) string {
	var claims map[string]any
	if err := json.Unmarshal(logoutClaims(p), &claims); err != nil {
		panic(err)
	}
	return p.Sign("logout+jwt", claims)
}
