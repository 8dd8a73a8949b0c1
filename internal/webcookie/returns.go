package webcookie

import (
	"net/url"
	"strings"
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
