package console_test

import (
	"net/http"
	"strings"
	"testing"

	"example.com/curfew/token/follower"
)

// The only server stops or is killed while a follower has a lease, and starts again. The
// overview names the old process as stopped until the lease is over, and then no longer.
// It never asks for attention.
func TestRestartNeedsNoAttention(t *testing.T) {
	t.Parallel()
	for name, engine := range engines {
		for how, end := range map[string]func(*program){
			"stopped": (*program).end,
			"killed":  func(p *program) { p.process.Kill(); <-p.process.Ended },
		} {
			t.Run(name+" "+how, func(t *testing.T) {
				t.Parallel()
				restartNeedsNoAttention(t, engine(t), end)
			})
		}
	}
}

func restartNeedsNoAttention(t *testing.T, database string, end func(*program)) {
	before := run(t, database, "--lease", "2s")
	var client struct{ ID, Secret string }
	before.api(before.admin, http.MethodPost, "/v1/clients", map[string]any{"name": "shop", "capabilities": []string{"follow"}}, &client)
	f, err := follower.Open(t.Context(), follower.Config{Server: before.url, ClientID: client.ID, ClientSecret: client.Secret, Audience: before.url})
	if err != nil {
		t.Fatal(err)
	}
	end(before)
	_ = f.Close()
	w := before.again(database, "--lease", "2s").open(t, look{})
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
}
