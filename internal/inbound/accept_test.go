package inbound

import (
	"net/http"
	"testing"
)

func TestAcceptsGzip(t *testing.T) {
	for accept, want := range map[string]bool{
		"": false, "identity": false, "gzip;q=0": false, "*": false, "xgzip": false,
		"gzip": true, "deflate, gzip;q=0.5": true, "GZIP": true,
	} {
		if got := AcceptsGzip(http.Header{"Accept-Encoding": {accept}}); got != want {
			t.Errorf("%q: %v, want %v", accept, got, want)
		}
	}
}
