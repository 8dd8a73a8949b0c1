package app

import (
	"bufio"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"example.com/curfew/internal/store"
)

// A request's trace is in its line of the log, and in that of the server which an edge
// asks on its behalf. What is no traceparent is in none.
func TestTraceIsLoggedAndPassedOn(t *testing.T) {
	const id, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	log := &lockedBuffer{}
	server, stop := runApp(t, serverConfig(t), Options{Logger: NewLogger(log, "json", slog.LevelDebug)})
	follow, secret := service(t, server, "edge", store.Follow)
	edge := runEdge(t, follow.ID, secret, "http://"+server.Addr().String())
	client, secret := service(t, server, "service", store.Introspect)
	ask := func(base, traceparent string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/oauth/introspect", strings.NewReader("token=x"))
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth(client.ID, secret)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("traceparent", traceparent)
		got, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		got.Body.Close()
		if got.StatusCode != http.StatusOK {
			t.Fatalf("%s answers %d", base, got.StatusCode)
		}
	}
	ask("http://"+server.Addr().String(), "00-"+id+"-"+span+"-01")
	ask("http://"+server.Addr().String(), "00-"+strings.Repeat("b", 32)+"-"+span+"-01\u00e9")
	ask("http://"+edge.Addr().String(), "00-"+strings.Repeat("c", 32)+"-"+span+"-01")
	if err := stop(); err != nil { // the log is complete
		t.Fatal(err)
	}
	found := map[string]string{}
	for lines := bufio.NewScanner(strings.NewReader(log.String())); lines.Scan(); {
		var line struct {
			Msg, Route string
			Trace      string `json:"trace_id"`
			Span       string `json:"span_id"`
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		if line.Trace != "" && line.Msg == "request" {
			found[line.Trace] = line.Route + " " + line.Span
		}
	}
	want := map[string]string{id: "/oauth/introspect " + span, strings.Repeat("c", 32): "/v1/clients/me " + span}
	if len(found) != len(want) {
		t.Errorf("traces in the log: %v, want %v", found, want)
	}
	for trace, where := range want {
		if found[trace] != where {
			t.Errorf("trace %s is at %q, want %q", trace, found[trace], where)
		}
	}
}
