package session

import (
	"context"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
)

// ChangePassword sets the password of a user and revokes the user's sessions. A
// change of the caller's own password requires the current one, and the caller's
// session continues: the receipt carries its token, as with keep_current. Other
// users require UserEdit or AdministerSystem.
func (s *Service) ChangePassword(ctx context.Context, c authz.Caller, userID string, change account.NewPassword, from authz.Origin) (Receipt, error) {
	if err := s.limitPassword(ctx, c, userID); err != nil {
		return Receipt{}, err
	}
	set, err := s.config.Accounts.PreparePassword(ctx, c, userID, change, from)
	if err != nil {
		return Receipt{}, err
	}
	keep := c.IsSelf(userID) && c.Session != nil
	const reason = account.PasswordChanged
	var issued Issued
	var receipt store.Receipt
	err = s.store.Update(ctx, c, authz.OnUser(authz.Caller.MaySetPassword, userID), func(tx authz.Tx) (err error) {
		if keep {
			issued, receipt, err = s.moveOn(ctx, tx, reason)
		} else {
			receipt, err = s.revokeIn(ctx, tx, userID, reason)
		}
		if err != nil {
			return err
		}
		return set.Write(ctx, tx)
	})
	if err != nil {
		return Receipt{}, err
	}
	if keep {
		return s.kept(ctx, c, issued, receipt, 0), nil
	}
	committed := s.now()
	s.config.View.Applied(revocation.Revocation{Scope: revocation.User(userID), Epoch: receipt.Epoch})
	return s.committed(ctx, c, receipt, committed, 0), nil
}

// revokeIn revokes all sessions of a user in a transaction.
func (s *Service) revokeIn(ctx context.Context, tx authz.Tx, userID, reason string) (store.Receipt, error) {
	u, err := tx.User(ctx, userID)
	if err != nil {
		return store.Receipt{}, err
	}
	receipt, err := tx.AddUserReceipt(ctx, s.now(), u, 0, reason)
	if err != nil {
		return receipt, err
	}
	return receipt, tx.PutRevocations(ctx, revocation.Revocation{Scope: revocation.User(userID), Epoch: tx.Epoch})
}
