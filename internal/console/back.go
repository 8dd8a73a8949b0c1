package console

import (
	"net/url"
	"path"
	"strings"
)

// start is where people go who come from nowhere.
const start = "/"

// back returns where to go after signing in: raw if it is a path of this host, else
// the start page. It follows what browsers make of a Location rather than what RFC
// 3986 says: they drop tabs and line feeds, read a backslash as a slash, and take a
// second slash for the beginning of another host's name. An ambiguous address ends
// at the start page.
func back(raw string) string {
	if len(raw) > 2000 || !strings.HasPrefix(raw, "/") || !plain(raw) {
		return start
	}
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" {
		return start
	}
	// The same again for what hides behind percent signs: a proxy in between may
	// decode it once.
	if !plain(u.Path) || path.Clean(u.Path) != u.Path {
		return start
	}
	if u.Path == "/sign-in" || u.Path == "/sign-out" || strings.HasPrefix(u.Path, "/sign-in/") {
		return start
	}
	to := url.URL{Path: u.Path, RawQuery: u.RawQuery}
	return to.String()
}

// plain reports whether text holds only printable ASCII without backslashes.
func plain(text string) bool {
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c >= 0x7f || c == '\\' {
			return false
		}
	}
	return true
}
