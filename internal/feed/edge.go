package feed

import (
	"context"
	"sync"
	"time"

	"example.com/curfew/internal/replica"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/upstream"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
	"example.com/curfew/token"
)

// EdgeConfig configures an [Edge].
type EdgeConfig struct {
	// Upstream configures the servers to follow. OpenEdge sets its Downstream.
	// Without an Audience the edge validates for the server's first.
	Upstream upstream.Config
	Name     string // the display name of this edge: host:port
}

// Edge is a follower that serves followers of its own: a view without a database.
// It grants no lease longer than the rest of its own, and confirms only what it and
// all its live followers enforce.
type Edge struct {
	config EdgeConfig
	up     *upstream.Follower
	*replica.View
	*hub

	loops   sync.WaitGroup // the goroutines that stop ends
	stop    context.CancelFunc
	closing sync.Once

	reporting    sync.Mutex       // guards what follows
	acknowledged revocation.Epoch // the epoch last confirmed upstream
}

// OpenEdge follows the servers and returns after the first complete transfer: see
// [upstream.Open].
func OpenEdge(ctx context.Context, config EdgeConfig) (*Edge, error) {
	e := &Edge{config: config}
	now := config.Upstream.Now
	if now == nil {
		now = time.Now
	}
	e.hub = newHub(now, MaxLease, 0, func(ctx context.Context) error { return e.CatchUp(ctx) })
	follow := config.Upstream
	follow.Downstream = downstream{e}
	up, err := upstream.Open(ctx, follow)
	if err != nil {
		return nil, err
	}
	e.up, e.View = up, up.View
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	e.stop = stop
	e.loops.Go(func() { e.report(running) }) // ends with stop
	return e, nil
}

// Close ends the view and all pending polls. When it returns, everything that
// OpenEdge started has ended.
func (e *Edge) Close() error {
	var err error
	e.closing.Do(func() {
		e.Drain()
		e.stop()
		e.loops.Wait()
		err = e.up.Close()
	})
	return err
}

// downstream implements [upstream.Downstream].
type downstream struct{ edge *Edge }

func (d downstream) Publish(s replica.State) {
	d.edge.hub.publish(s)
	d.edge.hub.tidyFollowers()
}

func (d downstream) Confirmed(view revocation.Epoch) (revocation.Epoch, int64) {
	epoch, t := d.edge.hub.summary()
	d.edge.reporting.Lock()
	defer d.edge.reporting.Unlock()
	d.edge.acknowledged = min(view, epoch, t.enforced)
	return d.edge.acknowledged, min(t.followers, maxReported)
}

// report confirms upstream as soon as followers here have confirmed, without
// waiting for the next poll.
func (e *Edge) report(ctx context.Context) {
	moved, stop := e.watch()
	defer stop()
	timer := time.NewTimer(pollEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-moved:
		case <-timer.C: // a lease may have run out, which sends no event
			e.tidyFollowers()
		}
		_, t := e.summary()
		e.reporting.Lock()
		more := t.enforced > e.acknowledged
		e.reporting.Unlock()
		if more {
			e.up.Report()
		}
		timer.Reset(pollEvery)
		time.Sleep(crowdPause)
	}
}

// Validator returns the validator of the edge's view.
func (e *Edge) Validator() *token.Validator { return e.up.Validator() }

// Installation returns the server's issuer and audiences.
func (e *Edge) Installation() store.Installation { return rowOf(e.State().Installation) }

// RevokedBefore forwards the request upstream.
func (e *Edge) RevokedBefore(ctx context.Context, user, session string) (wire.RevokedBefore, error) {
	a, left, err := e.up.LookUp(ctx, user, session)
	if err != nil {
		return wire.RevokedBefore{}, replica.Unavailable(err)
	}
	return wire.RevokedBefore{User: int64(a.User), Session: int64(a.Session), Epoch: int64(a.AsOf), LeaseMS: left.Milliseconds()}, nil
}

// Status returns the current state of the edge.
func (e *Edge) Status() Status {
	s, up := e.status(), e.up.Status()
	s.ID, s.Name = e.config.Name, e.config.Name
	s.Trusted, s.LeaseLeft, s.Cache, s.Error = up.Trusted, up.LeaseLeft, up.Cache, up.Err
	return s
}

var _ token.View = (*Edge)(nil)
