package webcookie

import (
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"
)

// Returns says to which addresses of other hosts a browser may be sent back after
// a sign-in that forward auth has asked for. Without such a list anybody's page
// could be where a sign-in ends. The zero Returns allows none.
type Returns struct {
	// Issuer is the server's own URL. Its host is on the list; and if it is
	// encrypted, so must be whatever a browser is sent to.
	Issuer string
	// Hosts are the others, each exactly, with its port if any.
	Hosts []string
}

const longestReturn = 2000 // characters: what every browser and proxy takes

// Allow reports whether a browser may be sent to address. It must be absolute,
// have a host of the list and no user, and be such that no program reads it
// differently.
func (r Returns) Allow(address string) bool {
	if len(address) > longestReturn {
		return false
	}
	for i := range len(address) {
		switch c := address[i]; {
		case c <= ' ', c > '~', c == '\\', c == '"', c == '<', c == '>':
			return false
		}
	}
	own, err := url.Parse(r.Issuer)
	if err != nil {
		return false
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || u.Opaque != "" || !strings.HasPrefix(address, u.Scheme+"://"+u.Host) {
		return false
	}
	if u.Scheme != "https" && (u.Scheme != "http" || own.Scheme != "http") {
		return false
	}
	for _, host := range append([]string{own.Host}, r.Hosts...) {
		if host != "" && strings.EqualFold(u.Host, host) {
			return true
		}
	}
	return false
}

// Escape returns address with the characters that a URL must not have, but that
// browsers and proxies send in paths and queries, as percent-encoded UTF-8: spaces,
// double quotes, angle brackets, backslashes and what is not ASCII. It changes nothing
// before the path, where each of them could name another host, and no control
// character: [Returns.Allow] refuses an address with those.
func Escape(address string) string {
	_, rest, ok := strings.Cut(address, "://")
	at := strings.IndexAny(rest, `/?#\`)
	if !ok || at < 0 || rest[at] == '\\' || !utf8.ValidString(address) {
		return address
	}
	at += len(address) - len(rest)
	var b strings.Builder
	b.WriteString(address[:at])
	for i := at; i < len(address); i++ {
		switch c := address[i]; {
		case c == ' ', c == '"', c == '<', c == '>', c == '\\', c > '~' && c != 0x7f:
			fmt.Fprintf(&b, "%%%02X", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// Host returns the host, with its port if any, of an address that [Returns.Allow]
// allows.
func Host(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Host
}
