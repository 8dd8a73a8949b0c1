package session

import (
	"context"
	"time"

	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
)

const (
	day             = 24 * time.Hour
	sessionsKeptFor = 30 * day // session rows after their end
)

// Maintain removes rows that can no longer affect a decision, and keeps the epoch
// clock near the wall clock. Every node calls it about once an hour; concurrent
// calls are harmless.
//
// A revocation matters as long as a session from before it could be valid. No
// session is older than the maximum session duration ever in force; one day is
// added for clocks that differ. The same transaction revokes everyone up to that
// epoch. A token from before it is therefore refused even though its own revocation
// was removed.
func (s *Service) Maintain(ctx context.Context) error {
	now := s.now()
	return s.store.UpdateWithoutCaller(ctx, func(tx store.Tx) error {
		if _, err := tx.Advance(ctx, now); err != nil {
			return err
		}
		in, err := tx.Settings(ctx)
		if err != nil {
			return err
		}
		oldest := now.Add(-time.Duration(in.LongestMaximum)*time.Second - day)
		upTo := revocation.Epoch(oldest.UnixMicro())
		if err := tx.PutRevocations(ctx, revocation.Revocation{Scope: revocation.Everyone(), Epoch: upTo}); err != nil {
			return err
		}
		return tx.Prune(ctx, upTo, now.Add(-sessionsKeptFor).UnixMicro(), now.Add(-s.config.auditRetention()).UnixMicro())
	})
}
