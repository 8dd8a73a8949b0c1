package bearer_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"example.com/curfew/revocation"
	"example.com/curfew/token/bearer"
	"example.com/curfew/token/tokentest"
)

// exampleTB is what an issuer needs of a test.
type exampleTB struct{}

func (exampleTB) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (exampleTB) Cleanup(func())                    {}

// Require lets through requests with a valid token. The handler finds the session in
// the request's context.
func Example() {
	issuer := tokentest.New(exampleTB{}) // a service has the validator of package follower
	invoices := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintln(w, "the invoices of", bearer.Session(r.Context()).Subject)
	})
	protected := bearer.Require(issuer.Validator())(invoices)

	get := func(raw string) {
		r := httptest.NewRequest(http.MethodGet, "/invoices/", nil)
		r.Header.Set("Authorization", "Bearer "+raw)
		w := httptest.NewRecorder()
		protected.ServeHTTP(w, r)
		fmt.Println(w.Code, w.Header()["Www-Authenticate"])
	}
	ann := issuer.Token("ann")
	get(ann)
	issuer.Revoke(revocation.User("ann"))
	get(ann)
	// Output:
	// 200 []
	// 401 [Bearer realm="curfew", error="invalid_token", error_description="The session was revoked. Sign in again."]
}
