// Package inbound is the first handler of every request, whether it asks the API or
// the console. It gives the request an id, the address it really came from, a line
// in the log, and an answer even when a handler panics.
package inbound

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"time"

	"example.com/curfew/internal/trace"
)

// Config configures [Wrap]. The zero Config trusts no proxy, logs nothing and
// counts nothing.
type Config struct {
	// TrustedProxies are the networks of the proxies in front. Only a request that
	// comes from one of them may say for whom it was made (X-Forwarded-*,
	// X-Request-Id); from other peers those headers are ignored.
	TrustedProxies []netip.Prefix
	// UnknownProxy notices a proxy that is not among them. Nil: none is noticed.
	UnknownProxy *UnknownProxy
	// Bodies bounds how many requests wait for their bodies. Nil: nothing does.
	Bodies *Bodies
	// Logger gets one line for each request. Nil: none.
	Logger *slog.Logger
	// Observe, if not nil, is told of each request when it is over.
	Observe func(Record)
	// Panic answers a request whose handler panicked before it had begun to
	// answer. Nil: a bare 500.
	Panic http.HandlerFunc
	// Now returns the time. Nil: time.Now.
	Now func() time.Time
}

func (c Config) now() func() time.Time {
	if c.Now == nil {
		return time.Now
	}
	return c.Now
}

func (c Config) logger() *slog.Logger {
	if c.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Logger
}

func (c Config) panicked() http.HandlerFunc {
	if c.Panic == nil {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }
	}
	return c.Panic
}

// Request holds facts about a request besides its own content. Only the handler
// completes the second half, for the log, so it needs no lock.
type Request struct {
	ID      string     // of this request; on the answer too, as X-Request-Id
	Address netip.Addr // of the client, as far as proxies can be trusted
	Device  string     // the User-Agent, made safe to keep and to show
	Trusted bool       // the peer is a trusted proxy: its X-Forwarded-* may be believed
	Trace   trace.Parent

	Route  string // pattern of the route, without a method; "" if there is none
	Code   string // code word of the problem that was answered
	User   string // id of the user who asks, once that is proven
	Client string // id of the service client that asks, once that is proven
	Err    error  // what went wrong; its text is logged if it is the server's fault
	Quiet  bool   // made so often by machines that success is not worth a line

	over   func(status int, bytes int64) // counts the request and logs it
	parked bool                          // it goes on without its handler
}

// Park notes that the request goes on after its handler has returned.
func (q *Request) Park() { q.parked = true }

// Finish counts and logs a request that was parked.
func (q *Request) Finish(status int, bytes int64) { q.over(status, bytes) }

// A Record is a request that is over.
type Record struct {
	*Request
	Method string
	Status int // ClientGone instead of 503 if the client left before the answer
	Bytes  int64
	Took   time.Duration
}

// ClientGone is the status of a request whose client closed the connection before
// the answer, for the log and the metrics. A browser does that with each page that
// the user leaves early. It is nginx's number for the case, and never sent.
const ClientGone = 499

type contextKey struct{}

// Of returns the Request of r, which has come through [Wrap]; the zero Request if
// it has not.
func Of(r *http.Request) *Request {
	if q, ok := r.Context().Value(contextKey{}).(*Request); ok {
		return q
	}
	return &Request{}
}

// Wrap returns next behind all that.
func Wrap(config Config, next http.Handler) http.Handler {
	now, logger, panicked := config.now(), config.logger(), config.panicked()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := now()
		q := identify(r, config.TrustedProxies)
		if !q.Trusted {
			config.UnknownProxy.look(r, q.Address, logger)
		}
		w.Header().Set("X-Request-Id", q.ID)
		if len(r.TransferEncoding) > 0 || !r.ProtoAtLeast(1, 1) {
			// net/http has dropped a Content-Length beside it by now, and in
			// HTTP/1.0 it drops the Transfer-Encoding. A proxy in front may have
			// used the other header, and may take for the body the bytes that are
			// read here as the next request. So the connection is closed (RFC 9112,
			// section 6.1).
			w.Header().Set("Connection", "close")
		}
		rec := &recorder{ResponseWriter: w}
		r = r.WithContext(q.Trace.With(context.WithValue(r.Context(), contextKey{}, q)))
		finish := config.Bodies.watch(w, r)
		q.over = func(status int, bytes int64) {
			if status == http.StatusServiceUnavailable && errors.Is(r.Context().Err(), context.Canceled) {
				status = ClientGone // what failed is the work for a client that left
			}
			record := Record{Request: q, Method: r.Method, Status: status, Bytes: bytes, Took: now().Sub(began)}
			log(logger, r, record)
			if config.Observe != nil {
				config.Observe(record)
			}
		}
		defer func() { //nolint:contextcheck // what answers a panic has the request's
			p := recover()
			cause, _ := p.(error)
			if p != nil && !errors.Is(cause, http.ErrAbortHandler) {
				logger.LogAttrs(r.Context(), slog.LevelError, "panic", slog.String("request_id", q.ID),
					slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
				if rec.status == 0 {
					panicked(rec, r)
					p = nil
				} else {
					p = http.ErrAbortHandler // half an answer must not look like one
				}
			}
			if !q.parked {
				q.over(rec.sent(), rec.bytes)
			}
			finish(p == nil && !q.parked)
			if p != nil {
				panic(p)
			}
		}()
		next.ServeHTTP(rec, r)
	})
}

func identify(r *http.Request, proxies []netip.Prefix) *Request {
	q := &Request{Device: device(r.UserAgent()), Trace: trace.From(r.Header)}
	q.Address, q.Trusted = clientAddress(r, proxies)
	if id := r.Header.Get("X-Request-Id"); q.Trusted && saneID(id) {
		q.ID = id
	} else {
		q.ID = NewID()
	}
	return q
}

// saneID keeps what a proxy calls a request from breaking lines, columns and
// queries where it is logged and kept.
func saneID(id string) bool {
	if len(id) < 1 || len(id) > 128 {
		return false
	}
	for i := range len(id) {
		switch c := id[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.', c == ':':
		default:
			return false
		}
	}
	return true
}

// NewID returns a name for a request: 96 random bits.
func NewID() string {
	var b [12]byte
	rand.Read(b[:]) // never fails
	var id [16]byte
	base64.RawURLEncoding.Encode(id[:], b[:])
	return string(id[:])
}
