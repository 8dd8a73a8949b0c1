package authz

import (
	"context"
	"errors"
	"time"

	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
)

// countTime is the maximum time to count sessions for a receipt. The revocation must
// not wait longer for it.
const countTime = time.Second

// CountForReceipt counts, for a receipt, the live sessions that a change of all users is
// about to end. It counts before the change, because a count within its transaction
// would delay every other. Both numbers are store.NotCounted if that fails or takes
// more than a second.
func (s *Store) CountForReceipt(ctx context.Context, count func(context.Context, store.Live) (store.Counts, error)) store.Counts {
	ctx, cancel := context.WithTimeout(ctx, countTime)
	defer cancel()
	live, err := LiveAt(ctx, s, s.now())
	if err == nil {
		var n store.Counts
		if n, err = count(ctx, live); err == nil {
			return n
		}
	}
	return store.Counts{Sessions: store.NotCounted, Users: store.NotCounted}
}

// LiveAt returns the conditions of a live session at now, by the settings that r
// reads.
func LiveAt(ctx context.Context, r store.SettingsReader, now time.Time) (store.Live, error) {
	in, err := r.Settings(ctx)
	return store.Live{Now: now.UnixMicro(), Settings: in.InForce}, err
}

// NewReceipt returns the open receipt of a change by the transaction's caller, without
// the numbers of what it ends.
func (t *Tx) NewReceipt(now time.Time, scope, reason string) store.Receipt {
	return store.Receipt{
		Epoch: t.Epoch, Scope: scope, Actor: t.Caller.Actor, Reason: reason, CommittedAt: now.UnixMicro(),
		Users: store.NotCounted, Sessions: store.NotCounted,
	}
}

// AddUserReceipt adds the receipt of a revocation of all sessions of a user, except
// for those kept. It must be called before the revocation is written.
func (t *Tx) AddUserReceipt(ctx context.Context, now time.Time, u store.User, kept int64, reason string) (store.Receipt, error) {
	r := t.NewReceipt(now, string(revocation.KindUser), reason)
	r.ScopeID, r.UserID, r.UserName = u.ID, u.ID, u.Name
	live, err := LiveAt(ctx, t, now)
	if errors.Is(err, store.ErrNotFound) {
		return r, t.AddReceipts(ctx, r) // before the first start there are no sessions to count
	}
	if err != nil {
		return r, err
	}
	n, err := t.CountLive(ctx, live, u.ID, "")
	if err != nil {
		return r, err
	}
	r.Sessions = max(0, n.Sessions-kept)
	r.Users = min(1, r.Sessions)
	return r, t.AddReceipts(ctx, r)
}
