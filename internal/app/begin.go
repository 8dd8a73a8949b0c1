package app

import (
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"example.com/curfew/internal/fault"
)

// swapped is a handler that can be replaced while it serves.
type swapped struct{ current atomic.Pointer[http.Handler] }

func (s *swapped) set(h http.Handler) { s.current.Store(&h) }

func (s *swapped) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	(*s.current.Load()).ServeHTTP(w, r)
}

// retryStarting is the Retry-After of requests that come too early.
const retryStarting = 5 * time.Second

// starting is the handler of a server that waits for its database. /livez answers
// 200, so that no supervisor restarts a process that only has to wait. Everything
// else answers 503, /readyz included. The issuer is not known yet, and with it the
// path below which requests come.
func starting(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/livez") && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_, _ = w.Write([]byte(`{"status":"live"}` + "\n")) // the caller is gone if this fails
		return
	}
	f := fault.Of(fault.ErrNotReady)
	f.RetryAfter = retryStarting
	f.Write(w, r)
}

// serving are the servers at work. The zero value is ready to use.
type serving struct {
	mu      sync.Mutex
	ended   bool
	running sync.WaitGroup
	servers []*http.Server
	results []chan error // of each server's work on a listener
}

// begin makes the servers accept connections, if they do not yet.
func (h *host) begin() {
	s := &h.serving
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.results != nil || s.ended {
		return
	}
	on := func(server *http.Server, listener net.Listener) {
		result := make(chan error, 1)
		s.servers, s.results = append(s.servers, server), append(s.results, result)
		s.running.Go(func() { result <- serve(server, listener) }) // ends with the server
	}
	on(h.server, h.listener)
	on(h.server, h.parking)
	if h.metricsServer != nil {
		on(h.metricsServer, h.metricsListener)
	}
}

// end closes the servers. It is called once, after the work of run.
func (s *serving) end() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	var errs []error
	for _, server := range s.servers {
		errs = append(errs, server.Close())
	}
	s.running.Wait()
	return errors.Join(errs...)
}
