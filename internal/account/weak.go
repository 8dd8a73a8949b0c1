package account

import (
	"slices"
	"strings"
	"unicode"

	"github.com/trustelem/zxcvbn/frequency"
	"golang.org/x/text/unicode/norm"
)

// productWords are words that an attacker tries here first.
var productWords = []string{"curfew", "admin", "administrator"}

// guessable reports whether an attacker tries the password first (NIST SP 800-63B,
// section 3.1.1.2): a common password or word, or the name of the user or of this
// product, also repeated or with digits, signs or other such words around it; or a
// sequence, or a repetition of a few characters. There are no composition rules.
// context is the user's name, email and the like.
//
// The lists of common passwords, words and names are zxcvbn's, by frequency. Its
// estimate of guesses is not used: for some texts of 64 characters the ports to Go
// take minutes, which an attacker could exploit.
func guessable(password string, context ...string) bool {
	text := strings.ToLower(norm.NFKC.String(password))
	own := ownWords(context)
	// Digits that replace letters count as letters, but not before or after the
	// letters: "p@ssw0rd2024".
	core := strings.TrimFunc(text, func(r rune) bool { return !unicode.IsLetter(r) })
	return monotonous(text) || isCommon(text) || madeOf(text, own) || madeOf(unleet.Replace(core), own)
}

var unleet = strings.NewReplacer("0", "o", "1", "i", "3", "e", "4", "a", "5", "s", "7", "t", "8", "b", "@", "a", "$", "s", "!", "i", "+", "t")

// Letters that are no word of their own: runs of less than minWord, and of all of
// them together at most maxFill, are looked through.
const (
	minWord = 4
	maxFill = 4
)

// ownWords are the words of an attacker who knows the user.
func ownWords(context []string) []string {
	words := slices.Clone(productWords)
	for _, text := range context {
		words = append(words, letterRuns(strings.ToLower(norm.NFKC.String(text)))...)
	}
	words = slices.DeleteFunc(words, func(w string) bool { return len([]rune(w)) < 3 })
	slices.Sort(words)
	return slices.Compact(words)
}

func letterRuns(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.Is(unicode.M, r) })
}

// madeOf reports whether the letters of a text are words of own, and at most one
// common word besides, with few others.
func madeOf(text string, own []string) bool {
	var other string
	words, fill := 0, 0
	for _, run := range letterRuns(text) {
		run = unrepeated(run)
		switch letters := len([]rune(run)); {
		case composed(run, own) || run == other:
			words++
		case letters < minWord:
			fill += letters
		case other == "" && isCommon(run):
			other = run
			words++
		default:
			return false
		}
	}
	return words > 0 && fill <= maxFill
}

// composed reports whether a run of letters is nothing but words of own, one after
// the other.
func composed(run string, own []string) bool {
	reached := make([]bool, len(run)+1)
	reached[0] = true
	for i := range run {
		if !reached[i] {
			continue
		}
		for _, w := range own {
			if strings.HasPrefix(run[i:], w) {
				reached[i+len(w)] = true
			}
		}
	}
	return run != "" && reached[len(run)]
}

// unrepeated returns the shortest text whose repetition is the given text, or the
// text itself.
func unrepeated(text string) string {
	for n := 1; n <= len(text)/2; n++ {
		if len(text)%n == 0 && strings.Repeat(text[:n], len(text)/n) == text {
			return text[:n]
		}
	}
	return text
}

// isCommon reports whether a text is in one of the lists.
func isCommon(text string) bool {
	for _, list := range frequency.FrequencyLists {
		if slices.Contains(list, text) {
			return true
		}
	}
	return false
}

// monotonous reports whether a text has few different characters, or repeats a few,
// or is one sequence of the alphabet, of figures or of a keyboard's row.
func monotonous(text string) bool {
	const maxDifferent, maxUnit = 3, 4
	different := map[rune]bool{}
	for _, r := range text {
		different[r] = true
	}
	if len(different) <= maxDifferent || len([]rune(unrepeated(text))) <= maxUnit {
		return true
	}
	for _, row := range []string{"abcdefghijklmnopqrstuvwxyz", "01234567890123456789", "qwertyuiopasdfghjklzxcvbnm", "qwertzuiopasdfghjklyxcvbnm", "azertyuiopqsdfghjklmwxcvbn"} {
		if strings.Contains(row+row, text) || strings.Contains(row+row, reversed(text)) {
			return true
		}
	}
	return false
}

func reversed(text string) string {
	runes := []rune(text)
	slices.Reverse(runes)
	return string(runes)
}
