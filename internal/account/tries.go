package account

import (
	"context"
	"sync"
)

// tries keeps concurrent attempts within the limits: the number of pending attempts
// for a key is at most the number that may still fail. Other attempts wait, because
// a pending one may succeed, and successes do not count. Nodes share the failures
// but not the pending attempts: at one instant each node may admit as many as are
// left.
type tries struct {
	mu    sync.Mutex
	gates map[string]*gate
}

// gate counts the pending attempts of one key.
type gate struct {
	running int
	holders int           // that still need the gate
	over    uint64        // attempts that have ended
	ended   chan struct{} // closed when the next one ends
}

func newTries() *tries { return &tries{gates: map[string]*gate{}} }

// begin waits until an attempt may run under all limits, and returns a function
// that ends it. leftUnder returns how many more may fail under a limit. The error
// is a *RateLimited if none may.
func (t *tries) begin(ctx context.Context, limits []limit, leftUnder func(context.Context, limit) (int64, error)) (release func(), err error) {
	gates := t.hold(limits)
	defer func() {
		if err != nil {
			t.drop(limits, gates)
		}
	}()
	for {
		seen := t.over(gates)
		left, err := room(ctx, limits, leftUnder)
		if err != nil {
			return nil, err
		}
		wait := t.enter(gates, seen, left)
		if wait == nil {
			return func() { t.leave(gates); t.drop(limits, gates) }, nil
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, ErrBusy
		}
	}
}

// room returns how many more attempts may fail under each limit. The error is a
// *RateLimited if none may.
func room(ctx context.Context, limits []limit, leftUnder func(context.Context, limit) (int64, error)) ([]int64, error) {
	left := make([]int64, len(limits))
	for i, l := range limits {
		var err error
		if left[i], err = leftUnder(ctx, l); err != nil {
			return nil, err
		}
	}
	return left, nil
}

func (t *tries) hold(limits []limit) []*gate {
	t.mu.Lock()
	defer t.mu.Unlock()
	gates := make([]*gate, len(limits))
	for i, l := range limits {
		g := t.gates[l.key]
		if g == nil {
			g = &gate{ended: make(chan struct{})}
			t.gates[l.key] = g
		}
		g.holders++
		gates[i] = g
	}
	return gates
}

func (t *tries) drop(limits []limit, gates []*gate) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, g := range gates {
		if g.holders--; g.holders == 0 {
			delete(t.gates, limits[i].key)
		}
	}
}

func (t *tries) over(gates []*gate) []uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	seen := make([]uint64, len(gates))
	for i, g := range gates {
		seen[i] = g.over
	}
	return seen
}

// closed makes the caller check again at once.
var closed = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// enter starts the attempt and returns nil. Otherwise it returns a channel to wait
// for: there is no room, or an attempt has ended after the failures were counted.
func (t *tries) enter(gates []*gate, seen []uint64, left []int64) <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, g := range gates {
		if g.over != seen[i] {
			return closed
		}
		if int64(g.running) >= left[i] {
			return g.ended
		}
	}
	for _, g := range gates {
		g.running++
	}
	return nil
}

func (t *tries) leave(gates []*gate) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, g := range gates {
		g.running--
		g.over++
		close(g.ended)
		g.ended = make(chan struct{})
	}
}
