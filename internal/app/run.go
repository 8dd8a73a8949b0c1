package app

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"example.com/curfew/internal/store"
)

// How often a node looks after what time brings.
const (
	keysEvery  = 5 * time.Second
	pruneEvery = time.Hour
	clockEvery = time.Minute
)

// Run serves until ctx ends, then takes the server down in order: readiness off,
// followers sent away, requests under way finished. It returns nil if everything
// had ended within the shutdown timeout.
func (a *App) Run(ctx context.Context) error {
	return a.run(ctx, func() {
		a.validator.Close() // clients with an event stream connect elsewhere
		a.node.Drain()
	},
		func(ctx context.Context) error { return a.every(ctx, "keys", keysEvery, a.ring.Maintain) },
		a.sessions.CloseReceipts,
		a.recordUses,
		func(ctx context.Context) error { return a.every(ctx, "prune", pruneEvery, a.sessions.Maintain) },
		func(ctx context.Context) error { return a.every(ctx, "clock", clockEvery, a.watchClock) },
		func(ctx context.Context) error { return a.every(ctx, "schema", pruneEvery, a.contract) },
	)
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
			a.log.Log(ctx, level, "maintenance failed; it is tried again", "what", what, "error", err)
		}
		timer.Reset(interval*9/10 + rand.N(interval/5)) // #nosec G404 -- as above
	}
}

// usable returns why this node can answer no request, or nil.
func (a *App) usable(ctx context.Context) error {
	if _, err := a.store.Clock(ctx); err != nil {
		return err
	}
	if !a.node.Trusted(a.now()) {
		return errStale
	}
	return nil
}

// warnings are the faults that do not stop requests from being answered.
func (a *App) warnings() []string {
	if err := a.store.WatchError(); err != nil {
		return []string{err.Error()}
	}
	return nil
}

var errStale = errors.New("this node has not reached its database for a whole lease")
