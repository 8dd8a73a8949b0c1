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
	// maxSurplus is the maximum number of sessions that one new session ends. There
	// is more than one only after the limit was lowered; the next sign-ins end the
	// rest.
	maxSurplus = 1000
)

// maxSessions returns the maximum number of live sessions of a user; 0 for no
// limit.
func (c Config) maxSessions() int {
	switch {
	case c.MaxSessions < 0:
		return 0
	case c.MaxSessions == 0:
		return defaultMaxSessions
	}
	return c.MaxSessions
}

// errMustAdvance rolls back a transaction that must take the epoch clock first, because
// it has to end sessions: the user has the maximum number of them, for one.
var errMustAdvance = errors.New("sessions have to end before another can begin")

// keepSignIn stores a session that began with a password. Usually this changes
// nothing that validators know. If the user has the maximum number of sessions, the
// oldest end in the same transaction, which then takes the clock's lock before all
// others.
func (s *Service) keepSignIn(ctx context.Context, first beginning, from authz.Origin) (issued Issued, err error) {
	by := userActor(first.user.ID, first.user.Name, from)
	err = s.store.UpdateWithoutCaller(ctx, func(tx store.Tx) (err error) {
		issued, err = s.keepIfRoom(ctx, tx, first, by, from)
		return err
	})
	if errors.Is(err, errMustAdvance) {
		var ended []revocation.Revocation
		err = s.store.UpdateWithoutCaller(ctx, func(tx store.Tx) (err error) {
			epoch, err := tx.Advance(ctx, s.now())
			if err != nil {
				return err
			}
			issued, ended, err = s.keepWithin(ctx, tx, epoch, first, by, from)
			return err
		})
		if err == nil {
			s.config.View.Applied(ended...)
		}
	}
	switch {
	case isNotFound(err): // deleted while the password was checked
		return Issued{}, account.ErrBadCredentials
	case err != nil:
		return Issued{}, err
	}
	return issued, nil
}

// keepIssued is keepSignIn for a session that a client begins. Both transactions
// check the client.
func (s *Service) keepIssued(ctx context.Context, c authz.Caller, need authz.Need, first beginning, from authz.Origin) (issued Issued, err error) {
	err = s.store.Record(ctx, c, need, func(tx authz.Tx) (err error) {
		issued, err = s.keepIfRoom(ctx, tx, first, c.Actor, from)
		return err
	})
	if errors.Is(err, errMustAdvance) {
		var ended []revocation.Revocation
		err = s.store.Update(ctx, c, need, func(tx authz.Tx) (err error) {
			issued, ended, err = s.keepWithin(ctx, tx, tx.Epoch, first, c.Actor, from)
			return err
		})
		if err == nil {
			s.config.View.Applied(ended...)
		}
	}
	if err != nil {
		return Issued{}, err
	}
	return issued, nil
}

// keepIfRoom stores a new session, or returns errMustAdvance.
func (s *Service) keepIfRoom(ctx context.Context, tx store.Tx, first beginning, by store.Actor, from authz.Origin) (Issued, error) {
	surplus, err := s.surplus(ctx, tx, first)
	if err == nil && len(surplus) > 0 {
		err = errMustAdvance
	}
	if err != nil {
		return Issued{}, err
	}
	return s.keep(ctx, tx, first, by, from)
}

// keepWithin stores a new session, and ends the user's oldest sessions if there are
// too many. epoch is the transaction's reading of the clock.
func (s *Service) keepWithin(ctx context.Context, tx store.Tx, epoch revocation.Epoch, first beginning, by store.Actor, from authz.Origin) (Issued, []revocation.Revocation, error) {
	surplus, err := s.surplus(ctx, tx, first)
	if err != nil {
		return Issued{}, nil, err
	}
	ended := make([]revocation.Revocation, len(surplus))
	entries := make([]store.Audit, len(surplus))
	at := s.now().UnixMicro()
	for i, old := range surplus {
		ended[i] = revocation.Revocation{Scope: revocation.Session(old.ID), Epoch: epoch}
		entries[i] = store.Audit{
			At: at, Actor: by, Action: wire.ActionRevokeSession, Epoch: epoch,
			Reason: fmt.Sprintf("a user has at most %d sessions; the oldest ends when a new one starts", s.config.maxSessions()),
		}
		authz.AboutSession(&entries[i], old, first.user.Name)
		if err := tx.EndSession(ctx, old.ID, at); err != nil {
			return Issued{}, nil, err
		}
	}
	if len(surplus) > 0 {
		if err := tx.PutRevocations(ctx, ended...); err != nil {
			return Issued{}, nil, err
		}
		if err := tx.AppendAudit(ctx, entries...); err != nil {
			return Issued{}, nil, err
		}
	}
	issued, err := s.keep(ctx, tx, first, by, from)
	return issued, ended, err
}

// surplus returns the sessions that must end so that another can begin. It locks
// the user's row, so that two sessions that begin at the same time count each
// other.
func (s *Service) surplus(ctx context.Context, tx store.Tx, first beginning) ([]store.Session, error) {
	most := s.config.maxSessions()
	if most == 0 {
		return nil, nil
	}
	if _, err := tx.LockUser(ctx, first.user.ID); err != nil {
		return nil, err
	}
	// A session that was revoked before it began takes no place. Otherwise a
	// sign-in that was pending during a revocation could end a session that began
	// after the revocation.
	revoked, err := tx.RevokedBefore(ctx, first.user.ID, first.session.ID)
	if err != nil || first.session.Epoch < revoked.Before(first.session.RememberMe) {
		return nil, err
	}
	in, err := tx.Settings(ctx)
	if err != nil {
		return nil, err
	}
	live := store.Live{Now: s.now().UnixMicro(), Settings: in.InForce}
	return tx.SurplusSessions(ctx, first.user.ID, live, most-1, maxSurplus)
}
