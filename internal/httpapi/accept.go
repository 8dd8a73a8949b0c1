package httpapi

import (
	"net/http"
	"strings"

	"example.com/curfew/internal/inbound"
)

// asksForHTML reports whether a request names text/html in Accept. A client that
// accepts any type (curl, fetch) is no browser that shows a page.
func asksForHTML(h http.Header) bool {
	for _, line := range h.Values("Accept") {
		for entry := range list(line) {
			kind, parameters := cutUnquoted(entry, ';')
			if strings.EqualFold(strings.TrimSpace(kind), "text/html") && inbound.Weight(parameters) > 0 {
				return true
			}
		}
	}
	return false
}
