// Package httpapi is the HTTP API: it turns requests into calls of session,
// account and feed, and their answers into JSON. It decides nothing itself. What
// can be called, and by whom, stands in one table: [Routes].
package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/fault"
	"example.com/curfew/internal/feed"
	"example.com/curfew/internal/inbound"
	"example.com/curfew/internal/keyring"
	"example.com/curfew/internal/longpoll"
	"example.com/curfew/internal/metrics"
	"example.com/curfew/internal/providercheck"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/uses"
	"example.com/curfew/internal/webcookie"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
	"example.com/curfew/settings"
	"example.com/curfew/token"
)

// Feed is the part of a node's change feed that the API uses. *feed.Node implements it.
type Feed interface {
	Changes(ctx context.Context, q feed.Query) (feed.Answer, error)
	Submit(ctx context.Context, q feed.Query, w feed.Waiter) (a feed.Answer, pending bool, err error)
	RevokedBefore(ctx context.Context, user, session string) (wire.RevokedBefore, error)
	// ClientsEpoch returns the epoch of the last change of a client in the view.
	ClientsEpoch() revocation.Epoch
}

// Clients tells who a service client is. *account.Service is one.
type Clients interface {
	ClientCaller(ctx context.Context, id, secret string, from authz.Origin) (authz.Caller, error)
}

// Config configures [New] and [NewEdge]. The fields up to Issuer are required;
// an edge has no Sessions, Accounts and Ring.
type Config struct {
	Sessions  *session.Service
	Accounts  *account.Service
	Ring      *keyring.Ring // the signing keys
	Clients   Clients       // who authenticates service clients; nil: Accounts
	Feed      Feed
	Validator *token.Validator
	Keys      token.KeySource
	Settings  settings.Source
	Issuer    string // also the base of the addresses in the metadata
	// Issuers are all issuers whose subjects a client may name. Nil: Issuer.
	Issuers token.IssuerSource

	// Prefix is the path below which clients see the API, such as "/curfew"; "" is the
	// root. Requests arrive without it (see inbound.Below).
	Prefix string

	// Uses takes the uses of sessions that followers report. Nil: they are dropped.
	Uses *uses.Set

	// Rest answers all other paths: it is the console. Nil: 404.
	Rest http.Handler
	// Docs answers [DocsPath] and the paths below it: the documentation. Nil: Rest
	// answers them.
	Docs http.Handler
	// Ready says why no request should be sent here (nil: all is well): the store
	// cannot be reached, the view is stale, the server is about to end. Nil: always
	// ready.
	Ready func(ctx context.Context) error
	// Warnings returns the faults of a server that is ready all the same. Everyone
	// can read them, so they hold no addresses. Nil: none.
	Warnings func() []string

	// TrustedProxies may say for whom a request was made: see package inbound.
	TrustedProxies []netip.Prefix
	// UnknownProxy, UnknownReturns and Bodies are those of package inbound; each may be nil.
	UnknownProxy   *inbound.UnknownProxy
	UnknownReturns *inbound.UnknownReturns
	Bodies         *inbound.Bodies
	// TokensLackEmail says that tokens carry no email address, so that forward auth
	// reads it from the store. False: a token without one is that of a user without one.
	TokensLackEmail bool

	// Jar is the cookie that the console keeps sessions in.
	Jar webcookie.Jar
	// Returns are the addresses to which forward auth may send a browser back
	// after the sign-in.
	Returns webcookie.Returns
	// CORSOrigins are the origins whose pages may make the calls of forPages, each as
	// browsers write it in the header Origin. Empty: none but the server's own.
	CORSOrigins []string
	// KeyCache is how long others may keep the JWK Set. It must not be longer than
	// a new key is published before it signs. Zero: 15 s, the default lease.
	KeyCache time.Duration
	// Timeout is how long a call may take that does nothing but ask the store.
	// Zero: 2 s.
	Timeout time.Duration
	// Lease is how long this server's view may be trusted without news: heartbeats of
	// event streams come within a third of it. Nil: always 15 s.
	Lease func() time.Duration

	// Discoverer fetches the metadata of identity providers, to check them. Required on
	// a server.
	Discoverer providercheck.Discoverer

	// Logouts validates the logout tokens of identity providers. Required on a server.
	Logouts LogoutVerifier

	// Parking is where the connections of followers wait. Nil: each keeps a
	// goroutine waiting.
	Parking *longpoll.Parking

	// Metrics counts requests and decisions. Nil: nothing is counted.
	Metrics *metrics.Metrics
	Now     func() time.Time // nil: time.Now
	Logger  *slog.Logger     // nil: discarded
}

func (c Config) timeout() time.Duration {
	if c.Timeout == 0 {
		return 2 * time.Second
	}
	return c.Timeout
}

func (c Config) keyCache() time.Duration {
	if c.KeyCache == 0 {
		return 15 * time.Second
	}
	return c.KeyCache
}

// api is what handlers share.
type api struct {
	Config
	now  func() time.Time
	base *url.URL // of the issuer; nil if it is no http(s) URL

	followers *followers // nil on an edge, which has a view of its own
	refresh   refreshGroup
	questions questions
	looked    lookedUp
	streams   streams // open event streams
}

// New returns the API as one handler, with a request id, a log line and metrics
// for everything that passes through it, Rest included.
func New(config Config) (http.Handler, error) {
	switch {
	case config.Sessions == nil:
		return nil, errors.New("httpapi: Config.Sessions is required")
	case config.Ring == nil:
		return nil, errors.New("httpapi: Config.Ring is required")
	case config.Accounts == nil:
		return nil, errors.New("httpapi: Config.Accounts is required")
	}
	if config.Clients == nil {
		config.Clients = config.Accounts
	}
	return newHandler(config, Routes())
}

// NewEdge returns the calls of the API that an edge answers: it has no sessions
// and no accounts, so Clients is required in their place.
func NewEdge(config Config) (http.Handler, error) {
	config.Sessions, config.Accounts = nil, nil
	if config.Clients == nil {
		return nil, errors.New("httpapi: Config.Clients is required")
	}
	return newHandler(config, slices.DeleteFunc(Routes(), func(r Route) bool { return !r.Edge }))
}

// newHandler returns a handler of the routes given.
func newHandler(config Config, routes []Route) (http.Handler, error) {
	switch {
	case config.Feed == nil:
		return nil, errors.New("httpapi: Config.Feed is required")
	case config.Validator == nil:
		return nil, errors.New("httpapi: Config.Validator is required")
	case config.Keys == nil:
		return nil, errors.New("httpapi: Config.Keys is required")
	case config.Settings == nil:
		return nil, errors.New("httpapi: Config.Settings is required")
	case config.Issuer == "":
		return nil, errors.New("httpapi: Config.Issuer is required")
	}
	a := &api{Config: config, now: config.Now, looked: newLookedUp()}
	if a.now == nil {
		a.now = time.Now
	}
	if view, ok := config.Feed.(interface{ Epoch() revocation.Epoch }); ok && config.Accounts != nil {
		a.followers = &followers{clients: config.Clients, epoch: view.Epoch, now: a.now, timeout: config.timeout()}
	}
	if u, err := url.Parse(config.Issuer); err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" {
		a.base = u
	}
	if a.Metrics == nil {
		var err error
		if a.Metrics, err = metrics.New(nil); err != nil {
			return nil, err
		}
	}
	return a.quick(inbound.Wrap(inbound.Config{
		TrustedProxies: config.TrustedProxies,
		UnknownProxy:   config.UnknownProxy,
		Bodies:         config.Bodies,
		Logger:         config.Logger,
		Observe: func(r inbound.Record) {
			a.Metrics.Request(r.Route, r.Method, r.Status, r.Took)
		},
		Panic: func(w http.ResponseWriter, r *http.Request) { fail(w, r, fault.ErrInternal) },
		Now:   config.Now,
	}, a.mux(routes))), nil
}
