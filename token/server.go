package token

import (
	"context"
	"time"

	"example.com/curfew/internal/tokenhook"
)

// What only a Curfew server calls. Package servertoken describes it.
var _ = tokenhook.Provide(
	func(ctx context.Context, v any, raw string) (any, error) {
		validator, _ := v.(*Validator)
		return validator.ending(ctx, raw)
	},
	func(ctx context.Context, v any, raw string) any {
		validator, _ := v.(*Validator)
		return validator.validateRemembered(ctx, raw)
	},
)

// ending verifies a token of a session that may be idle or expired.
func (v *Validator) ending(ctx context.Context, raw string) (*Session, error) {
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

// validateRemembered decides about a token whose signature was verified before; nil
// for every other one.
func (v *Validator) validateRemembered(ctx context.Context, raw string) *Session {
	e := v.seen.get(raw)
	if e == nil {
		return nil
	}
	var began time.Time
	if v.config.Observe != nil {
		began = v.now()
	}
	now, err := v.decide(ctx, e)
	if err != nil {
		return nil
	}
	v.noteUse(e, now)
	if v.config.Observe != nil {
		v.config.Observe("", v.now().Sub(began))
	}
	return &e.session
}
