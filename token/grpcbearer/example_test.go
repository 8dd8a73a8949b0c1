package grpcbearer_test

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"example.com/curfew/revocation"
	"example.com/curfew/token/bearer"
	"example.com/curfew/token/grpcbearer"
	"example.com/curfew/token/tokentest"
)

// exampleTB is what an issuer needs of a test.
type exampleTB struct{}

func (exampleTB) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (exampleTB) Cleanup(func())                    {}

// The interceptors protect every method of a server. A method finds the session in
// its context.
func Example() {
	issuer := tokentest.New(exampleTB{}) // a service has the validator of package follower
	guard := grpcbearer.Interceptor{Validator: issuer.Validator()}
	server := grpc.NewServer(grpc.UnaryInterceptor(guard.Unary), grpc.StreamInterceptor(guard.Stream))
	defer server.Stop()

	// What the server does for a call:
	call := func(raw string) {
		ctx := metadata.NewIncomingContext(context.Background(), metadata.Pairs("authorization", "Bearer "+raw))
		answer, err := guard.Unary(ctx, nil, &grpc.UnaryServerInfo{FullMethod: "/billing.Invoices/List"},
			func(ctx context.Context, _ any) (any, error) {
				return "the invoices of " + bearer.Session(ctx).Subject, nil
			})
		fmt.Printf("%v %v %q\n", answer, status.Code(err), grpcbearer.ReasonOf(err))
	}
	ann := issuer.Token("ann")
	call(ann)
	issuer.Revoke(revocation.User("ann"))
	call(ann)
	// Output:
	// the invoices of ann OK ""
	// <nil> Unauthenticated "revoked"
}
