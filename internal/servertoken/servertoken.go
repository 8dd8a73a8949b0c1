// Package servertoken is what only a Curfew server asks of a validator: which session
// a token that need not be valid wants to end, and a check that takes no other way
// than the fast one.
package servertoken

import (
	"context"

	"example.com/curfew/internal/tokenhook"
	"example.com/curfew/token"
)

// Ending returns the session in raw for a caller that wants to end it: a sign-out
// or a token revocation (RFC 7009). It verifies the token like
// [token.Validator.Validate], but accepts an idle session and an expired token. The
// token may be an old one of a session that continues with a newer token, and its
// holder must still be able to end the session. Ending grants no access.
//
// The error wraps [token.ErrMaximumDuration] if the session has reached its maximum
// duration, so that nothing is left to end. If it wraps [token.ErrRevoked], the
// session is returned with it: a newer token of the session may still be valid, for
// example one minted when the user's other sessions were revoked.
func Ending(ctx context.Context, v *token.Validator, raw string) (*token.Session, error) {
	s, err := tokenhook.Ending(ctx, v, raw)
	session, _ := s.(*token.Session)
	return session, err
}

// Remembered validates a token that is in the validator's cache of verified tokens.
// It returns nil for every other token and every refusal; call
// [token.Validator.Validate] then. It is for callers with a fast path for accepted
// tokens.
func Remembered(ctx context.Context, v *token.Validator, raw string) *token.Session {
	s, _ := tokenhook.Remembered(ctx, v, raw).(*token.Session)
	return s
}

// EndingOf returns [Ending] of one validator.
func EndingOf(v *token.Validator) func(ctx context.Context, raw string) (*token.Session, error) {
	return func(ctx context.Context, raw string) (*token.Session, error) { return Ending(ctx, v, raw) }
}
