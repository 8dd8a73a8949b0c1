package feed

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// round is those who wait for one change. They are all told before any of them is
// heard again: a follower that was told asks again at once, and if ten thousand
// did so while others still waited to be told, the last would wait twice as long.
type round struct {
	changed chan struct{} // closed when there is something to tell
	told    chan struct{} // closed when all of them have been told

	left atomic.Int64 // those who have not been, and the hub until changed is closed
	over sync.Once
}

// mostPatience bounds how long those who have been told wait for one who cannot
// be: its connection may be stuck.
const mostPatience = 250 * time.Millisecond

func newRound() *round {
	r := &round{changed: make(chan struct{}), told: make(chan struct{})}
	r.left.Store(1)
	return r
}

// enter adds one who waits. The caller holds the lock under which end is called.
func (r *round) enter() *round {
	r.left.Add(1)
	return r
}

// leave takes one out: who was told, or waits no longer.
func (r *round) leave() {
	if r != nil && r.left.Add(-1) == 0 {
		r.finish()
	}
}

// end wakes everybody.
func (r *round) end() {
	close(r.changed)
	if r.left.Load() > 1 {
		time.AfterFunc(mostPatience, r.finish)
	}
	r.leave()
}

func (r *round) finish() { r.over.Do(func() { close(r.told) }) }

// wait waits until all of the round have been told, if it has ended.
func (r *round) wait(ctx context.Context) {
	select {
	case <-r.changed:
	default:
		return // it was answered for another reason
	}
	select {
	case <-r.told:
	case <-ctx.Done():
	}
}
