package feed

import (
	"context"
	"sync"
)

// passes lets any number of callers wait for a piece of work that begins after
// they have called: those who call before it begins share it.
type passes struct {
	kick chan struct{} // has a value when somebody waits

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

// join returns the pass that begins next, and asks for it.
func (p *passes) join() *pass {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case p.kick <- struct{}{}:
	default:
	}
	return p.next
}

// begin returns the pass that begins now.
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
