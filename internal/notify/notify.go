// Package notify lets a value tell its observers, synchronously, that it has
// changed.
package notify

import (
	"slices"
	"sync"
	"sync/atomic"
)

// List is a list of functions to call. The zero value is empty. It is safe for
// concurrent use.
type List[T any] struct {
	mu    sync.Mutex // held by Add and remove
	funcs atomic.Pointer[[]*func(T)]
}

// Add makes every later Send call f. After remove has returned no new call of f
// begins; a call that has begun may still run.
func (l *List[T]) Add(f func(T)) (remove func()) {
	l.change(func(funcs []*func(T)) []*func(T) { return append(funcs, &f) })
	return func() {
		l.change(func(funcs []*func(T)) []*func(T) {
			return slices.DeleteFunc(funcs, func(o *func(T)) bool { return o == &f })
		})
	}
}

func (l *List[T]) change(next func([]*func(T)) []*func(T)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var funcs []*func(T)
	if old := l.funcs.Load(); old != nil {
		funcs = slices.Clone(*old)
	}
	funcs = next(funcs)
	l.funcs.Store(&funcs)
}

// Send calls every function in the order in which they were added, and returns
// when all have returned.
func (l *List[T]) Send(v T) {
	funcs := l.funcs.Load()
	if funcs == nil {
		return
	}
	for _, f := range *funcs {
		(*f)(v)
	}
}
