package bearer

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"example.com/curfew/token"
)

// ErrNotWatched is the error of [Renew] for a context without a watched session.
var ErrNotWatched = errors.New("bearer: the context has no session that is watched; set Middleware.EndWithSession or use Watch")

// closeStream closes the connection of an event stream whose session has ended and
// whose handler has returned. Such a stream has no end of its own: a client that
// keeps the connection alive for more requests would go on waiting for events.
func closeStream(w http.ResponseWriter, r *http.Request, live context.Context) {
	if live.Err() == nil || r.Context().Err() != nil || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/event-stream") {
		return
	}
	control := http.NewResponseController(w)
	if control.Flush() != nil {
		return
	}
	if conn, _, err := control.Hijack(); err == nil { // not with HTTP/2, which ends the stream alone
		_ = conn.Close()
	}
}

// Watch returns a context with the session of raw that ends with it, for work that
// outlives the handler, such as a connection that was hijacked. It derives from ctx:
// that of a request ends when its handler returns. A token that is refused gives a
// context that has ended already; [context.Cause] wraps the [token.Reason]. Call
// stop when the work is over.
//
//	live, stop := bearer.Watch(context.WithoutCancel(r.Context()), validator, raw)
//	context.AfterFunc(live, func() { connection.Close() })
func Watch(ctx context.Context, v Watcher, raw string) (live context.Context, stop func()) {
	w, err := v.Watch(ctx, raw, 0)
	if err != nil {
		live, cancel := context.WithCancelCause(ctx)
		cancel(err)
		return live, func() {}
	}
	return WithWatch(w), w.Stop
}

// WithWatch returns the context of w, which carries its session: see [Session] and
// [Renew]. It is for middleware of other protocols.
func WithWatch(w *token.Watch) context.Context {
	return context.WithValue(w.Context(), contextKey{}, w)
}

// Renew gives the session of a context a newer token, so that the context lives as
// long as that token allows: a client that keeps a stream open sends it the token of
// each refresh. The context must come from a [Middleware] with EndWithSession or
// from [Watch], else the error is [ErrNotWatched]; other errors are those of
// [token.Watch.Renew].
func Renew(ctx context.Context, raw string) error {
	w, ok := ctx.Value(contextKey{}).(*token.Watch)
	if !ok {
		return ErrNotWatched
	}
	return w.Renew(ctx, raw)
}
