package inbound

import (
	"log/slog"
	"net/http"
	"net/netip"
	"sync/atomic"
)

// UnknownProxy notices a proxy that was not configured: a peer with a private or
// loopback address that says for whom a request was made, and is not among the
// trusted proxies. Its headers are not believed, so all its clients count as one
// address, and share the limits of that address. The zero value is ready for use,
// and safe for concurrent use.
type UnknownProxy struct {
	seen atomic.Pointer[netip.Addr]
}

// Address returns the address of the first such peer since the process started;
// the zero Addr if there was none.
func (u *UnknownProxy) Address() netip.Addr {
	if a := u.seen.Load(); a != nil {
		return *a
	}
	return netip.Addr{}
}

// look looks at a request that comes from no trusted proxy, and warns once.
func (u *UnknownProxy) look(r *http.Request, peer netip.Addr, logger *slog.Logger) {
	if u == nil || len(r.Header["X-Forwarded-For"]) == 0 && len(r.Header["Forwarded"]) == 0 ||
		!peer.IsPrivate() && !peer.IsLoopback() || u.seen.Load() != nil || !u.seen.CompareAndSwap(nil, &peer) {
		return
	}
	logger.WarnContext(r.Context(), "request with X-Forwarded-For or Forwarded from an address that is not in --trusted-proxies, so all its clients count as one; "+
		"if it is your proxy, add it to --trusted-proxies and make it send X-Forwarded-For", "peer", peer.String())
}
