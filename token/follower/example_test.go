package follower_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"

	"example.com/curfew/token/bearer"
	"example.com/curfew/token/follower"
)

func Example() {
	curfew, err := follower.Open(context.Background(), follower.Config{
		Server: "https://curfew.example", ClientID: "billing", ClientSecret: os.Getenv("CURFEW_SECRET"), Audience: "billing",
	})
	if err != nil {
		log.Fatal(err)
	}
	defer curfew.Close() //nolint:errcheck // nothing is written without a SnapshotFile

	invoices := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintln(w, "the invoices of", bearer.Session(r.Context()).Subject)
	})
	http.Handle("/invoices/", bearer.Require(curfew.Validator())(invoices))
}
