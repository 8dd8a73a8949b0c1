package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"example.com/curfew/internal/await"
)

// curfew runs a command on the database of a server and returns what it printed.
func (p *serverProcess) curfew(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), await.Limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, program(t), args...)
	var out, log bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = p.dir, p.env, &out, &log
	if err := cmd.Run(); err != nil {
		t.Fatalf("curfew %s: %v\n%s", strings.Join(args, " "), err, log.String())
	}
	return strings.TrimSpace(out.String())
}

// dial connects to a server, for as long as the test runs.
func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// answer is what a server answered.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// member returns a member of the JSON in the body.
func (a answer) member(t *testing.T, path string) string {
	t.Helper()
	var v any
	if err := json.Unmarshal(a.body, &v); err != nil {
		t.Fatalf("%s: %v", a.body, err)
	}
	for step := range strings.SplitSeq(path, ".") {
		v = member(v, step)
	}
	text, ok := v.(string)
	if !ok {
		t.Fatalf("%s has no text %s", a.body, path)
	}
	return text
}

// ask sends a request to a server.
func (p *serverProcess) ask(t testing.TB, method, path, token, body string) answer {
	t.Helper()
	a, err := p.tryAsk(t.Context(), method, path, token, body)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (p *serverProcess) tryAsk(ctx context.Context, method, path, token, body string) (answer, error) {
	r, err := http.NewRequestWithContext(ctx, method, p.banner()["URL"]+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	got, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return answer{}, err
	}
	defer got.Body.Close()
	data, err := io.ReadAll(got.Body)
	return answer{got.StatusCode, got.Header, data}, err
}
