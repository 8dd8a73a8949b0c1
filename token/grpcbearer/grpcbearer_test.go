package grpcbearer_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"example.com/curfew/revocation"
	"example.com/curfew/token"
	"example.com/curfew/token/bearer"
	"example.com/curfew/token/grpcbearer"
	"example.com/curfew/token/tokentest"
)

// service has a method of each kind. Its messages are texts.
type service struct {
	t *testing.T
	// left is told when a method that waits has been left, with the cause of its
	// context's end.
	left chan error
	// began, if not nil, is told when Get has begun, which then waits until its
	// context ends; flood closes it after its first message.
	began chan struct{}
	sent  sync.Once // the first message of flood
}

func (s *service) get(ctx context.Context) (*wrapperspb.StringValue, error) {
	if s.began != nil {
		done := ctx.Done()
		s.began <- struct{}{}
		<-done
		s.left <- context.Cause(ctx)
		return nil, ctx.Err()
	}
	if session := bearer.Session(ctx); session != nil {
		return wrapperspb.String(session.Subject), nil
	}
	return wrapperspb.String(""), nil
}

// follow sends one message, then waits for its context, and tries to send another.
func (s *service) follow(stream grpc.ServerStream) error {
	if err := stream.RecvMsg(new(wrapperspb.StringValue)); err != nil {
		return err
	}
	if err := stream.SendMsg(wrapperspb.String("first")); err != nil {
		s.left <- context.Cause(stream.Context())
		return err
	}
	<-stream.Context().Done()
	err := stream.SendMsg(wrapperspb.String("too late"))
	s.left <- context.Cause(stream.Context())
	return err
}

// echo waits for messages; it never looks at its context. The session may also end
// while a message is sent.
func (s *service) echo(stream grpc.ServerStream) error {
	for {
		m := new(wrapperspb.StringValue)
		err := stream.RecvMsg(m)
		if err == nil {
			err = stream.SendMsg(m)
		}
		if err != nil {
			s.left <- context.Cause(stream.Context())
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// flood sends more than a client accepts that does not read.
func (s *service) flood(stream grpc.ServerStream) error {
	if err := stream.RecvMsg(new(wrapperspb.StringValue)); err != nil {
		return err
	}
	large := wrapperspb.String(strings.Repeat("x", 1<<20))
	for {
		if err := stream.SendMsg(large); err != nil {
			s.left <- context.Cause(stream.Context())
			return err
		}
		s.sent.Do(func() { close(s.began) })
	}
}

// description is what protoc would make.
var description = grpc.ServiceDesc{
	ServiceName: "test.Service",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{
		MethodName: "Get",
		Handler: func(srv any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
			in := new(wrapperspb.StringValue)
			if err := decode(in); err != nil {
				return nil, err
			}
			return interceptor(ctx, in, &grpc.UnaryServerInfo{Server: srv, FullMethod: "/test.Service/Get"},
				func(ctx context.Context, _ any) (any, error) { return srv.(*service).get(ctx) })
		},
	}},
	Streams: []grpc.StreamDesc{
		{StreamName: "Follow", ServerStreams: true, Handler: func(srv any, stream grpc.ServerStream) error { return srv.(*service).follow(stream) }},
		{StreamName: "Flood", ServerStreams: true, Handler: func(srv any, stream grpc.ServerStream) error { return srv.(*service).flood(stream) }},
		{StreamName: "Echo", ServerStreams: true, ClientStreams: true, Handler: func(srv any, stream grpc.ServerStream) error { return srv.(*service).echo(stream) }},
	},
}

// serve serves s behind guard, and returns a client.
func serve(t *testing.T, guard grpcbearer.Interceptor, s *service) *grpc.ClientConn {
	t.Helper()
	listener := bufconn.Listen(1 << 20)
	server := grpc.NewServer(grpc.UnaryInterceptor(guard.Unary), grpc.StreamInterceptor(guard.Stream))
	server.RegisterService(&description, s)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	client, err := grpc.NewClient("passthrough:test", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = client.Close()
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return client
}

func with(authorization ...string) context.Context {
	ctx := context.Background()
	for _, a := range authorization {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", a)
	}
	return ctx
}

func get(client *grpc.ClientConn, ctx context.Context) (string, error) {
	out := new(wrapperspb.StringValue)
	err := client.Invoke(ctx, "/test.Service/Get", wrapperspb.String(""), out)
	return out.GetValue(), err
}

func open(t *testing.T, client *grpc.ClientConn, ctx context.Context, method string) grpc.ClientStream {
	t.Helper()
	stream, err := client.NewStream(ctx, &grpc.StreamDesc{StreamName: method, ServerStreams: true, ClientStreams: true}, "/test.Service/"+method)
	if err != nil {
		t.Fatal(err)
	}
	// io.EOF: the server has refused the stream already. RecvMsg returns why.
	if err := stream.SendMsg(wrapperspb.String("first")); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if method == "Follow" { // it has one request
		if err := stream.CloseSend(); err != nil {
			t.Fatal(err)
		}
	}
	return stream
}

// wantRefusal checks the code and the reason of a refusal.
func wantRefusal(t *testing.T, what string, err error, code codes.Code, reason token.Reason) {
	t.Helper()
	if status.Code(err) != code || grpcbearer.ReasonOf(err) != reason {
		t.Errorf("%s: %v with the reason %q, want %v with %q", what, err, grpcbearer.ReasonOf(err), code, reason)
	}
}

func TestRefusals(t *testing.T) {
	issuer := tokentest.New(t)
	good, revoked := issuer.Token("ann"), issuer.Token("ben")
	issuer.Revoke(revocation.User("ben"))
	client := serve(t, grpcbearer.Interceptor{Validator: issuer.Validator()}, &service{t: t})
	for _, test := range []struct {
		name          string
		authorization []string
		reason        token.Reason
	}{
		{"nothing", nil, token.ErrMissing},
		{"another scheme", []string{"Basic YTpi"}, token.ErrMissing},
		{"two tokens", []string{"Bearer " + good, "Bearer " + good}, token.ErrMalformed},
		{"no token of ours", []string{"Bearer x.y.z"}, token.ErrMalformed},
		{"revoked", []string{"Bearer " + revoked}, token.ErrRevoked},
	} {
		_, err := get(client, with(test.authorization...))
		wantRefusal(t, test.name, err, codes.Unauthenticated, test.reason)
		for _, method := range []string{"Follow", "Echo"} {
			err := open(t, client, with(test.authorization...), method).RecvMsg(new(wrapperspb.StringValue))
			wantRefusal(t, test.name+": "+method, err, codes.Unauthenticated, test.reason)
		}
	}
	for _, scheme := range []string{"Bearer ", "bearer ", "BEARER  "} {
		if who, err := get(client, with(scheme+good)); who != "ann" || err != nil {
			t.Errorf("%sand a good token: %q, %v; want ann", scheme, who, err)
		}
	}
	issuer.View.SetTrusted(false)
	issuer.View.SetCatchUp(func(context.Context) error { return errors.New("the store is gone") })
	_, err := get(client, with("Bearer "+good))
	wantRefusal(t, "without a view", err, codes.Unavailable, token.ErrUnavailable)
	if got := grpcbearer.ReasonOf(errors.New("anything else")); got != "" {
		t.Errorf("the reason of another error is %q", got)
	}
}

// A method can require a recent authentication; the refusal says how recent.
func TestMaxAge(t *testing.T) {
	issuer := tokentest.New(t)
	const age = 5 * time.Minute
	limits := map[string]time.Duration{"/test.Service/Get": age, "/test.Service/Echo": age, "/test.Service/Follow": 0}
	guard := grpcbearer.Interceptor{
		Validator: issuer.Validator(), Now: issuer.Now,
		MaxAge: func(method string) time.Duration { return limits[method] },
	}
	client := serve(t, guard, &service{t: t, left: make(chan error, 16)})
	of := func(ago time.Duration) string {
		return "Bearer " + issuer.Token("ann", func(s *token.Session) { s.AuthTime = token.UnixTime(issuer.Now().Add(-ago).Unix()) })
	}
	for _, tt := range []struct {
		what, authorization string
		reason              token.Reason
	}{
		{"a second younger", of(age - time.Second), ""},
		{"exactly as old", of(age), ""},
		{"a second older", of(age + time.Second), token.ErrInsufficientAuthentication},
		{"of an unknown time", "Bearer " + issuer.Token("ann"), token.ErrInsufficientAuthentication},
		{"no token", "Bearer x.y.z", token.ErrMalformed},
	} {
		code := codes.OK
		if tt.reason != "" {
			code = codes.Unauthenticated
		}
		_, err := get(client, with(tt.authorization))
		wantRefusal(t, tt.what, err, code, tt.reason)
		if tt.reason == token.ErrInsufficientAuthentication {
			info, ok := status.Convert(err).Details()[0].(*errdetails.ErrorInfo)
			if !ok || info.GetMetadata()["max_age"] != "300" || info.GetReason() != "INSUFFICIENT_USER_AUTHENTICATION" {
				t.Errorf("%s: detail %v", tt.what, info)
			}
		}
		err = open(t, client, with(tt.authorization), "Echo").RecvMsg(new(wrapperspb.StringValue))
		wantRefusal(t, tt.what+": Echo", err, code, tt.reason)
	}
	if err := open(t, client, with(of(time.Hour)), "Follow").RecvMsg(new(wrapperspb.StringValue)); err != nil {
		t.Errorf("a method without a limit: %v", err)
	}
}

func TestPublicMethods(t *testing.T) {
	issuer := tokentest.New(t)
	guard := grpcbearer.Interceptor{Validator: issuer.Validator(), Public: func(method string) bool { return method == "/test.Service/Get" }}
	client := serve(t, guard, &service{t: t})
	for _, authorization := range [][]string{nil, {"Bearer x.y.z"}, {"Bearer " + issuer.Token("ann")}} {
		if who, err := get(client, with(authorization...)); who != "" || err != nil {
			t.Errorf("%q: %q, %v; want a call without a session", authorization, who, err)
		}
	}
	err := open(t, client, with(), "Echo").RecvMsg(new(wrapperspb.StringValue))
	wantRefusal(t, "another method", err, codes.Unauthenticated, token.ErrMissing)
}

// A call ends with its session, whether the method looks at its context, sends or
// waits for a message; and so it does for each reason.
func TestCallsEndWithTheirSession(t *testing.T) {
	for _, test := range []struct {
		reason token.Reason
		code   codes.Code
		end    func(*tokentest.Issuer, *token.Validator)
	}{
		{token.ErrRevoked, codes.Unauthenticated, func(i *tokentest.Issuer, _ *token.Validator) { i.Revoke(revocation.User("ann")) }},
		{token.ErrUnknownKey, codes.Unauthenticated, func(i *tokentest.Issuer, _ *token.Validator) { i.Keys.Set(nil) }},
		{token.ErrUnavailable, codes.Unavailable, func(i *tokentest.Issuer, _ *token.Validator) { i.View.SetTrusted(false) }},
		{token.ErrUnavailable, codes.Unavailable, func(_ *tokentest.Issuer, v *token.Validator) { v.Close() }},
	} {
		for _, method := range []string{"Get", "Follow", "Echo"} {
			t.Run(string(test.reason)+" "+method, func(t *testing.T) {
				issuer := tokentest.New(t)
				v := issuer.Validator()
				s := &service{t: t, left: make(chan error, 1), began: make(chan struct{})}
				client := serve(t, grpcbearer.Interceptor{Validator: v}, s)
				ctx := with("Bearer " + issuer.Token("ann"))
				failed := make(chan error, 1)
				if method == "Get" {
					go func() {
						_, err := get(client, ctx)
						failed <- err
					}()
					<-s.began
				} else {
					stream := open(t, client, ctx, method)
					first := new(wrapperspb.StringValue)
					if err := stream.RecvMsg(first); err != nil || first.GetValue() != "first" {
						t.Fatalf("%q, %v; want the first message", first.GetValue(), err)
					}
					go func() {
						next := new(wrapperspb.StringValue)
						err := stream.RecvMsg(next)
						if err == nil {
							err = errors.New("received " + next.GetValue())
						}
						failed <- err
					}()
				}
				test.end(issuer, v)
				if cause := <-s.left; !errors.Is(cause, test.reason) {
					t.Errorf("the cause in the method is %v, want %v", cause, test.reason)
				}
				wantRefusal(t, method, <-failed, test.code, test.reason)
			})
		}
	}
}

// watched signals when the session of a call is watched.
type watched struct {
	*token.Validator
	began chan struct{}
}

func (w watched) Watch(ctx context.Context, raw string, grace time.Duration) (*token.Watch, error) {
	defer close(w.began)
	return w.Validator.Watch(ctx, raw, grace)
}

// A client that withholds the single request of a method cannot have it served
// after the end of its session.
func TestWithheldRequestEndsWithTheSession(t *testing.T) {
	issuer := tokentest.New(t)
	v := watched{issuer.Validator(), make(chan struct{})}
	s := &service{t: t, left: make(chan error, 1)}
	client := serve(t, grpcbearer.Interceptor{Validator: v}, s)
	stream, err := client.NewStream(with("Bearer "+issuer.Token("ann")), &grpc.StreamDesc{ServerStreams: true}, "/test.Service/Follow")
	if err != nil {
		t.Fatal(err)
	}
	<-v.began
	issuer.Revoke(revocation.User("ann"))
	wantRefusal(t, "a method that waits for its request", stream.RecvMsg(new(wrapperspb.StringValue)), codes.Unauthenticated, token.ErrRevoked)
}

// A client that does not read cannot keep a method waiting after the end of its
// session.
func TestBlockedSendEndsWithTheSession(t *testing.T) {
	issuer := tokentest.New(t)
	s := &service{t: t, left: make(chan error, 1), began: make(chan struct{})}
	client := serve(t, grpcbearer.Interceptor{Validator: issuer.Validator()}, s)
	stream, err := client.NewStream(with("Bearer "+issuer.Token("ann")), &grpc.StreamDesc{ServerStreams: true}, "/test.Service/Flood")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(stream.SendMsg(wrapperspb.String("")), stream.CloseSend()); err != nil {
		t.Fatal(err)
	}
	<-s.began // the next message waits for the client
	issuer.Revoke(revocation.User("ann"))
	if cause := <-s.left; !errors.Is(cause, token.ErrRevoked) {
		t.Errorf("the cause in the method is %v, want %v", cause, token.ErrRevoked)
	}
}

// What the client ends is no refusal.
func TestClientEndsTheStream(t *testing.T) {
	issuer := tokentest.New(t)
	s := &service{t: t, left: make(chan error, 1)}
	client := serve(t, grpcbearer.Interceptor{Validator: issuer.Validator()}, s)
	ctx, cancel := context.WithCancel(with("Bearer " + issuer.Token("ann")))
	stream := open(t, client, ctx, "Echo")
	if err := stream.RecvMsg(new(wrapperspb.StringValue)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if cause := <-s.left; !errors.Is(cause, context.Canceled) {
		t.Errorf("the cause in the method is %v, want %v", cause, context.Canceled)
	}
	if err := stream.RecvMsg(new(wrapperspb.StringValue)); status.Code(err) != codes.Canceled || grpcbearer.ReasonOf(err) != "" {
		t.Errorf("the client sees %v, want Canceled", err)
	}

	closing := open(t, client, with("Bearer "+issuer.Token("ann")), "Echo")
	if err := closing.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := closing.RecvMsg(new(wrapperspb.StringValue)); err != nil {
		t.Fatal(err)
	}
	if err := closing.RecvMsg(new(wrapperspb.StringValue)); !errors.Is(err, io.EOF) {
		t.Errorf("after CloseSend the stream ends with %v, want EOF", err)
	}
	<-s.left //nolint:errcheck // any cause: only that the method is left matters here
}

func TestForgottenValidatorPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("an interceptor without a validator did not panic")
		}
	}()
	_, _ = grpcbearer.Interceptor{}.Unary(context.Background(), nil, &grpc.UnaryServerInfo{}, nil)
}
