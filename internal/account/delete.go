package account

import (
	"cmp"
	"context"

	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
)

// DeleteUser deletes a user and revokes the user's sessions in the same transaction.
// It returns the receipt of the revocation. The user's id is never given again; the
// audit keeps id and name. The last enabled administrator can't be deleted.
func (s *Service) DeleteUser(ctx context.Context, c authz.Caller, id, reason string) (receipt store.Receipt, err error) {
	err = s.store.Update(ctx, c, authz.Caller.MayEditUsers, func(tx authz.Tx) error {
		u, err := tx.LockUser(ctx, id)
		if err != nil {
			return err
		}
		if err := cmp.Or(tx.Caller.MayChange(u), tx.Caller.CheckRecent(operationOn(tx.Caller, u))); err != nil {
			return err
		}
		now := s.now()
		if receipt, err = tx.AddUserReceipt(ctx, now, u, 0, cmp.Or(reason, "account deleted")); err != nil {
			return err
		}
		if err := tx.PutRevocations(ctx, revocation.Revocation{Scope: revocation.User(id), Epoch: tx.Epoch}); err != nil {
			return err
		}
		if err := tx.EndStreak(ctx, accountKeys(u)...); err != nil {
			return err
		}
		linked, err := tx.Identities(ctx, id)
		if err != nil {
			return err
		}
		if err := endUnderWay(ctx, tx, linked...); err != nil {
			return err
		}
		if err := tx.DeleteUser(ctx, id, now.UnixMicro()); err != nil {
			return err
		}
		if isAdministrator(u) && !u.Disabled {
			if err := administratorLeft(ctx, tx); err != nil {
				return err
			}
		}
		return tx.AppendAudit(ctx, store.Audit{
			At: now.UnixMicro(), Actor: tx.Caller.Actor, Action: wire.ActionUserDelete, Reason: reason,
			TargetKind: "user", TargetID: u.ID, TargetName: u.Name, Epoch: tx.Epoch, Scope: revocation.KindUser,
			Detail: detail(membersOf(u)),
		})
	})
	if err != nil {
		return store.Receipt{}, err
	}
	s.applied(revocation.Revocation{Scope: revocation.User(id), Epoch: receipt.Epoch})
	return receipt, nil
}
