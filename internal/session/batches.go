package session

import "sync"

// batches runs a function on the items that concurrent calls add, many at once. An
// item never waits for others to join it: items that are added during a run go into
// the next one. The zero value is ready to use.
type batches[T any] struct {
	running sync.WaitGroup

	mu      sync.Mutex
	waiting []T
	busy    bool // a goroutine takes all waiting items before it ends
}

// maxCalls is the maximum number of items in one run.
const maxCalls = 256

// add adds an item, and returns before it has run. do must tell the item's caller.
func (b *batches[T]) add(item T, do func([]T)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting = append(b.waiting, item)
	if !b.busy {
		b.busy = true
		b.running.Go(func() { b.run(do) }) // ends when no item waits
	}
}

func (b *batches[T]) run(do func([]T)) {
	for {
		b.mu.Lock()
		n := min(len(b.waiting), maxCalls)
		if n == 0 {
			b.busy = false
			b.mu.Unlock()
			return
		}
		items := b.waiting[:n:n]
		b.waiting = b.waiting[n:]
		b.mu.Unlock()
		do(items)
	}
}
