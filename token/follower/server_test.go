package follower_test

import (
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strconv"
	"time"

	"example.com/curfew/token/jwks"
	"example.com/curfew/token/tokentest"
)

// startCurfew starts a server that speaks the change feed, and signs the user ann
// in. The server never changes anything.
func startCurfew() (server *httptest.Server, ann string) {
	issuer := tokentest.New(exampleTB{})
	issuer.Audience = "billing"
	issuer.SetNow(time.Now())
	keys, err := jwks.Marshal(issuer.Keys.Current().All()...)
	if err != nil {
		log.Fatal(err)
	}
	epoch := int64(issuer.Epoch())
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, secret, _ := r.BasicAuth(); secret != "s3cret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if r.URL.Query().Get("after") == strconv.FormatInt(epoch, 10) && r.URL.Query().Get("wait") != "0" {
			<-r.Context().Done() // there is nothing newer
			return
		}
		_, _ = fmt.Fprintf(w, `{"epoch":%d,"more":false,"held_ms":0,"lease_ms":15000,"issuer":%q,"audience":["billing"],`+
			`"settings":{"session_timeout_seconds":1200,"maximum_session_duration_seconds":1728000,"remember_me_enabled":true,"epoch":1},`+
			`"keys":%s,"revocations":[]}`, epoch, issuer.Name, keys)
	}))
	return server, issuer.Token("ann")
}

// exampleTB is a testing.TB for an example, which has none.
type exampleTB struct{}

func (exampleTB) Fatalf(format string, args ...any) { log.Fatalf(format, args...) }
func (exampleTB) Cleanup(func())                    {}
