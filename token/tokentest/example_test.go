package tokentest_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"example.com/curfew/revocation"
	"example.com/curfew/token/bearer"
	"example.com/curfew/token/tokentest"
)

// exampleTB stands for the *testing.T of a test.
type exampleTB struct{}

func (exampleTB) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (exampleTB) Cleanup(func())                    {}

// A test issues tokens, moves the clock, and revokes.
func Example() {
	var t exampleTB // in a test: t *testing.T

	issuer := tokentest.New(t)
	handler := bearer.Require(issuer.Validator())(http.NotFoundHandler()) // the handler under test
	get := func(raw string) int {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Authorization", "Bearer "+raw)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w.Code
	}
	ann := issuer.Token("ann")
	fmt.Println("valid:", get(ann))
	issuer.Advance(20 * time.Minute)
	fmt.Println("timed out:", get(ann))
	ben := issuer.Token("ben")
	issuer.Revoke(revocation.User("ben"))
	fmt.Println("revoked:", get(ben))
	// Output:
	// valid: 404
	// timed out: 401
	// revoked: 401
}
