package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"example.com/curfew/internal/config"
	"example.com/curfew/internal/httpapi"
	"example.com/curfew/internal/inbound"
	"example.com/curfew/internal/longpoll"
	"example.com/curfew/internal/manual"
	"example.com/curfew/internal/metrics"
	"example.com/curfew/internal/uses"
)

// host is the part that server and edge have in common: listeners, the HTTP servers
// behind them, metrics, and an orderly end.
type host struct {
	settings *config.Listener
	log      *slog.Logger
	manager  manager
	now      func() time.Time
	docs     *manual.Manual // nil: there is no documentation
	prefix   string         // path of the issuer; "" is the root
	about    []any          // of this server, for the log: keys and values

	registry *prometheus.Registry
	metrics  *metrics.Metrics
	uses     *uses.Set // of sessions, that are not sent on yet

	listener, metricsListener net.Listener
	parking                   *longpoll.Parking
	connections               *connections
	bodies                    *inbound.Bodies
	unknownProxy              *inbound.UnknownProxy
	unknownReturns            *inbound.UnknownReturns
	handler                   swapped // of server
	server, metricsServer     *http.Server
	serving                   serving
	readiness                 *readiness
	certificate               *certificate // nil without TLS
	reload                    <-chan os.Signal

	closers []func() error // run from the last to the first
}

func newHost(settings *config.Listener, options Options) (*host, error) {
	h := &host{
		settings: settings, log: options.Logger, now: options.Now, reload: options.Reload, docs: options.Docs,
		bodies: inbound.NewBodies(maxNewConns, maxFresh), unknownProxy: &inbound.UnknownProxy{}, unknownReturns: &inbound.UnknownReturns{}, uses: uses.NewSet(),
	}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	if h.now == nil {
		h.now = time.Now
	}
	h.manager = manager{h.log}
	h.readiness = &readiness{now: h.now}
	var err error
	if h.registry, err = newRegistry(); err != nil {
		return nil, err
	}
	h.metrics, err = metrics.New(h.registry)
	return h, err
}

// closing adds a function that Close calls before those added earlier.
func (h *host) closing(do func() error) { h.closers = append(h.closers, do) }

// Close ends everything that Open has begun, in the opposite order. It is for
// once Run has returned, or in its place.
func (h *host) Close() error {
	var errs []error
	for _, do := range slices.Backward(h.closers) {
		errs = append(errs, do())
	}
	h.closers = nil
	return errors.Join(errs...)
}

// listen takes the addresses. Connections wait until begin or run.
func (h *host) listen(ctx context.Context) error {
	var err error
	if h.certificate, err = newCertificate(h.settings.Certificate, h.log); err != nil {
		return err
	}
	if h.certificate != nil {
		if err := h.registry.Register(h.certificate.gauge()); err != nil {
			return err
		}
	}
	plain, err := h.take(ctx, "--listen", h.settings.Listen)
	if err != nil {
		return err
	}
	h.listener = encrypted(plain, h.certificate)
	h.parking = longpoll.New(longpoll.Config{
		Address: plain.Addr(), Idle: idleTimeout, Now: h.now, Logger: h.log,
		Of:   func(r *http.Request) longpoll.Request { return inbound.Of(r) },
		Back: func(conn net.Conn) { h.connections.comesBack(conn) },
	})
	h.closing(h.parking.Close)
	h.connections = newConnections(maxNewConns, maxFresh, maxIdle)
	h.handler.set(http.HandlerFunc(starting))
	h.server = newServer(h.readiness.closing(&h.handler), h.connections, h.settings.H2C, h.log)
	if h.settings.MetricsListen != "" {
		if h.metricsListener, err = h.take(ctx, "--metrics-listen", h.settings.MetricsListen); err != nil {
			return err
		}
		h.metricsServer = newServer(metricsHandler(h.registry), newConnections(64, 64, 64), false, h.log)
	}
	h.closing(h.serving.end)
	return nil
}

func (h *host) take(ctx context.Context, flag, address string) (net.Listener, error) {
	var lc net.ListenConfig
	taken, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w; stop the other server, or set another address with %s", address, cause(err), flag)
	}
	l := &listener{Listener: longpoll.Idle(taken), log: h.log}
	h.closing(func() error {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
	return l, nil
}

// cause returns what an operation on the network failed for, without the
// addresses that are said anyway.
func cause(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}

// mount makes the server answer with a handler from the next request on.
func (h *host) mount(handler http.Handler) {
	if h.settings.TLSCert != "" {
		handler = withHSTS(handler)
	}
	h.handler.set(inbound.Below(h.prefix, handler))
}

// run serves, and does the tasks beside it, until ctx ends; then it takes
// everything down in order: readiness off, the shutdown delay, in which everything
// is served, followers sent away, requests under way finished. It returns nil if
// all that had ended within the shutdown timeout.
func (h *host) run(ctx context.Context, drain func(), tasks ...func(context.Context) error) error {
	// The tasks end with the requests, not before them.
	taskContext, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	group, failed := errgroup.WithContext(taskContext)
	h.begin()
	for _, result := range h.serving.results {
		group.Go(func() error { return <-result })
	}
	servers := []*http.Server{h.server}
	if h.metricsServer != nil {
		servers = append(servers, h.metricsServer)
	}
	if h.certificate != nil {
		tasks = append(tasks, h.certificate.follow)
	}
	for _, task := range append(tasks, h.reloadOnSignal, h.manager.watchdog(h.server.Handler)) {
		group.Go(func() error { return task(failed) })
	}
	h.log.InfoContext(ctx, "ready", append([]any{"version", Version(), "address", h.listener.Addr().String(), "url", h.url(), "metrics", h.metricsURL(), "trusted_proxies", texts(h.settings.TrustedProxies)}, h.about...)...)
	h.manager.ready(ctx)

	select {
	case <-ctx.Done():
		h.log.InfoContext(ctx, "shutting down; requests in progress are finished first")
	case <-failed.Done(): // a listener broke
	}
	h.manager.stopping(ctx, h.shutdownTimeout())
	h.readiness.draining.Store(true)
	shutdownContext, cancel := context.WithTimeout(context.WithoutCancel(ctx), h.shutdownTimeout())
	defer cancel()
	h.serveOn(failed, h.readiness.delay(h.settings.ShutdownDelay, h.shutdownTimeout()))
	// Called when no new connection is accepted: a released client must not come
	// back here.
	h.server.RegisterOnShutdown(drain)
	closeTimer := time.AfterFunc(time.Second, h.connections.closeNewConns)
	defer closeTimer.Stop()
	err := shutDown(shutdownContext, servers...)
	h.parking.Drain(shutdownContext)
	stop()
	if err = errors.Join(err, group.Wait()); err == nil {
		h.log.InfoContext(ctx, "shut down")
	}
	return err
}

// serveOn goes on serving for the shutdown delay, or until ctx ends because a
// listener broke: load balancers see that the server is not ready, and send the
// next requests elsewhere, before the first one could be lost.
func (h *host) serveOn(ctx context.Context, delay time.Duration) {
	if delay == 0 {
		return
	}
	h.log.InfoContext(ctx, "not ready any more; requests are served until the shutdown delay is over", "delay", delay)
	select {
	case <-time.After(delay):
	case <-ctx.Done():
	}
}

// reloadOnSignal reads the TLS certificate at each signal, until ctx ends.
func (h *host) reloadOnSignal(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-h.reload:
		}
		h.manager.reloading(ctx)
		if h.certificate == nil {
			h.log.InfoContext(ctx, "asked to reload; without TLS there is nothing to read again")
		} else {
			h.log.InfoContext(ctx, "asked to reload; reading the TLS certificate")
			h.certificate.reload(ctx, true)
		}
		h.manager.ready(ctx)
	}
}

func (h *host) shutdownTimeout() time.Duration {
	if h.settings.ShutdownTimeout <= 0 {
		return 30 * time.Second
	}
	return h.settings.ShutdownTimeout
}

// url returns the address at which a person on this machine reaches the server.
func (h *host) url() string {
	return defaultIssuer(h.listener.Addr().String(), h.settings.TLSCert != "") + h.prefix
}

// docsURL returns that of the documentation; "" if there is none.
func (h *host) docsURL() string {
	if h.docs == nil {
		return ""
	}
	return h.url() + httpapi.DocsPath
}

// metricsURL returns that of the metrics; "" if there are none.
func (h *host) metricsURL() string {
	if h.metricsListener == nil {
		return ""
	}
	return "http://" + reachable(h.metricsListener.Addr().String()) + "/metrics"
}

// texts returns values as they are written, for the log.
func texts[T fmt.Stringer](values []T) []string {
	out := []string{}
	for _, v := range values {
		out = append(out, v.String())
	}
	return out
}
