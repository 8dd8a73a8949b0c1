package follower_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"example.com/curfew/token/bearer"
	"example.com/curfew/token/follower"
)

func Example() {
	server, ann := startCurfew() // stands for a Curfew server, and the token of a user
	defer server.Close()

	curfew, err := follower.Open(context.Background(), follower.Config{
		Server: server.URL, ClientID: "billing", ClientSecret: "s3cret", Audience: "billing",
	})
	if err != nil {
		log.Fatal(err)
	}
	defer curfew.Close()

	invoices := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintln(w, "the invoices of", bearer.Session(r.Context()).Subject)
	})
	protected := bearer.Require(curfew.Validator())(invoices)

	for _, token := range []string{ann, "forged"} {
		r := httptest.NewRequest(http.MethodGet, "/invoices/", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		protected.ServeHTTP(w, r)
		fmt.Println(w.Code)
		if w.Code == http.StatusOK {
			fmt.Print(w.Body)
		}
	}
	// Output:
	// 200
	// the invoices of ann
	// 401
}
