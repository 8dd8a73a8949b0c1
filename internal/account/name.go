package account

import (
	"net/mail"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/secure/precis"
	"golang.org/x/text/unicode/norm"

	"example.com/curfew/internal/store"
)

const (
	maxName  = 128 // characters
	maxEmail = 254 // bytes (RFC 5321, section 4.5.3.1.3, less the brackets)
)

// NormalizeName returns a name for display (NFC, trimmed, with single spaces) and
// the key that names are compared by. The key ignores letter case and joiners.
// Control characters, invisible characters and characters that change the writing
// direction are refused: a name must not look like another. Joiners (U+200C,
// U+200D) are allowed where they change how letters join: see joined.
func NormalizeName(text string) (name, key string, err error) {
	if !utf8.ValidString(text) {
		return "", "", InvalidField("name", "must be UTF-8 text")
	}
	name = oneSpaced(strings.TrimSpace(norm.NFC.String(text)))
	switch n := utf8.RuneCountInString(name); {
	case n == 0:
		return "", "", InvalidField("name", "must not be empty")
	case n > maxName:
		return "", "", InvalidField("name", "must have at most %d characters, but has %d", maxName, n)
	}
	if !joined(name) {
		return "", "", InvalidField("name", "may contain U+200C and U+200D only where they change how letters join")
	}
	for _, r := range withoutJoiners(name) {
		if !visible(r) {
			return "", "", InvalidField("name", "must not contain %U", r)
		}
	}
	if first, _ := utf8.DecodeRuneInString(name); unicode.Is(unicode.M, first) {
		return "", "", InvalidField("name", "must not begin with the combining character %U", first)
	}
	return name, nameKey(name), nil
}

// nameKey is store.Fold without joiners, so that spellings that look alike have the
// same key.
func nameKey(name string) string { return store.Fold(withoutJoiners(name)) }

const (
	nonJoiner         = '\u200c'
	joiner            = '\u200d'
	emojiPresentation = '\ufe0f'
	firstSkinTone     = '\U0001f3fb'
	lastSkinTone      = '\U0001f3ff'
)

// joined reports whether the joiners of a name have an effect where they are: after
// a virama, or between letters of a joining script (RFC 8264, section 9.8, with RFC
// 5892, appendix A), or between emoji (Unicode UTS 51).
func joined(name string) bool {
	rest := []rune(name)
	var plain strings.Builder // without what joins emoji
	for i, r := range rest {
		switch r {
		case emojiPresentation:
			if i == 0 || !unicode.Is(unicode.So, rest[i-1]) {
				return false
			}
		case joiner:
			if i > 0 && i+1 < len(rest) && isEmojiEnd(rest[i-1]) && unicode.Is(unicode.So, rest[i+1]) {
				continue
			}
			plain.WriteRune(r)
		default:
			plain.WriteRune(r)
		}
	}
	if !strings.ContainsAny(plain.String(), string(nonJoiner)+string(joiner)) {
		return true
	}
	_, err := precis.OpaqueString.String(plain.String())
	return err == nil
}

// isEmojiEnd reports whether an emoji may end with r.
func isEmojiEnd(r rune) bool {
	return unicode.Is(unicode.So, r) || r == emojiPresentation || firstSkinTone <= r && r <= lastSkinTone
}

// withoutJoiners returns a name without the characters that only joined lets pass.
func withoutJoiners(name string) string {
	return strings.Map(func(r rune) rune {
		if r == nonJoiner || r == joiner || r == emojiPresentation {
			return -1
		}
		return r
	}, name)
}

// oneSpaced replaces several spaces by one, because a page shows them as one.
func oneSpaced(text string) string {
	for strings.Contains(text, "  ") {
		text = strings.ReplaceAll(text, "  ", " ")
	}
	return text
}

// visible reports whether a character is allowed in a name: a visible one, or the
// ordinary space.
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

// checkEmail accepts an address without a display name, and does not change it.
func checkEmail(text string) error {
	a, err := mail.ParseAddress(text)
	if err != nil || a.Address != text || a.Name != "" || len(text) > maxEmail ||
		strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsGraphic(r) }) {
		return InvalidField("email", "must be an address like name@example.com, of at most %d characters (fewer if some are not ASCII)", maxEmail)
	}
	return nil
}
