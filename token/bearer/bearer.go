// Package bearer protects HTTP handlers with a token validator. It takes the token
// from the Authorization header (RFC 6750, section 2.1), validates it, and puts the
// session into the request's context. The context ends when the session ends, so
// streams that watch it end with a revocation.
//
//	mux.Handle("/invoices/", bearer.Require(validator)(invoices))
//	…
//	session := bearer.Session(r.Context())
//
// The API follows semantic versioning: within a major version nothing exported changes
// its meaning or disappears, and no interface that callers implement gains a method.
package bearer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"example.com/curfew/token"
)

// Validator decides whether a token is accepted. A [token.Validator] is one.
//
// Validate must be safe for concurrent use. Its error wraps a [token.Reason]; an
// error without a reason counts as [token.ErrUnavailable].
type Validator interface {
	Validate(ctx context.Context, raw string) (*token.Session, error)
}

// Watcher is a [Validator] that can also watch a session until it ends. A
// [token.Validator] is one; [token.Validator.Watch] describes the contract.
type Watcher interface {
	Validator
	Watch(ctx context.Context, raw string, grace time.Duration) (*token.Watch, error)
}

// DefaultRealm is the default realm of a challenge.
const DefaultRealm = "curfew"

// Require returns a middleware that refuses requests without an accepted token. If
// v is a [Watcher], as every [token.Validator] is, the request's context ends with
// the session.
func Require(v Validator) func(http.Handler) http.Handler {
	_, can := v.(Watcher)
	return Middleware{Validator: v, EndWithSession: can}.Wrap
}

// RequireLive is [Require] for a validator that must be able to watch sessions.
func RequireLive(v Watcher) func(http.Handler) http.Handler {
	return Middleware{Validator: v, EndWithSession: true}.Wrap
}

// Optional returns a middleware that also accepts requests without a token; their
// context has no session. A request with a token that is not accepted is refused.
// The context ends with the session, as with [Require].
func Optional(v Validator) func(http.Handler) http.Handler {
	_, can := v.(Watcher)
	return Middleware{Validator: v, Optional: true, EndWithSession: can}.Wrap
}

// Middleware configures the protection of a handler. Only Validator is required.
type Middleware struct {
	// Validator decides whether a token is accepted. Required.
	Validator Validator
	// Optional accepts requests without a token; they have no session. A request
	// with a token that is not accepted is still refused. False refuses requests
	// without a token.
	Optional bool
	// EndWithSession ends the request's context when the session ends: see
	// token.Validator.Watch. context.Cause then wraps the token.Reason. Reading the
	// request's body then fails with the same error. It requires a Validator that
	// is a Watcher. A handler that never uses Done or Err of its context, and reads
	// no body, pays nothing. A handler that ends its own session, for example to
	// sign out, uses context.WithoutCancel(r.Context()) for that. When the session
	// of an event stream has ended (text/event-stream over HTTP/1.1), the
	// connection is closed. False validates the token once, when the request
	// arrives.
	EndWithSession bool
	// Grace is how long a context continues after the lease of the validator's view
	// has run out and the session's status is unknown. Zero or less ends the
	// context with the lease. It requires EndWithSession.
	Grace time.Duration
	// MaxAge is the maximum age of the user's authentication, in whole seconds: a
	// session whose user authenticated longer ago, or at an unknown time, is refused
	// with 401 and error="insufficient_user_authentication" (RFC 9470), so that the
	// client can let the user authenticate again. It is checked when the request
	// arrives, and ends no context later. Zero means no limit; a negative value
	// refuses every session. See RequireRecent for single routes.
	MaxAge time.Duration
	// Now is the clock for MaxAge. Nil means time.Now.
	Now func() time.Time
	// Realm is the realm in challenges (RFC 9110, section 11.5). Empty means
	// DefaultRealm.
	Realm string
	// Extract returns the token of a request. Its error wraps a token.Reason:
	// token.ErrMissing if there is no token. Nil means FromRequest.
	Extract func(*http.Request) (raw string, err error)
	// ErrorHandler answers a refused request; token.ReasonOf(err) is the reason.
	// Nil means WriteError with the realm.
	ErrorHandler func(w http.ResponseWriter, r *http.Request, err error)
}

func (m Middleware) realm() string {
	if m.Realm == "" {
		return DefaultRealm
	}
	return m.Realm
}

func (m Middleware) extract() func(*http.Request) (string, error) {
	if m.Extract == nil {
		return FromRequest
	}
	return m.Extract
}

func (m Middleware) errorHandler() func(http.ResponseWriter, *http.Request, error) {
	if m.ErrorHandler == nil {
		return func(w http.ResponseWriter, _ *http.Request, err error) { WriteError(w, m.realm(), err) }
	}
	return m.ErrorHandler
}

func (m Middleware) now() time.Time {
	if m.Now == nil {
		return time.Now()
	}
	return m.Now()
}

// Wrap returns next protected by m. It panics if m has no Validator, or if
// EndWithSession is set and Validator is no [Watcher]. Without a Validator the
// handler would otherwise be open.
func (m Middleware) Wrap(next http.Handler) http.Handler {
	if m.Validator == nil {
		panic("bearer: Middleware.Validator is nil")
	}
	watcher, can := m.Validator.(Watcher)
	if m.EndWithSession && !can {
		panic(fmt.Sprintf("bearer: Middleware.EndWithSession is set, but %T has no method Watch", m.Validator))
	}
	extract, refuse := m.extract(), m.errorHandler()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, err := extract(r)
		if err == nil && raw == "" {
			err = token.ErrMissing
		}
		if m.Optional && errors.Is(err, token.ErrMissing) {
			next.ServeHTTP(w, r)
			return
		}
		if err != nil {
			refuse(w, r, err)
			return
		}
		if m.EndWithSession {
			watch, err := watcher.Watch(r.Context(), raw, m.Grace)
			if err != nil {
				refuse(w, r, err)
				return
			}
			defer watch.Stop()
			if err := watch.Session().CheckAuthTime(m.MaxAge, m.now()); err != nil {
				refuse(w, r, err)
				return
			}
			live := WithWatch(watch)
			next.ServeHTTP(w, withLive(live, r))
			closeStream(live, w, r)
			return
		}
		session, err := m.Validator.Validate(r.Context(), raw)
		if err == nil {
			err = session.CheckAuthTime(m.MaxAge, m.now())
		}
		if err != nil {
			refuse(w, r, err)
			return
		}
		next.ServeHTTP(w, r.WithContext(WithSession(r.Context(), session)))
	})
}

// RequireRecent returns a middleware for single routes behind a [Middleware], for
// what a stolen session must not do: it refuses a session whose user authenticated
// longer than maxAge ago, as Middleware.MaxAge does, and a request without a session
// as one without a token. It answers with [WriteError] and [DefaultRealm].
//
//	mux.Handle("POST /transfers", require(bearer.RequireRecent(5*time.Minute)(transfers)))
func RequireRecent(maxAge time.Duration) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			session := Session(r.Context())
			err := error(token.ErrMissing)
			if session != nil {
				err = session.CheckAuthTime(maxAge, time.Now())
			}
			if err != nil {
				WriteError(w, DefaultRealm, err)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// FromRequest returns the token in the Authorization header of r: the scheme Bearer
// in any letter case, one or more spaces (RFC 9110, section 11.4), the token. The error wraps [token.ErrMissing] if
// the header is missing or has another scheme, and [token.ErrMalformed] if there
// are several headers or the form is wrong.
//
// FromRequest ignores a token in the query or the body (RFC 6750, sections 2.2 and
// 2.3), because such a token would appear in logs.
func FromRequest(r *http.Request) (raw string, err error) {
	headers := r.Header["Authorization"]
	if len(headers) == 0 {
		return "", fmt.Errorf("%w: no Authorization header", token.ErrMissing)
	}
	if len(headers) > 1 {
		return "", fmt.Errorf("%w: %d Authorization headers", token.ErrMalformed, len(headers))
	}
	const scheme = "Bearer"
	h := headers[0]
	if len(h) < len(scheme) || !strings.EqualFold(h[:len(scheme)], scheme) || isTokenChar(h[len(scheme):]) {
		return "", fmt.Errorf("%w: the Authorization header has another scheme than Bearer", token.ErrMissing)
	}
	rest := h[len(scheme):]
	raw = strings.TrimLeft(rest, " ")
	if raw == rest || raw == "" || strings.IndexByte(raw, ' ') >= 0 || strings.IndexByte(raw, '\t') >= 0 {
		return "", fmt.Errorf("%w: the Authorization header is not Bearer, spaces, and the token", token.ErrMalformed)
	}
	return raw, nil
}

// isTokenChar reports whether rest begins with a character that could continue the
// name of a scheme (RFC 9110, section 5.6.2), so that "Bearer" is only its
// beginning.
func isTokenChar(rest string) bool {
	if rest == "" {
		return false
	}
	c := rest[0]
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

type contextKey struct{}

// WithSession returns a context that carries the session s.
func WithSession(ctx context.Context, s *token.Session) context.Context {
	return context.WithValue(ctx, contextKey{}, s)
}

// Session returns the session of a request that passed a [Middleware], or nil if
// the request has no token. After [Renew] it is the session of the newer token. It
// is shared: do not modify it.
func Session(ctx context.Context) *token.Session {
	switch v := ctx.Value(contextKey{}).(type) {
	case *token.Session:
		return v
	case *token.Watch:
		return v.Session()
	}
	return nil
}
