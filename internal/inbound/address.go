package inbound

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// clientAddress returns the address a request came from, and whether the peer is
// a trusted proxy. If it is, the client is the right-most address of
// X-Forwarded-For that is not itself a trusted proxy: whatever stands further to
// the left was written by the client.
func clientAddress(r *http.Request, proxies []netip.Prefix) (client netip.Addr, trusted bool) {
	client, ok := parseAddress(r.RemoteAddr)
	if !ok || !within(client, proxies) {
		return client, false
	}
	var hops []string
	for _, line := range r.Header.Values("X-Forwarded-For") {
		hops = append(hops, strings.Split(line, ",")...)
	}
	for _, hop := range slices.Backward(hops) {
		next, ok := parseAddress(strings.TrimSpace(hop))
		if !ok {
			break // the chain is broken: the last address that could be read is as far as it goes
		}
		client = next
		if !within(client, proxies) {
			break
		}
	}
	return client, true
}

// parseAddress reads an address with or without a port. IPv4 in IPv6 is IPv4, and
// the zone is dropped: it has a meaning on one machine only.
func parseAddress(text string) (netip.Addr, bool) {
	if withPort, err := netip.ParseAddrPort(text); err == nil {
		return withPort.Addr().Unmap().WithZone(""), true
	}
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
	return a.Unmap().WithZone(""), err == nil
}

func within(a netip.Addr, prefixes []netip.Prefix) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool {
		if bits := p.Bits() - 96; p.Addr().Is4In6() && bits >= 0 {
			p = netip.PrefixFrom(p.Addr().Unmap(), bits)
		}
		return p.Contains(a)
	})
}

// Text returns the client's address, "" if it is not known: a Unix socket's peer
// has none.
func (q *Request) Text() string {
	if !q.Address.IsValid() {
		return ""
	}
	return q.Address.String()
}

// Forwarded returns the one value of an X-Forwarded-… header that a trusted proxy
// has set; "" if the peer is none, or if there are several values: then it is
// unknown which of them the nearest proxy wrote.
func (q *Request) Forwarded(r *http.Request, name string) string {
	values := r.Header.Values(name)
	if !q.Trusted || len(values) != 1 || strings.Contains(values[0], ",") {
		return ""
	}
	return strings.TrimSpace(values[0])
}
