package token

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// ErrOtherSession is the error of [Watch.Renew] for a good token of another
// session.
var ErrOtherSession = errors.New("token: the token belongs to another session")

// Watch ties something that stays open, such as a stream or a WebSocket, to its
// session: its context ends when the session does. Call Stop when the work is
// over. A Watch is safe for concurrent use.
type Watch struct {
	v      *Validator
	parent context.Context //nolint:containedctx // what Context is derived from
	grace  time.Duration
	latest atomic.Pointer[entry] // the newest token of the session

	once   sync.Once
	begun  atomic.Bool // ctx and cancel are set
	ctx    context.Context
	cancel context.CancelCauseFunc
	detach func() bool // ends the observation of parent

	// Guarded by watches.mu.
	state watchState
	cause error // why it ended
	end   UnixTime
	place int // in watches.ends
	links [indexes]link
}

type watchState uint8

const (
	notWatched watchState = iota // the context has not been looked at yet
	watched
	ended
)

// Watch validates raw as [Validator.Validate] does and returns a watch on its
// session. The context of the watch derives from ctx and ends when
//
//   - the session is revoked, by whatever scope, or its key is no longer trusted;
//   - its token ends by time, with the settings in force as they change;
//   - the view's lease has run out for as long as grace says: zero or less ends it
//     at once, within a tenth of a second;
//   - ctx ends, Stop is called or the validator is closed.
//
// [context.Cause] of the context then wraps the [Reason]. Revocations, changes of
// the settings and of keys end the context before the view that brings them counts
// as current, so a receipt that says that a revocation is effective everywhere also
// covers watched sessions.
//
// The session belongs to the watch, not the token: see [Watch.Renew]. Contexts that
// nothing waits for cost nothing; the others share one goroutine of the validator.
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

// Session returns the session as its newest token has it. It is shared: do not
// modify it.
func (w *Watch) Session() *Session { return &w.latest.Load().session }

// Renew gives the watch a newer token of its session, so that it lives as long as
// that token allows. A token that is older than the newest one changes nothing. The
// error is that of [Validator.Validate] if raw is refused, [ErrOtherSession] if it
// belongs to another session, or the cause of the end if the watch has ended.
func (w *Watch) Renew(ctx context.Context, raw string) error {
	e, err := w.v.observed(ctx, raw)
	if err != nil {
		return err
	}
	return w.v.watches.renew(w, e)
}

// Stop ends the context and forgets the watch. It may be called more than once.
func (w *Watch) Stop() { w.v.watches.end(w, context.Canceled) }

// begin makes the context and registers the watch.
func (w *Watch) begin() {
	w.ctx, w.cancel = context.WithCancelCause(w.parent)
	w.begun.Store(true)
	if err := w.v.watches.add(w); err != nil {
		w.cancel(err)
	}
}

// watchContext is the context of a [Watch]. It registers the watch when something
// first looks whether the context has ended: handlers that answer at once never do,
// and pay nothing.
type watchContext Watch

func (c *watchContext) started() context.Context {
	w := (*Watch)(c)
	w.once.Do(w.begin)
	return w.ctx
}

func (c *watchContext) Deadline() (time.Time, bool) { return c.parent.Deadline() }

func (c *watchContext) Done() <-chan struct{} { return c.started().Done() }

func (c *watchContext) Err() error { return c.started().Err() }

// Value also answers package context, which finds the context that it can cancel
// directly, and the cause, under a key of type *int: that looks whether the context
// has ended, too.
func (c *watchContext) Value(key any) any {
	if _, own := key.(*int); own || c.begun.Load() {
		return c.started().Value(key)
	}
	return c.parent.Value(key)
}

func (c *watchContext) String() string { return fmt.Sprintf("%v.WatchSession", c.parent) }
