// Package grpcbearer protects gRPC methods with a token validator, as package
// bearer does for HTTP handlers. It takes the token from the metadata
// "authorization" (RFC 6750, section 2.1), validates it, and gives the method a
// context that carries the session and ends with it.
//
//	guard := grpcbearer.Interceptor{Validator: validator}
//	server := grpc.NewServer(grpc.UnaryInterceptor(guard.Unary), grpc.StreamInterceptor(guard.Stream))
//	…
//	session := bearer.Session(ctx)
//
// A refusal has the code Unauthenticated if the token is not valid or its user
// authenticated too long ago for the method, and Unavailable
// if its status is unknown. Both carry an ErrorInfo with the reason: see
// [ReasonOf].
//
// The API follows semantic versioning: within a major version nothing exported changes
// its meaning or disappears, and no interface that callers implement gains a method.
package grpcbearer

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"example.com/curfew/token"
	"example.com/curfew/token/bearer"
)

// Domain is the domain in the ErrorInfo of a refusal.
const Domain = "curfew"

// Interceptor protects the methods of a server. Only Validator is required: Unary
// and Stream panic without one. It is safe for concurrent use.
type Interceptor struct {
	// Validator decides whether a token is accepted, and watches its session. A
	// token.Validator is one. Required.
	Validator bearer.Watcher
	// Public reports whether a method, "/package.Service/Method", may be called
	// without a token. Such a call has no session, even if it carries a token. Nil
	// means that no method is public.
	Public func(fullMethod string) bool
	// Grace is how long a call continues after the lease of the validator's view
	// has run out and the session's status is unknown. Zero or less ends the call
	// with the lease.
	Grace time.Duration
	// MaxAge returns the maximum age of the user's authentication for a method: a
	// session whose user authenticated longer ago, or at an unknown time, is refused
	// with the reason token.ErrInsufficientAuthentication (RFC 9470). It is checked
	// when the call begins. Zero means no limit, and a negative value refuses every
	// session. Nil means no limit for every method.
	MaxAge func(fullMethod string) time.Duration
	// Now is the clock for MaxAge. Nil means time.Now.
	Now func() time.Time
}

// checkAge checks the age of the authentication that a method allows.
func (i Interceptor) checkAge(s *token.Session, method string) error {
	if i.MaxAge == nil {
		return nil
	}
	now := i.Now
	if now == nil {
		now = time.Now
	}
	return s.CheckAuthTime(i.MaxAge(method), now())
}

// begin watches the session of a call. The watch is nil for a public method.
func (i Interceptor) begin(ctx context.Context, method string) (*token.Watch, error) {
	if i.Validator == nil {
		panic("grpcbearer: Interceptor.Validator is nil")
	}
	if i.Public != nil && i.Public(method) {
		return nil, nil
	}
	// The metadata follows the rules of the HTTP header.
	raw, err := bearer.FromRequest(&http.Request{Header: http.Header{"Authorization": metadata.ValueFromIncomingContext(ctx, "authorization")}})
	if err == nil && raw == "" {
		err = token.ErrMissing
	}
	if err != nil {
		return nil, Error(err)
	}
	watch, err := i.Validator.Watch(ctx, raw, i.Grace)
	if err != nil {
		return nil, Error(err)
	}
	if err := i.checkAge(watch.Session(), method); err != nil {
		watch.Stop()
		return nil, Error(err)
	}
	return watch, nil
}

// Unary is a grpc.UnaryServerInterceptor. If a method fails after its session has
// ended, the error is the reason for the end.
func (i Interceptor) Unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	watch, err := i.begin(ctx, info.FullMethod)
	if err != nil {
		return nil, err
	}
	if watch == nil {
		return handler(ctx, req)
	}
	defer watch.Stop()
	live := bearer.WithWatch(watch)
	answer, err := handler(live, req)
	if err != nil {
		if ended := ended(live); ended != nil {
			return nil, ended
		}
	}
	return answer, err
}

// Stream is a grpc.StreamServerInterceptor. When the session ends, the stream's
// context ends, and send and receive fail, so a method that waits for a message
// returns. The call then fails with the reason for the end. Messages that were
// passed to the transport before are still delivered.
func (i Interceptor) Stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	watch, err := i.begin(stream.Context(), info.FullMethod)
	if err != nil {
		return err
	}
	if watch == nil {
		return handler(srv, stream)
	}
	defer watch.Stop()
	live := bearer.WithWatch(watch)
	err = handler(srv, &liveStream{ServerStream: stream, ctx: live})
	if ended := ended(live); ended != nil {
		return ended
	}
	return err
}

// ended returns the error of a call whose session has ended, else nil.
func ended(live context.Context) error {
	if live.Err() == nil {
		return nil
	}
	cause := context.Cause(live)
	if errors.Is(cause, context.Canceled) || errors.Is(cause, context.DeadlineExceeded) {
		return nil // the client has disconnected, or its deadline has passed
	}
	return Error(cause)
}

// liveStream is a stream that stops when its session ends.
type liveStream struct {
	grpc.ServerStream
	ctx context.Context //nolint:containedctx // a stream carries its context
}

// Context returns the context that ends with the session.
func (s *liveStream) Context() context.Context { return s.ctx }

// SendMsg sends unless the session has ended. A client that does not read delays it
// at most until then.
func (s *liveStream) SendMsg(m any) error {
	return s.whileLive(func() error { return s.ServerStream.SendMsg(m) })
}

// RecvMsg waits for a message until the session ends. A message that arrives later
// is not returned; a client may also withhold the single request of a method that
// only sends.
func (s *liveStream) RecvMsg(m any) error {
	if err := s.whileLive(func() error { return s.ServerStream.RecvMsg(m) }); err != nil {
		return err
	}
	return s.over()
}

// whileLive calls f, and returns when f has returned or the session has ended.
func (s *liveStream) whileLive(f func() error) error {
	if err := s.over(); err != nil {
		return err
	}
	returned := make(chan error, 1)
	go func() { returned <- f() }() // ends with the call at the latest
	select {
	case err := <-returned:
		return err
	case <-s.ctx.Done():
		return s.over()
	}
}

func (s *liveStream) over() error {
	if s.ctx.Err() == nil {
		return nil
	}
	if err := ended(s.ctx); err != nil {
		return err
	}
	return status.FromContextError(s.ctx.Err()).Err()
}

// Error returns the gRPC error of a refusal. The code is Unavailable if err wraps
// [token.ErrUnavailable] or no [token.Reason], and otherwise Unauthenticated. The
// ErrorInfo has the domain [Domain], the reason in capitals, and the metadata
// "code" with the reason as in HTTP answers and logs. For a
// [*token.AuthenticationError] the metadata also has "max_age" in seconds. The text of
// err is not sent; it is for the log.
func Error(err error) error {
	reason := token.ReasonOf(err)
	code := codes.Unauthenticated
	if reason == token.ErrUnavailable {
		code = codes.Unavailable
	}
	about := map[string]string{"code": string(reason)}
	if old, ok := errors.AsType[*token.AuthenticationError](err); ok {
		about["max_age"] = strconv.FormatInt(old.Seconds(), 10)
	}
	s := status.New(code, bearer.Describe(reason))
	if detailed, err := s.WithDetails(&errdetails.ErrorInfo{
		Reason: strings.ToUpper(string(reason)), Domain: Domain, Metadata: about,
	}); err == nil { // it fails only for the code OK
		s = detailed
	}
	return s.Err()
}

// ReasonOf returns the reason for which a guarded server refused a call, for its
// client. It returns "" if err is no such refusal.
func ReasonOf(err error) token.Reason {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.GetDomain() == Domain {
			return token.Reason(info.GetMetadata()["code"])
		}
	}
	return ""
}
