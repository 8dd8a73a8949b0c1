package account

import (
	"context"
	"sync"
)

// tries keeps attempts that run at the same time within the limits: no more are
// under way for a key than may still fail. The others wait, since those before
// them may succeed, and successes do not count. Nodes share what has failed, not
// what is under way: at one instant each may let through what is left.
type tries struct {
	mu    sync.Mutex
	gates map[string]*gate
}

// gate is what is under way for one key.
type gate struct {
	running int
	holders int           // that still need the gate
	over    uint64        // attempts that have ended
	ended   chan struct{} // closed when the next one ends
}

func newTries() *tries { return &tries{gates: map[string]*gate{}} }

// begin waits until an attempt may run under all limits, and returns what ends
// it. leftUnder returns how many more may fail under a limit. The error is its
// *RateLimited where none may.
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
// *RateLimited where none may.
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

// closed is for whoever should look again at once.
var closed = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// enter lets the attempt run and returns nil; or it returns what to wait for,
// since there is no room, or since one has ended after the failures were counted.
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
