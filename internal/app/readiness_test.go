package app

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

func TestShutdownDelay(t *testing.T) {
	const timeout = 30 * time.Second
	never := time.Duration(-1)
	for _, test := range []struct {
		name          string
		configured    time.Duration
		asked         time.Duration // ago; negative: never
		timeout, want time.Duration
	}{
		{"configured, never asked", 3 * time.Second, never, timeout, 3 * time.Second},
		{"none configured, asked just now", 0, 0, timeout, 0},
		{"auto, never asked", -1, never, timeout, 0},
		{"auto, asked just now", -1, 0, timeout, 5 * time.Second},
		{"auto, asked just before the limit", -1, 30*time.Second - 1, timeout, 5 * time.Second},
		{"auto, asked at the limit", -1, 30 * time.Second, timeout, 5 * time.Second},
		{"auto, asked just after the limit", -1, 30*time.Second + 1, timeout, 0},
		{"auto, with a short shutdown timeout", -1, 0, 4 * time.Second, 2 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &readiness{now: time.Now}
				check := r.watch(func(context.Context) error { return nil })
				if test.asked >= 0 {
					if err := check(t.Context()); err != nil {
						t.Fatal(err)
					}
					time.Sleep(test.asked)
				}
				if got := r.delay(test.configured, test.timeout); got != test.want {
					t.Errorf("the delay is %v, want %v", got, test.want)
				}
			})
		})
	}
}

func TestReadiness(t *testing.T) {
	broken := errors.New("the database is away")
	r := &readiness{now: time.Now}
	if err := r.watch(func(context.Context) error { return nil })(t.Context()); err != nil {
		t.Errorf("%v, want nil", err)
	}
	if err := r.watch(func(context.Context) error { return broken })(t.Context()); !errors.Is(err, broken) {
		t.Errorf("%v, want %v", err, broken)
	}
	r.draining.Store(true)
	if err := r.watch(func(context.Context) error { return nil })(t.Context()); !errors.Is(err, errDraining) {
		t.Errorf("%v, want %v", err, errDraining)
	}
}

// While the server shuts down, each answer ends its connection.
func TestClosingConnections(t *testing.T) {
	r := &readiness{now: time.Now}
	server := httptest.NewServer(r.closing(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
	defer server.Close()
	for _, draining := range []bool{false, true} {
		r.draining.Store(draining)
		answer, err := server.Client().Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if answer.Close != draining {
			t.Errorf("shutting down %v: the answer ends its connection: %v", draining, answer.Close)
		}
	}
}
