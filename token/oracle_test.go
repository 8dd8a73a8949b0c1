package token_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"

	"example.com/curfew/settings"
	"example.com/curfew/token"
	"example.com/curfew/token/tokentest"
)

// oracle decides about a token like a validator with a current view and no
// revocations, but shares no code with it: golang-jwt takes the token apart and
// verifies it, encoding/json reads it, and the rules are written down once more
// from the contract.
func oracle(issuer *tokentest.Issuer, raw string) token.Reason {
	if raw == "" {
		return token.ErrMissing
	}
	if len(raw) > 8192 || !regexp.MustCompile(`\A[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\z`).MatchString(raw) {
		return token.ErrMalformed
	}
	parser := jwt.NewParser(jwt.WithJSONNumber(), jwt.WithStrictDecoding(), jwt.WithoutClaimsValidation())
	parts := strings.Split(raw, ".")
	var documents []map[string]any
	for _, part := range parts[:2] {
		text, err := parser.DecodeSegment(part)
		if err != nil {
			return token.ErrMalformed
		}
		document, err := strictObject(text)
		if err != nil {
			return token.ErrMalformed
		}
		documents = append(documents, document)
	}
	if _, err := parser.DecodeSegment(parts[2]); err != nil {
		return token.ErrMalformed
	}
	header, claims := documents[0], documents[1]
	if !oracleHeader(header) || !oracleClaims(claims) {
		return token.ErrMalformed
	}
	key := issuer.Keys.Current().Find(header["kid"].(string))
	if key == nil {
		return token.ErrUnknownKey
	}
	switch key.Public().(type) {
	case *ecdsa.PublicKey:
		if header["alg"] != "ES256" {
			return token.ErrMalformed
		}
	case ed25519.PublicKey:
		if header["alg"] != "EdDSA" {
			return token.ErrMalformed
		}
	case *rsa.PublicKey:
		if header["alg"] != "RS256" {
			return token.ErrMalformed
		}
	}
	if _, err := parser.Parse(raw, func(*jwt.Token) (any, error) { return key.Public(), nil }); err != nil {
		return token.ErrBadSignature
	}
	if claims["iss"] != issuer.Name {
		return token.ErrWrongIssuer
	}
	if one := claims["aud"] == issuer.Audience; !one {
		several, _ := claims["aud"].([]any)
		if !slices.Contains(several, any(issuer.Audience)) {
			return token.ErrWrongAudience
		}
	}
	number := func(name string) int64 {
		n, _ := claims[name].(json.Number)
		i, _ := n.Int64()
		return i
	}
	now, in := issuer.Now().Unix(), issuer.Settings.Current().Settings
	iat, refreshed := number("iat"), number("last_refresh")
	switch {
	case number("epoch") > int64(issuer.Epoch()):
		return token.ErrMalformed
	case iat > now+60 || refreshed > now+60 || number("nbf") > now+60:
		return token.ErrNotYetValid
	case now-iat >= settings.Seconds(in.MaximumSessionDuration) || claims["session_expiry"] != nil && now >= number("session_expiry"):
		return token.ErrMaximumDuration
	case claims["remember_me"] == false && now-refreshed >= settings.Seconds(in.SessionTimeout):
		return token.ErrIdleTimeout
	case now >= number("exp"):
		return token.ErrExpired
	}
	return ""
}

func oracleHeader(header map[string]any) bool {
	for _, name := range []string{"crit", "jku", "x5u", "jwk", "x5c", "b64", "zip", "enc", "cty"} {
		if _, there := header[name]; there {
			return false
		}
	}
	typ, _ := header["typ"].(string)
	kid, _ := header["kid"].(string)
	alg, _ := header["alg"].(string)
	return regexp.MustCompile(`\A(?i:application/)?[sS][eE][sS][sS][iI][oO][nN]\+[jJ][wW][tT]\z`).MatchString(typ) &&
		kid != "" && slices.Contains([]string{"ES256", "EdDSA", "RS256"}, alg)
}

func oracleClaims(claims map[string]any) bool {
	text := func(name, pattern string) bool {
		s, ok := claims[name].(string)
		return ok && regexp.MustCompile(pattern).MatchString(s)
	}
	integer := func(name, below string) bool {
		n, ok := claims[name].(json.Number)
		if !ok || !regexp.MustCompile(`\A[1-9][0-9]*\z`).MatchString(n.String()) {
			return false
		}
		value, _ := new(big.Int).SetString(n.String(), 10)
		limit, _ := new(big.Int).SetString(below, 10)
		return value.Cmp(limit) < 0
	}
	audience := false
	switch aud := claims["aud"].(type) {
	case string:
		audience = true
	case []any:
		audience = true
		for _, a := range aud {
			_, isText := a.(string)
			audience = audience && isText
		}
	}
	if !oracleIdentity(claims) || !oracleOptional(claims, integer) {
		return false
	}
	_, remember := claims["remember_me"].(bool)
	_, notBefore := claims["nbf"]
	const dates = "100000000000"
	if !audience || !remember || !text("iss", `(?s)\A.*\z`) || !text("sub", `\A[A-Za-z0-9._~:@|-]{1,128}\z`) ||
		slices.Contains([]any{".", "..", "me"}, claims["sub"]) || !text("sid", `\A[A-Za-z0-9_-]{21}[AQgw]\z`) ||
		!integer("iat", dates) || !integer("last_refresh", dates) || !integer("exp", dates) ||
		!integer("epoch", "9223372036854775808") || notBefore && !integer("nbf", dates) {
		return false
	}
	iat, _ := claims["iat"].(json.Number).Int64()
	refreshed, _ := claims["last_refresh"].(json.Number).Int64()
	return refreshed >= iat
}

// oracleOptional checks the optional dates auth_time and session_expiry. It is called
// before the required claims are checked.
func oracleOptional(claims map[string]any, integer func(name, below string) bool) bool {
	date := func(name string) *big.Int {
		n, _ := claims[name].(json.Number)
		value, ok := new(big.Int).SetString(n.String(), 10)
		if !ok {
			return new(big.Int)
		}
		return value
	}
	for name, order := range map[string][2]string{
		"auth_time":      {"auth_time", "last_refresh"},
		"session_expiry": {"exp", "session_expiry"},
	} {
		if _, there := claims[name]; !there {
			continue
		}
		if !integer(name, "100000000000") || date(order[0]).Cmp(date(order[1])) > 0 {
			return false
		}
	}
	return true
}

// oracleIdentity checks the optional claims name, email, groups and acr.
func oracleIdentity(claims map[string]any) bool {
	valid := func(value any) bool {
		s, ok := value.(string)
		return ok && len(s) <= 512 && regexp.MustCompile(`\A\P{Cc}+\z`).MatchString(s)
	}
	for _, name := range []string{"name", "email", "acr"} {
		if value, there := claims[name]; there && !valid(value) {
			return false
		}
	}
	if value, there := claims["identity_omitted"]; there {
		if _, ok := value.(bool); !ok {
			return false
		}
	}
	value, there := claims["groups"]
	groups, ok := value.([]any)
	if !there {
		return true
	}
	different := map[any]bool{}
	for _, g := range groups {
		if !valid(g) {
			return false
		}
		different[g] = true
	}
	return ok && len(groups) <= 256 && len(different) == len(groups)
}

// strictObject reads the one JSON object that text must be with encoding/json's
// tokens, and refuses what encoding/json lets pass: names that occur twice, invalid
// UTF-8, half surrogate pairs, and objects that are too deep or have too many
// members for a token.
func strictObject(text []byte) (map[string]any, error) {
	if !utf8.Valid(text) || !json.Valid(text) {
		return nil, errors.New("not valid")
	}
	if halfSurrogates(text) {
		return nil, errors.New("half a surrogate pair")
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	first, err := d.Token()
	if err != nil || first != json.Delim('{') {
		return nil, fmt.Errorf("not an object: %w", err)
	}
	object, err := strictMembers(d, 1)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("more than one value")
	}
	return object, nil
}

func strictMembers(d *json.Decoder, depth int) (map[string]any, error) {
	object := map[string]any{}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, err
		}
		if _, twice := object[name.(string)]; twice || len(object) == 256 {
			return nil, errors.New("a name twice, or too many")
		}
		if object[name.(string)], err = strictValue(d, depth); err != nil {
			return nil, err
		}
	}
	_, err := d.Token() // }
	return object, err
}

func strictValue(d *json.Decoder, depth int) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	if _, opens := t.(json.Delim); opens && depth == 32 {
		return nil, errors.New("too deep")
	}
	switch t {
	case json.Delim('{'):
		return strictMembers(d, depth+1)
	case json.Delim('['):
		array := []any{}
		for d.More() {
			v, err := strictValue(d, depth+1)
			if err != nil {
				return nil, err
			}
			array = append(array, v)
		}
		_, err := d.Token() // ]
		return array, err
	}
	return t, nil
}

var (
	escapes = regexp.MustCompile(`\\(?:u[0-9a-fA-F]{4}|.)`)
	pairs   = regexp.MustCompile(`(?i)\\uD[89AB][0-9A-F]{2}\\uD[C-F][0-9A-F]{2}`)
	half    = regexp.MustCompile(`(?i)\A\\uD[89A-F]`)
)

// halfSurrogates reports whether valid JSON has an escape of half a surrogate pair.
func halfSurrogates(text []byte) bool {
	var kept []byte // the escapes alone, each where it follows directly upon another joined to it
	last := 0
	for _, at := range escapes.FindAllIndex(text, -1) {
		if at[0] != last {
			kept = append(kept, ' ')
		}
		kept = append(kept, text[at[0]:at[1]]...)
		last = at[1]
	}
	return slices.ContainsFunc(escapes.FindAll(pairs.ReplaceAll(kept, []byte(" ")), -1), half.Match)
}
