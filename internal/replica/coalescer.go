package replica

import (
	"context"
	"sync"
)

// Coalescer runs work in rounds. A caller waits for a round that begins after its
// call, and all callers before that share the round. (A singleflight.Group would
// let a caller share a round that has begun, whose answer may be older than the
// call.) It is safe for concurrent use.
type Coalescer struct {
	wanted chan struct{}

	mu     sync.Mutex
	next   *Round
	closed error // set when no round begins any more
}

// Round is one run of the work.
type Round struct {
	done chan struct{}
	err  error // set before done is closed
}

// NewCoalescer returns a Coalescer whose first round has not begun.
func NewCoalescer() *Coalescer {
	return &Coalescer{wanted: make(chan struct{}, 1), next: newRound()}
}

func newRound() *Round { return &Round{done: make(chan struct{})} }

// Wanted returns a channel that has a value when a caller waits for a round. The
// goroutine that does the work receives from it and calls Begin.
func (c *Coalescer) Wanted() <-chan struct{} { return c.wanted }

// Join requests the next round and returns it.
func (c *Coalescer) Join() *Round {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case c.wanted <- struct{}{}:
	default:
	}
	return c.next
}

// Begin begins the next round. The caller does the work and then calls End.
func (c *Coalescer) Begin() *Round {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.next
	if c.closed == nil {
		c.next = newRound()
	} else {
		now = newRound() // the next one has ended already
	}
	return now
}

// Close ends the next round, and with it every later call, with err.
func (c *Coalescer) Close(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed == nil {
		c.closed = err
		c.next.End(err)
	}
}

// End ends the round for all callers that wait for it.
func (r *Round) End(err error) {
	r.err = err
	close(r.done)
}

// Wait returns the result of the round, or the error of ctx if that ends first.
func (r *Round) Wait(ctx context.Context) error {
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	}
}
