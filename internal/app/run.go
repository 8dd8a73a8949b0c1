package app

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"example.com/curfew/internal/store"
)

// How often a node looks after what time brings.
const (
	keysEvery  = 5 * time.Second
	pruneEvery = time.Hour
)

// Run serves until ctx ends, then takes the server down in order: readiness off,
// followers sent away, requests under way finished. It returns nil if everything
// had ended within the shutdown timeout.
func (a *App) Run(ctx context.Context) error {
	// Maintenance ends with the requests, not before them.
	maintenance, stop := context.WithCancel(context.WithoutCancel(ctx))
	group, failed := errgroup.WithContext(maintenance)
	group.Go(func() error { return serve(a.server, a.listener) })
	servers := []*http.Server{a.server}
	if a.metricsServer != nil {
		group.Go(func() error { return serve(a.metricsServer, a.metricsListener) })
		servers = append(servers, a.metricsServer)
	}
	group.Go(func() error { return a.every(failed, "keys", keysEvery, a.ring.Maintain) })
	group.Go(func() error { return a.every(failed, "prune", pruneEvery, a.sessions.Maintain) })
	a.log.InfoContext(ctx, "ready", "version", Version(), "address", a.listener.Addr().String(), "issuer", a.installed.Issuer)

	select {
	case <-ctx.Done():
		a.log.InfoContext(ctx, "shutting down: what is under way is finished first")
	case <-failed.Done(): // a listener broke
	}
	a.draining.Store(true)
	a.node.Drain()
	time.AfterFunc(time.Second, a.connections.closeUnasked)
	err := shutDown(a.shutdownTimeout(), servers...)
	stop()
	if err = errors.Join(err, group.Wait()); err == nil {
		a.log.InfoContext(ctx, "shut down")
	}
	return err
}

func (a *App) shutdownTimeout() time.Duration {
	if a.config.ShutdownTimeout <= 0 {
		return 30 * time.Second
	}
	return a.config.ShutdownTimeout
}

// every does something now and then until ctx ends. Nodes that started at one
// time do not all do it at one time. An error is logged, and it is tried again.
func (a *App) every(ctx context.Context, what string, interval time.Duration, do func(context.Context) error) error {
	timer := time.NewTimer(rand.N(min(interval, time.Minute))) // #nosec G404 -- only spreads work
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		limited, cancel := context.WithTimeout(ctx, time.Minute)
		err := do(limited)
		cancel()
		if err != nil && ctx.Err() == nil {
			level := slog.LevelError
			if errors.Is(err, store.ErrUnavailable) {
				level = slog.LevelWarn // passes by itself
			}
			a.log.Log(ctx, level, "maintenance failed, and will be tried again", "what", what, "error", err)
		}
		timer.Reset(interval*9/10 + rand.N(interval/5)) // #nosec G404 -- as above
	}
}

// ready says why no request should be sent here, or nil.
func (a *App) ready(ctx context.Context) error {
	if a.draining.Load() {
		return errDraining
	}
	if _, err := a.store.Clock(ctx); err != nil {
		return err
	}
	if !a.node.Trusted(a.now()) {
		return errStale
	}
	return nil
}

var (
	errDraining = errors.New("the server is shutting down")
	errStale    = errors.New("this node has not heard from its store for a lease")
)
