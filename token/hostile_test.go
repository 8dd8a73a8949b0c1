package token_test

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"example.com/curfew/token"
	"example.com/curfew/token/tokentest"
	"example.com/curfew/token/tokentest/hostile"
)

// Every token in the table gets its reason, and nothing of it comes back.
func TestHostileTokens(t *testing.T) {
	issuer := tokentest.New(t)
	v := issuer.Validator()
	if _, err := v.Validate(t.Context(), issuer.Token("victim")); err != nil {
		t.Fatalf("the good token: %v", err)
	}
	table := hostile.Tokens(issuer)
	if len(table) < 150 {
		t.Errorf("%d hostile tokens, want 150 at least", len(table))
	}
	// The words that are ours may stand in an error, whatever the token says.
	own := strings.NewReplacer(issuer.Name, "", issuer.Audience, "", token.Type, "", "last_refresh", "", "remember_me", "", "identity_omitted", "",
		"auth_time", "", "session_expiry", "")
	names := map[string]bool{}
	reasons := map[token.Reason]int{}
	for _, h := range table {
		if names[h.Name] {
			t.Errorf("two tokens are called %q", h.Name)
		}
		names[h.Name] = true
		reasons[h.Want]++
		s, err := v.Validate(t.Context(), h.Raw)
		if !errors.Is(err, h.Want) || token.ReasonOf(err) != h.Want || s != nil {
			t.Errorf("%s: %v, %v; want %v", h.Name, s, err, h.Want)
			continue
		}
		if part := echoed(h.Raw, own.Replace(err.Error())); part != "" {
			t.Errorf("%s: the error repeats %q of the token: %v", h.Name, part, err)
		}
	}
	t.Logf("%d tokens: %v", len(table), reasons)
	// Those above are good, but for one thing: the others stay good.
	if _, err := v.Validate(t.Context(), issuer.Token("victim")); err != nil {
		t.Errorf("the good token, afterwards: %v", err)
	}
}

// echoed returns a piece of the token, as it is or decoded, that stands in text.
func echoed(raw, text string) string {
	const window = 10
	for _, part := range append(strings.Split(raw, "."), raw) {
		if len(part) > 20_000 {
			part = part[:20_000]
		}
		decoded, _ := base64.RawURLEncoding.DecodeString(part)
		for _, s := range []string{part, string(decoded)} {
			for i := 0; i+window <= len(s); i++ {
				if strings.Contains(text, s[i:i+window]) {
					return s[i : i+window]
				}
			}
		}
	}
	return ""
}
