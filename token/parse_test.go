package token_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"example.com/curfew/revocation"
	"example.com/curfew/token"
	"example.com/curfew/token/tokentest"
	"example.com/curfew/token/tokentest/hostile"
)

// A minted token is read back unchanged, for every algorithm and every text that
// needs an escape.
func TestMintAndParse(t *testing.T) {
	issuer := tokentest.New(t)
	for _, test := range []struct {
		name   string
		change func(*token.Session)
	}{
		{"ordinary", func(*token.Session) {}},
		{"remember me", func(s *token.Session) { s.RememberMe = true }},
		{"not before", func(s *token.Session) { s.NotBefore = s.IssuedAt - 5 }},
		{"several audiences", func(s *token.Session) { s.Audience = []string{"a", "b", "c"} }},
		{"the least of everything", func(s *token.Session) {
			*s = token.Session{Issuer: "i", Audience: []string{""}, Subject: "s", ID: strings.Repeat("A", 22), IssuedAt: 1, LastRefresh: 1, Epoch: 1, ExpiresAt: 1}
		}},
		{"the most of everything", func(s *token.Session) {
			s.IssuedAt, s.LastRefresh, s.ExpiresAt, s.NotBefore = token.LatestDate-1, token.LatestDate-1, token.LatestDate-1, token.LatestDate-1
			s.Epoch, s.Subject = 1<<63-1, strings.Repeat("x", 128)
		}},
		{"an issuer with quotes and backslashes", func(s *token.Session) { s.Issuer = `"\"\\/` }},
		{"an issuer with control characters", func(s *token.Session) { s.Issuer = "\x00\x01\b\t\n\f\r\x1f\x7f" }},
		{"an issuer beyond ASCII", func(s *token.Session) { s.Issuer = "é€\u2028😀\U0010ffff\ufffd" }},
		{"an issuer like JSON", func(s *token.Session) { s.Issuer = `","sub":"admin` }},
	} {
		for _, alg := range []string{token.ES256, token.EdDSA, token.RS256} {
			t.Run(test.name+" "+alg, func(t *testing.T) {
				s := issuer.Session("ann")
				test.change(&s)
				raw := issuer.MintWith(alg, s)
				p, err := token.Parse(raw)
				if err != nil {
					t.Fatal(err)
				}
				if !reflect.DeepEqual(p.Session, s) {
					t.Errorf("read %+v, minted %+v", p.Session, s)
				}
				if p.Algorithm != alg || p.KeyID != issuer.Key(alg).ID() || !strings.HasPrefix(raw, p.Signed+".") {
					t.Errorf("alg %q, kid %q", p.Algorithm, p.KeyID)
				}
				if encoded := base64.RawURLEncoding.EncodeToString(p.Signature); raw != p.Signed+"."+encoded {
					t.Error("the signature is not the third part")
				}
			})
		}
	}
}

// The longest token is 8 KiB, and not a byte more.
func TestLongestToken(t *testing.T) {
	issuer := tokentest.New(t)
	raw := func(fill int) string {
		return issuer.Token("ann", func(s *token.Session) { s.Audience = []string{issuer.Audience, strings.Repeat("x", fill)} })
	}
	fill := token.MaxLength
	for mintable := false; !mintable; fill-- {
		s := issuer.Session("ann", func(s *token.Session) { s.Audience = []string{issuer.Audience, strings.Repeat("x", fill-1)} })
		_, err := token.Mint(issuer.Key(token.ES256), s)
		mintable = err == nil
	}
	longest := raw(fill)
	if n := len(longest); n > token.MaxLength || n < token.MaxLength-1 {
		t.Errorf("the longest token has %d bytes", n)
	}
	if _, err := issuer.Validator().Validate(t.Context(), longest); err != nil {
		t.Errorf("the longest token is refused: %v", err)
	}
}

// Unusual, but within the rules.
func TestParseAccepts(t *testing.T) {
	issuer := tokentest.New(t)
	v := issuer.Validator()
	header := string(token.WriteHeader(&issuer.Key(token.ES256).Key))
	claims := string(must(token.WriteClaims(issuer.Session("ann"))))
	in := func(text, old, replacement string) string {
		t.Helper()
		if !strings.Contains(text, old) {
			t.Fatalf("no %s in %s", old, text)
		}
		return strings.Replace(text, old, replacement, 1)
	}
	members := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `"m%d":0,`, i)
		}
		return b.String()
	}
	for _, test := range []struct{ name, header, claims string }{
		{"as minted", header, claims},
		{"typ in capitals", in(header, token.Type, "SESSION+JWT"), claims},
		{"typ with application/", in(header, token.Type, "application/session+jwt"), claims},
		{"typ with Application/ in mixed case", in(header, token.Type, "ApPlication/Session+JWT"), claims},
		{"an unknown parameter", in(header, "{", `{"x":{"y":[1,2.5e-3,null,true,"😀"]},`), claims},
		{"unknown claims", header, in(claims, "{", `{"roles":["a"],"name":"Ann","x":{"sub":"other"},`)},
		{"space everywhere", in(header, ":", " \t:\r\n "), in(claims, ",", "\n,\n")},
		{"space around", " " + header + "\n", "\t" + claims + " "},
		{"names with escapes", in(header, `"alg"`, `"\u0061lg"`), in(claims, `"sub"`, `"\u0073u\u0062"`)},
		{"values with escapes", in(header, `"typ":"s`, `"typ":"\u0073`), in(claims, `"sub":"a`, `"sub":"\u0061`)},
		{"every escape, in an unknown claim", header, in(claims, "{", `{"x":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00\uFFFF",`)},
		{"an audience in an array", header, in(claims, `"aud":"tests"`, `"aud":["tests"]`)},
		{"an audience among others", header, in(claims, `"aud":"tests"`, `"aud":[ "a" , "tests","b" ]`)},
		{"nbf in the past", header, in(claims, "{", `{"nbf":1,`)},
		{"nbf now", header, in(claims, "{", `{"nbf":1893553445,`)},
		{"names that differ in case beside the right ones", header, in(claims, "{", `{"SUB":"x","ſid":"x","Exp":1,"EPOCH":0,"Remember_Me":true,`)},
		{"numbers of any form in unknown claims", header, in(claims, "{", `{"x":[0,-0,1e400,-1E+9,0.5,123456789012345678901234567890],`)},
		{"31 levels", header, in(claims, "{", `{"x":`+strings.Repeat("[", 31)+strings.Repeat("]", 31)+`,`)},
		{"256 members", header, in(claims, "{", "{"+members(256-9))},
		{"an empty name", header, in(claims, "{", `{"":0,`)},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, err := v.Validate(t.Context(), issuer.Sign(token.ES256, test.header, test.claims))
			if err != nil || s.Subject != "ann" {
				t.Errorf("Validate(%s, %s) = %+v, %v", test.header, test.claims, s, err)
			}
		})
	}
}

// ES256 has two signatures for every one: (r, s) and (r, n − s). Both are good,
// and nothing may be keyed by a signature.
func TestSecondSignatureOfES256(t *testing.T) {
	issuer := tokentest.New(t)
	raw := issuer.Token("ann")
	second := hostile.SecondSignature(raw)
	if second == raw {
		t.Fatal("the second signature is the first")
	}
	for _, raw := range []string{raw, second} {
		if _, err := issuer.Validator().Validate(t.Context(), raw); err != nil {
			t.Errorf("refused: %v", err)
		}
	}
}

func TestReasons(t *testing.T) {
	for _, reason := range token.Reasons() {
		if got := token.ReasonOf(errors.Join(errors.New("x"), reason)); got != reason {
			t.Errorf("ReasonOf(an error that wraps %s) = %s", reason, got)
		}
		if reason.Error() != string(reason) {
			t.Errorf("%s says %s", string(reason), reason)
		}
	}
	if got := token.ReasonOf(nil); got != "" {
		t.Errorf("ReasonOf(nil) = %s", got)
	}
	if got := token.ReasonOf(errors.New("x")); got != token.ErrUnavailable {
		t.Errorf("ReasonOf(an error without a reason) = %s, want %s", got, token.ErrUnavailable)
	}
}

// A caller that has an error of a cache and a caller that has one of a validator ask
// the same question.
func TestUnavailableInBothPackages(t *testing.T) {
	for _, err := range []error{
		revocation.ErrUnavailable, fmt.Errorf("%w: closed", revocation.ErrUnavailable),
		token.ErrUnavailable, fmt.Errorf("%w: closed", token.ErrUnavailable), fmt.Errorf("%w: %w", token.ErrUnavailable, errors.New("x")),
	} {
		if !errors.Is(err, token.ErrUnavailable) || !errors.Is(err, revocation.ErrUnavailable) || token.ReasonOf(err) != token.ErrUnavailable {
			t.Errorf("%v is not unavailable in both packages", err)
		}
	}
	for _, other := range []error{token.ErrRevoked, token.ErrUnknownKey, errors.New("unavailable"), &token.RevokedError{}} {
		for _, pair := range [][2]error{{other, token.ErrUnavailable}, {other, revocation.ErrUnavailable}, {revocation.ErrUnavailable, other}} {
			if errors.Is(pair[0], pair[1]) {
				t.Errorf("%v is %v", pair[0], pair[1])
			}
		}
	}
}

// Several checks refuse the same token for the same reason. The text says which
// check it was, so that the reader looks in the right place.
func TestParseErrorsSayWhatIsWrong(t *testing.T) {
	issuer := tokentest.New(t)
	header := string(token.WriteHeader(&issuer.Key(token.ES256).Key))
	claims := string(must(token.WriteClaims(issuer.Session("ann"))))
	signed := func(header, claims string) string { return issuer.Sign(token.ES256, header, claims) }
	for raw, want := range map[string]string{
		"":                                      "missing",
		"e30":                                   "malformed: not three parts",
		"e30.e30":                               "malformed: not three parts",
		".e30.AAAA":                             "malformed: not three parts",
		"e30..AAAA":                             "malformed: not three parts",
		"e30.e30.":                              "malformed: not three parts",
		"e30.e30.AAAA.AAAA":                     "malformed: not three parts",
		"e30.e30.AAAA\n":                        "malformed: a byte that no token has, at offset 12",
		strings.Repeat("A", 8193):               "malformed: longer than 8192 bytes",
		"e30A.e30.AAAA":                         "malformed: header: not valid JSON",
		"e31.e30.AAAA":                          "malformed: header: not canonical base64url",
		"e30.e31.AAAA":                          "malformed: payload: not canonical base64url",
		"e30.e30.AAB":                           "malformed: signature: not canonical base64url",
		signed(`{"typ":1}`, claims):             "malformed: header: typ is not a string",
		signed(`{"kid":null}`, claims):          "malformed: header: kid is not a string",
		signed(`{"alg":["ES256"]}`, claims):     "malformed: header: alg is not a string",
		signed(`{"crit":["exp"]}`, claims):      "malformed: header: crit is not allowed",
		signed(`{}`, claims):                    "malformed: header: typ is not session+jwt",
		signed(`{"typ":"session+jwt"}`, claims): "malformed: header: kid is missing or empty",
		signed(`{"typ":"session+jwt","kid":"k"}`, claims): "malformed: header: alg is not one of ES256, EdDSA, RS256",
		signed(header, `{"exp":"1"}`):                     "malformed: payload: exp has the wrong type or is out of range",
		signed(header, `{"exp":1}`):                       "malformed: payload: iss is missing",
		signed(header, `{"remember_me":true}`):            "malformed: payload: iss is missing",
		signed(header, `{"iss":"","remember_me":true}`):   "malformed: payload: aud is missing",
		signed(header, `{"iss":"","aud":[]}`):             "malformed: payload: remember_me is missing",
		signed(header, `{"a":1,"\u0061":1}`):              "malformed: payload: a JSON object has two members of one name",
		signed(header, `[]`):                              "malformed: payload: not a JSON object",
		signed(header, "{\"\xff\":1}"):                    "malformed: payload: not valid UTF-8",
		signed(header, `{"a":"\ud800"}`):                  "malformed: payload: not valid UTF-8",
		signed(header, `{"a":`+strings.Repeat("[", 32)):   "malformed: payload: JSON is nested too deeply",
		signed(header, `{"a":01}`):                        "malformed: payload: not valid JSON",
	} {
		if _, err := token.Parse(raw); err == nil || err.Error() != want {
			t.Errorf("%.40q: %v, want %s", raw, err, want)
		}
	}
}

// An algorithm that no key can have is refused before any source is asked for the
// key.
func TestImpossibleAlgorithmAsksNobody(t *testing.T) {
	issuer := tokentest.New(t)
	v := issuer.Validator()
	claims := string(must(token.WriteClaims(issuer.Session("ann"))))
	for _, alg := range []string{"none", "HS256", "es256", ""} {
		check(t, v, issuer.Sign(token.ES256, `{"alg":"`+alg+`","kid":"unknown","typ":"session+jwt"}`, claims), token.ErrMalformed)
	}
	if n := issuer.View.CatchUps(); n != 0 {
		t.Errorf("asked %d times", n)
	}
}
