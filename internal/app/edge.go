package app

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"example.com/curfew/internal/config"
	"example.com/curfew/internal/feed"
	"example.com/curfew/internal/httpapi"
	"example.com/curfew/internal/upstream"
	"example.com/curfew/internal/webcookie"
)

// Edge is a follower with host: it validates, and serves the change feed
// onwards. It has no database, and no secret but its client's.
type Edge struct {
	*host
	config config.Edge
	feed   *feed.Edge
}

// OpenEdge follows the servers and returns when the whole state has arrived. It
// answers no request yet; Run does.
func OpenEdge(ctx context.Context, cfg config.Edge, options Options) (*Edge, error) {
	e := &Edge{config: cfg}
	var err error
	if e.host, err = newHost(&e.config.Listener, options); err != nil {
		return nil, err
	}
	err = e.open(ctx)
	if err == nil && options.Terminal != nil {
		err = e.greet(options.Terminal)
	}
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

func (e *Edge) open(ctx context.Context) error {
	if err := e.listen(ctx); err != nil {
		return err
	}
	reading, err := newReading(e.registry)
	if err != nil {
		return err
	}
	done := e.manager.busy(ctx, "Waiting for the state of a server")
	e.feed, err = feed.OpenEdge(ctx, feed.EdgeConfig{
		Name: nodeName(e.listener.Addr().String()),
		Upstream: upstream.Config{
			Servers: e.config.Upstream, ClientID: e.config.ClientID, ClientSecret: e.config.ClientSecret,
			Audience: e.config.Audience, CacheSize: e.config.RevocationCache, SnapshotFile: e.config.SnapshotFile,
			InsecureHTTP: e.config.InsecureUpstreamHTTP, Uses: e.uses, Observe: (&observer{host: e.host}).observe, OnEvent: reading.onEvent, Now: e.now, Logger: e.log,
		},
	})
	done()
	if err != nil {
		return err
	}
	e.closing(e.feed.Close)
	clients, err := newUpstreamClients(e.config.Upstream, e.now, func() time.Duration { return e.feed.Status().LeaseLeft }, e.feed.ClientsEpoch)
	if err != nil {
		return err
	}
	e.closing(clients.close)
	issuer := e.feed.Installation().Issuer
	e.serveBelow(ctx, issuer)
	e.about = []any{"issuer", issuer, "upstream", e.config.Upstream}
	var docs http.Handler
	if e.docs != nil {
		docs = e.docs
	}
	handler, err := httpapi.NewEdge(httpapi.Config{
		Clients: clients, Feed: e.feed, Uses: e.uses, Validator: e.feed.Validator(), Keys: e.feed.Keys(), Settings: e.feed.Settings(),
		Issuer: issuer, Prefix: e.prefix, Docs: docs, Ready: e.readiness.watch(e.usable), TrustedProxies: e.config.TrustedProxies, UnknownProxy: e.unknownProxy, UnknownReturns: e.unknownReturns, Bodies: e.bodies,
		Jar:         webcookie.Jar{Domain: e.config.CookieDomain, CookieName: e.config.CookieName},
		Returns:     webcookie.Returns{Issuer: issuer, Hosts: e.config.ReturnHosts},
		Lease:       func() time.Duration { return e.feed.Status().LeaseLeft },
		CORSOrigins: e.config.CORSOrigins, Parking: e.parking, Metrics: e.metrics, Now: e.now, Logger: e.log,
	})
	if err != nil {
		return err
	}
	e.mount(handler)
	if e.config.Exposed() {
		e.log.WarnContext(ctx, "listening on a public address without TLS: tokens and secrets are sent unencrypted; use --tls-cert and --tls-key, or a proxy with TLS", "address", e.config.Listen)
	}
	return e.registerGauges(e.feed.Status, nil)
}

func (e *Edge) greet(w io.Writer) error {
	return greet(w, greeting{Version: Version(), URL: e.url(), Docs: e.docsURL(), Metrics: e.metricsURL(), Upstream: e.config.Upstream})
}

// Run serves until ctx ends: see [App.Run].
func (e *Edge) Run(ctx context.Context) error {
	return e.run(ctx, func() {
		e.feed.Validator().Close()
		e.feed.Drain()
	})
}

// usable returns why this edge can answer no request, or nil.
func (e *Edge) usable(context.Context) error {
	if !e.feed.Trusted(e.now()) {
		return errStale
	}
	return nil
}
