package app

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"
)

// With --shutdown-delay=auto, a server whose readiness was looked at within
// readinessInterest waits for automaticDelay before it takes no more connections.
const (
	readinessInterest = 30 * time.Second
	automaticDelay    = 5 * time.Second
)

var errDraining = errors.New("the server is shutting down")

// readiness is what /readyz says. It notes when it was asked, since a load
// balancer that asks has to see the end of readiness before the end of service.
type readiness struct {
	now      func() time.Time
	draining atomic.Bool
	asked    atomic.Pointer[time.Time]
}

// watch returns a check that fails while the server shuts down.
func (r *readiness) watch(check func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		now := r.now()
		r.asked.Store(&now)
		if r.draining.Load() {
			return errDraining
		}
		return check(ctx)
	}
}

// delay returns how long to go on serving after readiness has ended. A negative
// configured delay stands for auto, which leaves half of the shutdown timeout.
func (r *readiness) delay(configured, shutdownTimeout time.Duration) time.Duration {
	if configured >= 0 {
		return configured
	}
	if asked := r.asked.Load(); asked != nil && r.now().Sub(*asked) <= readinessInterest {
		return min(automaticDelay, shutdownTimeout/2)
	}
	return 0
}

// closing returns the handler, which while the server shuts down ends connections
// with their answers: a connection that is kept would be cut at the end, and a
// request that comes at that moment would be lost.
func (r *readiness) closing(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if r.draining.Load() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, q)
	})
}
