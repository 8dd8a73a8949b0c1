// Package loopback tells which hosts are this machine, so that requests and credentials
// may go to them without encryption.
package loopback

import (
	"net/netip"
	"strings"
)

// Is reports whether a host of a URL, without a port and brackets, is this machine: a
// loopback address or localhost. Names beneath localhost are not: unlike browsers (RFC
// 6761, section 6.3), the resolver of Go asks the DNS for them.
func Is(host string) bool {
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && ip.Unmap().IsLoopback()
}
