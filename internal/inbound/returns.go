package inbound

import (
	"context"
	"log/slog"
	"slices"
	"sync"
)

// UnknownReturns notices the hosts to which forward auth may not send a browser back
// after the sign-in. The zero value is ready for use, and safe for concurrent use.
type UnknownReturns struct {
	mu    sync.Mutex
	hosts []string
}

// maxUnknownReturns is the maximum number of hosts that [UnknownReturns] keeps and warns
// of. A browser can name any host to a proxy that passes it on.
const maxUnknownReturns = 16

// Hosts returns the hosts since the process started, in the order in which they came.
func (u *UnknownReturns) Hosts() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.hosts)
}

// Note records a host, and warns once for each.
func (u *UnknownReturns) Note(ctx context.Context, host string, logger *slog.Logger) {
	if u == nil || !u.add(host) {
		return
	}
	logger.WarnContext(ctx, "forward auth sends a browser to the sign-in page, and it cannot return after the sign-in: the host of its page is not in --return-hosts; "+
		"if the host is yours, add it to --return-hosts", "host", host)
}

func (u *UnknownReturns) add(host string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.hosts) >= maxUnknownReturns || slices.Contains(u.hosts, host) {
		return false
	}
	u.hosts = append(u.hosts, host)
	return true
}
