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

// keepEither stores a session with write, which returns the revocations that it has
// written. Usually there are none, and nothing changes that validators know: holding runs
// it in a transaction that has not advanced the epoch clock. If write returns
// errMustAdvance, advancing runs it in a transaction that takes the clock's lock before
// all others.
func (s *Service) keepEither(holding, advancing func(write func(authz.Tx) error) error, write func(authz.Tx) (Issued, []revocation.Revocation, error)) (Issued, error) {
	var issued Issued
	var ended []revocation.Revocation
	run := func(tx authz.Tx) (err error) {
		issued, ended, err = write(tx)
		return err
	}
	err := holding(run)
	if errors.Is(err, errMustAdvance) {
		err = advancing(run)
	}
	if err != nil {
		return Issued{}, err
	}
	if len(ended) > 0 {
		s.config.View.Applied(ended...)
	}
	return issued, nil
}

// keepSignIn stores a session that began with a password.
func (s *Service) keepSignIn(ctx context.Context, first beginning, from authz.Origin) (Issued, error) {
	by := userActor(first.user.ID, first.user.Name, from)
	issued, err := s.keepEither(func(write func(authz.Tx) error) error {
		return s.store.UpdateWithoutCaller(ctx, func(tx store.Tx) error { return write(authz.Tx{Tx: tx}) })
	}, func(write func(authz.Tx) error) error {
		return s.store.UpdateWithoutCaller(ctx, func(tx store.Tx) error {
			epoch, err := tx.Advance(ctx, s.now())
			if err != nil {
				return err
			}
			return write(authz.Tx{Tx: tx, Epoch: epoch})
		})
	}, func(tx authz.Tx) (Issued, []revocation.Revocation, error) {
		return s.keepWithin(ctx, tx, first, by, from)
	})
	if isNotFound(err) { // deleted while the password was checked
		return Issued{}, account.ErrBadCredentials
	}
	return issued, err
}

// keepIssued stores a session that a client begins. Both transactions check the client.
func (s *Service) keepIssued(ctx context.Context, c authz.Caller, need authz.Need, first beginning, from authz.Origin) (Issued, error) {
	return s.keepEither(
		func(write func(authz.Tx) error) error { return s.store.Record(ctx, c, need, write) },
		func(write func(authz.Tx) error) error { return s.store.Update(ctx, c, need, write) },
		func(tx authz.Tx) (Issued, []revocation.Revocation, error) {
			return s.keepWithin(ctx, tx, first, c.Actor, from)
		})
}

// keepWithin stores a new session. If the user has too many, it ends the oldest and returns
// their revocations, or returns errMustAdvance if the transaction has no epoch.
func (s *Service) keepWithin(ctx context.Context, tx authz.Tx, first beginning, by store.Actor, from authz.Origin) (Issued, []revocation.Revocation, error) {
	surplus, err := s.surplus(ctx, tx, first)
	switch {
	case err != nil:
		return Issued{}, nil, err
	case len(surplus) > 0 && tx.Epoch == 0:
		return Issued{}, nil, errMustAdvance
	}
	ended := make([]revocation.Revocation, len(surplus))
	entries := make([]store.Audit, len(surplus))
	at := s.now().UnixMicro()
	for i, old := range surplus {
		ended[i] = revocation.Revocation{Scope: revocation.Session(old.ID), Epoch: tx.Epoch}
		entries[i] = store.Audit{
			At: at, Actor: by, Action: wire.ActionRevokeSession, Epoch: tx.Epoch,
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
