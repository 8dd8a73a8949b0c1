package settings

import (
	"sync/atomic"
	"time"

	"example.com/curfew/internal/notify"
	"example.com/curfew/revocation"
)

// InForce holds the current settings, and the floors that keep sessions ended that
// earlier settings have ended. It is immutable after publication.
type InForce struct {
	Settings
	// Epoch is the epoch of the last change. Zero before the first change.
	Epoch revocation.Epoch

	// A session without remember me whose last refresh is at or before IdleFloor has
	// ended, if the session's epoch is below IdleFloorEpoch. Zero means no floor.
	IdleFloor      UnixTime
	IdleFloorEpoch revocation.Epoch

	// A session that began at or before MaximumFloor has ended, if the session's
	// epoch is below MaximumFloorEpoch. Zero means no floor.
	MaximumFloor      UnixTime
	MaximumFloorEpoch revocation.Epoch
}

// Change returns the settings in force after next replaces the values of f at the
// time now and the given epoch.
//
// If a bound is loosened, a floor keeps every session ended that the old bound had
// ended by now. Floors only rise. They apply only to sessions with an epoch below
// that of the change: a node whose clock is ahead can end sessions too early, but
// cannot lock out later sessions.
func (f InForce) Change(next Settings, now time.Time, epoch revocation.Epoch) InForce {
	after := f
	after.Settings = next
	after.Epoch = epoch
	if next.SessionTimeout > f.SessionTimeout {
		after.IdleFloor = max(f.IdleFloor, UnixTime(now.Unix()-Seconds(f.SessionTimeout)))
		after.IdleFloorEpoch = epoch
	}
	if next.MaximumSessionDuration > f.MaximumSessionDuration {
		after.MaximumFloor = max(f.MaximumFloor, UnixTime(now.Unix()-Seconds(f.MaximumSessionDuration)))
		after.MaximumFloorEpoch = epoch
	}
	return after
}

// Idle reports whether a session without remember me has timed out at now. epoch is
// the session's. A time equal to the end counts as past the end.
func (f *InForce) Idle(lastRefresh UnixTime, epoch revocation.Epoch, now UnixTime) bool {
	return now >= lastRefresh.Add(f.SessionTimeout) ||
		epoch < f.IdleFloorEpoch && lastRefresh <= f.IdleFloor
}

// Over reports whether a session has reached the maximum session duration at now.
// epoch is the session's. A time equal to the end counts as past the end.
func (f *InForce) Over(issuedAt UnixTime, epoch revocation.Epoch, now UnixTime) bool {
	return now >= issuedAt.Add(f.MaximumSessionDuration) ||
		epoch < f.MaximumFloorEpoch && issuedAt <= f.MaximumFloor
}

// Source supplies the settings in force to a validator. Current must be safe for
// concurrent use, take no lock, do no I/O, and never return nil. The returned value
// is not modified later.
type Source interface {
	Current() *InForce
}

// Value is a [Source] that can be set. The zero value holds [Default]. It is safe
// for concurrent use.
type Value struct {
	p       atomic.Pointer[InForce]
	changed notify.List[struct{}]
}

var initial = &InForce{Settings: Default()}

// Current returns the value that was last set.
func (v *Value) Current() *InForce {
	if f := v.p.Load(); f != nil {
		return f
	}
	return initial
}

// Set publishes f unless a value with a higher epoch is published, and reports
// whether it did.
func (v *Value) Set(f InForce) bool {
	for {
		old := v.p.Load()
		if old != nil && old.Epoch > f.Epoch {
			return false
		}
		if v.p.CompareAndSwap(old, &f) {
			v.changed.Send(struct{}{})
			return true
		}
	}
}

// Subscribe registers f: every later change calls f before Set returns. f must
// return quickly and must not call Set. cancel ends the subscription.
func (v *Value) Subscribe(f func()) (cancel func()) {
	return v.changed.Add(func(struct{}) { f() })
}
