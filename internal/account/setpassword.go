package account

import (
	"context"
	"fmt"

	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
)

// NewPassword is a password to set. Current is the user's password so far: required
// for the caller's own account, and nil for another.
type NewPassword struct {
	Current *string
	New     string
}

// PasswordChange is a new password that was checked and hashed. It is written in
// the transaction that also revokes the user's sessions.
type PasswordChange struct {
	service *Service
	user    store.User // as it was checked
	hash    string
}

// PreparePassword checks whether the caller may set the password of a user, and
// hashes it. The caller's own password requires the current one, so that an
// attacker with an open session cannot keep it; failed attempts count like those of
// a sign-in. Other users require UserEdit or AdministerSystem.
func (s *Service) PreparePassword(ctx context.Context, c authz.Caller, userID string, change NewPassword, from authz.Origin) (*PasswordChange, error) {
	if err := c.MaySetPassword(userID); err != nil {
		return nil, err
	}
	u, err := s.store.User(ctx, userID)
	if err != nil {
		return nil, err
	}
	switch {
	case c.IsSelf(userID) && change.Current == nil:
		return nil, InvalidField("current", "is required to change your own password")
	case c.IsSelf(userID):
	case change.Current != nil:
		return nil, InvalidField("current", "is allowed only when you change your own password")
	default:
		if err := c.MayChange(u); err != nil {
			return nil, err
		}
	}
	if err := CheckPassword("new", change.New, u.Name, u.Email); err != nil {
		return nil, err
	}
	if change.Current != nil && *change.Current == change.New {
		return nil, InvalidField("new", "must differ from the current password")
	}
	if c.IsSelf(userID) {
		if u, err = s.verify(ctx, u, u.NameKey, *change.Current, from); err != nil {
			// If the session has ended in the queue, the error says only that, and
			// nothing about the password.
			if over := s.Again(ctx, c, authz.OnUser(authz.Caller.MaySetPassword, userID)); over != nil {
				return nil, over
			}
			return nil, err
		}
	}
	p := &PasswordChange{service: s, user: u}
	p.hash, err = s.hash(ctx, change.New)
	return p, err
}

// Write sets the password, unless it has changed since it was checked, and appends
// the audit entry of the revocation at tx.Epoch. The transaction's caller must satisfy
// Caller.MaySetPassword.
func (p *PasswordChange) Write(ctx context.Context, tx authz.Tx) error {
	u, err := tx.LockUser(ctx, p.user.ID)
	if err != nil {
		return err
	}
	if u.PasswordHash != p.user.PasswordHash {
		return fmt.Errorf("%w: the password was changed meanwhile; try again", store.ErrConflict)
	}
	if !tx.Caller.IsSelf(u.ID) {
		if err := tx.Caller.MayChange(u); err != nil {
			return err
		}
	}
	u.PasswordHash = p.hash
	if err := tx.UpdateUser(ctx, u); err != nil {
		return err
	}
	if err := tx.EndStreak(ctx, accountKeys(u)...); err != nil {
		return err
	}
	return tx.AppendAudit(ctx, store.Audit{
		At: p.service.now().UnixMicro(), Actor: tx.Caller.Actor, Action: wire.ActionUserPassword,
		TargetKind: "user", TargetID: u.ID, TargetName: u.Name, Epoch: tx.Epoch, Scope: revocation.KindUser,
		Reason: "password changed",
	})
}
