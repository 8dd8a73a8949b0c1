package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
	"example.com/curfew/token"
)

// testUpstream is an edge's question to a server, with a clock and a lease.
type testUpstream struct {
	*upstreamClients
	asked   atomic.Int64
	now     time.Time
	left    time.Duration
	changed atomic.Int64 // when a client changed last
	answer  http.HandlerFunc
}

func newTestUpstream(t *testing.T) *testUpstream {
	t.Helper()
	w := &testUpstream{now: time.Now(), left: 15 * time.Second}
	w.answer = func(out http.ResponseWriter, r *http.Request) {
		id, secret, _ := r.BasicAuth()
		if r.URL.Path != "/v1/clients/me" || secret != "right" {
			out.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = fmt.Fprintf(out, `{"id":%q,"name":"billing","capabilities":["follow"],"created_at":"2026-01-02T03:04:05Z"}`, id)
	}
	var err error
	w.upstreamClients, err = newUpstreamClients([]string{"http://server.test"}, func() time.Time { return w.now }, func() time.Duration { return w.left }, func() revocation.Epoch { return revocation.Epoch(w.changed.Load()) })
	if err != nil {
		t.Fatal(err)
	}
	w.client.Transport = handlerTransport(func(out http.ResponseWriter, r *http.Request) {
		w.asked.Add(1)
		w.answer(out, r)
	})
	t.Cleanup(func() { _ = w.close() })
	return w
}

// handlerTransport answers by a handler without a network, so that a test can run in a
// bubble.
type handlerTransport http.HandlerFunc

func (h handlerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	out := httptest.NewRecorder()
	h(out, r)
	return out.Result(), nil
}

func (w *testUpstream) want(t *testing.T, secret string, wantErr error, wantAsked int64) {
	t.Helper()
	caller, err := w.ClientCaller(t.Context(), "c1", secret, authz.Origin{Address: "192.0.2.1", RequestID: "r"})
	if !errors.Is(err, wantErr) || (err == nil) != (wantErr == nil) {
		t.Fatalf("%v, want %v", err, wantErr)
	}
	if err == nil && (!caller.Client.Can(store.Follow) || caller.Actor.ID != "c1" || caller.Actor.Address != "192.0.2.1") {
		t.Errorf("%+v is not the client", caller)
	}
	if n := w.asked.Load(); n != wantAsked {
		t.Errorf("asked %d times, want %d", n, wantAsked)
	}
}

func TestUpstreamIsAskedOnceALease(t *testing.T) {
	w := newTestUpstream(t)
	began := w.now
	w.want(t, "right", nil, 1)
	w.want(t, "right", nil, 1)
	w.now = began.Add(15*time.Second - time.Nanosecond)
	w.want(t, "right", nil, 1)
	w.now = began.Add(15 * time.Second)
	w.want(t, "right", nil, 2)

	// An edge that has no lease left remembers nothing.
	w.now, w.left = w.now.Add(time.Hour), 0
	w.want(t, "right", nil, 3)
	w.want(t, "right", nil, 4)
}

// A wrong secret is refused each time, and is not taken for a right one.
func TestUpstreamRefuses(t *testing.T) {
	w := newTestUpstream(t)
	w.want(t, "right", nil, 1)
	w.want(t, "wrong", authz.ErrBadClient, 2)
	w.want(t, "wrong", authz.ErrBadClient, 3)
	w.want(t, "right", nil, 3)

	// Without news of clients, a withdrawn secret is good until the lease ends.
	w.answer = func(out http.ResponseWriter, _ *http.Request) { out.WriteHeader(http.StatusUnauthorized) }
	w.now = w.now.Add(16 * time.Second)
	w.want(t, "right", authz.ErrBadClient, 4)
}

// Whatever is not a clear answer is neither good nor bad.
func TestUpstreamCannotTell(t *testing.T) {
	w := newTestUpstream(t)
	answers := map[string]http.HandlerFunc{
		"error":    func(out http.ResponseWriter, _ *http.Request) { out.WriteHeader(http.StatusInternalServerError) },
		"limited":  func(out http.ResponseWriter, _ *http.Request) { out.WriteHeader(http.StatusTooManyRequests) },
		"redirect": func(out http.ResponseWriter, r *http.Request) { http.Redirect(out, r, "/elsewhere", http.StatusFound) },
		"nonsense": func(out http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(out, "<html>") },
		"another": func(out http.ResponseWriter, _ *http.Request) {
			_, _ = fmt.Fprint(out, `{"id":"c2","capabilities":["follow"]}`)
		},
	}
	asked := int64(0)
	for name, answer := range answers {
		asked++
		w.answer = answer
		t.Log(name)
		w.want(t, "right", token.ErrUnavailable, asked)
	}
	_ = w.close()
	gone, err := newUpstreamClients([]string{"http://127.0.0.1:1"}, time.Now, func() time.Duration { return time.Second }, func() revocation.Epoch { return 0 })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := gone.ClientCaller(t.Context(), "c1", "right", authz.Origin{}); !errors.Is(err, token.ErrUnavailable) {
		t.Errorf("no server: %v, want ErrUnavailable", err)
	} else if strings.Contains(err.Error(), "right") {
		t.Errorf("the error quotes the secret: %v", err)
	}
}

// Callers that ask the same at the same time share one query, and a caller that
// gives up does not end it for the others.
func TestUpstreamSharesQuestions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTestUpstream(t)
		good := w.answer
		hold := make(chan struct{})
		w.answer = func(out http.ResponseWriter, r *http.Request) {
			<-hold
			good(out, r)
		}
		impatient, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() {
			if _, err := w.ClientCaller(impatient, "c1", "right", authz.Origin{}); !errors.Is(err, token.ErrUnavailable) {
				t.Errorf("gave up: %v, want ErrUnavailable", err)
			}
		})
		synctest.Wait() // the question is put
		for range 20 {
			running.Go(func() {
				if _, err := w.ClientCaller(t.Context(), "c1", "right", authz.Origin{}); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait() // they wait for its answer
		cancel()
		synctest.Wait()
		close(hold)
		running.Wait()
		if n := w.asked.Load(); n != 1 {
			t.Errorf("asked %d times, want once", n)
		}
	})
}

// A flood of guesses fills no memory.
func TestUpstreamMemoryIsBounded(t *testing.T) {
	w := newTestUpstream(t)
	running := token.Lease{Start: w.now, Length: time.Minute}
	over := token.Lease{Start: w.now.Add(-time.Hour), Length: time.Minute}
	for i := range maxKnownClients {
		lease := running
		if i%2 == 0 {
			lease = over
		}
		w.known[[32]byte{byte(i), byte(i >> 8)}] = knownClient{lease: lease}
	}
	w.want(t, "right", nil, 1)
	if n := len(w.known); n != maxKnownClients/2+1 {
		t.Errorf("%d are known, want half of what there was and one more", n)
	}
	for i := range maxKnownClients {
		w.known[[32]byte{byte(i), byte(i >> 8)}] = knownClient{lease: running}
	}
	w.want(t, "other", authz.ErrBadClient, 2)
	w.now = w.now.Add(16 * time.Second)
	w.want(t, "right", nil, 3)
	if n := len(w.known); n > maxKnownClients {
		t.Errorf("%d are known, at most %d may be", n, maxKnownClients)
	}
}

// When the feed says that clients have changed, nothing that was found out before
// counts; a question that was under way is not shared, and its answer not kept. An
// upstream of a version that does not say so leaves it at the lease.
func TestUpstreamForgetsWhenClientsChange(t *testing.T) {
	w := newTestUpstream(t)
	w.want(t, "right", nil, 1)
	w.changed.Store(5)
	w.want(t, "right", nil, 2)
	w.want(t, "right", nil, 2)

	// A question is under way when a client changes.
	good := w.answer
	hold, asked := make(chan struct{}), make(chan struct{})
	w.now = w.now.Add(16 * time.Second)
	w.answer = func(out http.ResponseWriter, r *http.Request) {
		close(asked)
		<-hold
		good(out, r)
	}
	landed := make(chan error)
	go func() {
		_, err := w.ClientCaller(t.Context(), "c1", "right", authz.Origin{})
		landed <- err
	}()
	<-asked
	w.changed.Store(6)
	w.answer = func(out http.ResponseWriter, _ *http.Request) { out.WriteHeader(http.StatusUnauthorized) }
	w.want(t, "right", authz.ErrBadClient, 4)
	close(hold)
	if err := <-landed; err != nil {
		t.Errorf("the question that was under way: %v", err)
	}
	w.want(t, "right", authz.ErrBadClient, 5)
}
