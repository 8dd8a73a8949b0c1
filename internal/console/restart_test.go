package console_test

import (
	"net/http"
	"strings"
	"testing"

	"example.com/curfew/token/follower"
)

// The only server stops while a follower has a lease, and starts again. The overview
// names the old process as stopped until the lease is over, and then no longer. It never
// asks for attention.
func TestRestartNeedsNoAttention(t *testing.T) {
	t.Parallel()
	for name, engine := range engines {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			database := engine(t)
			before := run(t, database, "--lease", "2s")
			var client struct{ ID, Secret string }
			before.api(before.admin, http.MethodPost, "/v1/clients", map[string]any{"name": "shop", "capabilities": []string{"follow"}}, &client)
			f, err := follower.Open(t.Context(), follower.Config{Server: before.url, ClientID: client.ID, ClientSecret: client.Secret, Audience: before.url})
			if err != nil {
				t.Fatal(err)
			}
			before.end()
			_ = f.Close()
			w := run(t, database, "--lease", "2s").open(t, look{})
			w.as("admin")
			if !w.soon(func() bool {
				w.visit("/")
				if text := w.text(); strings.Contains(text, "has not reported") {
					t.Fatalf("attention after a restart:\n%s", text)
				}
				return eval[int](w, `document.querySelectorAll("[aria-labelledby=nodes] tbody tr").length`) == 1
			}) {
				t.Errorf("the row of the old process stays:\n%s", w.text())
			}
			w.saysNot("stopped")
		})
	}
}
