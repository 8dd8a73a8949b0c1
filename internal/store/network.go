package store

import "net/netip"

// Network returns the address prefix that stands for one customer of an access
// provider: the whole address of IPv4, the /64 of IPv6 (RFC 6177: a site has at
// least that much). Text that is no address is returned as it is.
func Network(address string) string {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return address
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
