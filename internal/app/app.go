// Package app puts a server together, runs it, and takes it down again; and it
// opens the same services for the command line, which works on the database
// while a server runs on it or not.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/config"
	"example.com/curfew/internal/feed"
	"example.com/curfew/internal/filelock"
	"example.com/curfew/internal/keyring"
	"example.com/curfew/internal/manual"
	"example.com/curfew/internal/oidc"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
	"example.com/curfew/token"
)

// Options are what the program passes to a server besides its configuration.
type Options struct {
	// Logger gets the log. Nil discards it.
	Logger *slog.Logger
	// Terminal is shown where the server can be reached. If it is a terminal, it is
	// also shown, once, the password of the first account; else that is written to a
	// file. Nil: nothing is shown.
	Terminal io.Writer
	Now      func() time.Time // nil means time.Now
	// Docs is the documentation, at /docs. Nil: there is none.
	Docs *manual.Manual
	// Reload makes Run read the TLS certificate again at once. Nil: it is read
	// again at intervals only.
	Reload <-chan os.Signal
}

// App is a server that is ready to run.
type App struct {
	*host
	config config.Server

	lock      *filelock.Lock
	store     store.Store
	installed store.Installation
	ring      *keyring.Ring
	node      *feed.Node
	accounts  *account.Service
	sessions  *session.Service
	providers *oidc.Client
	validator *token.Validator
}

// Open makes everything that a server needs: it listens, opens the database, and on
// the first start makes keys, settings and an account. It answers no request yet;
// Run does. The caller must close the App. When Open fails, nothing is left open.
func Open(ctx context.Context, cfg config.Server, options Options) (*App, error) {
	a := &App{config: cfg}
	var err error
	if a.host, err = newHost(&a.config.Listener, options); err != nil {
		return nil, err
	}
	greeting, err := a.open(ctx, IsTerminal(options.Terminal))
	if err == nil && options.Terminal != nil {
		err = greet(options.Terminal, greeting)
	}
	if err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

func (a *App) open(ctx context.Context, terminal bool) (greeting, error) {
	// The addresses come first: a server that cannot listen must not touch the data.
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
	a.serveBelow(ctx, a.installed.Issuer)
	if err := a.openServices(ctx); err != nil {
		return greeting{}, err
	}
	var password firstPassword
	made, err := a.accounts.Bootstrap(ctx, a.config.AdminPassword, a.keepPassword(terminal, &password))
	if err == nil { // else there may be an account all the same: the file stays
		err = a.tell(ctx, password, made)
	}
	if err != nil {
		return greeting{}, fmt.Errorf("create the account admin: %w", err)
	}
	if err := a.mount(); err != nil {
		return greeting{}, err
	}
	a.about = []any{"issuer", a.installed.Issuer, "database", a.config.Database.Kind(), "lease", a.config.Lease.String()}
	a.warn(ctx, first)
	return a.greeting(ctx, made, password)
}

func (a *App) openStore(ctx context.Context) (err error) {
	if path, ok := a.config.Database.SQLitePath(); ok {
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			if err := usablePassword(a.config.AdminPassword); err != nil {
				return err // before there is a file
			}
		}
		if a.lock, err = lockDatabase(path); err != nil {
			return err
		}
		a.closing(a.lock.Release)
	}
	a.store, err = a.waitForStore(ctx)
	if err != nil {
		return err
	}
	a.closing(a.store.Close)
	return nil
}

// openServices opens everything between the store and HTTP.
func (a *App) openServices(ctx context.Context) error {
	kek, err := keyEncryptionKey(ctx, a.store, a.config.Store, true)
	if err != nil {
		return err
	}
	a.ring, err = keyring.Open(ctx, keyring.Config{
		Store: a.store, KEK: kek, ReauthenticateWithin: a.config.ReauthenticateWithin, Now: a.now, Logger: a.log, Lead: a.config.Lease + feed.Margin(a.config.Lease),
		Applied: func(ctx context.Context, epoch revocation.Epoch) error {
			if a.node == nil {
				return nil // the node will read it when it opens
			}
			if a.sessions != nil {
				a.sessions.WakeReceipts()
			}
			return a.node.AppliedUpTo(ctx, epoch)
		},
	})
	if err != nil {
		return err
	}
	if err := a.ring.Init(ctx, authz.Caller{Actor: system, Trusted: true}); err != nil {
		return fmt.Errorf("create the first signing keys: %w", err)
	}
	a.providers = oidc.New(oidc.Config{Now: a.now, Logger: a.log})
	a.closing(func() error { a.providers.Close(); return nil })
	a.accounts, err = account.New(account.Config{
		Store: a.store, ReauthenticateWithin: a.config.ReauthenticateWithin, Now: a.now, Logger: a.log, Limited: a.metrics.Limited,
		Sealer: func(context.Context) (*keyring.Sealer, error) { return a.ring.Sealer(), nil },
		Applied: func(revocations ...revocation.Revocation) {
			if a.node != nil {
				counted{a.node, a.metrics}.Applied(revocations...)
			}
			if a.sessions != nil {
				a.sessions.WakeReceipts()
			}
		},
	})
	if err != nil {
		return err
	}
	reading, err := newReading(a.registry)
	if err != nil {
		return err
	}
	a.node, err = feed.Open(ctx, feed.Config{
		Store: a.store, Now: a.now, Logger: a.log, Lease: a.config.Lease,
		Name: nodeName(a.listener.Addr().String()), Version: Version(),
		CacheSize: a.config.RevocationCache, OnKeys: a.ring.Sync, OnRead: reading.onRead,
	})
	if err != nil {
		return err
	}
	a.closing(a.node.Close)
	if a.validator, err = a.node.Validator("", (&observer{host: a.host}).observe, a.noteUse); err != nil {
		return err
	}
	a.closing(func() error { a.validator.Close(); return nil })
	a.sessions = session.New(session.Config{
		Store: a.store, Accounts: a.accounts, Ring: a.ring, View: counted{a.node, a.metrics}, Installation: a.installed, Installed: a.node.Installation,
		MinimumTimeout: a.config.MinimumTimeout(), AuditRetention: a.config.AuditRetention,
		ReauthenticateWithin: a.config.ReauthenticateWithin,
		MaxSessions:          a.config.MaxSessions, IdentityClaims: a.config.IdentityClaims, Limited: a.metrics.Limited,
		SignedIn: counted{metrics: a.metrics}.signedIn, Closed: a.metrics.ReceiptClosed,
		Now: a.now, Logger: a.log,
	})
	a.closing(func() error { a.sessions.Close(); return nil })
	return nil
}
