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

// NormalizeName returns a name as it is shown (NFC, trimmed) and the key that
// names are compared by, without regard to letter case. Control characters, and
// those that are not seen or that turn the direction of writing, are refused: a
// name must not pass for another.
func NormalizeName(text string) (name, key string, err error) {
	if !utf8.ValidString(text) {
		return "", "", InvalidField("name", "must be UTF-8 text")
	}
	name = strings.TrimSpace(norm.NFC.String(text))
	switch n := utf8.RuneCountInString(name); {
	case n == 0:
		return "", "", InvalidField("name", "must not be empty")
	case n > longestName:
		return "", "", InvalidField("name", "must have at most %d characters, this one has %d", longestName, n)
	}
	for _, r := range name {
		if r != ' ' && (!unicode.IsGraphic(r) || unicode.IsSpace(r) || unicode.Is(unicode.Co, r)) {
			return "", "", InvalidField("name", "must not contain %U", r)
		}
	}
	// Folding may leave something to compose.
	return name, norm.NFC.String(cases.Fold().String(name)), nil
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
