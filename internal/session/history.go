package session

import (
	"context"
	"fmt"

	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
)

// LastRevocation returns the epoch of the last revocation that names a user: of all
// sessions of the user, or of one. A sign-out is none. The caller must be allowed to revoke them. The error is
// store.ErrNotFound if the audit has none.
func (s *Service) LastRevocation(ctx context.Context, c authz.Caller, userID string) (revocation.Epoch, error) {
	if err := c.MayRevoke(userID); err != nil {
		return 0, err
	}
	entries, err := s.store.Audits(ctx, store.AuditFilter{Target: userID, Scoped: true}, recentEntries)
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		// A name may be the id of another user, so only the id counts.
		if e.TargetID == userID && (e.Scope == revocation.KindUser || e.Action == wire.ActionRevokeSession) {
			return e.Epoch, nil
		}
	}
	return 0, fmt.Errorf("%w: no revocation of user %s", store.ErrNotFound, userID)
}

// recentEntries is the number of entries about a user that are searched for one.
const recentEntries = 20

// The kinds of actors that may have ended a session.
const (
	ByAdministrator = "administrator" // another user, or the command line
	ByYourself      = "yourself"
	ByService       = "service"
	// ByPasswordChange is a change of password by the user, and ByPasswordReset one by
	// another user or the command line.
	ByPasswordChange = "password_change"
	ByPasswordReset  = "password_reset"
	// ByDeletion and ByDisabling are what another user or the command line did to the
	// account.
	ByDeletion  = "deletion"
	ByDisabling = "disabling"
)

// RevokedBy returns the kind of actor of the revocation at an epoch, for the holder
// of a token that it has ended. It is one of the words above, or "" if the audit
// has no entry.
func (s *Service) RevokedBy(ctx context.Context, epoch revocation.Epoch) (string, error) {
	entries, err := s.store.Audits(ctx, store.AuditFilter{Epoch: epoch, Scoped: true}, 2)
	if err != nil || len(entries) == 0 {
		return "", err
	}
	e := entries[0]
	switch {
	case e.Action == wire.ActionUserDelete:
		return ByDeletion, nil
	case e.Action == wire.ActionUserDisable:
		return ByDisabling, nil
	case e.Actor.Kind == store.ActorClient:
		return ByService, nil
	case e.Actor.Kind == store.ActorUser && len(entries) == 1: // else of many, by an administrator
		own, err := s.userOf(ctx, e)
		if err != nil {
			return "", err
		}
		if own == e.Actor.ID && e.Action == wire.ActionUserPassword {
			return ByPasswordChange, nil
		}
		// A sign-out ends the user's own session, with or without a row.
		if own == e.Actor.ID || e.Action == wire.ActionSignOut {
			return ByYourself, nil
		}
	}
	if e.Action == wire.ActionUserPassword {
		return ByPasswordReset, nil
	}
	return ByAdministrator, nil
}
