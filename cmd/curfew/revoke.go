package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.com/curfew/internal/app"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
)

// revoking holds the flags that the commands of revoke share.
type revoking struct {
	*cli
	reason string
	wait   time.Duration
	whose  string // the user's name, for the receipt
}

func (c *cli) revokeCommand() *cobra.Command {
	r := &revoking{cli: c}
	command := c.group("revoke", "End sessions, immediately and everywhere",
		"revoke ends existing sessions. Sessions that start afterwards are not affected.\n\n"+
			"When the command returns, the revocation is on disk. Running servers and services receive it within milliseconds; --wait waits until all of them have confirmed it.")
	command.AddCommand(
		r.command(&cobra.Command{
			Use: "user NAME...", Short: "End all sessions of users", Args: arguments("NAME..."),
			Long:    "Ends all sessions of the users, given by name or id (name:NAME or id:ID resolves ambiguity). If one user does not exist, nothing is revoked.",
			Example: "  curfew revoke user alice --reason 'laptop stolen' --wait 10s",
		}, r.users),
		r.command(&cobra.Command{
			Use: "session SID", Short: "End one session", Args: arguments("SID"),
			Long: "Ends one session. `curfew user show NAME` lists the sessions of a user.",
		}, r.session),
		r.command(&cobra.Command{
			Use: "everyone", Short: "End all sessions of all users", Args: arguments(),
			Long: "Ends all sessions of all users, including your own.",
		}, func(ctx context.Context, t *app.Tools, _ []string) (wire.Receipt, error) {
			return t.Sessions.RevokeMany(ctx, t.Caller, session.Many{Scope: string(revocation.KindEveryone), Reason: r.reason}, 0)
		}),
		r.command(&cobra.Command{
			Use: "remembered", Short: "End all remember-me sessions", Args: arguments(),
		}, func(ctx context.Context, t *app.Tools, _ []string) (wire.Receipt, error) {
			return t.Sessions.RevokeMany(ctx, t.Caller, session.Many{Scope: string(revocation.KindRemembered), Reason: r.reason}, 0)
		}),
	)
	return command
}

func (r *revoking) command(command *cobra.Command, revoke func(context.Context, *app.Tools, []string) (wire.Receipt, error)) *cobra.Command {
	r.tool(command, func(ctx context.Context, t *app.Tools, args []string) error {
		receipt, err := revoke(ctx, t, args)
		if err != nil {
			return err
		}
		return r.follow(ctx, t, receipt)
	})
	command.Flags().StringVar(&r.reason, "reason", "", "reason, for the audit log")
	durationVar(command, &r.wait, "wait", "wait until every validator has confirmed, at most this long")
	return command
}

func (r *revoking) users(ctx context.Context, t *app.Tools, names []string) (wire.Receipt, error) {
	var ids []string
	var errs []error
	for _, name := range names {
		u, err := t.Accounts.FindUser(ctx, name)
		ids, errs, r.whose = append(ids, u.ID), append(errs, err), u.Name
	}
	if err := errors.Join(errs...); err != nil {
		return wire.Receipt{}, err
	}
	if len(ids) == 1 {
		return t.Sessions.RevokeUser(ctx, t.Caller, ids[0], r.reason, false, 0)
	}
	return t.Sessions.RevokeMany(ctx, t.Caller, session.Many{Scope: session.ScopeUsers, Users: ids, Reason: r.reason}, 0)
}

func (r *revoking) session(ctx context.Context, t *app.Tools, args []string) (wire.Receipt, error) {
	row, err := t.Store.Session(ctx, args[0])
	if errors.Is(err, store.ErrNotFound) {
		return wire.Receipt{}, fmt.Errorf("no session has the id %q; `curfew user show NAME` lists the sessions of a user", args[0])
	}
	if err != nil {
		return wire.Receipt{}, err
	}
	return t.Sessions.RevokeSession(ctx, t.Caller, row.UserID, row.ID, r.reason)
}

// step is how long is waited between two lines of progress.
const step = 500 * time.Millisecond

// follow waits until a revocation holds everywhere, if that was asked for, says on
// the way the validators that it waits for, and prints the receipt.
func (r *revoking) follow(ctx context.Context, t *app.Tools, receipt wire.Receipt) error {
	committed := time.Now()
	said := ""
	for left := r.wait; left > 0 && !receipt.Enforcement.EffectiveEverywhere; left -= step {
		e, err := t.Enforcement(ctx, revocation.Epoch(receipt.Epoch), committed, min(step, left))
		if err != nil {
			return fmt.Errorf("the sessions are revoked, but the validators' confirmations could not be read: %w", err)
		}
		receipt.Enforcement = e
		progress := fmt.Sprintf("%d of %d validators have confirmed; waiting for %s", e.Confirmed, e.Validators, strings.Join(e.Waiting, ", "))
		if !e.EffectiveEverywhere && progress != said {
			r.notef("%s", progress)
			said = progress
		}
	}
	if r.json {
		return r.printJSON(receipt)
	}
	return r.printReceipt(receipt)
}

func (r *revoking) printReceipt(receipt wire.Receipt) error {
	what := map[string]string{
		"everyone":   "all sessions of all users",
		"remembered": "all remember-me sessions",
		"user":       fmt.Sprintf("all sessions of user %s (%s)", r.whose, receipt.ID),
		"users":      fmt.Sprintf("all sessions of %d users", receipt.Users),
		"session":    "session " + receipt.ID,
	}[receipt.Scope]
	e := receipt.Enforcement
	t := newTable(r.stdout)
	t.row("revoked", what)
	t.row("started before", receipt.RevokedBefore)
	t.row("epoch", fmt.Sprint(receipt.Epoch))
	if receipt.Reason != "" {
		t.row("reason", receipt.Reason)
	}
	switch {
	case e.Validators == 0:
		t.row("holds", "no server is running: enforced as soon as one starts")
	case e.EffectiveEverywhere:
		t.row("holds", fmt.Sprintf("everywhere: %d of %d validators have confirmed", e.Confirmed, e.Validators))
	default:
		t.row("holds", fmt.Sprintf("on %d of %d validators; everywhere by %s at the latest", e.Confirmed, e.Validators, date(e.EffectiveBy)))
		t.row("waiting for", strings.Join(e.Waiting, ", "))
	}
	return t.flush()
}
