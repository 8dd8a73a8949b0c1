package session

import (
	"context"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/store"
)

// ChangeProvider changes a provider (see account.Service.ChangeProvider), and returns the
// receipt of the sessions that ended, or nil if the change ends none. wait is as in
// RevokeUser.
func (s *Service) ChangeProvider(ctx context.Context, c authz.Caller, name string, change account.ProviderChange, reason string, wait time.Duration) (store.Provider, *Receipt, error) {
	p, row, err := s.config.Accounts.ChangeProvider(ctx, c, name, change, reason)
	if err != nil || row == nil {
		return p, nil, err
	}
	receipt := s.committed(ctx, c, *row, s.now(), wait)
	return p, &receipt, nil
}

// DeleteProvider removes a provider (see account.Service.DeleteProvider), and returns the
// receipt of the sessions that ended. wait is as in RevokeUser.
func (s *Service) DeleteProvider(ctx context.Context, c authz.Caller, name, reason string, wait time.Duration) (Receipt, error) {
	row, err := s.config.Accounts.DeleteProvider(ctx, c, name, reason)
	if err != nil {
		return Receipt{}, err
	}
	return s.committed(ctx, c, row, s.now(), wait), nil
}

// Unlink removes the link between a user and an account at a provider (see
// account.Service.Unlink), and returns the receipt of the sessions that ended. wait is as
// in RevokeUser.
func (s *Service) Unlink(ctx context.Context, c authz.Caller, userID, issuer, subject, reason string, wait time.Duration) (Receipt, error) {
	row, err := s.config.Accounts.Unlink(ctx, c, userID, issuer, subject, reason)
	if err != nil {
		return Receipt{}, err
	}
	return s.committed(ctx, c, row, s.now(), wait), nil
}

// CountThrough counts the live sessions that began at a provider, and all those of the
// users that h selects.
func (s *Service) CountThrough(ctx context.Context, c authz.Caller, provider string, h store.Holders) (store.Counts, error) {
	if err := c.MayAdminister(); err != nil {
		return store.Counts{}, err
	}
	live, err := authz.LiveAt(ctx, s.store, s.now())
	if err != nil {
		return store.Counts{}, err
	}
	return s.store.CountLiveThrough(ctx, live, provider, h)
}
