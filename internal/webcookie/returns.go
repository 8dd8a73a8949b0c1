package webcookie

import (
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"
)

// Returns says to which addresses of other hosts a browser may be sent back after a
// sign-in that forward auth has asked for. Without such a list a sign-in could end
// on any page of an attacker. The zero Returns allows none.
type Returns struct {
	// Issuer is the server's own URL. Its host is on the list; and if it is
	// encrypted, so must be whatever a browser is sent to.
	Issuer string
	// Hosts are the others, each exactly, with its port if any.
	Hosts []string
}

// maxReturn is the maximum length of an address in bytes: what every browser and
// proxy takes.
const maxReturn = 2000

// Address returns the address of the page that a browser asked a proxy for: scheme
// and host as the proxy names them, and the target of the request as it was sent
// (RFC 9112, section 3.2.1). Characters that a URL must not have are
// percent-encoded, and so is a number sign, which begins no fragment in a target;
// encoded characters stay as they are. If the address is longer than allowed, the
// query is left out, and then the path. Address returns "" if Allow refuses the
// address.
func (r Returns) Address(scheme, host, target string) string {
	if !strings.HasPrefix(target, "/") {
		return ""
	}
	target = percentEncode(target, notInURL+"#")
	path, _, _ := strings.Cut(target, "?")
	for _, end := range []string{target, path, "/"} {
		address := scheme + "://" + host + end
		if len(address) <= maxReturn {
			if r.Allow(address) {
				return address
			}
			return ""
		}
	}
	return ""
}

// EscapeReturn returns the query of a sign-in page with its parameter return
// encoded. nginx cannot percent-encode a variable, so with
//
//	return 302 https://login.example/sign-in?return=$scheme://$http_host$request_uri;
//
// the address stands there as it is, and everything behind its first "&" would be
// taken for further parameters. An encoded address has no "://". A query with one
// in return is an address up to its end.
func EscapeReturn(query string) string {
	at := strings.Index(query, "return=")
	if at < 0 || at > 0 && query[at-1] != '&' {
		return query
	}
	raw := query[at+len("return="):]
	scheme, _, absolute := strings.Cut(raw, "://")
	if !absolute || scheme != "http" && scheme != "https" {
		return query
	}
	return query[:at] + "return=" + url.QueryEscape(raw)
}

// Allow reports whether a browser may be sent to address. It must be absolute,
// have a host of the list and no user, and be such that no program reads it
// differently.
func (r Returns) Allow(address string) bool {
	if len(address) > maxReturn {
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
	return r.lists(own, u.Host)
}

// lists reports whether a host is the issuer's own or on the list.
func (r Returns) lists(own *url.URL, host string) bool {
	for _, known := range append([]string{own.Host}, r.Hosts...) {
		if known != "" && strings.EqualFold(host, known) {
			return true
		}
	}
	return false
}

// Unlisted returns the host of the page that a proxy names, in lower case, if the list
// lacks only that host for [Returns.Address] to allow the page; else "".
func (r Returns) Unlisted(scheme, host string) string {
	own, err := url.Parse(r.Issuer)
	if err != nil || r.lists(own, host) || len(host) > maxHost {
		return ""
	}
	if !(Returns{Issuer: r.Issuer, Hosts: []string{host}}).Allow(scheme + "://" + host + "/") {
		return ""
	}
	return strings.ToLower(host)
}

// maxHost is the maximum length of a host with its port: 253 characters of a name in the
// DNS (RFC 1035, section 2.3.4), a colon and 5 digits.
const maxHost = 259

// Escape returns address with the characters that a URL must not have, but that
// browsers and proxies send in paths and queries, as percent-encoded UTF-8: spaces,
// double quotes, brackets, backslashes and characters beyond ASCII. It changes
// nothing before the path, where each of them could name another host, and no
// control character: [Returns.Allow] refuses an address with those.
func Escape(address string) string {
	_, rest, ok := strings.Cut(address, "://")
	at := strings.IndexAny(rest, `/?#\`)
	if !ok || at < 0 || rest[at] == '\\' || !utf8.ValidString(address) {
		return address
	}
	at += len(address) - len(rest)
	return address[:at] + percentEncode(address[at:], notInURL)
}

// notInURL are the printable ASCII characters that a URL must not have, but that
// browsers and proxies send in paths and queries.
const notInURL = " \"<>\\^`{|}"

// percentEncode percent-encodes the bytes of text that are in unsafe or not ASCII.
// Control characters stay: [Returns.Allow] refuses them.
func percentEncode(text, unsafe string) string {
	var b strings.Builder
	for i := range len(text) {
		if c := text[i]; c >= utf8.RuneSelf || strings.IndexByte(unsafe, c) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
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
