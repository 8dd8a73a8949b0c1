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
	"example.com/curfew/internal/inbound"
	"example.com/curfew/internal/metrics"
)

// doors are what server and edge have in common: listeners, the HTTP servers
// behind them, metrics, and an orderly end.
type doors struct {
	settings *config.Listener
	log      *slog.Logger
	now      func() time.Time
	prefix   string // path of the issuer; "" is the root

	registry *prometheus.Registry
	metrics  *metrics.Metrics

	listener, metricsListener net.Listener
	parking                   *inbound.Parking
	connections               *connections
	bodies                    *inbound.Bodies
	unknownProxy              *inbound.UnknownProxy
	server, metricsServer     *http.Server
	readiness                 *readiness
	certificate               *certificate // nil without TLS
	reload                    <-chan os.Signal

	closers []func() error // run from the last to the first
}

func newDoors(settings *config.Listener, options Options) (*doors, error) {
	d := &doors{
		settings: settings, log: options.Logger, now: options.Now, reload: options.Reload,
		bodies: inbound.NewBodies(mostUnasked, mostFresh), unknownProxy: &inbound.UnknownProxy{},
	}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	if d.now == nil {
		d.now = time.Now
	}
	d.readiness = &readiness{now: d.now}
	var err error
	if d.registry, err = newRegistry(); err != nil {
		return nil, err
	}
	d.metrics, err = metrics.New(d.registry)
	return d, err
}

// closing adds what Close is to do before what was added earlier.
func (d *doors) closing(do func() error) { d.closers = append(d.closers, do) }

// Close ends everything that Open has begun, in the opposite order. It is for
// once Run has returned, or in its place.
func (d *doors) Close() error {
	var errs []error
	for _, do := range slices.Backward(d.closers) {
		errs = append(errs, do())
	}
	d.closers = nil
	return errors.Join(errs...)
}

// listen takes the addresses. Connections wait until run.
func (d *doors) listen(ctx context.Context) error {
	var err error
	if d.certificate, err = newCertificate(d.settings.Certificate, d.log); err != nil {
		return err
	}
	if d.certificate != nil {
		if err := d.registry.Register(d.certificate.gauge()); err != nil {
			return err
		}
	}
	plain, err := d.take(ctx, "--listen", d.settings.Listen)
	if err != nil {
		return err
	}
	d.listener = encrypted(plain, d.certificate)
	d.parking = inbound.NewParking(plain.Addr(), d.now, d.log)
	d.closing(d.parking.Close)
	if d.settings.MetricsListen != "" {
		d.metricsListener, err = d.take(ctx, "--metrics-listen", d.settings.MetricsListen)
	}
	return err
}

func (d *doors) take(ctx context.Context, flag, address string) (net.Listener, error) {
	var lc net.ListenConfig
	taken, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w; stop the other server, or set another address with %s", address, cause(err), flag)
	}
	l := &listener{Listener: taken, log: d.log}
	d.closing(func() error {
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

// mount puts the servers in front of a handler.
func (d *doors) mount(handler http.Handler) {
	d.connections = newConnections(mostUnasked, mostFresh, mostIdle)
	if d.settings.TLSCert != "" {
		handler = withHSTS(handler)
	}
	handler = inbound.Below(d.prefix, handler)
	d.server = newServer(handler, d.connections, d.log)
	if d.metricsListener != nil {
		d.metricsServer = newServer(metricsHandler(d.registry), newConnections(64, 64, 64), d.log)
	}
}

// run serves, and does the tasks beside it, until ctx ends; then it takes
// everything down in order: readiness off, the shutdown delay, in which everything
// is served, followers sent away, requests under way finished. It returns nil if
// all that had ended within the shutdown timeout.
func (d *doors) run(ctx context.Context, drain func(), tasks ...func(context.Context) error) error {
	// The tasks end with the requests, not before them.
	beside, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	group, failed := errgroup.WithContext(beside)
	group.Go(func() error { return serve(d.server, d.listener) })
	group.Go(func() error { return serve(d.server, returning{d.parking, d.connections}) })
	servers := []*http.Server{d.server}
	if d.metricsServer != nil {
		group.Go(func() error { return serve(d.metricsServer, d.metricsListener) })
		servers = append(servers, d.metricsServer)
	}
	if d.certificate != nil {
		tasks = append(tasks, d.certificate.follow)
	}
	for _, task := range append(tasks, d.reloadOnSignal) {
		group.Go(func() error { return task(failed) })
	}
	d.log.InfoContext(ctx, "ready", "version", Version(), "address", d.listener.Addr().String())

	select {
	case <-ctx.Done():
		d.log.InfoContext(ctx, "shutting down; requests in progress are finished first")
	case <-failed.Done(): // a listener broke
	}
	d.readiness.draining.Store(true)
	patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.shutdownTimeout())
	defer cancel()
	d.serveOn(failed, d.readiness.delay(d.settings.ShutdownDelay, d.shutdownTimeout()))
	// Called when no new connection is accepted: a released client must not come
	// back here.
	d.server.RegisterOnShutdown(drain)
	impatience := time.AfterFunc(time.Second, d.connections.closeUnasked)
	defer impatience.Stop()
	err := shutDown(patience, servers...)
	d.parking.Drain(patience)
	stop()
	if err = errors.Join(err, group.Wait()); err == nil {
		d.log.InfoContext(ctx, "shut down")
	}
	return err
}

// serveOn goes on serving for the shutdown delay, or until ctx ends because a
// listener broke: load balancers see that the server is not ready, and send the
// next requests elsewhere, before the first one could be lost.
func (d *doors) serveOn(ctx context.Context, delay time.Duration) {
	if delay == 0 {
		return
	}
	d.log.InfoContext(ctx, "not ready any more; requests are served until the shutdown delay is over", "delay", delay)
	select {
	case <-time.After(delay):
	case <-ctx.Done():
	}
}

// reloadOnSignal reads the TLS certificate at each signal, until ctx ends.
func (d *doors) reloadOnSignal(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.reload:
		}
		if d.certificate == nil {
			d.log.InfoContext(ctx, "asked to reload; without TLS there is nothing to read again")
			continue
		}
		d.log.InfoContext(ctx, "asked to reload; reading the TLS certificate")
		d.certificate.reload(ctx, true)
	}
}

func (d *doors) shutdownTimeout() time.Duration {
	if d.settings.ShutdownTimeout <= 0 {
		return 30 * time.Second
	}
	return d.settings.ShutdownTimeout
}

// url returns the address at which a person on this machine reaches the server.
func (d *doors) url() string {
	return defaultIssuer(d.listener.Addr().String(), d.settings.TLSCert != "") + d.prefix
}

// metricsURL returns that of the metrics; "" if there are none.
func (d *doors) metricsURL() string {
	if d.metricsListener == nil {
		return ""
	}
	return "http://" + reachable(d.metricsListener.Addr().String()) + "/metrics"
}

// Addr returns the address at which the server listens.
func (d *doors) Addr() net.Addr { return d.listener.Addr() }

// MetricsAddr returns the address of the metrics; nil if there are none.
func (d *doors) MetricsAddr() net.Addr {
	if d.metricsListener == nil {
		return nil
	}
	return d.metricsListener.Addr()
}
