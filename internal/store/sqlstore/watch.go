package sqlstore

import (
	"context"
	"sync"
)

// hub wakes the watchers of one Store. The first watcher starts a goroutine that
// listens to the database; close ends it.
type hub struct {
	// listen calls wake when other processes may have changed something, until ctx
	// ends. It handles errors itself, and calls wake when they are over.
	listen func(ctx context.Context, wake func())

	mu       sync.Mutex
	watchers map[chan struct{}]struct{}
	cancel   context.CancelFunc // stops listening; nil before the first watcher
	closed   bool
	running  sync.WaitGroup
}

func newHub(listen func(ctx context.Context, wake func())) *hub {
	return &hub{listen: listen, watchers: map[chan struct{}]struct{}{}}
}

// watch returns a channel that receives a value after each wake, unless it already
// contains one. It is closed when ctx ends or the hub is closed.
func (h *hub) watch(ctx context.Context) <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	ch := make(chan struct{}, 1)
	if h.closed || ctx.Err() != nil {
		close(ch)
		return ch
	}
	h.watchers[ch] = struct{}{}
	context.AfterFunc(ctx, func() { h.remove(ch) })
	if h.cancel == nil {
		listening, cancel := context.WithCancel(context.Background())
		h.cancel = cancel
		h.running.Go(func() { h.listen(listening, h.wake) }) // ends with close
	}
	return ch
}

func (h *hub) remove(ch chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.watchers[ch]; ok {
		delete(h.watchers, ch)
		close(ch)
	}
}

// wake wakes every watcher.
func (h *hub) wake() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for ch := range h.watchers {
		select {
		case ch <- struct{}{}:
		default: // it has not read the last value
		}
	}
}

func (h *hub) close() {
	h.mu.Lock()
	h.closed = true
	if h.cancel != nil {
		h.cancel()
	}
	for ch := range h.watchers {
		delete(h.watchers, ch)
		close(ch)
	}
	h.mu.Unlock()
	h.running.Wait()
}
