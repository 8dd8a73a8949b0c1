package session

import (
	"context"
	"fmt"
	"time"

	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
)

// receipt returns the receipt of a committed revocation, as c may see it. A node
// that does not answer is logged and is no error, because the revocation is
// committed.
//
// Only callers with UserEdit or AdministerSystem see the names of the validators
// that have not confirmed: they are the names of the operator's other services.
// Other callers get the two counts.
func (s *Service) receipt(ctx context.Context, c authz.Caller, scope, id, reason string, epoch revocation.Epoch, committed time.Time, wait time.Duration) wire.Receipt {
	e, err := s.config.View.Enforcement(ctx, epoch, committed, wait)
	if err != nil {
		s.log.WarnContext(ctx, "revocation committed; the other nodes' confirmations could not be read", "epoch", int64(epoch), "error", err)
	}
	if e.Waiting == nil || c.MayEditUsers() != nil {
		e.Waiting = []string{}
	}
	return wire.Receipt{
		Scope: scope, ID: id, Reason: reason,
		RevokedBefore: epoch.String(), Epoch: int64(epoch), Enforcement: e,
	}
}

// Receipt returns the current receipt of an earlier revocation. The caller must be
// allowed to revoke its scope. The error is store.ErrNotFound if there was no
// revocation at that epoch.
func (s *Service) Receipt(ctx context.Context, c authz.Caller, epoch revocation.Epoch, wait time.Duration) (wire.Receipt, error) {
	entries, err := s.store.Audits(ctx, store.AuditFilter{Epoch: epoch, Scoped: true}, MaxUsers)
	if err != nil {
		return wire.Receipt{}, err
	}
	var user string // the user whose sessions it revoked; "" if not one user's
	if len(entries) == 1 {
		if user, err = s.userOf(ctx, entries[0]); err != nil {
			return wire.Receipt{}, err
		}
	}
	switch {
	case user != "":
		err = c.MayRevoke(user)
	default:
		err = c.MayAdminister() // before revealing whether there was one
	}
	if err != nil {
		return wire.Receipt{}, err
	}
	if len(entries) == 0 {
		return wire.Receipt{}, fmt.Errorf("%w: there is no revocation at epoch %d", store.ErrNotFound, epoch)
	}
	first := entries[0]
	scope, id := string(first.Scope), first.TargetID
	if user == "" {
		id = ""
	}
	if len(entries) > 1 {
		scope = ScopeUsers
	}
	r := s.receipt(ctx, c, scope, id, first.Reason, epoch, time.Time{}, wait)
	if scope == ScopeUsers {
		r.Users = len(entries)
	}
	return r, nil
}

// userOf returns the id of the user of a revoking entry, or "".
func (s *Service) userOf(ctx context.Context, e store.Audit) (string, error) {
	switch e.Scope {
	case revocation.KindUser:
		return e.TargetID, nil
	case revocation.KindSession:
		row, err := s.store.Session(ctx, e.TargetID)
		if isNotFound(err) {
			return "", nil
		}
		return row.UserID, err
	default:
		return "", nil
	}
}
