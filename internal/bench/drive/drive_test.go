package drive

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func TestDo(t *testing.T) {
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		switch r.URL.Path {
		case "/none":
			w.WriteHeader(http.StatusNoContent)
		case "/long":
			_, err = io.WriteString(w, strings.Repeat("x", 100_000))
		default:
			w.WriteHeader(http.StatusTeapot)
			_, err = io.WriteString(w, r.Method+r.Header.Get("X-Test")+string(body))
		}
		if err != nil {
			t.Error(err)
		}
	})
	c, err := Dial(address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 2 { // one connection for all
		for _, row := range []struct {
			request []byte
			status  int
			body    string
		}{
			{Request("GET", "/", address, "X-Test: y"), http.StatusTeapot, "GETy"},
			{RequestBody("POST", "/", address, []byte("hello")), http.StatusTeapot, "POSThello"},
			{Request("GET", "/none", address), http.StatusNoContent, ""},
			{Request("GET", "/long", address), http.StatusOK, strings.Repeat("x", 100_000)},
		} {
			status, body, err := c.Do(row.request, true)
			if err != nil || status != row.status || string(body) != row.body {
				t.Errorf("%q: %d %q %v", row.request, status, body, err)
			}
			if status, _, err = c.Do(row.request, false); err != nil || status != row.status {
				t.Errorf("%q without its body: %d %v", row.request, status, err)
			}
		}
	}
}

func TestThroughput(t *testing.T) {
	var served atomic.Int64
	address := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		served.Add(1)
		w.WriteHeader(http.StatusNoContent)
	})
	request := [][]byte{Request("GET", "/", address)}
	for _, depth := range []int{1, 8} {
		before, began := served.Load(), time.Now()
		rate, err := Throughput(address, request, 3, depth, 50*time.Millisecond, http.StatusNoContent)
		if err != nil {
			t.Fatal(err)
		}
		done, took := float64(served.Load()-before), time.Since(began)
		if least := done / took.Seconds(); rate < 0.9*least || rate > done/0.05 {
			t.Errorf("depth %d: %.0f a second, but %.0f were served in %v", depth, rate, done, took)
		}
	}
	if _, err := Throughput(address, request, 1, 1, time.Second, http.StatusOK); err == nil || !strings.Contains(err.Error(), "204") {
		t.Errorf("another status: %v", err)
	}
}
