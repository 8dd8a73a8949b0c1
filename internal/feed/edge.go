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
	hub    *hub
	*replica.View
	up *upstream.Follower

	running sync.WaitGroup
	stop    context.CancelFunc
	closed  sync.Once

	mu           sync.Mutex
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
	e.running.Go(func() { e.report(running) }) // ends with stop
	return e, nil
}

// Close ends the view and all pending polls. When it returns, everything that
// OpenEdge started has ended.
func (e *Edge) Close() error {
	var err error
	e.closed.Do(func() {
		e.hub.close()
		e.stop()
		e.running.Wait()
		err = e.up.Close()
	})
	return err
}

// Drain ends all pending polls and grants no more leases: see [Node.Drain].
func (e *Edge) Drain() { e.hub.close() }

// downstream implements [upstream.Downstream].
type downstream struct{ edge *Edge }

func (d downstream) Publish(s replica.State) {
	d.edge.hub.publish(s)
	d.edge.hub.tidyFollowers()
}

func (d downstream) Confirmed(view revocation.Epoch) (revocation.Epoch, int64) {
	epoch, t := d.edge.hub.summary()
	d.edge.mu.Lock()
	defer d.edge.mu.Unlock()
	d.edge.acknowledged = min(view, epoch, t.enforced)
	return d.edge.acknowledged, min(t.followers, maxReported)
}

// report confirms upstream as soon as followers here have confirmed, without
// waiting for the next poll.
func (e *Edge) report(ctx context.Context) {
	moved, stop := e.hub.watch()
	defer stop()
	timer := time.NewTimer(pollEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-moved:
		case <-timer.C: // a lease may have run out, which sends no event
			e.hub.tidyFollowers()
		}
		_, t := e.hub.summary()
		e.mu.Lock()
		more := t.enforced > e.acknowledged
		e.mu.Unlock()
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
func (e *Edge) Installation() store.Installation { return store.Installation(e.State().Installation) }

// Changes answers a follower as [Node.Changes] does.
func (e *Edge) Changes(ctx context.Context, q Query) (Answer, error) { return e.hub.changes(ctx, q) }

// Submit answers a follower as [Node.Submit] does.
func (e *Edge) Submit(ctx context.Context, q Query, w Waiter) (a Answer, pending bool, err error) {
	a, p, err := e.hub.submit(ctx, q, w)
	return a, p != nil, err
}

// ClientsEpoch returns the epoch of the last change of a client, from the server; 0
// if the server's version does not report it.
func (e *Edge) ClientsEpoch() revocation.Epoch { return e.hub.clientsEpoch() }

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
	up := e.up.Status()
	epoch, t := e.hub.summary()
	return Status{
		ID: e.config.Name, Name: e.config.Name, Epoch: epoch, Confirmed: t.enforced, Trusted: up.Trusted, LeaseLeft: up.LeaseLeft,
		Followers: t.followers, Overdue: t.overdue, Waiting: t.waiting, Cache: up.Cache, LogLength: e.hub.logLength(), Error: up.Err,
		Polls: e.hub.polls(),
	}
}

var _ token.View = (*Edge)(nil)
