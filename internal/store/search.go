package store

import (
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// UserSearch selects users. The zero value selects all of them.
type UserSearch struct {
	// Prefix is folded (see [Fold]). It selects users whose name, or one of the later
	// words of the name with what follows it, or email address begins with it. "" with
	// an ID selects none of these.
	Prefix string
	ID     string // selects the user with that id, too; "" for none
}

// UserFilter selects users by more than a search. The zero value selects all of them.
type UserFilter struct {
	Search         UserSearch
	Disabled       bool   // only disabled users
	Administrators bool   // only holders of AdministerSystem
	Linked         bool   // only users with an account at an identity provider
	Group          string // only members of this group; "" for all users
	Live           *Live  // only users with a session that it counts as live; nil for all users
	Sort           UserSort
}

// UserSort is an order of users.
type UserSort struct {
	ByLastSignIn bool // by the last sign-in, and by name where that is the same; false: by name
	Descending   bool
}

// Fold returns the value by which texts are compared without regard to letter case
// and normalization form (Unicode, section 3.13, D145).
func Fold(text string) string {
	return norm.NFC.String(cases.Fold().String(norm.NFD.String(text)))
}

// maxLaterWords is the maximum number of words of a name, after the first, that a user
// is found by.
const maxLaterWords = 32

// SearchTexts returns the texts that a user is found by besides the name: the name
// from each later word on, and the email address, folded.
func SearchTexts(u User) []string {
	var texts []string
	inside := true // a word; the first one is the beginning of the name
	for i, r := range u.NameKey {
		begins := inWord(r) && (!inside || alone(r))
		inside = inWord(r)
		if begins && i > 0 && len(texts) < maxLaterWords {
			texts = append(texts, u.NameKey[i:])
		}
	}
	if u.Email != "" {
		texts = append(texts, Fold(u.Email))
	}
	return texts
}

func inWord(r rune) bool { return unicode.In(r, unicode.L, unicode.M, unicode.N) }

// alone reports whether a letter may begin a word after another letter, because its
// script puts no spaces between words.
func alone(r rune) bool {
	return unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar) && !unicode.Is(unicode.M, r)
}

// Begins reports whether the text begins with the search.
func (s UserSearch) Begins(text string) bool { return strings.HasPrefix(text, s.Prefix) }
