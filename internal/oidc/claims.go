package oidc

import (
	"fmt"
	"strings"
	"time"

	"example.com/curfew/internal/strictjson"
)

// Claims are the members of an ID token by name.
type Claims map[string]strictjson.Value

// strict reads a JSON document with each member once.
var strict = strictjson.Options{}

// readClaims reads the payload of a token. Do not modify it afterwards.
func readClaims(payload []byte) (Claims, error) {
	claims := Claims{}
	err := strict.Object(payload, func(name []byte, v strictjson.Value) error {
		claims[string(name)] = v
		return nil
	})
	return claims, err
}

func (c Claims) hasAll(names []string) bool {
	for _, name := range names {
		if _, ok := c[name]; !ok && name != "" {
			return false
		}
	}
	return true
}

// text returns a claim that is a string. ok is false if it is missing or has another
// type.
func (c Claims) text(name string) (text string, ok bool) {
	v, ok := c[name]
	if !ok {
		return "", false
	}
	return v.Text()
}

// Text returns a claim that is a string, without spaces around it; "" if it is missing
// or has another type.
func (c Claims) Text(name string) string {
	text, _ := c.text(name)
	return strings.TrimSpace(text)
}

// Texts returns a claim that is an array of strings, or one string. The error wraps
// [ErrMisconfigured] if it has another type. A missing claim has no texts.
func (c Claims) Texts(name string) ([]string, error) {
	v, ok := c[name]
	if !ok || v.Kind() == strictjson.Null {
		return nil, nil
	}
	if text, ok := v.Text(); ok {
		return []string{text}, nil
	}
	texts, ok := v.Texts()
	if !ok {
		return nil, fmt.Errorf("%w: the claim %s is not an array of strings", ErrMisconfigured, name)
	}
	return texts, nil
}

// EmailVerified reports whether the provider says that the address in the claim email
// is the user's. Some providers say it with a string.
func (c Claims) EmailVerified() bool {
	v, ok := c["email_verified"]
	if !ok {
		return false
	}
	verified, _ := v.Boolean()
	text, _ := v.Text()
	return verified || text == "true"
}

// date returns a claim that is a date in whole seconds; zero if it is missing. The error
// wraps [ErrToken].
func (c Claims) date(name string) (time.Time, error) {
	v, given := c[name]
	if !given {
		return time.Time{}, nil
	}
	const tooLate = 100_000_000_000
	at, ok := v.Integer()
	if !ok || at <= 0 || at >= tooLate {
		return time.Time{}, fmt.Errorf("%w: the claim %s is not a date in seconds", ErrToken, name)
	}
	return time.Unix(at, 0), nil
}

// maxIdentifier is the maximum size of an identifier in bytes (Core, section 2).
const maxIdentifier = 255

// identifier returns a claim that is a string of at most maxIdentifier bytes without
// control characters; "" if it is missing. The error wraps [ErrToken].
func (c Claims) identifier(name string) (string, error) {
	if _, given := c[name]; !given {
		return "", nil
	}
	text, ok := c.text(name)
	if !ok || len(text) > maxIdentifier || strings.ContainsFunc(text, isControl) {
		return "", fmt.Errorf("%w: the claim %s is not a string of at most %d bytes without control characters", ErrToken, name, maxIdentifier)
	}
	return text, nil
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }
