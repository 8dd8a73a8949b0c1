package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/curfew/internal/await"
)

// SIGTERM: requests under way are finished, pending polls are answered at once, new
// connections are refused, and the exit code is 0.
func TestShutdownDrains(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(s.String(), func(t *testing.T) {
			p := startServer(t, &serverProcess{})
			follower := waitingFollower(t, p)
			upload := slowUpload(t, p)

			if err := p.signal(s); err != nil {
				t.Fatal(err)
			}
			signalled := time.Now()
			if got := <-follower; got.err != nil || got.status != http.StatusServiceUnavailable || time.Since(signalled) > followerWait/2 {
				t.Errorf("the waiting follower got %d, %v after %v; want 503 before its time", got.status, got.err, time.Since(signalled))
			}
			if conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", p.banner()["ADDRESS"]); err == nil {
				_ = conn.Close()
				t.Error("the server still takes connections")
			}
			// The sign-in whose body has not all arrived is answered all the same.
			if got := upload(); got != http.StatusUnauthorized {
				t.Errorf("the request under way got %d, want 401", got)
			}
			if err := p.wait(await.Limit); err != nil {
				t.Errorf("ended with %v, want exit code 0\n%s", err, p.read(p.log))
			}
			if log := p.read(p.log); !strings.Contains(log, `"msg":"shut down"`) {
				t.Errorf("the log does not say that it shut down:\n%s", log)
			}
		})
	}
}

type followed struct {
	status int
	err    error
}

// followerWait is how long the follower asks to wait.
const followerWait = time.Minute

// waitingFollower has a request to the change feed held.
func waitingFollower(t *testing.T, p *serverProcess) <-chan followed {
	t.Helper()
	var id, secret string
	out := p.curfew(t, "client", "add", "service", "--can", "follow")
	for line := range strings.SplitSeq(out, "\n") {
		if words := strings.Fields(line); len(words) > 1 {
			switch words[0] {
			case "id":
				id = words[1]
			case "secret":
				secret = words[1]
			}
		}
	}
	credentials := base64.StdEncoding.EncodeToString([]byte(id + ":" + secret))
	changes := func(ctx context.Context, after string, wait int) (*http.Response, error) {
		url := fmt.Sprintf("%s/v1/changes?after=%s&confirmed=%s&wait=%d&follower=f", p.banner()["URL"], after, after, wait)
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			return nil, err
		}
		r.Header.Set("Authorization", "Basic "+credentials)
		return http.DefaultTransport.RoundTrip(r)
	}
	first, err := changes(t.Context(), "0", 0)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(first.Body)
	first.Body.Close()
	if err != nil || first.StatusCode != http.StatusOK {
		t.Fatalf("the feed answered %d: %s %v", first.StatusCode, body, err)
	}
	_, epoch, _ := strings.Cut(string(body), `"epoch":`)
	epoch, _, _ = strings.Cut(epoch, ",")
	done := make(chan followed, 1)
	go func() { // ends with the request
		got, err := changes(context.Background(), epoch, int(followerWait/time.Second))
		if err != nil {
			done <- followed{err: err}
			return
		}
		got.Body.Close()
		done <- followed{status: got.StatusCode}
	}()
	// No event says that a question is held: an answer would have come by now.
	time.Sleep(200 * time.Millisecond)
	select {
	case got := <-done:
		t.Fatalf("the follower was not held: %d, %v", got.status, got.err)
	default:
	}
	return done
}

// slowUpload sends half of a sign-in, and returns what sends the rest and returns
// the status.
func slowUpload(t *testing.T, p *serverProcess) func() int {
	t.Helper()
	conn := dial(t, p.banner()["ADDRESS"])
	body := `{"username":"nobody","password":"not the password"}`
	if _, err := fmt.Fprintf(conn, "POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", len(body)); err != nil {
		t.Fatal(err)
	}
	// The server says so when it begins to read the body: the request is under way.
	const goOn = "HTTP/1.1 100 Continue\r\n\r\n"
	said := make([]byte, len(goOn))
	if _, err := io.ReadFull(conn, said); err != nil || string(said) != goOn {
		t.Fatalf("the server says %q, %v; want %q", said, err, goOn)
	}
	if _, err := io.WriteString(conn, body[:20]); err != nil {
		t.Fatal(err)
	}
	return func() int {
		if _, err := io.WriteString(conn, body[20:]); err != nil {
			t.Error(err)
			return 0
		}
		answer := make([]byte, 12)
		if _, err := io.ReadFull(conn, answer); err != nil {
			t.Error(err)
			return 0
		}
		var status int
		if _, err := fmt.Sscanf(string(answer), "HTTP/1.1 %d", &status); err != nil {
			t.Error(err)
		}
		return status
	}
}

// A second signal ends the server at once, whatever is under way.
func TestSecondSignal(t *testing.T) {
	// Far longer than this test waits: what ends the server is the signal.
	p := startServer(t, &serverProcess{args: []string{"--shutdown-timeout", "1h"}})
	slowUpload(t, p)
	if err := p.signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	await.Until(t, "the server shuts down", func() bool { return p.logs("shutting down") })
	select {
	case <-p.done:
		t.Fatalf("it ended at the first signal, with a request under way: %v", p.err)
	default:
	}
	if err := p.signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	err := p.wait(await.Limit)
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != exitFailed {
		t.Errorf("ended with %v, want exit code %d at once", err, exitFailed)
	}
	// What it left behind is no obstacle.
	startServer(t, &serverProcess{dir: p.dir})
}

// A request that never ends keeps the server no longer than --shutdown-timeout.
func TestShutdownTimeout(t *testing.T) {
	p := startServer(t, &serverProcess{args: []string{"--shutdown-timeout", "1s"}})
	slowUpload(t, p)
	if err := p.signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	err := p.wait(await.Limit)
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != exitFailed {
		t.Errorf("ended with %v, want exit code %d: something was cut off", err, exitFailed)
	}
	if took := time.Since(began); took < 900*time.Millisecond || took > slower*time.Second {
		t.Errorf("ended after %v, want about 1 s", took)
	}
}
