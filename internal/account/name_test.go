package account_test

import (
	"errors"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
	"pgregory.net/rapid"

	"example.com/curfew/internal/account"
)

func TestNormalizeName(t *testing.T) {
	for _, tt := range []struct{ what, in, name, key string }{
		{"plain", "alice", "alice", "alice"},
		{"letter case", "Alice", "Alice", "alice"},
		{"trimmed", " \talice\r\n", "alice", "alice"},
		{"spaces inside", "Ann  B   Lee", "Ann B Lee", "ann b lee"},
		{"composed", "Zoe\u0308", "Zo\u00eb", "zo\u00eb"},
		{"sharp s", "STRASSE", "STRASSE", "strasse"},
		{"sharp s folds to two", "straße", "straße", "strasse"},
		{"final sigma", "ΣΊΣΥΦΟΣ", "ΣΊΣΥΦΟΣ", "σίσυφοσ"},
		{"Kelvin sign", "\u212aate", "Kate", "kate"},
		{"iota below, in two orders", "\u03b1\u0345\u0301", "\u1fb4", "\u03ac\u03b9"},
		{"a mark stays with its letter", "\u1fb4\u0301", "\u1fb4\u0301", "\u03ac\u0301\u03b9"},
		{"address", "ann@example.com", "ann@example.com", "ann@example.com"},
		{"Chinese", "张伟", "张伟", "张伟"},
		{"emoji", "ann 🦉", "ann 🦉", "ann 🦉"},
		{"Persian", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\u0645\u06cc\u062e\u0648\u0627\u0647\u0645"},
		{"Sinhala", "\u0dc1\u0dca\u200d\u0dbb\u0dd3", "\u0dc1\u0dca\u200d\u0dbb\u0dd3", "\u0dc1\u0dca\u0dbb\u0dd3"},
		{"Malayalam", "\u0d28\u0d4d\u200d", "\u0d28\u0d4d\u200d", "\u0d28\u0d4d"},
		{"a family", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f468\U0001f469\U0001f467"},
		{"a doctor", "\U0001f469\U0001f3fd\u200d\u2695\ufe0f", "\U0001f469\U0001f3fd\u200d\u2695\ufe0f", "\U0001f469\U0001f3fd\u2695"},
		{"a heart on fire", "\u2764\ufe0f\u200d\U0001f525", "\u2764\ufe0f\u200d\U0001f525", "\u2764\U0001f525"},
		{"127 characters", strings.Repeat("é", 127), strings.Repeat("é", 127), strings.Repeat("é", 127)},
		{"128 characters", strings.Repeat("é", 128), strings.Repeat("é", 128), strings.Repeat("é", 128)},
		{"128 when composed", strings.Repeat("e\u0301", 128), strings.Repeat("é", 128), strings.Repeat("é", 128)},
	} {
		name, key, err := account.NormalizeName(tt.in)
		if err != nil || name != tt.name || key != tt.key {
			t.Errorf("%s: NormalizeName(%q) = %q, %q, %v, want %q, %q", tt.what, tt.in, name, key, err, tt.name, tt.key)
		}
	}
}

func TestNormalizeNameRefuses(t *testing.T) {
	for what, in := range map[string]string{
		"empty":                   "",
		"only spaces":             " \t ",
		"129 characters":          strings.Repeat("é", 129),
		"64 KiB":                  strings.Repeat("x", 64<<10),
		"invalid UTF-8":           "ann\xff",
		"a surrogate":             "ann\xed\xa0\x80",
		"NUL":                     "ann\x00",
		"line break":              "ann\nadmin",
		"carriage return":         "ann\radmin",
		"terminal escape":         "ann\x1b[2J",
		"C1 control":              "ann\u009b",
		"right-to-left override":  "ann\u202enimda",
		"isolate":                 "ann\u2066",
		"zero-width space":        "ad\u200bmin",
		"zero-width joiner":       "ad\u200dmin",
		"zero-width non-joiner":   "ad\u200cmin",
		"joiner at the start":     "\u200dadmin",
		"joiner at the end":       "admin\u200d",
		"joiner alone":            "\u200d",
		"two joiners":             "\U0001f468\u200d\u200d\U0001f469",
		"joiner after an emoji":   "\U0001f468\u200d",
		"joiner before a letter":  "\U0001f468\u200da",
		"non-joiner at the end":   "\u0645\u06cc\u200c",
		"non-joiner, two":         "\u0645\u06cc\u200c\u200c\u062e",
		"non-joiner after alef":   "\u0627\u200c\u062e",
		"byte order mark":         "\ufeffadmin",
		"soft hyphen":             "ad\u00admin",
		"word joiner":             "ad\u2060min",
		"no-break space":          "ann\u00a0lee",
		"ideographic space":       "ann\u3000lee",
		"line separator":          "ann\u2028lee",
		"Hangul filler":           "\u3164",
		"half-width filler":       "ann\uffa0",
		"Hangul choseong filler":  "ann\u115f",
		"variation selector":      "ann\ufe0f",
		"grapheme joiner":         "ad\u034fmin",
		"Mongolian separator":     "ad\u180emin",
		"Khmer inherent vowel":    "ad\u17b4min",
		"blank Braille":           "ann\u2800",
		"tag characters":          "ann\U000e0041",
		"private use":             "ann\ue000",
		"private use, last plane": "ann\U0010fffd",
		"unassigned":              "ann\u0378",
		"noncharacter":            "ann\uffff",
		"mark without a base":     "\u0301ann",
	} {
		_, _, err := account.NormalizeName(in)
		var invalid *account.Invalid
		if !errors.As(err, &invalid) || len(invalid.Fields) != 1 || invalid.Fields[0].Field != "name" {
			t.Errorf("%s: error %v, want *Invalid about name", what, err)
		}
		if err != nil && strings.ContainsFunc(err.Error(), func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%s: the error repeats what cannot be shown: %q", what, err)
		}
	}
}

// A name is its own normal form, whichever form of it is typed has the same key,
// and so has the key itself.
func TestNormalizeNameSettles(t *testing.T) {
	letters := rapid.StringOfN(rapid.RuneFrom(nil, unicode.Latin, unicode.Greek, unicode.Cyrillic, unicode.Mn, unicode.Nd), 1, 40, -1)
	rapid.Check(t, func(t *rapid.T) {
		in := letters.Draw(t, "name")
		name, key, err := account.NormalizeName(in)
		if err != nil {
			return // not a name
		}
		if utf8.RuneCountInString(norm.NFD.String(key)) > 128 {
			return // too long once taken apart
		}
		for what, form := range map[string]string{
			"name": name, "NFD": norm.NFD.String(name), "key": key, "spaces": "  " + name + "  ",
		} {
			_, again, err := account.NormalizeName(form)
			if err != nil || again != key {
				t.Fatalf("%s: the key of %+q is %+q, %v; want %+q", what, form, again, err, key)
			}
		}
		if again, _, _ := account.NormalizeName(name); again != name {
			t.Fatalf("%+q is not its own normal form: %+q", name, again)
		}
	})
}
