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

// Maintain removes what can matter to nobody and keeps the epoch clock near the
// date. Every node calls it about once an hour; that several do is harmless.
//
// A revocation matters as long as a session from before it could live. None is
// older than the longest maximum session duration ever in force; a day is added
// for clocks. Everyone is revoked up to that epoch in the same transaction, so
// that no token from before it, wherever it came from, finds its revocation gone.
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
