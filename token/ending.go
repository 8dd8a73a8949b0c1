package token

import "context"

// Ending returns the session in raw for a caller that wants to end it: a sign-out
// or a token revocation (RFC 7009). It verifies the token like
// [Validator.Validate], but accepts an idle session and an expired token. The token
// may be an old one of a session that continues with a newer token, and its holder
// must still be able to end the session. Ending grants no access.
//
// The error wraps [ErrMaximumDuration] if the session has reached its maximum
// duration, so that nothing is left to end. If it wraps [ErrRevoked], the session
// is returned with it: a newer token of the session may still be valid, for example
// one minted when the user's other sessions were revoked.
func (v *Validator) Ending(ctx context.Context, raw string) (*Session, error) {
	e, err := v.verify(ctx, raw)
	if err != nil {
		return nil, err
	}
	s := &e.session
	in, now := v.config.Settings.Current(), v.now()
	if maximumDuration.violated(s, in, UnixTime(now.Unix())) {
		return nil, maximumDuration.err(s, in, now)
	}
	if before, _ := v.config.Revocations.Known(s.Subject, s.ID, s.RememberMe); s.Epoch < before {
		return s, revokedError(before)
	}
	return s, nil
}
