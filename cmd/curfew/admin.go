package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/app"
	"example.com/curfew/internal/config"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
	"example.com/curfew/settings"
)

// admin is what commands administer an installation with: its database, or a server
// over the API. Errors wrap the sentinels of packages store and session either way.
type admin interface {
	userAdmin
	providerAdmin
	revoker

	// Settings returns the settings and a tag, with which ChangeSettings changes
	// them: session.ErrLostRace if another change came first.
	Settings(ctx context.Context) (in settings.Settings, tag string, err error)
	ChangeSettings(ctx context.Context, to settings.Settings, tag string) (settings.Settings, error)
	PreviewSettings(ctx context.Context, to settings.Settings) (session.Preview, error)

	// FindPerson is as [session.Service.FindPerson].
	FindPerson(ctx context.Context, text string) (person string, user bool, err error)
	Audit(ctx context.Context, f store.AuditFilter, limit int) ([]store.Audit, error)

	// Clients, CreateClient, NewSecret and DeleteClient are those of [account.Service].
	Clients(ctx context.Context) ([]store.Client, error)
	CreateClient(ctx context.Context, n account.NewClient) (k store.Client, secret string, err error)
	NewSecret(ctx context.Context, id string, revokeOld bool) (k store.Client, secret string, err error)
	DeleteClient(ctx context.Context, id string) error

	// Keys, RotateKey and RetireKey are those of [keyring.Ring].
	Keys(ctx context.Context) ([]store.Key, error)
	RotateKey(ctx context.Context, kid, reason string) (store.Key, time.Time, error)
	RetireKey(ctx context.Context, kid, reason string) (revocation.Epoch, error)

	Close() error
}

// userAdmin manages accounts.
type userAdmin interface {
	// FindUser is as [account.Service.FindUser].
	FindUser(ctx context.Context, text string) (store.User, error)
	Users(ctx context.Context, search, cursor string, limit int) (users []store.User, next string, err error)
	LiveSessions(ctx context.Context, userID string) ([]session.Live, error)
	CreateUser(ctx context.Context, change account.UserChange) (store.User, error)
	ChangeUser(ctx context.Context, id string, change account.UserChange, reason string) (store.User, error)
}

// revoker ends sessions and has the receipts.
type revoker interface {
	RevokeUser(ctx context.Context, id, reason string) (session.Receipt, error)
	RevokeMany(ctx context.Context, many session.Many) (session.Receipt, error)
	DeleteUser(ctx context.Context, id, reason string) (session.Receipt, error)
	// RevokeSession ends one session. userID may be empty where the session alone
	// names the user.
	RevokeSession(ctx context.Context, userID, id, reason string) (session.Receipt, error)
	// Await is as [session.Service.Await].
	Await(ctx context.Context, r session.Receipt, wait time.Duration) (session.Receipt, error)
	Receipt(ctx context.Context, epoch revocation.Epoch) (session.Receipt, error)
	Receipts(ctx context.Context, f store.ReceiptFilter, limit int) ([]session.Receipt, error)
}

// admin makes a command of a function that works on a database or, with --server,
// on a server: it adds the flags, opens one of them, and closes it.
func (c *cli) admin(command *cobra.Command, do func(ctx context.Context, a admin, args []string) error) *cobra.Command {
	flags := addOptions(command, config.AdminOptions())
	command.Flags().BoolVar(&c.json, "json", false, "print JSON, for programs")
	command.RunE = func(cmd *cobra.Command, args []string) (err error) {
		cfg, err := config.ResolveAdmin(flags.source())
		if err != nil {
			return err
		}
		warnOfUnknownVariables(cmd.Context(), c.logger())
		var a admin
		if cfg.Server == "" {
			a, err = openLocal(cmd.Context(), c, cfg.Tools)
		} else {
			a, err = openRemote(cmd.Context(), cfg.Remote, c.ownPassword)
		}
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, a.Close()) }()
		return do(cmd.Context(), a, args)
	}
	return command
}

// local administers the database.
type local struct{ *app.Tools }

func openLocal(ctx context.Context, c *cli, cfg config.Tools) (admin, error) {
	t, err := app.OpenTools(ctx, cfg, c.logger())
	if err != nil {
		return nil, err
	}
	return local{t}, nil
}

func (l local) FindUser(ctx context.Context, text string) (store.User, error) {
	return l.Accounts.FindUser(ctx, text)
}

func (l local) Users(ctx context.Context, search, cursor string, limit int) ([]store.User, string, error) {
	return l.Accounts.Users(ctx, l.Caller, search, cursor, limit)
}

func (l local) LiveSessions(ctx context.Context, userID string) ([]session.Live, error) {
	return l.Sessions.List(ctx, l.Caller, userID)
}

func (l local) CreateUser(ctx context.Context, change account.UserChange) (store.User, error) {
	return l.Accounts.CreateUser(ctx, l.Caller, change)
}

func (l local) ChangeUser(ctx context.Context, id string, change account.UserChange, reason string) (store.User, error) {
	u, _, err := l.Accounts.ChangeUser(ctx, l.Caller, id, change, reason)
	return u, err
}

func (l local) RevokeUser(ctx context.Context, id, reason string) (session.Receipt, error) {
	return l.Sessions.RevokeUser(ctx, l.Caller, id, reason, false, 0)
}

func (l local) RevokeMany(ctx context.Context, many session.Many) (session.Receipt, error) {
	return l.Sessions.RevokeMany(ctx, l.Caller, many, 0)
}

func (l local) DeleteUser(ctx context.Context, id, reason string) (session.Receipt, error) {
	return l.Sessions.DeleteUser(ctx, l.Caller, id, reason, 0)
}

func (l local) RevokeSession(ctx context.Context, userID, id, reason string) (session.Receipt, error) {
	row, err := l.Store.Session(ctx, id)
	if err == nil && userID != "" && row.UserID != userID {
		err = store.ErrNotFound
	}
	if err != nil {
		return session.Receipt{}, err
	}
	return l.Sessions.RevokeSession(ctx, l.Caller, row.UserID, row.ID, reason)
}

func (l local) Await(ctx context.Context, r session.Receipt, wait time.Duration) (session.Receipt, error) {
	return l.Sessions.Await(ctx, l.Caller, r, wait), nil
}

func (l local) Receipt(ctx context.Context, epoch revocation.Epoch) (session.Receipt, error) {
	return l.Sessions.Receipt(ctx, l.Caller, epoch, 0)
}

func (l local) Receipts(ctx context.Context, f store.ReceiptFilter, limit int) ([]session.Receipt, error) {
	return l.Sessions.Receipts(ctx, l.Caller, f, limit)
}

func (l local) Settings(ctx context.Context) (settings.Settings, string, error) {
	in, tag, err := l.Sessions.Settings(ctx)
	return in.Settings, tag, err
}

func (l local) ChangeSettings(ctx context.Context, to settings.Settings, tag string) (settings.Settings, error) {
	in, _, err := l.Sessions.ChangeSettings(ctx, l.Caller, to, tag)
	return in.Settings, err
}

func (l local) PreviewSettings(ctx context.Context, to settings.Settings) (session.Preview, error) {
	return l.Sessions.PreviewSettings(ctx, l.Caller, to)
}

func (l local) FindPerson(ctx context.Context, text string) (string, bool, error) {
	return l.Sessions.FindPerson(ctx, l.Caller, text)
}

func (l local) Audit(ctx context.Context, f store.AuditFilter, limit int) ([]store.Audit, error) {
	return l.Sessions.Audit(ctx, l.Caller, f, limit)
}

func (l local) Clients(ctx context.Context) ([]store.Client, error) {
	return l.Accounts.Clients(ctx, l.Caller)
}

func (l local) CreateClient(ctx context.Context, n account.NewClient) (store.Client, string, error) {
	return l.Accounts.CreateClient(ctx, l.Caller, n)
}

func (l local) NewSecret(ctx context.Context, id string, revokeOld bool) (store.Client, string, error) {
	return l.Accounts.NewSecret(ctx, l.Caller, id, revokeOld)
}

func (l local) DeleteClient(ctx context.Context, id string) error {
	return l.Accounts.DeleteClient(ctx, l.Caller, id)
}

// Keys implements admin. It needs no key-encryption key.
func (l local) Keys(ctx context.Context) ([]store.Key, error) { return l.Store.Keys(ctx) }

func (l local) RotateKey(ctx context.Context, kid, reason string) (store.Key, time.Time, error) {
	ring, err := l.Ring(ctx)
	if err != nil {
		return store.Key{}, time.Time{}, err
	}
	return ring.Rotate(ctx, l.Caller, kid, reason)
}

func (l local) RetireKey(ctx context.Context, kid, reason string) (revocation.Epoch, error) {
	ring, err := l.Ring(ctx)
	if err != nil {
		return 0, err
	}
	return ring.Retire(ctx, l.Caller, kid, reason)
}
