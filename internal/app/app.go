// Package app puts a server together, runs it, and takes it down again; and it
// opens the same services for the command line, which works on the database
// while a server runs on it or not.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/config"
	"example.com/curfew/internal/feed"
	"example.com/curfew/internal/keyring"
	"example.com/curfew/internal/metrics"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
	"example.com/curfew/token"
)

// Options are what a server gets from whoever starts it, besides its
// configuration.
type Options struct {
	// Logger gets the log. Nil discards it.
	Logger *slog.Logger
	// Terminal is shown where the server can be reached and, once, the password
	// of the first account. Nil: nobody looks.
	Terminal io.Writer
	Now      func() time.Time // nil means time.Now
}

// App is a server that is ready to run.
type App struct {
	config config.Server
	log    *slog.Logger
	now    func() time.Time

	lock      *fileLock
	store     store.Store
	installed store.Installation
	ring      *keyring.Ring
	node      *feed.Node
	accounts  *account.Service
	sessions  *session.Service
	validator *token.Validator
	registry  *prometheus.Registry
	metrics   *metrics.Metrics

	listener, metricsListener net.Listener
	connections               *connections
	server, metricsServer     *http.Server
	draining                  atomic.Bool

	closers []func() error // run from the last to the first
}

// Open makes everything that a server needs: it listens, opens the database, and
// on the first start makes keys, settings and an account. It answers nobody yet;
// Run does. Whoever gets an App must close it. When Open fails, nothing is left
// open.
func Open(ctx context.Context, cfg config.Server, options Options) (*App, error) {
	a := &App{config: cfg, log: options.Logger, now: options.Now}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	if a.now == nil {
		a.now = time.Now
	}
	greeting, err := a.open(ctx)
	if err == nil && options.Terminal != nil {
		err = greet(options.Terminal, greeting)
	}
	if err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

func (a *App) open(ctx context.Context) (greeting, error) {
	// The addresses come first: whoever cannot listen should not touch the data.
	if err := a.listen(ctx); err != nil {
		return greeting{}, err
	}
	if err := a.openStore(ctx); err != nil {
		return greeting{}, err
	}
	var first bool
	var err error
	a.installed, first, err = install(ctx, a.store, a.now(), a.config, a.listener.Addr().String())
	if err != nil {
		return greeting{}, err
	}
	if err := a.openServices(ctx); err != nil {
		return greeting{}, err
	}
	made, password, err := a.accounts.Bootstrap(ctx, a.config.AdminPassword)
	if err != nil {
		return greeting{}, fmt.Errorf("making the account admin: %w", err)
	}
	if err := a.mount(); err != nil {
		return greeting{}, err
	}
	a.warn(ctx, first)
	return a.greeting(made, password), nil
}

// listen takes the addresses. Connections wait until Run.
func (a *App) listen(ctx context.Context) (err error) {
	certificate, err := a.config.Certificate()
	if err != nil {
		return err
	}
	var lc net.ListenConfig
	listen := func(flag, address string) (net.Listener, error) {
		l, err := lc.Listen(ctx, "tcp", address)
		if err != nil {
			return nil, fmt.Errorf("cannot listen at %s: %w; is another server running there? %s takes another address", address, cause(err), flag)
		}
		a.closers = append(a.closers, ignoreClosed(l.Close))
		return l, nil
	}
	plain, err := listen("--listen", a.config.Listen)
	if err != nil {
		return err
	}
	a.listener = encrypted(plain, certificate)
	if a.config.MetricsListen != "" {
		a.metricsListener, err = listen("--metrics-listen", a.config.MetricsListen)
	}
	return err
}

// cause returns what an operation on the network failed for, without the
// addresses that are said anyway.
func cause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

func ignoreClosed(closing func() error) func() error {
	return func() error {
		if err := closing(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	}
}

func (a *App) openStore(ctx context.Context) (err error) {
	if path, ok := a.config.Database.SQLitePath(); ok {
		if a.lock, err = lockDatabase(path); err != nil {
			return err
		}
		a.closers = append(a.closers, a.lock.unlock)
	}
	a.store, err = openStore(ctx, a.config.Database, true, a.log)
	if err != nil {
		return err
	}
	a.closers = append(a.closers, a.store.Close)
	return nil
}

// openServices opens everything between the store and HTTP.
func (a *App) openServices(ctx context.Context) error {
	kek, err := keyEncryptionKey(ctx, a.store, a.config.Store, true)
	if err != nil {
		return err
	}
	a.ring, err = keyring.Open(ctx, keyring.Config{
		Store: a.store, KEK: kek, Now: a.now, Logger: a.log, Lead: a.config.Lease + feed.Margin(a.config.Lease),
		Applied: func(ctx context.Context, epoch revocation.Epoch) error {
			if a.node == nil {
				return nil // the node will read it when it opens
			}
			return a.node.AppliedUpTo(ctx, epoch)
		},
	})
	if err != nil {
		return err
	}
	if err := a.ring.Init(ctx, system); err != nil {
		return fmt.Errorf("making the first signing keys: %w", err)
	}
	a.accounts, err = account.New(account.Config{
		Store: a.store, Now: a.now, Logger: a.log,
		Applied: func(revocations ...revocation.Revocation) {
			if a.node != nil {
				a.node.Applied(revocations...)
			}
		},
	})
	if err != nil {
		return err
	}
	a.node, err = feed.Open(ctx, feed.Config{
		Store: a.store, Now: a.now, Logger: a.log, Lease: a.config.Lease,
		Name: nodeName(a.listener.Addr().String()), Version: Version(),
		CacheSize: a.config.RevocationCache, OnKeys: a.ring.Sync,
	})
	if err != nil {
		return err
	}
	a.closers = append(a.closers, a.node.Close)
	if a.registry, err = newRegistry(); err != nil {
		return err
	}
	if a.metrics, err = metrics.New(a.registry); err != nil {
		return err
	}
	if a.validator, err = a.node.Validator("", a.metrics.Validation); err != nil {
		return err
	}
	a.sessions = session.New(session.Config{
		Store: a.store, Accounts: a.accounts, Ring: a.ring, View: a.node, Installation: a.installed,
		MinimumTimeout: a.config.MinimumTimeout(), AuditRetention: a.config.AuditRetention,
		Now: a.now, Logger: a.log,
	})
	a.closers = append(a.closers, func() error { a.sessions.Close(); return nil })
	return nil
}

// Close ends everything that Open has begun, in the opposite order. It is for
// once Run has returned, or in its place.
func (a *App) Close() error {
	var errs []error
	for i := len(a.closers) - 1; i >= 0; i-- {
		errs = append(errs, a.closers[i]())
	}
	a.closers = nil
	return errors.Join(errs...)
}

// Addr returns the address at which the server listens.
func (a *App) Addr() net.Addr { return a.listener.Addr() }

// MetricsAddr returns the address of the metrics; nil if there are none.
func (a *App) MetricsAddr() net.Addr {
	if a.metricsListener == nil {
		return nil
	}
	return a.metricsListener.Addr()
}
