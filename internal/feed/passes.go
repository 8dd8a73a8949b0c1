package feed

import (
	"context"
	"sync"
)

// passes lets callers wait for a piece of work that begins after their call. All
// callers before its begin share it.
type passes struct {
	kick chan struct{} // has a value when a caller waits

	mu   sync.Mutex
	next *pass
}

type pass struct {
	done chan struct{}
	err  error // set before done is closed
}

func newPasses() *passes {
	return &passes{kick: make(chan struct{}, 1), next: &pass{done: make(chan struct{})}}
}

// join requests the next pass and returns it.
func (p *passes) join() *pass {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case p.kick <- struct{}{}:
	default:
	}
	return p.next
}

// begin starts the next pass and returns it.
func (p *passes) begin() *pass {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.next
	p.next = &pass{done: make(chan struct{})}
	return now
}

func (p *pass) end(err error) {
	p.err = err
	close(p.done)
}

func (p *pass) wait(ctx context.Context) error {
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return ctx.Err()
	}
}
