package httpapi

import (
	"net/http"
	"strconv"
	"strings"
)

// weight reads the q parameter among the parameters of a coding or media range
// (RFC 9110, section 12.4.2); 1 if there is none, 0 if it cannot be read.
func weight(parameters string) float64 {
	for parameter := range strings.SplitSeq(parameters, ";") {
		name, value, _ := strings.Cut(parameter, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "q") {
			continue
		}
		q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil || !(q >= 0 && q <= 1) {
			return 0
		}
		return q
	}
	return 1
}

// asksForHTML reports whether a request names text/html in Accept. A client that
// accepts any type (curl, fetch) is no browser that shows a page.
func asksForHTML(h http.Header) bool {
	for _, line := range h.Values("Accept") {
		for entry := range list(line) {
			kind, parameters := cutUnquoted(entry, ';')
			if strings.EqualFold(strings.TrimSpace(kind), "text/html") && weight(parameters) > 0 {
				return true
			}
		}
	}
	return false
}
