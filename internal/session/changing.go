package session

import (
	"context"
	"fmt"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
)

// keepChanging stores a session that begins with a new password, and the password. It
// ends the user's other sessions, as every change of a password does. After a
// revocation that came while the passwords were checked, or another change of the
// user, it writes nothing.
func (s *Service) keepChanging(ctx context.Context, first beginning, change *account.PasswordChange, from authz.Origin) (issued Issued, err error) {
	userID := first.user.ID
	by := userActor(userID, first.user.Name, from)
	var revoked revocation.Revocation
	err = s.store.UpdateWithoutCaller(ctx, func(tx store.Tx) error {
		epoch, err := tx.Advance(ctx, s.now())
		if err != nil {
			return err
		}
		before, err := tx.RevokedBefore(ctx, userID, first.session.ID)
		if err != nil {
			return err
		}
		if first.session.Epoch < before.Before(first.session.RememberMe) {
			return fmt.Errorf("%w: the user's sessions were revoked meanwhile, and the password was not changed; sign in again", store.ErrConflict)
		}
		own := authz.Tx{Tx: tx, Caller: authz.Caller{Actor: by}, Epoch: epoch}
		if err := change.WriteRequired(ctx, own); err != nil {
			return err
		}
		if _, err := s.revokeIn(ctx, own, userID, account.PasswordRequired); err != nil {
			return err
		}
		revoked = revocation.Revocation{Scope: revocation.User(userID), Epoch: epoch}
		next := first
		next.session.Epoch = epoch
		issued, err = s.keep(ctx, tx, next, by, from)
		return err
	})
	switch {
	case isNotFound(err): // deleted while the passwords were checked
		return Issued{}, account.ErrBadCredentials
	case err != nil:
		return Issued{}, err
	}
	s.config.View.Applied(revoked)
	s.WakeReceipts()
	return issued, nil
}

// recordRequired records a sign-in with the right password that was refused because the
// user must choose a new one.
func (s *Service) recordRequired(ctx context.Context, u store.User, from authz.Origin) error {
	return s.store.UpdateWithoutCaller(ctx, func(tx store.Tx) error {
		return tx.AppendAudit(ctx, store.Audit{
			At: s.now().UnixMicro(), Actor: userActor(u.ID, u.Name, from), Action: wire.ActionSignInFailed,
			TargetKind: targetUser, TargetID: u.ID, TargetName: u.Name, Reason: "the password must be changed",
		})
	})
}
