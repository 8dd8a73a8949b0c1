package account

import (
	"net/mail"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

const (
	longestName  = 128 // characters
	longestEmail = 254 // bytes (RFC 5321, section 4.5.3.1.3, less the brackets)
)

// NormalizeName returns a name as it is shown (NFC, trimmed, runs of spaces made
// one) and the key that names are compared by, without regard to letter case.
// Control characters, and those that are not seen or that turn the direction of
// writing, are refused: a name must not pass for another.
func NormalizeName(text string) (name, key string, err error) {
	if !utf8.ValidString(text) {
		return "", "", InvalidField("name", "must be UTF-8 text")
	}
	name = oneSpaced(strings.TrimSpace(norm.NFC.String(text)))
	switch n := utf8.RuneCountInString(name); {
	case n == 0:
		return "", "", InvalidField("name", "must not be empty")
	case n > longestName:
		return "", "", InvalidField("name", "must have at most %d characters, this one has %d", longestName, n)
	}
	for _, r := range name {
		if !visible(r) {
			return "", "", InvalidField("name", "must not contain %U", r)
		}
	}
	if first, _ := utf8.DecodeRuneInString(name); unicode.Is(unicode.M, first) {
		return "", "", InvalidField("name", "must not begin with %U, which belongs to the character before it", first)
	}
	return name, nameKey(name), nil
}

// nameKey folds letter case as Unicode has it for text in any normal form (section
// 3.13, D145), so that no two spellings that look alike have two keys.
func nameKey(name string) string {
	return norm.NFC.String(cases.Fold().String(norm.NFD.String(name)))
}

// oneSpaced makes one space of several, since a page shows them as one.
func oneSpaced(text string) string {
	for strings.Contains(text, "  ") {
		text = strings.ReplaceAll(text, "  ", " ")
	}
	return text
}

// visible reports whether a character may stand in a name: one that is seen, or
// the ordinary space.
func visible(r rune) bool {
	switch {
	case r == ' ':
		return true
	case !unicode.IsGraphic(r), unicode.IsSpace(r), unicode.Is(unicode.Zs, r):
		return false
	case unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector):
		return false // Hangul fillers and the like: letters by category, but blank
	}
	return r != '\u2800' // the Braille pattern without a dot
}

// checkEmail accepts an address without a display name, as it was written.
func checkEmail(text string) error {
	a, err := mail.ParseAddress(text)
	if err != nil || a.Address != text || a.Name != "" || len(text) > longestEmail ||
		strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsGraphic(r) }) {
		return InvalidField("email", "must be an address like name@example.com, of at most %d bytes", longestEmail)
	}
	return nil
}
