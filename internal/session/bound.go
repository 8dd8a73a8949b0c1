package session

import (
	"context"
	"errors"
	"fmt"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
)

const (
	defaultMaxSessions = 100
	// maxSurplus is how many sessions one beginning session ends. There are more
	// than one only after the bound was lowered; the next sign-ins end the rest.
	maxSurplus = 1000
)

// maxSessions returns how many sessions of a user may be live; 0 for no bound.
func (c Config) maxSessions() int {
	switch {
	case c.MaxSessions < 0:
		return 0
	case c.MaxSessions == 0:
		return defaultMaxSessions
	}
	return c.MaxSessions
}

// errSurplus undoes a transaction that must take the epoch clock first, since it
// has to end sessions.
var errSurplus = errors.New("the user has as many sessions as may be")

// keepSignIn writes down a session that began with a password. As a rule that
// changes nothing that validators know of. When the user has as many sessions as
// may be, the oldest end in the same transaction, which then takes the clock's lock
// before all others.
func (s *Service) keepSignIn(ctx context.Context, issued Issued, from account.Origin) error {
	by := userActor(issued.User.ID, issued.User.Name, from)
	err := s.store.UpdateWithoutCaller(ctx, func(tx store.Tx) error { return s.keepIfRoom(ctx, tx, issued, by, from) })
	if !errors.Is(err, errSurplus) {
		return err
	}
	var ended []revocation.Revocation
	err = s.store.UpdateWithoutCaller(ctx, func(tx store.Tx) (err error) {
		epoch, err := tx.Advance(ctx, s.now())
		if err != nil {
			return err
		}
		ended, err = s.keepWithin(ctx, tx, epoch, issued, by, from)
		return err
	})
	if err == nil {
		s.config.View.Applied(ended...)
	}
	return err
}

// keepIssued is keepSignIn for a session that a client begins: it is decided in
// either transaction.
func (s *Service) keepIssued(ctx context.Context, c account.Caller, need authz.Need, issued Issued, from account.Origin) error {
	err := s.store.Record(ctx, c, need, func(tx authz.Tx) error { return s.keepIfRoom(ctx, tx, issued, c.Actor, from) })
	if !errors.Is(err, errSurplus) {
		return err
	}
	var ended []revocation.Revocation
	err = s.store.Update(ctx, c, need, func(tx authz.Tx) (err error) {
		ended, err = s.keepWithin(ctx, tx, tx.Epoch, issued, c.Actor, from)
		return err
	})
	if err == nil {
		s.config.View.Applied(ended...)
	}
	return err
}

// keepIfRoom writes down a session that begins, or returns errSurplus.
func (s *Service) keepIfRoom(ctx context.Context, tx store.Tx, issued Issued, by store.Actor, from account.Origin) error {
	surplus, err := s.surplus(ctx, tx, issued)
	if err == nil && len(surplus) > 0 {
		err = errSurplus
	}
	if err != nil {
		return err
	}
	return keep(ctx, tx, issued, by, from)
}

// keepWithin writes down a session that begins, and ends the oldest of the user's
// if they are too many. epoch is what the transaction has taken from the clock.
func (s *Service) keepWithin(ctx context.Context, tx store.Tx, epoch revocation.Epoch, issued Issued, by store.Actor, from account.Origin) ([]revocation.Revocation, error) {
	surplus, err := s.surplus(ctx, tx, issued)
	if err != nil {
		return nil, err
	}
	ended := make([]revocation.Revocation, len(surplus))
	entries := make([]store.Audit, len(surplus))
	at := s.now().UnixMicro()
	for i, old := range surplus {
		ended[i] = revocation.Revocation{Scope: revocation.Session(old.ID), Epoch: epoch}
		entries[i] = store.Audit{
			At: at, Actor: by, Action: wire.ActionRevokeSession, Epoch: epoch, Scope: revocation.KindSession,
			TargetKind: "session", TargetID: old.ID, TargetName: old.UserID,
			Reason: fmt.Sprintf("a user has at most %d sessions: the oldest ends when another begins", s.config.maxSessions()),
		}
		if err := tx.EndSession(ctx, old.ID, at); err != nil {
			return nil, err
		}
	}
	if len(surplus) > 0 {
		if err := tx.PutRevocations(ctx, ended...); err != nil {
			return nil, err
		}
		if err := tx.AppendAudit(ctx, entries...); err != nil {
			return nil, err
		}
	}
	return ended, keep(ctx, tx, issued, by, from)
}

// surplus returns the sessions that must end so that another can begin. It holds
// the user's row, so that two that begin at one time count each other.
func (s *Service) surplus(ctx context.Context, tx store.Tx, issued Issued) ([]store.Session, error) {
	most := s.config.maxSessions()
	if most == 0 {
		return nil, nil
	}
	if _, err := tx.LockUser(ctx, issued.User.ID); err != nil {
		return nil, err
	}
	// A session that was revoked before it began takes no place. Otherwise an
	// attempt that was under way during a revocation could end a session that began
	// after it.
	revoked, err := tx.RevokedBefore(ctx, issued.User.ID, issued.Session.ID)
	if err != nil || issued.Session.Epoch < revoked.Before(issued.Session.RememberMe) {
		return nil, err
	}
	in, err := tx.Settings(ctx)
	if err != nil {
		return nil, err
	}
	live := store.Live{Now: s.now().UnixMicro(), Settings: in.InForce}
	return tx.SurplusSessions(ctx, issued.User.ID, live, most-1, maxSurplus)
}
