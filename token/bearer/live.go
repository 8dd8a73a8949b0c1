package bearer

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"

	"example.com/curfew/token"
)

// ErrNotWatched is returned by [Renew] for a context without a watched session.
var ErrNotWatched = errors.New("bearer: the context has no session that is watched; set Middleware.EndWithSession or use Watch")

// closeStream closes the connection of an event stream whose session has ended and
// whose handler has returned. The stream has no end marker: a client that keeps the
// connection alive would continue to wait for events.
func closeStream(live context.Context, w http.ResponseWriter, r *http.Request) {
	// The type comes first: Err begins to watch the session, and other answers
	// don't pay for that.
	if !strings.HasPrefix(w.Header().Get("Content-Type"), "text/event-stream") || live.Err() == nil || r.Context().Err() != nil {
		return
	}
	control := http.NewResponseController(w)
	if control.Flush() != nil {
		return
	}
	if conn, _, err := control.Hijack(); err == nil { // HTTP/2 does not support it, and ends the stream itself
		_ = conn.Close()
	}
}

// liveBody is the body of a request. What arrives after the end of the session is
// not read: a client can send the headers of a request while its session is valid,
// and withhold the body.
type liveBody struct {
	io.ReadCloser
	live context.Context //nolint:containedctx // the request's
}

func (b *liveBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.live.Err() != nil {
		return 0, context.Cause(b.live)
	}
	return n, err
}

// withLive returns the request with the context and, if it has a body, with a body
// that ends with it.
func withLive(live context.Context, r *http.Request) *http.Request {
	next := r.WithContext(live)
	if r.Body != nil && r.Body != http.NoBody {
		next.Body = &liveBody{r.Body, live}
	}
	return next
}

// Watch returns a context that carries the session of raw and ends with it. Use it
// for work that outlives the handler, such as a hijacked connection. live derives
// from ctx; the context of a request ends when its handler returns. If the token is
// refused, live has already ended, and [context.Cause] wraps the [token.Reason].
// Call stop when the work is done.
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
// long as that token. A client that keeps a stream open sends the new token after
// each refresh. The context must come from a [Middleware] with EndWithSession or
// from [Watch]; otherwise the error is [ErrNotWatched]. Other errors are those of
// [token.Watch.Renew].
func Renew(ctx context.Context, raw string) error {
	w, ok := ctx.Value(contextKey{}).(*token.Watch)
	if !ok {
		return ErrNotWatched
	}
	return w.Renew(ctx, raw)
}
