package settings

import (
	"sync/atomic"
	"time"

	"example.com/curfew/internal/notify"
)

// InForce is what a validator needs to know of the settings: the values, and
// what earlier values have ended for good. It is immutable once published.
type InForce struct {
	Settings
	// Epoch is the epoch (µs since the Unix epoch, on the store's epoch clock)
	// of the last change. Zero before the first.
	Epoch int64

	// IdleFloor is a Unix time in seconds: a session without remember me that
	// was last refreshed then or earlier has ended, if its own epoch is below
	// IdleFloorEpoch. Zero means no floor.
	IdleFloor      int64
	IdleFloorEpoch int64

	// MaximumFloor is a Unix time in seconds: a session that began then or
	// earlier has ended, if its own epoch is below MaximumFloorEpoch. Zero means
	// no floor.
	MaximumFloor      int64
	MaximumFloorEpoch int64
}

// Change returns what is in force after next replaces the values of f at the
// instant now and the epoch given.
//
// Where a bound is loosened, whatever the old bound had ended at that instant is
// put behind a floor, so that it stays ended. Floors only rise, and bind only
// sessions with an epoch below that of the loosening: a node whose clock runs
// ahead can end sessions too early, but cannot lock out those that begin later.
func (f InForce) Change(next Settings, now time.Time, epoch int64) InForce {
	after := f
	after.Settings = next
	after.Epoch = epoch
	if next.SessionTimeout > f.SessionTimeout {
		after.IdleFloor = max(f.IdleFloor, now.Unix()-Seconds(f.SessionTimeout))
		after.IdleFloorEpoch = epoch
	}
	if next.MaximumSessionDuration > f.MaximumSessionDuration {
		after.MaximumFloor = max(f.MaximumFloor, now.Unix()-Seconds(f.MaximumSessionDuration))
		after.MaximumFloorEpoch = epoch
	}
	return after
}

// Idle reports whether a session without remember me that was last refreshed at
// lastRefresh (Unix seconds) and carries the epoch given has timed out at now
// (Unix seconds). An instant equal to the end is past it.
func (f *InForce) Idle(lastRefresh, epoch, now int64) bool {
	return now >= lastRefresh+Seconds(f.SessionTimeout) ||
		epoch < f.IdleFloorEpoch && lastRefresh <= f.IdleFloor
}

// Over reports whether a session that began at issuedAt (Unix seconds) and
// carries the epoch given has reached the maximum session duration at now (Unix
// seconds). An instant equal to the end is past it.
func (f *InForce) Over(issuedAt, epoch, now int64) bool {
	return now >= issuedAt+Seconds(f.MaximumSessionDuration) ||
		epoch < f.MaximumFloorEpoch && issuedAt <= f.MaximumFloor
}

// Source is where a validator reads the settings in force. Current must be safe
// for concurrent use, take no lock, do no I/O, and never return nil; what it
// returns is not modified afterwards.
type Source interface {
	Current() *InForce
}

// Value is a [Source] that can be set. The zero value holds [Default].
type Value struct {
	p       atomic.Pointer[InForce]
	changed notify.List[struct{}]
}

var initial = &InForce{Settings: Default()}

// Current returns what was last set.
func (v *Value) Current() *InForce {
	if f := v.p.Load(); f != nil {
		return f
	}
	return initial
}

// Set publishes f unless something with a higher epoch has been published, and
// reports whether it did.
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

// Subscribe makes every later change call f, before Set returns. f must be quick
// and must not call Set. cancel ends the subscription.
func (v *Value) Subscribe(f func()) (cancel func()) {
	return v.changed.Add(func(struct{}) { f() })
}
