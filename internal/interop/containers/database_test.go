package containers

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"example.com/curfew/internal/store/pgtest"
)

// withDatabase makes a PostgreSQL server with a role and a database of the same name,
// and gives the container a host name for it.
func (c *container) withDatabase(t *testing.T, host, role, password string) {
	t.Helper()
	server := pgtest.Start(t, pgtest.Options{TCP: true})
	for _, statement := range []string{
		fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s'", role, password),
		fmt.Sprintf("CREATE DATABASE %s OWNER %s", role, role),
	} {
		if _, err := server.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	hosts := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(hosts, []byte("127.0.0.1 localhost "+host+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c.Mounts = append(c.Mounts, mount{From: hosts, To: "/etc/hosts", ReadOnly: true})
	c.database = server.Addr()
}

// forwardDatabase makes the database reachable in the network of a container that runs.
func (c *container) forwardDatabase(t *testing.T) {
	t.Helper()
	listener, err := within(c, func() (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:5432") })
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	t.Cleanup(func() {
		_ = listener.Close()
		_ = c.cmd.Process.Kill()
		running.Wait()
	})
	running.Go(func() { // ends with the listener
		for {
			inside, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() { // ends with the connection
				defer inside.Close()
				outside, err := net.Dial("tcp", c.database)
				if err != nil {
					return
				}
				running.Go(func() {
					_, _ = io.Copy(outside, inside)
					_ = outside.Close()
				})
				_, _ = io.Copy(inside, outside)
			})
		}
	})
}

// within does something in the network of a container.
func within[T any](c *container, do func() (T, error)) (result T, err error) {
	done := make(chan struct{})
	go func() { // ends with what it does
		defer close(done)
		runtime.LockOSThread() // and never unlocks it: the thread has another network, and ends with the goroutine
		if err = enterNetwork(c.cmd.Process.Pid); err == nil {
			result, err = do()
		}
	}()
	<-done
	return result, err
}

// roundTrip sends a request to a port of the container.
func (c *container) roundTrip(t *testing.T, port int, r *http.Request) (status int, answer []byte) {
	t.Helper()
	conn, err := within(c, func() (net.Conn, error) { return net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)) })
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	transport := &http.Transport{
		DisableKeepAlives: true,
		Dial:              func(string, string) (net.Conn, error) { return conn, nil },
	}
	got, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	answer, err = io.ReadAll(got.Body)
	if err != nil {
		t.Fatal(err)
	}
	return got.StatusCode, answer
}

func (c *container) get(t *testing.T, port int, path string) (status int, answer []byte) {
	t.Helper()
	return c.ask(t, port, path, "")
}

// ask sends a request with a token; "" is none.
func (c *container) ask(t *testing.T, port int, path, token string) (status int, answer []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost"+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return c.roundTrip(t, port, r)
}

// signIn begins a session of admin, and returns its token.
func (c *container) signIn(t *testing.T, port int, password string) string {
	t.Helper()
	data, err := json.Marshal(map[string]string{"username": "admin", "password": password})
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://localhost/v1/sessions", bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	status, answer := c.roundTrip(t, port, r)
	if status != http.StatusCreated {
		t.Errorf("admin can't sign in: %d %s", status, answer)
	}
	var session struct{ Token string }
	if err := json.Unmarshal(answer, &session); err != nil {
		t.Errorf("%s: %v", answer, err)
	}
	return session.Token
}
