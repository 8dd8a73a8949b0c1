// Package hostile is a corpus of tokens that every validator must refuse, for tests of
// programs that accept Curfew's tokens.
//
//	for _, h := range hostile.Tokens(issuer) {
//		response := get(h.Raw)
//		// 401, and nothing of h.Raw in the answer
//	}
//
// The API follows semantic versioning. The corpus grows with each release: a test must
// not depend on the number of tokens or on their names.
package hostile

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"github.com/golang-jwt/jwt/v5"

	"example.com/curfew/token"
	"example.com/curfew/token/tokentest"
)

// Token is a token that must be refused.
type Token struct {
	Name string // its fault; unique
	Raw  string
	Want token.Reason // why it must be refused
}

// Tokens returns tokens that no validator of this issuer may accept, made for the
// current time of its clock and the default settings. Each is a valid token with
// one change.
//
// The validator under test must know the issuer's keys of all three algorithms. To
// test a running server, give the issuer the server's name, audience, time and
// epoch, and give the server the issuer's keys.
func Tokens(issuer *tokentest.Issuer) []Token {
	f := &forge{issuer: issuer}
	f.header = members{
		{"alg", `"ES256"`},
		{"kid", quote(issuer.Key(token.ES256).ID())},
		{"typ", `"session+jwt"`},
	}
	s := issuer.Session("victim")
	f.claims = members{
		{"iss", quote(s.Issuer)},
		{"aud", quote(s.Audience[0])},
		{"sub", quote(s.Subject)},
		{"sid", quote(s.ID)},
		{"iat", fmt.Sprint(s.IssuedAt)},
		{"last_refresh", fmt.Sprint(s.LastRefresh)},
		{"remember_me", "false"},
		{"epoch", fmt.Sprint(int64(s.Epoch))},
		{"exp", fmt.Sprint(s.ExpiresAt)},
	}
	f.now = int64(s.IssuedAt)
	f.forms()
	f.algorithms()
	f.keyIDs()
	f.headers()
	f.signatures()
	f.json("header", f.header, f.withHeader)
	f.json("payload", f.claims, f.withClaims)
	f.types()
	f.numbers()
	f.values()
	f.times()
	return f.out
}

// A forge makes hostile tokens from a valid header and valid claims.
type forge struct {
	issuer *tokentest.Issuer
	header members
	claims members
	now    int64
	out    []Token
}

func (f *forge) add(want token.Reason, raw, name string, args ...any) {
	f.out = append(f.out, Token{Name: fmt.Sprintf(name, args...), Raw: raw, Want: want})
}

// good returns a valid token.
func (f *forge) good() string {
	return f.issuer.Sign(token.ES256, f.header.String(), f.claims.String())
}

// withHeader returns a token with the given header and a valid signature.
func (f *forge) withHeader(header string) string {
	return f.issuer.Sign(token.ES256, header, f.claims.String())
}

// withClaims returns a token with the given payload and a valid signature.
func (f *forge) withClaims(payload string) string {
	return f.issuer.Sign(token.ES256, f.header.String(), payload)
}

// sign returns signed with its signature by key appended.
func sign(key *token.SigningKey, signed string) string {
	signature, err := jwt.GetSigningMethod(key.Algorithm()).Sign(signed, key.Private())
	if err != nil {
		panic("hostile: signing: " + err.Error()) // an acceptable key always signs
	}
	return signed + "." + encode(string(signature))
}

func encode(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// members are a JSON object whose values are raw JSON, so that a test can write any
// value.
type members []member

type member struct{ name, value string }

func (m members) String() string {
	parts := make([]string, len(m))
	for i, x := range m {
		parts[i] = quote(x.name) + ":" + x.value
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// with returns m with the member set to a raw value. It adds a missing member.
func (m members) with(name, value string) members {
	m = slices.Clone(m)
	if i := m.index(name); i >= 0 {
		m[i].value = value
		return m
	}
	return append(m, member{name, value})
}

// without returns m without the member.
func (m members) without(name string) members {
	return slices.DeleteFunc(slices.Clone(m), func(x member) bool { return x.name == name })
}

// renamed returns m with the member renamed.
func (m members) renamed(name, to string) members {
	m = slices.Clone(m)
	m[m.index(name)].name = to
	return m
}

func (m members) index(name string) int {
	return slices.IndexFunc(m, func(x member) bool { return x.name == name })
}

// quote returns a JSON string. The texts here need no other escapes.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
