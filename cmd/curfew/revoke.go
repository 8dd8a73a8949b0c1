package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wireform"
	"example.com/curfew/revocation"
)

// revoking holds the flags that the commands of revoke share.
type revoking struct {
	*cli
	reason string
	wait   time.Duration
	user   string // of the session
}

func (c *cli) revokeCommand() *cobra.Command {
	r := &revoking{cli: c}
	one := r.command(&cobra.Command{
		Use: "session SID", SuggestFor: []string{"session", "sessions"}, Short: "End one session", Args: arguments("SID"),
		Long: "Ends one session. `curfew user show NAME` lists the sessions of a user.",
	}, r.session)
	one.Flags().StringVar(&r.user, "user", "", "user whose session it is, by name or id; required with --server")
	command := c.group("revoke", "End sessions, immediately and everywhere",
		"revoke ends existing sessions. Sessions that start afterwards are not affected.\n\n"+
			"When the command returns, the revocation is on disk. Running servers and services receive it within milliseconds; --wait waits until all of them have confirmed it.")
	command.AddCommand(
		r.command(&cobra.Command{
			Use: "user NAME...", Short: "End all sessions of users", Args: arguments("NAME..."),
			Long:    "Ends all sessions of the users, given by name or id (if it could be either, write name:NAME or id:ID). If one user does not exist, nothing is revoked.",
			Example: "  curfew revoke user alice --reason 'laptop stolen' --wait 10s",
		}, r.users),
		one,
		r.all(&cobra.Command{
			Use: "everyone", Short: "End all sessions of all users", Args: arguments(),
			Long: "Ends all sessions of all users, including your own. At a terminal it asks first; elsewhere it requires --yes.",
		}, "everyone", "ends all sessions of all users", revocation.KindEveryone),
		r.all(&cobra.Command{
			Use: "remembered", Short: "End all remember-me sessions", Args: arguments(),
			Long: "Ends the remember-me sessions of all users. At a terminal it asks first; elsewhere it requires --yes.",
		}, "remember me", "ends all remember-me sessions", revocation.KindRemembered),
	)
	return command
}

func (r *revoking) command(command *cobra.Command, revoke func(context.Context, admin, []string) (session.Receipt, error)) *cobra.Command {
	r.admin(command, func(ctx context.Context, t admin, args []string) error {
		receipt, err := revoke(ctx, t, args)
		if errors.Is(err, errOwnSession) {
			return r.ownSession(receipt)
		}
		if err != nil {
			return err
		}
		if err := r.follow(ctx, t, receipt); err != nil {
			return err
		}
		if server, ok := t.(*remote); ok && server.isSignedOut(ctx) {
			r.notef("your own session has ended too; sign in with `curfew login NAME --server %s`", server.server)
		}
		return nil
	})
	command.Flags().StringVar(&r.reason, "reason", "", "reason, for the audit log")
	durationVar(command, &r.wait, "wait", "wait until every validator has confirmed, at most this long")
	return command
}

// ownSession reports that the session that was revoked is the command's own.
func (r *revoking) ownSession(receipt session.Receipt) error {
	if r.json {
		return r.printJSON(struct {
			Epoch     int64 `json:"epoch"`
			SignedOut bool  `json:"signed_out"`
		}{int64(receipt.Epoch), true})
	}
	r.printf("revoked your own session: you are signed out now (epoch %d)\n", int64(receipt.Epoch))
	return nil
}

// all is command for a scope of all users, after a question.
func (r *revoking) all(command *cobra.Command, word, what string, scope revocation.Kind) *cobra.Command {
	var q confirmation
	r.command(command, func(ctx context.Context, t admin, _ []string) (session.Receipt, error) {
		if err := r.confirm(q, what); err != nil {
			return session.Receipt{}, err
		}
		return t.RevokeMany(ctx, session.Many{Scope: string(scope), Reason: r.reason})
	})
	q.add(command, word)
	return command
}

func (r *revoking) users(ctx context.Context, t admin, names []string) (session.Receipt, error) {
	var ids []string
	var errs []error
	for _, name := range names {
		u, err := t.FindUser(ctx, name)
		ids, errs = append(ids, u.ID), append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return session.Receipt{}, err
	}
	if len(ids) == 1 {
		return t.RevokeUser(ctx, ids[0], r.reason)
	}
	return t.RevokeMany(ctx, session.Many{Scope: session.ScopeUsers, Users: ids, Reason: r.reason})
}

func (r *revoking) session(ctx context.Context, t admin, args []string) (session.Receipt, error) {
	id := ""
	if r.user != "" {
		u, err := t.FindUser(ctx, r.user)
		if err != nil {
			return session.Receipt{}, err
		}
		id = u.ID
	}
	receipt, err := t.RevokeSession(ctx, id, args[0], r.reason)
	if errors.Is(err, store.ErrNotFound) {
		return receipt, fmt.Errorf("no session has the id %q; `curfew user show NAME` lists the sessions of a user", args[0])
	}
	return receipt, err
}

// step is how long is waited between two lines of progress.
const step = 500 * time.Millisecond

// follow waits until a revocation is in force everywhere, if that was asked for, prints
// on the way the validators that it waits for, and prints the receipt.
func (r *revoking) follow(ctx context.Context, t admin, receipt session.Receipt) error {
	said := ""
	for left := r.wait; left > 0 && !receipt.Enforcement.EffectiveEverywhere; left -= step {
		var err error
		receipt, err = t.Await(ctx, receipt, min(step, left))
		e := receipt.Enforcement
		if signedOut(err) {
			return fmt.Errorf("the sessions are revoked, your own too; sign in again and run `curfew revocations %d` to see whether that holds everywhere", int64(receipt.Epoch))
		}
		if err != nil || e.Unreadable {
			return errors.New("the sessions are revoked, but the validators' confirmations could not be read")
		}
		progress := fmt.Sprintf("%d of %d validators have confirmed; waiting for %s", e.Confirmed, e.Validators, strings.Join(e.Waiting, ", "))
		if !e.EffectiveEverywhere && progress != said {
			r.notef("%s", progress)
			said = progress
		}
	}
	return r.printReceipt(receipt)
}

// printReceipt prints a receipt.
func (c *cli) printReceipt(receipt session.Receipt) error {
	if c.json {
		return c.printJSON(wireform.Receipt(receipt))
	}
	e := receipt.Enforcement
	t := newTable(c.stdout)
	t.row("revoked", revokedText(receipt.Receipt))
	if receipt.Scope == string(revocation.KindSession) {
		t.row("user", userText(receipt.Receipt))
	}
	if n := receipt.Sessions; n != store.NotCounted {
		t.row("ended", endedText(receipt.Receipt))
	}
	t.row("started before", receipt.Epoch.String())
	t.row("epoch", fmt.Sprint(int64(receipt.Epoch)))
	t.row("by", who(receipt.Actor))
	t.row("committed", exactDate(receipt.CommittedAt))
	if receipt.Reason != "" {
		t.row("reason", receipt.Reason)
	}
	switch {
	case e.Unreadable:
		t.row("holds", "not known: the servers could not be read")
	case e.EffectiveEverywhere && e.Validators == 0:
		t.row("holds", "no server is running: enforced as soon as one starts")
	case e.EffectiveEverywhere:
		t.row("holds", fmt.Sprintf("everywhere: %d of %d validators have confirmed", e.Confirmed, e.Validators))
	default:
		t.row("holds", fmt.Sprintf("on %d of %d validators; everywhere by %s at the latest", e.Confirmed, e.Validators, date(e.EffectiveBy)))
		t.row("waiting for", strings.Join(e.Waiting, ", "))
	}
	if receipt.Closed() && e.Validators > 0 {
		t.row("everywhere at", fmt.Sprintf("%s, %d ms after the commit", exactDate(receipt.ClosedAt), (receipt.ClosedAt-receipt.CommittedAt)/1000))
	}
	for _, l := range e.Lapsed {
		t.row("lease ran out", fmt.Sprintf("%s at %s", l.Name, exactDate(l.At)))
	}
	return t.flush()
}

// revokedText says which sessions a receipt is about.
func revokedText(r store.Receipt) string {
	switch r.Scope {
	case string(revocation.KindEveryone):
		return "all sessions of all users"
	case string(revocation.KindRemembered):
		return "all remember-me sessions"
	case string(revocation.KindUser):
		return "all sessions of user " + userText(r)
	case store.ScopeUsers:
		return fmt.Sprintf("all sessions of %d users", r.Named)
	case store.ScopeSettings:
		return "sessions past the new settings"
	case store.ScopeKey:
		return "sessions signed with key " + r.ScopeID
	case store.ScopeProvider:
		return "sessions begun at provider " + r.ScopeID
	}
	return "session " + r.ScopeID
}

func userText(r store.Receipt) string { return r.UserName + " (" + r.UserID + ")" }

// endedText says how many sessions a revocation ended.
func endedText(r store.Receipt) string {
	switch {
	case r.Sessions == store.NotCounted:
		return ""
	case r.Sessions == 1:
		return "1 live session"
	case r.Users == 1:
		return fmt.Sprintf("%d live sessions", r.Sessions)
	}
	return fmt.Sprintf("%d live sessions of %d users", r.Sessions, r.Users)
}

// exactDate is date for microseconds, with all of them.
func exactDate(micros int64) string {
	return time.UnixMicro(micros).UTC().Format("2006-01-02T15:04:05.000000Z")
}
