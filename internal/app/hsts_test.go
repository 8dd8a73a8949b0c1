package app

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"example.com/curfew/internal/config"
)

func TestHSTS(t *testing.T) {
	const year = "max-age=31536000"
	for _, tt := range []struct{ name, cert, url, want string }{
		{"API", "c.pem", "https://curfew.example/v1/session", year},
		{"console", "c.pem", "https://curfew.example/", year},
		{"a port", "c.pem", "https://curfew.example:8420/sign-in", year},
		{"an answer for another host", "c.pem", "https://curfew.example/v1/verify", ""},
		{"with a path", "c.pem", "https://curfew.example/v1/verify/x", ""},
		{"a path that begins alike", "c.pem", "https://curfew.example/v1/verifying", year},
		{"localhost", "c.pem", "https://localhost:8420/", ""},
		{"below localhost", "c.pem", "https://a.LOCALHOST/", ""},
		{"no TLS of its own", "", "http://curfew.example/", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, err := newHost(&config.Listener{TLSCert: tt.cert}, Options{})
			if err != nil {
				t.Fatal(err)
			}
			d.mount(http.NotFoundHandler())
			w := httptest.NewRecorder()
			d.handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", tt.url, http.NoBody))
			if got := w.Header().Get("Strict-Transport-Security"); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}
