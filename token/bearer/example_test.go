package bearer_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"example.com/curfew/revocation"
	"example.com/curfew/token"
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

// A transfer of money requires that the user has typed the password within the last
// five minutes. Otherwise the client learns that it must ask for it.
func ExampleMiddleware_maxAge() {
	issuer := tokentest.New(exampleTB{}) // a service has the validator of package follower
	transfers := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusCreated) })
	protected := bearer.Middleware{Validator: issuer.Validator(), MaxAge: 5 * time.Minute, Now: issuer.Now}.Wrap(transfers)

	raw := issuer.Token("ann", func(s *token.Session) { s.AuthTime = s.IssuedAt })
	for _, later := range []time.Duration{0, 6 * time.Minute} {
		issuer.Advance(later)
		r := httptest.NewRequest(http.MethodPost, "/transfers", nil)
		r.Header.Set("Authorization", "Bearer "+raw)
		w := httptest.NewRecorder()
		protected.ServeHTTP(w, r)
		fmt.Println(w.Code, w.Header()["Www-Authenticate"])
	}
	// Output:
	// 201 []
	// 401 [Bearer realm="curfew", error="insufficient_user_authentication", error_description="The user authenticated too long ago for this request. Authenticate again, then repeat the request with the new token.", max_age="300"]
}
