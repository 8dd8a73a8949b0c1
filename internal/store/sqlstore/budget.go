package sqlstore

import (
	"context"
	"errors"
	"time"
)

// errBudget is the cause of contexts that end because the database took too long.
var errBudget = errors.New("no answer in time")

// budget limits the time of a whole Update: the wait for a connection, every
// statement and the commit. Unlike the deadline of a context, it can be extended
// while it runs.
type budget struct {
	ctx    context.Context // a context that can be prolonged
	cancel context.CancelCauseFunc
	timer  *time.Timer
}

func newBudget(ctx context.Context, d time.Duration) *budget {
	b := &budget{}
	b.ctx, b.cancel = context.WithCancelCause(ctx)
	b.timer = time.AfterFunc(d, func() { b.cancel(errBudget) })
	return b
}

// prolong sets the remaining time of the Update to d.
func (b *budget) prolong(d time.Duration) {
	if b.timer.Stop() {
		b.timer.Reset(d)
	}
}

func (b *budget) end() {
	b.timer.Stop()
	b.cancel(nil)
}

// join returns a context that ends with ctx and with the budget.
func (b *budget) join(ctx context.Context) (context.Context, context.CancelFunc) {
	joined, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(b.ctx, func() { cancel(context.Cause(b.ctx)) })
	return joined, func() {
		stop()
		cancel(nil)
	}
}
