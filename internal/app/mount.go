package app

import (
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"example.com/curfew/internal/console"
	"example.com/curfew/internal/httpapi"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/webcookie"
)

// mount builds the handlers: console, API, and the servers in front of them.
func (a *App) mount() error {
	jar := webcookie.Jar{Domain: a.config.CookieDomain, CookieName: a.config.CookieName}
	returns := webcookie.Returns{Issuer: a.installed.Issuer, Hosts: a.config.ReturnHosts}
	pages, err := console.New(console.Config{
		Providers: a.providers, SignedIn: a.metrics.SignInThrough,
		Sessions: a.sessions, Accounts: a.accounts, Ring: a.ring, Node: a.node, Validator: a.validator,
		Issuer: a.installed.Issuer, Prefix: a.prefix, Jar: jar, ReturnTo: returns.Allow, MinimumTimeout: a.config.MinimumTimeout(),
		UnknownProxy: a.unknownProxy.Address, UnknownReturns: a.unknownReturns.Hosts, ForwardAuth: len(a.config.ReturnHosts) > 0, Certificate: a.host.certificate.period, Warnings: a.warnings, Refusals: a.metrics.Refusals, Version: Version(), Docs: a.docs, Now: a.now, Logger: a.log,
	})
	if err != nil {
		return err
	}
	var docs http.Handler
	if a.docs != nil {
		docs = pages // in the console's frame
	}
	handler, err := httpapi.New(httpapi.Config{
		Sessions: a.sessions, Accounts: a.accounts, Ring: a.ring, Feed: a.node, Validator: a.validator, Discoverer: a.providers, Logouts: a.providers,
		Keys: a.node.Keys(), Settings: a.node.Settings(), Issuers: a.node.Issuers(), Issuer: a.installed.Issuer, Prefix: a.prefix,
		Rest: pages, Uses: a.uses, Docs: docs, Ready: a.readiness.watch(a.usable), Warnings: a.warnings, TrustedProxies: a.config.TrustedProxies,
		UnknownProxy: a.unknownProxy, UnknownReturns: a.unknownReturns, Bodies: a.bodies, Jar: jar, Returns: returns,
		TokensLackEmail: a.config.IdentityClaims != nil && !slices.Contains(a.config.IdentityClaims, session.ClaimEmail),
		KeyCache:        a.config.Lease, Lease: func() time.Duration { return a.config.Lease }, CORSOrigins: a.config.CORSOrigins, Parking: a.parking, Metrics: a.metrics, Now: a.now, Logger: a.log,
	})
	if err != nil {
		return err
	}
	a.host.mount(handler)
	return errors.Join(
		a.registerGauges(a.node.Status, a.accounts.HashQueue),
		a.registry.Register(newInventory(a.store, a.now)),
		registerPools(a.registry, a.store),
		a.registry.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "curfew_store_notifications",
			Help: "1 if the node receives the database's change notifications; at 0 it polls for changes every second.",
		}, func() float64 { return number(a.store.WatchError() == nil) })),
	)
}

// metricsHandler answers /metrics, and nothing else.
func metricsHandler(registry *prometheus.Registry) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	return mux
}
