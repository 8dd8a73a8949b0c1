package token

import "context"

// Ending returns the session that raw carries, for whoever wants to end it: to
// sign out, or to revoke the token (RFC 7009). It proves the token like
// [Validator.Validate] but lets it be idle or expired, since it may be an old one
// of a session that lives on with a newer token, and whoever holds it must be able
// to end that too. It lets nobody in.
//
// Where nothing is left to end the error wraps [ErrMaximumDuration]. If it wraps
// [ErrRevoked] the session is returned with it, since a newer token of the session
// may still be good: one that was made when the user's other sessions were revoked.
func (v *Validator) Ending(ctx context.Context, raw string) (*Session, error) {
	e, err := v.verify(ctx, raw)
	if err != nil {
		return nil, err
	}
	s := &e.session
	in, now := v.config.Settings.Current(), v.now()
	if maximumDuration.broken(s, in, now.Unix()) {
		return nil, maximumDuration.err(s, in, now)
	}
	if before, _ := v.config.Revocations.Known(s.Subject, s.ID, s.RememberMe); s.Epoch < before {
		return s, revokedError(before)
	}
	return s, nil
}
