package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/user"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/config"
	"example.com/curfew/internal/feed"
	"example.com/curfew/internal/keyring"
	"example.com/curfew/internal/oidc"
	"example.com/curfew/internal/providercheck"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/store/sqlstore"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
	"example.com/curfew/token"
)

// Tools are the services of a server, opened on its database by the command line.
// They hold no lease and answer no requests. They change the store; running servers
// notice by themselves.
type Tools struct {
	Store     store.Store
	Accounts  *account.Service
	Sessions  *session.Service
	Installed store.Installation
	// Caller may do everything: a user who can write the database can do so anyway.
	Caller authz.Caller

	config config.Tools
	log    *slog.Logger
	now    func() time.Time
	view   *noView
}

// OpenTools opens an existing database.
func OpenTools(ctx context.Context, cfg config.Tools, logger *slog.Logger) (*Tools, error) {
	s, err := openStore(ctx, cfg.Store, false, logger)
	if err != nil {
		return nil, err
	}
	t := &Tools{Store: s, config: cfg, log: logger, now: time.Now}
	if err := t.open(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return t, nil
}

func (t *Tools) open(ctx context.Context) (err error) {
	t.Installed, err = t.Store.Installation(ctx)
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("%s: the database is not initialized; run `curfew serve` first", t.config.Database)
	}
	if err != nil {
		return err
	}
	t.Accounts, err = account.New(account.Config{Store: t.Store, Sealer: t.sealer, Now: t.now, Logger: t.log})
	if err != nil {
		return err
	}
	t.Caller = authz.Caller{Actor: store.Actor{Kind: store.ActorCLI, Name: operator()}, Trusted: true}
	t.view = &noView{store: t.Store, now: t.now}
	t.Sessions = session.New(session.Config{
		Store: t.Store, Accounts: t.Accounts, View: t.view, Installation: t.Installed,
		MinimumTimeout: t.config.MinimumTimeout(), Now: t.now, Logger: t.log,
		MaxSessions: -1, // the servers' flag is not known here
	})
	return nil
}

// operator names who uses the command line, as far as the machine knows.
func operator() string {
	name := ""
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return name
}

// Ring opens the signing keys, which takes the key-encryption key.
func (t *Tools) Ring(ctx context.Context) (*keyring.Ring, error) {
	kek, err := keyEncryptionKey(ctx, t.Store, t.config.Store, false)
	if err != nil {
		return nil, err
	}
	return keyring.Open(ctx, keyring.Config{Store: t.Store, KEK: kek, Now: t.now, Logger: t.log})
}

// sealer opens the sealer of the client secrets. The ring checks the key-encryption key:
// a wrong one would seal secrets that no server can open.
func (t *Tools) sealer(ctx context.Context) (*keyring.Sealer, error) {
	ring, err := t.Ring(ctx)
	if err != nil {
		return nil, err
	}
	return ring.Sealer(), nil
}

// Issuer returns a service of sessions that can mint tokens. It takes the
// key-encryption key.
func (t *Tools) Issuer(ctx context.Context) (*session.Service, error) {
	ring, err := t.Ring(ctx)
	if err != nil {
		return nil, err
	}
	return session.New(session.Config{
		Store: t.Store, Accounts: t.Accounts, Ring: ring, View: t.view, Installation: t.Installed,
		MinimumTimeout: t.config.MinimumTimeout(), IdentityClaims: t.config.IdentityClaims, Now: t.now, Logger: t.log,
	}), nil
}

// Close closes the database.
func (t *Tools) Close() error {
	t.Sessions.Close()
	return t.Store.Close()
}

// noView is the view of a process without one: the changes of the command line are
// in the store, and it relies on nothing else.
type noView struct {
	store store.Store
	now   func() time.Time
}

var _ session.View = (*noView)(nil)

// CatchUp has nothing to bring up to date.
func (*noView) CatchUp(context.Context) error { return nil }

// Keys trusts nothing: no token is validated here.
func (*noView) Keys() token.KeySource { return &token.Keys{} }

// Applied has no cache to apply anything to.
func (*noView) Applied(...revocation.Revocation) {}

// AppliedUpTo has nothing to read back.
func (*noView) AppliedUpTo(context.Context, revocation.Epoch) error { return nil }

// Enforcement asks the nodes that are running.
func (o *noView) Enforcement(ctx context.Context, epoch revocation.Epoch, committed time.Time, wait time.Duration) (feed.Enforcement, error) {
	return feed.Observe(ctx, o.store, epoch, committed, wait, o.now)
}

// KeyFile returns the file that holds the key-encryption key; "" if it is given
// otherwise.
func (t *Tools) KeyFile() string {
	if t.config.KeyEncryptionKey != nil {
		return ""
	}
	return t.config.Database.KeyFile()
}

// Backup writes a consistent copy of the database to a new file.
func (t *Tools) Backup(ctx context.Context, file string) error { return t.Store.Backup(ctx, file) }

// Restore puts a backup in the place of a SQLite database that no process has
// open, and revokes everyone: what was revoked since the backup is not in it. A
// database that is there is kept as the file kept, unless it may be replaced.
func Restore(ctx context.Context, cfg config.Tools, backup string, replace bool) (kept string, err error) {
	now := time.Now() //nolint:forbidigo // the shell
	if path, ok := cfg.Database.SQLitePath(); ok {
		lock, lerr := lockDatabase(path)
		if lerr != nil {
			return "", lerr
		}
		defer func() { err = errors.Join(err, lock.Release()) }()
		if _, serr := os.Lstat(path); serr == nil && !replace {
			kept = path + now.UTC().Format(".before-restore-20060102T150405.000Z")
		}
	}
	return kept, sqlstore.Restore(ctx, sqlstore.Restoring{
		From: backup, To: string(cfg.Database), Keep: kept, Replace: replace, Now: now,
		Audit: store.Audit{
			Actor: store.Actor{Kind: store.ActorCLI, Name: operator()}, Action: wire.ActionRestore,
			Reason: "restored from a backup",
		},
	})
}

// CheckProvider compares the configuration of an identity provider with its discovery
// document, which it fetches.
func (t *Tools) CheckProvider(ctx context.Context, name string) (providercheck.Report, error) {
	p, err := t.Accounts.Provider(ctx, t.Caller, name)
	if err != nil {
		return providercheck.Report{}, err
	}
	client := oidc.New(oidc.Config{Now: t.now, Logger: t.log})
	defer client.Close()
	return providercheck.Check(ctx, client, t.Accounts, p), nil
}
