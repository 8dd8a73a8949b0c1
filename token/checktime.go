package token

import (
	"time"

	"example.com/curfew/settings"
)

// CheckTime applies the rules that time and settings decide (and no others) to a
// session: the error wraps one of [ErrNotYetValid], [ErrMaximumDuration],
// [ErrIdleTimeout] and [ErrExpired]. It is for whoever has read the settings
// afresh and must not rely on a view; doors use a [Validator].
func (s *Session) CheckTime(in *settings.InForce, now time.Time) error {
	return checkTime(s, in, now)
}
