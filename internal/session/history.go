package session

import (
	"context"
	"fmt"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
)

// ReceiptBy is [Service.Receipt] without waiting, together with who revoked. What
// was revoked through scopes of two kinds at one epoch is told as one.
func (s *Service) ReceiptBy(ctx context.Context, c account.Caller, epoch revocation.Epoch) (wire.Receipt, store.Actor, error) {
	r, err := s.Receipt(ctx, c, epoch, 0)
	if err != nil {
		return r, store.Actor{}, err
	}
	entries, err := s.store.Audits(ctx, store.AuditFilter{Epoch: epoch, Scoped: true}, 1)
	if err != nil || len(entries) == 0 {
		return r, store.Actor{}, err
	}
	return r, entries[0].Actor, nil
}

// LastRevocation returns the epoch at which all sessions of a user were last
// revoked by name, for whoever may revoke them; store.ErrNotFound if the audit
// knows of none.
func (s *Service) LastRevocation(ctx context.Context, c account.Caller, userID string) (revocation.Epoch, error) {
	if err := c.MayRevoke(userID); err != nil {
		return 0, err
	}
	entries, err := s.store.Audits(ctx, store.AuditFilter{Target: userID, Scoped: true}, recentEntries)
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		// A name may be somebody else's id: only the id counts.
		if e.Scope == revocation.KindUser && e.TargetID == userID {
			return e.Epoch, nil
		}
	}
	return 0, fmt.Errorf("%w: no revocation of user %s", store.ErrNotFound, userID)
}

// recentEntries is how many entries about a user are looked through for one.
const recentEntries = 20

// The kinds of people and programs that may have ended a session.
const (
	ByAdministrator = "administrator" // somebody else, or the command line
	ByYourself      = "yourself"
	ByService       = "service"
)

// RevokedBy says who made the revocation at an epoch, for the holder of a token
// that it has ended: one of the words above; "" if the audit knows nothing of it.
func (s *Service) RevokedBy(ctx context.Context, epoch revocation.Epoch) (string, error) {
	entries, err := s.store.Audits(ctx, store.AuditFilter{Epoch: epoch, Scoped: true}, 2)
	if err != nil || len(entries) == 0 {
		return "", err
	}
	e := entries[0]
	switch {
	case e.Actor.Kind == store.ActorClient:
		return ByService, nil
	case e.Actor.Kind == store.ActorUser && len(entries) == 1: // else of many, by an administrator
		own, err := s.userOf(ctx, e)
		if err != nil {
			return "", err
		}
		// Who signs out has ended a session of their own, row or no row.
		if own == e.Actor.ID || e.Action == wire.ActionSignOut {
			return ByYourself, nil
		}
	}
	return ByAdministrator, nil
}
