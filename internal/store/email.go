package store

import "strings"

// EmailKey returns the value by which email addresses are compared: ASCII letters in
// lower case, everything else unchanged.
func EmailKey(email string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, email)
}
