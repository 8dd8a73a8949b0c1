package token

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"

	"example.com/curfew/internal/strictjson"
	"example.com/curfew/revocation"
)

// MaxLength is the maximum length of a token in bytes. Longer tokens are refused
// unread.
const MaxLength = 8 << 10

// A parsed token is what the proof rules have read so far.
type parsed struct {
	raw             string
	header, payload []byte
	signature       []byte
	signed          string // header and payload, the signed text
	kid, alg        string
	session         Session
	key             *Key
}

// parse reads a token in JWS compact serialization (RFC 7515, section 7.1) and
// checks its form, header and claims. Errors wrap ErrMalformed or ErrMissing. They
// quote nothing from the token, which is untrusted input.
func parse(raw string) (*parsed, error) {
	p := &parsed{raw: raw}
	return p, p.prove(context.Background(), nil, formRules)
}

// prove checks the rules in their order and returns the first refusal.
func (p *parsed) prove(ctx context.Context, v *Validator, rules []rule) error {
	for i := range rules {
		if err := rules[i].prove(ctx, v, p); err != nil {
			return err
		}
	}
	return nil
}

// readForm decodes the three parts.
func readForm(_ context.Context, _ *Validator, p *parsed) error {
	h, c, s, err := split(p.raw)
	if err != nil {
		return err
	}
	// The three parts share one buffer. Each is shorter when decoded.
	buf := make([]byte, 0, base64.RawURLEncoding.DecodedLen(len(p.raw)))
	if p.header, err = decode(&buf, h, "header"); err != nil {
		return err
	}
	if p.payload, err = decode(&buf, c, "payload"); err != nil {
		return err
	}
	if p.signature, err = decode(&buf, s, "signature"); err != nil {
		return err
	}
	p.signed = p.raw[:len(h)+1+len(c)]
	return nil
}

func split(raw string) (header, payload, signature string, err error) {
	if raw == "" {
		return "", "", "", ErrMissing
	}
	if len(raw) > MaxLength {
		return "", "", "", fmt.Errorf("%w: longer than %d bytes", ErrMalformed, MaxLength)
	}
	for i := range len(raw) {
		if c := raw[i]; !base64urlByte[c] && c != '.' {
			return "", "", "", fmt.Errorf("%w: a byte that no token has, at offset %d", ErrMalformed, i)
		}
	}
	header, rest, _ := strings.Cut(raw, ".")
	payload, signature, _ = strings.Cut(rest, ".")
	if header == "" || payload == "" || signature == "" || strings.Contains(signature, ".") {
		return "", "", "", fmt.Errorf("%w: not three parts", ErrMalformed)
	}
	return header, payload, signature, nil
}

// canonical refuses padding and stray bits, so that each token has exactly one
// encoding.
var canonical = base64.RawURLEncoding.Strict()

// decode appends the decoded part to buf, which has enough capacity, and returns
// only that part.
func decode(buf *[]byte, part, what string) ([]byte, error) {
	start := len(*buf)
	out, err := canonical.AppendDecode(*buf, []byte(part))
	if err != nil {
		return nil, fmt.Errorf("%w: %s: not canonical base64url", ErrMalformed, what)
	}
	*buf = out
	return out[start:len(out):len(out)], nil
}

// document has the bounds of a header and a payload.
var document = strictjson.Options{MaxMembers: 256}

// readHeader reads the JOSE header. It refuses by name every parameter that could
// make a validator fetch, unpack or trust something (RFC 8725, sections 3.1, 3.2
// and 3.10).
func readHeader(_ context.Context, _ *Validator, p *parsed) error {
	if err := p.readHeader(); err != nil {
		return fmt.Errorf("%w: header: %w", ErrMalformed, err)
	}
	return nil
}

func (p *parsed) readHeader() error {
	var typ string
	err := document.Object(p.header, func(name []byte, v strictjson.Value) (err error) {
		ok := true
		switch string(name) {
		case "typ":
			typ, ok = v.Text()
		case "kid":
			p.kid, ok = v.Text()
		case "alg":
			p.alg, ok = v.Text()
		case "crit", "jku", "x5u", "jwk", "x5c", "b64", "zip", "enc", "cty":
			return fmt.Errorf("%s is not allowed", name)
		}
		if !ok {
			return fmt.Errorf("%s is not a string", name)
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case !isSessionType(typ):
		return fmt.Errorf("typ is not %s", Type)
	case p.kid == "":
		return fmt.Errorf("kid is missing or empty")
	case p.alg != ES256 && p.alg != EdDSA && p.alg != RS256:
		return fmt.Errorf("alg is not one of %s, %s, %s", ES256, EdDSA, RS256)
	}
	return nil
}

// Type is the media type of a session token without "application/", as in the typ
// header (RFC 8725, section 3.11: explicit typing).
const Type = "session+jwt"

func isSessionType(typ string) bool {
	const prefix = "application/"
	if len(typ) > len(prefix) && strings.EqualFold(typ[:len(prefix)], prefix) {
		typ = typ[len(prefix):]
	}
	return asciiEqualFold(typ, Type)
}

// asciiEqualFold is strings.EqualFold for ASCII only: Unicode would also fold "ſ"
// to "s".
func asciiEqualFold(a, b string) bool {
	return len(a) == len(b) && strings.EqualFold(a, b)
}

// readClaims reads the payload into the session. It checks the types; checkValues
// checks the values. Claims with other names are ignored.
func readClaims(_ context.Context, _ *Validator, p *parsed) error {
	if err := p.session.read(p.payload); err != nil {
		return fmt.Errorf("%w: payload: %w", ErrMalformed, err)
	}
	return nil
}

func checkValues(_ context.Context, _ *Validator, p *parsed) error { return p.session.checkValues() }

func (s *Session) read(payload []byte) error {
	issuer, audience, remember := false, false, false // whether the claim is present
	err := document.Object(payload, func(name []byte, v strictjson.Value) error {
		ok := true
		switch string(name) {
		case "iss":
			issuer = true
			s.Issuer, ok = v.Text()
		case "aud":
			audience = true
			s.Audience, ok = texts(v)
		case "sub":
			s.Subject, ok = v.Text()
		case "sid":
			s.ID, ok = v.Text()
		case "iat":
			s.IssuedAt, ok = date(v)
		case "last_refresh":
			s.LastRefresh, ok = date(v)
		case "exp":
			s.ExpiresAt, ok = date(v)
		case "nbf":
			s.NotBefore, ok = date(v)
		case "auth_time":
			s.AuthTime, ok = date(v)
		case "acr":
			s.ACR, ok = v.Text()
			ok = ok && s.ACR != "" // empty means absent in a Session
		case "session_expiry":
			s.SessionExpiry, ok = date(v)
		case "epoch":
			var n int64
			n, ok = v.Integer()
			s.Epoch = revocation.Epoch(n)
		case "remember_me":
			remember = true
			s.RememberMe, ok = v.Boolean()
		case "name":
			s.Name, ok = v.Text()
			ok = ok && s.Name != "" // empty means absent in a Session
		case "email":
			s.Email, ok = v.Text()
			ok = ok && s.Email != ""
		case "groups":
			s.Groups, ok = v.Texts()
		case "identity_omitted":
			s.IdentityOmitted, ok = v.Boolean()
		}
		if !ok {
			return fmt.Errorf("%s has the wrong type or is out of range", name)
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case !issuer:
		return fmt.Errorf("iss is missing")
	case !audience:
		return fmt.Errorf("aud is missing")
	case !remember:
		return fmt.Errorf("remember_me is missing")
	}
	return nil
}

// texts returns the strings of an array, or a single string as a slice.
func texts(v strictjson.Value) ([]string, bool) {
	if s, ok := v.Text(); ok {
		return []string{s}, true
	}
	return v.Texts()
}

// date reads a date. Zero is out of range, because it means "unset" in a Session.
func date(v strictjson.Value) (UnixTime, bool) {
	n, ok := v.Integer()
	return UnixTime(n), ok && validDate(UnixTime(n))
}
