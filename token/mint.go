package token

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// Mint signs a session. Every claim must be set and in range; only NotBefore, the
// authentication (AuthTime, ACR), SessionExpiry and the identity (Name, Email, Groups)
// may be zero. Errors about claims wrap
// [ErrMalformed]: Mint never returns a token that a Validator would refuse as
// malformed.
//
// The identity never makes a token longer than 3800 bytes, so that the token fits
// into a cookie. If it does not fit, Mint leaves out all groups, then the email
// address, then the name, and the token says so: see [Session.IdentityOmitted].
func Mint(key *SigningKey, s Session) (string, error) {
	if err := s.check(); err != nil {
		return "", err
	}
	enc := base64.RawURLEncoding
	header := appendHeader(make([]byte, 0, 64+len(key.id)), &key.Key)
	payload, err := appendClaims(make([]byte, 0, 512), &s)
	if err != nil {
		return "", err
	}
	length := func() int {
		return enc.EncodedLen(len(header)) + 1 + enc.EncodedLen(len(payload)) + 1 + enc.EncodedLen(key.signatureSize())
	}
	for length() > maxIdentityToken && s.omitIdentity() {
		if payload, err = appendClaims(payload[:0], &s); err != nil {
			return "", err
		}
	}
	buf := make([]byte, 0, length())
	buf = enc.AppendEncode(buf, header)
	buf = append(buf, '.')
	buf = enc.AppendEncode(buf, payload)
	signature, err := key.method.Sign(string(buf), key.private)
	if err != nil {
		return "", fmt.Errorf("signing with key %s: %w", key.id, err)
	}
	buf = append(buf, '.')
	buf = enc.AppendEncode(buf, signature)
	if len(buf) > MaxLength {
		return "", fmt.Errorf("%w: the token would be %d bytes long, at most %d are allowed: shorten issuer or audience", ErrMalformed, len(buf), MaxLength)
	}
	return string(buf), nil
}

func appendHeader(b []byte, k *Key) []byte {
	b = append(b, `{"alg":`...)
	b = appendText(b, k.alg)
	b = append(b, `,"kid":`...)
	b = appendText(b, k.id)
	b = append(b, `,"typ":"`+Type+`"}`...)
	return b
}

func appendClaims(b []byte, s *Session) ([]byte, error) {
	for _, text := range append([]string{s.Issuer}, s.Audience...) {
		if !utf8.ValidString(text) {
			return nil, fmt.Errorf("%w: issuer and audience must be valid UTF-8", ErrMalformed)
		}
	}
	b = append(b, `{"iss":`...)
	b = appendText(b, s.Issuer)
	b = append(b, `,"aud":`...)
	b = appendAudience(b, s.Audience)
	b = append(b, `,"sub":`...)
	b = appendText(b, s.Subject)
	b = append(b, `,"sid":`...)
	b = appendText(b, s.ID)
	b = appendNumber(b, "iat", int64(s.IssuedAt))
	b = appendNumber(b, "last_refresh", int64(s.LastRefresh))
	b = append(b, `,"remember_me":`...)
	b = strconv.AppendBool(b, s.RememberMe)
	b = appendNumber(b, "epoch", int64(s.Epoch))
	b = appendNumber(b, "exp", int64(s.ExpiresAt))
	if s.NotBefore != 0 {
		b = appendNumber(b, "nbf", int64(s.NotBefore))
	}
	if s.AuthTime != 0 {
		b = appendNumber(b, "auth_time", int64(s.AuthTime))
	}
	if s.ACR != "" {
		b = appendText(append(b, `,"acr":`...), s.ACR)
	}
	if s.SessionExpiry != 0 {
		b = appendNumber(b, "session_expiry", int64(s.SessionExpiry))
	}
	return append(appendIdentity(b, s), '}'), nil
}

func appendIdentity(b []byte, s *Session) []byte {
	if s.Name != "" {
		b = appendText(append(b, `,"name":`...), s.Name)
	}
	if s.Email != "" {
		b = appendText(append(b, `,"email":`...), s.Email)
	}
	if s.Groups != nil {
		b = appendArray(append(b, `,"groups":`...), s.Groups)
	}
	if s.IdentityOmitted {
		b = append(b, `,"identity_omitted":true`...)
	}
	return b
}

func appendAudience(b []byte, audience []string) []byte {
	if len(audience) == 1 {
		return appendText(b, audience[0])
	}
	return appendArray(b, audience)
}

func appendArray(b []byte, texts []string) []byte {
	b = append(b, '[')
	for i, text := range texts {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendText(b, text)
	}
	return append(b, ']')
}

func appendNumber(b []byte, name string, n int64) []byte {
	b = append(b, `,"`...)
	b = append(b, name...)
	b = append(b, `":`...)
	return strconv.AppendInt(b, n, 10)
}

// appendText appends a JSON string (RFC 8259, section 7).
func appendText(b []byte, s string) []byte {
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < 0x20:
			b = append(b, '\\', 'u', '0', '0', "0123456789abcdef"[c>>4], "0123456789abcdef"[c&15])
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}
