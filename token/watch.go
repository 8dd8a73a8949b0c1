package token

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// ErrOtherSession is returned by [Watch.Renew] for a valid token of another
// session.
var ErrOtherSession = errors.New("token: the token belongs to another session")

// Watch ties long-lived work, such as a stream or a WebSocket, to its session: its
// context ends when the session ends. Call Stop when the work is done. A Watch is
// safe for concurrent use.
type Watch struct {
	v      *Validator
	parent context.Context // the parent of Context
	grace  time.Duration
	latest atomic.Pointer[entry] // the newest token of the session

	once   sync.Once
	begun  atomic.Bool // ctx and cancel are set
	ctx    context.Context
	cancel context.CancelCauseFunc
	detach func() bool // stops watching parent

	// Guarded by watches.mu.
	state watchState
	cause error // the cause of the end
	end   UnixTime
	place int // in watches.ends
	links [indexes]link
}

type watchState uint8

const (
	notWatched watchState = iota // the context has not been used yet
	watched
	ended
)

// Watch validates raw like [Validator.Validate] and returns a watch on its session.
// The context of the watch derives from ctx and ends when
//
//   - the session is revoked, by any scope, or its key is no longer trusted;
//   - its token ends by time, under the settings in force as they change;
//   - the view's lease has been over for the duration grace; zero or less ends the
//     context within a tenth of a second after the lease, or within a second after
//     the lease was withdrawn or the wall clock was set;
//   - ctx ends, Stop is called or the validator is closed.
//
// [context.Cause] of the context then wraps the [Reason]. Changes of revocations,
// settings and keys end the context before the view that contains them counts as
// current. A receipt that says that a revocation is effective everywhere therefore
// also covers watched sessions.
//
// The watch belongs to the session, not to the token: see [Watch.Renew]. A context
// that is never used costs nothing. All others share one goroutine of the
// validator.
func (v *Validator) Watch(ctx context.Context, raw string, grace time.Duration) (*Watch, error) {
	e, err := v.observed(ctx, raw)
	if err != nil {
		return nil, err
	}
	w := &Watch{v: v, parent: ctx, grace: max(grace, 0)}
	w.latest.Store(e)
	return w, nil
}

// Context returns the context that ends with the session.
func (w *Watch) Context() context.Context { return (*watchContext)(w) }

// Session returns the session as in its newest token. It is shared: do not modify
// it.
func (w *Watch) Session() *Session { return &w.latest.Load().session }

// Renew gives the watch a newer token of its session, so that the watch lives as
// long as that token. A token older than the newest one has no effect. The error is
// that of [Validator.Validate] if raw is refused, [ErrOtherSession] if it belongs
// to another session, or the cause of the end if the watch has ended.
func (w *Watch) Renew(ctx context.Context, raw string) error {
	e, err := w.v.observed(ctx, raw)
	if err != nil {
		return err
	}
	return w.v.watches.renew(w, e)
}

// Stop ends the context and releases the watch. It may be called more than once.
func (w *Watch) Stop() { w.v.watches.end(w, context.Canceled) }

// begin creates the context and registers the watch.
func (w *Watch) begin() {
	w.ctx, w.cancel = context.WithCancelCause(w.parent)
	w.begun.Store(true)
	if err := w.v.watches.add(w); err != nil {
		w.cancel(err)
	}
}

// watchContext is the context of a [Watch]. It registers the watch when its Done or
// Err is first used. A handler that answers at once never uses them, and pays
// nothing.
type watchContext Watch

func (c *watchContext) started() context.Context {
	w := (*Watch)(c)
	w.once.Do(w.begin)
	return w.ctx
}

func (c *watchContext) Deadline() (time.Time, bool) { return c.parent.Deadline() }

func (c *watchContext) Done() <-chan struct{} { return c.started().Done() }

func (c *watchContext) Err() error { return c.started().Err() }

// Value also serves package context: it looks up the cancellable context, and the
// cause, under a key of type *int. Such a look-up counts as a use of the context.
func (c *watchContext) Value(key any) any {
	if _, own := key.(*int); own || c.begun.Load() {
		return c.started().Value(key)
	}
	return c.parent.Value(key)
}

func (c *watchContext) String() string { return fmt.Sprintf("%v.WatchSession", c.parent) }
