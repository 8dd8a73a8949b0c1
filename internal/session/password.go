package session

import (
	"context"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
)

// ChangePassword sets the password of a user and revokes the user's sessions. A
// change of the caller's own password requires the current one, and the caller's
// session continues: the receipt carries its token, as with keep_current. Other
// users require UserEdit or AdministerSystem.
func (s *Service) ChangePassword(ctx context.Context, c authz.Caller, userID string, change account.NewPassword, from authz.Origin) (wire.Receipt, error) {
	if err := s.limitPassword(ctx, c, userID); err != nil {
		return wire.Receipt{}, err
	}
	set, err := s.config.Accounts.PreparePassword(ctx, c, userID, change, from)
	if err != nil {
		return wire.Receipt{}, err
	}
	keep := c.IsSelf(userID) && c.Session != nil
	var issued Issued
	var epoch revocation.Epoch
	err = s.store.Update(ctx, c, authz.OnUser(authz.Caller.MaySetPassword, userID), func(tx authz.Tx) (err error) {
		epoch = tx.Epoch
		if keep {
			if issued, err = s.moveOn(ctx, tx); err != nil {
				return err
			}
		} else if err = tx.PutRevocations(ctx, revocation.Revocation{Scope: revocation.User(userID), Epoch: epoch}); err != nil {
			return err
		}
		return set.Write(ctx, tx)
	})
	if err != nil {
		return wire.Receipt{}, err
	}
	const reason = "password changed"
	if keep {
		return s.kept(ctx, c, issued, epoch, reason, 0), nil
	}
	committed := s.now()
	s.config.View.Applied(revocation.Revocation{Scope: revocation.User(userID), Epoch: epoch})
	return s.receipt(ctx, c, string(revocation.KindUser), userID, reason, epoch, committed, 0), nil
}
