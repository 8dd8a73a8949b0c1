package account

import (
	"context"

	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/store"
)

// codeLimits are the limits of authorization codes that identity providers refuse: as for
// failed passwords, by network, or by user for a browser with a session of the user. They
// count by themselves: no wrong password takes the providers from a network.
func codeLimits(from authz.Origin) []limit {
	key := failureKey("code from", store.Network(from.Address))
	if from.Presented != nil {
		key = failureKey("code of", from.Presented.Subject)
	}
	return []limit{{LimitCodes, key, maxForAddress, false}}
}

// MayTryCode returns a [RateLimited] if [Service.TryCode] would, as far as this node knows
// without asking the store.
func (s *Service) MayTryCode(from authz.Origin) error {
	if wait, by := s.recent.wait(codeLimits(from), s.now()); wait > 0 {
		return s.refused(&RateLimited{RetryAfter: wait, Limit: by.name})
	}
	return nil
}

// TryCode has to be called before an authorization code is sent to a provider. Else an
// anonymous client could have this server send any number of codes, which the provider
// may count against this server. The caller calls tried with the result: only codes that
// are refused count. The error is a [RateLimited], [ErrBusy] or the store's.
func (s *Service) TryCode(ctx context.Context, from authz.Origin) (tried func(refused bool) error, err error) {
	if err := s.MayTryCode(from); err != nil {
		return nil, err
	}
	limits := codeLimits(from)
	release, err := s.tries.begin(ctx, limits, s.left)
	if err != nil {
		return nil, s.refused(err)
	}
	return func(refused bool) error {
		defer release()
		if !refused {
			return nil
		}
		at := s.now().UnixMicro()
		err := s.store.UpdateWithoutCaller(ctx, func(tx store.Tx) error { return tx.AddFailure(ctx, at, limits[0].key) })
		if err == nil {
			s.recent.failed(limits, at)
		}
		return err
	}, nil
}
