package httpapi

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxWait is the longest that an answer is held for Prefer: wait=N.
const maxWait = 30 * time.Second

// preferredWait returns how long the caller wants the answer held: the preference
// wait of RFC 7240, section 4.3, at most [maxWait]. A preference is a wish, so
// a malformed one is ignored; of several, the first counts (section 2).
func preferredWait(h http.Header) (wait time.Duration, given bool) {
	for _, line := range h.Values("Prefer") {
		for preference := range list(line) {
			word, _ := cutUnquoted(preference, ';') // parameters: wait has none
			name, value, _ := strings.Cut(word, "=")
			if !strings.EqualFold(strings.TrimSpace(name), "wait") {
				continue
			}
			value = strings.TrimSpace(value)
			if unquoted, ok := strings.CutPrefix(value, `"`); ok {
				value = strings.TrimSuffix(unquoted, `"`)
			}
			n, err := strconv.ParseUint(value, 10, 32)
			if errors.Is(err, strconv.ErrRange) {
				return maxWait, true // n is as large as it can be; so was the wish
			}
			if err != nil {
				return 0, false
			}
			return min(time.Duration(n)*time.Second, maxWait), true // #nosec G115 -- 32 bits
		}
	}
	return 0, false
}

// list yields the elements of a comma-separated list (RFC 9110, section 5.6.1). A
// comma in a quoted string separates nothing.
func list(s string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for s != "" {
			var part string
			part, s = cutUnquoted(s, ',')
			if !yield(part) {
				return
			}
		}
	}
}

func cutUnquoted(s string, separator byte) (before, after string) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == separator && !quoted:
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}
