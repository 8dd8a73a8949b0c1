package session

import (
	"context"
	"fmt"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/feed"
	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
)

// Receipt is the record of a revocation, with the state of its enforcement. The
// Enforcement of a closed receipt is the stored one, and does not change.
type Receipt struct {
	store.Receipt
	Enforcement feed.Enforcement
	// Issued is the caller's own session, if it continues with a new token; else nil.
	Issued *Issued

	committedAt time.Time // when the commit returned here; zero if that is not known
	derived     bool      // from the audit: there is no row to close
}

// Closed reports whether the revocation is in force everywhere, as stored.
func (r *Receipt) Closed() bool { return r.ClosedAt != 0 }

// committed returns the receipt of a revocation that has just been committed.
func (s *Service) committed(ctx context.Context, c authz.Caller, row store.Receipt, at time.Time, wait time.Duration) Receipt {
	return s.look(ctx, c, Receipt{Receipt: row, committedAt: at}, wait)
}

// look fills in the current enforcement of a receipt, as c may see it, and closes the
// receipt if the revocation is in force everywhere. A node that does not answer is
// logged and is no error, because the revocation is committed.
func (s *Service) look(ctx context.Context, c authz.Caller, r Receipt, wait time.Duration) Receipt {
	if !r.Closed() {
		e, err := s.config.View.Enforcement(ctx, r.Epoch, r.committedAt, wait)
		if err != nil {
			s.log.WarnContext(ctx, "revocation committed; the other nodes' confirmations could not be read", "epoch", int64(r.Epoch), "error", err)
		}
		r.Enforcement = e
		switch {
		case r.derived:
		case e.EffectiveEverywhere:
			if row, err := s.close(ctx, r.Receipt, e); err != nil {
				s.log.WarnContext(ctx, "revocation in force everywhere; its receipt could not be closed yet and is closed later", "epoch", int64(r.Epoch), "error", err)
			} else {
				r.Receipt = row
			}
		default:
			s.WakeReceipts()
		}
	}
	if r.Closed() {
		r.Enforcement = enforcementOf(r.Closing)
	}
	return shownTo(c, r)
}

// enforcementOf returns the enforcement of a closed receipt.
func enforcementOf(c store.Closing) feed.Enforcement {
	return feed.Enforcement{
		Validators: c.Validators, Confirmed: c.Confirmed, Waiting: []string{}, Lapsed: c.Lapsed,
		EffectiveEverywhere: true, At: time.UnixMicro(c.ClosedAt).UTC(), EffectiveBy: time.UnixMicro(c.EffectiveBy).UTC(),
	}
}

// shownTo returns the receipt as c may see it. Only callers with UserEdit or
// AdministerSystem see the names of validators: they are the names of the operator's
// other services. Other callers get the counts.
func shownTo(c authz.Caller, r Receipt) Receipt {
	if r.Enforcement.Waiting == nil || c.MayEditUsers() != nil {
		r.Enforcement.Waiting = []string{}
	}
	if c.MayEditUsers() != nil {
		r.Lapsed, r.Enforcement.Lapsed = nil, nil
	}
	return r
}

// Receipt returns the receipt of an earlier revocation. The caller must be allowed to
// revoke its scope. The error is store.ErrNotFound if there was no revocation at that
// epoch.
func (s *Service) Receipt(ctx context.Context, c authz.Caller, epoch revocation.Epoch, wait time.Duration) (Receipt, error) {
	r := Receipt{}
	var err error
	r.Receipt, err = s.store.Receipt(ctx, epoch)
	if isNotFound(err) {
		r.derived = true
		r.Receipt, err = s.fromAudit(ctx, epoch)
	}
	if err != nil && !isNotFound(err) {
		return Receipt{}, err
	}
	found := err == nil
	if found && r.UserID != "" {
		err = c.MayRevoke(r.UserID)
	} else {
		err = c.MayAdminister() // before revealing whether there was one
	}
	if err != nil {
		return Receipt{}, err
	}
	if !found {
		return Receipt{}, fmt.Errorf("%w: there is no revocation at epoch %d", store.ErrNotFound, epoch)
	}
	return s.look(ctx, c, r, wait), nil
}

// Receipts returns receipts, newest first.
func (s *Service) Receipts(ctx context.Context, c authz.Caller, f store.ReceiptFilter, limit int) ([]Receipt, error) {
	if err := c.MayAdminister(); err != nil {
		return nil, err
	}
	rows, err := s.store.Receipts(ctx, f, limit)
	if err != nil {
		return nil, err
	}
	out := make([]Receipt, len(rows))
	for i, row := range rows {
		out[i] = s.look(ctx, c, Receipt{Receipt: row}, 0)
	}
	return out, nil
}

// DeleteUser deletes a user (see account.Service.DeleteUser), and returns the receipt
// of the sessions that ended. wait is as in RevokeUser.
func (s *Service) DeleteUser(ctx context.Context, c authz.Caller, userID, reason string, wait time.Duration) (Receipt, error) {
	if err := c.MayEditUsers(); err != nil {
		return Receipt{}, err
	}
	if err := account.CheckReason(reason); err != nil {
		return Receipt{}, err
	}
	row, err := s.config.Accounts.DeleteUser(ctx, c, userID, reason)
	if err != nil {
		return Receipt{}, err
	}
	return s.committed(ctx, c, row, s.now(), wait), nil
}

// Await returns a receipt again that this process has got from a revoking call, after
// waiting at most wait until the revocation is in force everywhere.
func (s *Service) Await(ctx context.Context, c authz.Caller, r Receipt, wait time.Duration) Receipt {
	return s.look(ctx, c, r, wait)
}

// fromAudit returns the receipt of a revocation that has none in the store: the
// sign-out of one session, or a revocation by an earlier release.
func (s *Service) fromAudit(ctx context.Context, epoch revocation.Epoch) (store.Receipt, error) {
	entries, err := s.store.Audits(ctx, store.AuditFilter{Epoch: epoch, Scoped: true}, MaxUsers)
	if err != nil {
		return store.Receipt{}, err
	}
	if len(entries) == 0 {
		return store.Receipt{}, store.ErrNotFound
	}
	first := entries[len(entries)-1]
	r := store.Receipt{
		Epoch: epoch, Scope: string(first.Scope), Actor: first.Actor, Reason: first.Reason, CommittedAt: first.At,
		Users: store.NotCounted, Sessions: store.NotCounted,
	}
	if len(entries) > 1 {
		r.Scope, r.Named = ScopeUsers, int64(len(entries))
		return r, nil
	}
	if r.UserID, err = s.userOf(ctx, first); err != nil {
		return store.Receipt{}, err
	}
	switch first.Scope {
	case revocation.KindUser:
		r.ScopeID, r.UserName = r.UserID, first.TargetName
	case revocation.KindSession:
		r.ScopeID = EntrySession(first)
		if first.TargetKind == targetUser {
			r.UserName = first.TargetName
		}
	default: // all sessions, or all that are remembered: there is no more to say
	}
	return r, nil
}

// userOf returns the id of the user of a revoking entry, or "".
func (s *Service) userOf(ctx context.Context, e store.Audit) (string, error) {
	switch {
	case e.TargetKind == targetUser:
		return e.TargetID, nil
	case e.Scope == revocation.KindSession: // an entry of an earlier release
		row, err := s.store.Session(ctx, e.TargetID)
		if isNotFound(err) {
			return "", nil
		}
		return row.UserID, err
	default:
		return "", nil
	}
}

// receiptOfUsers returns the receipt of a revocation of users by their ids. The name
// of a single one is filled in when it is stored.
func receiptOfUsers(ids []string) *store.Receipt {
	if len(ids) != 1 {
		return &store.Receipt{Scope: ScopeUsers, Named: int64(len(ids))}
	}
	return &store.Receipt{Scope: string(revocation.KindUser), ScopeID: ids[0], UserID: ids[0]}
}

func setCounts(r *store.Receipt, n store.Counts) { r.Sessions, r.Users = n.Sessions, n.Users }

// countEnding counts the live sessions that a revocation of everyone, or of all
// remember-me sessions, is about to end.
func (s *Service) countEnding(ctx context.Context, scope string) store.Counts {
	return s.store.CountForReceipt(ctx, func(ctx context.Context, live store.Live) (store.Counts, error) {
		if scope == string(revocation.KindEveryone) {
			return s.store.CountLive(ctx, live, "", "")
		}
		without := live
		without.Settings.RememberMeEnabled = false
		return s.store.CountEnding(ctx, live, without)
	})
}

// addReceipts stores the receipts of a batch, with what its calls end. Revocations of
// the batch are not written yet.
func (s *Service) addReceipts(ctx context.Context, b *authz.Batch, batch []*call, now time.Time) error {
	var with []*call
	var users []string
	for _, c := range batch {
		if c.err == nil && c.receipt != nil {
			with = append(with, c)
			users = append(users, c.users...)
		}
	}
	if len(with) == 0 {
		return nil
	}
	live, err := authz.LiveAt(ctx, b, now)
	if err != nil {
		return err
	}
	sessions, err := b.CountLiveByUser(ctx, live, users)
	if err != nil {
		return err
	}
	rows := make([]store.Receipt, len(with))
	for i, c := range with {
		r := c.receipt
		r.Epoch, r.Actor, r.CommittedAt = c.epoch, c.caller.Actor, now.UnixMicro()
		if r.UserID != "" {
			u, _ := b.Found(r.UserID) // as checked
			r.UserName = u.Name
		}
		switch {
		case c.session != "":
			r.Sessions, err = countSession(ctx, b, live, c.users[0], c.session)
			r.Users = r.Sessions
		case len(c.users) > 0:
			r.Sessions, r.Users = 0, 0
			for _, id := range c.users {
				if n := sessions[id]; n > 0 {
					r.Sessions, r.Users = r.Sessions+n, r.Users+1
				}
				delete(sessions, id) // another call of the batch ends no session again
			}
		}
		if err != nil {
			return err
		}
		rows[i] = *r
	}
	return b.AddReceipts(ctx, rows...)
}

// countSession returns 1 if the session of the user is live, else 0.
func countSession(ctx context.Context, r store.SessionReader, live store.Live, user, id string) (int64, error) {
	sessions, err := r.LiveSessions(ctx, user, live)
	for i := range sessions {
		if sessions[i].ID == id {
			return 1, err
		}
	}
	return 0, err
}
