package store

import (
	"net/netip"
	"strings"
)

// Network returns the address prefix that stands for one customer of an access
// provider: the whole address of IPv4, the /64 of IPv6 (RFC 6177: a site has at
// least that much). Of text that is no address it returns the first 64 bytes: the
// result stands in an index, which has no room for long texts.
func Network(address string) string {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return strings.ToValidUTF8(address[:min(len(address), 64)], "")
	}
	if a = a.Unmap(); a.Is4() {
		return a.String()
	}
	p, err := a.WithZone("").Prefix(64)
	if err != nil {
		return address
	}
	return p.String()
}
