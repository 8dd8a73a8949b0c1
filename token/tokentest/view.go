package tokentest

import (
	"context"
	"sync/atomic"
	"time"

	"example.com/curfew/revocation"
)

// View is a [token.View] under the control of a test. Its methods are safe for
// concurrent use.
type View struct {
	store      func() revocation.Epoch // reads the issuer's epoch clock
	epoch      atomic.Int64
	distrusted atomic.Bool
	catchUp    atomic.Pointer[func(context.Context) error]
	catchUps   atomic.Int64
}

// Epoch returns the epoch that was last set or caught up to.
func (v *View) Epoch() revocation.Epoch { return revocation.Epoch(v.epoch.Load()) }

// SetEpoch sets the epoch up to which the view has every change.
func (v *View) SetEpoch(e revocation.Epoch) { v.epoch.Store(int64(e)) }

// Trusted reports whether the lease is running, as set. It ignores the time.
func (v *View) Trusted(time.Time) bool { return !v.distrusted.Load() }

// SetTrusted sets whether the lease is running.
func (v *View) SetTrusted(trusted bool) { v.distrusted.Store(!trusted) }

// CatchUp moves the view to the issuer's epoch clock and starts its lease, or calls
// the function set by [View.SetCatchUp].
func (v *View) CatchUp(ctx context.Context) error {
	v.catchUps.Add(1)
	if f := v.catchUp.Load(); f != nil {
		return (*f)(ctx)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	v.SetEpoch(v.store())
	v.SetTrusted(true)
	return nil
}

// SetCatchUp replaces the behaviour of CatchUp. An error simulates a store that
// does not answer. Nil restores the default.
func (v *View) SetCatchUp(f func(context.Context) error) {
	if f == nil {
		v.catchUp.Store(nil)
		return
	}
	v.catchUp.Store(&f)
}

// CatchUps returns the number of calls of CatchUp.
func (v *View) CatchUps() int { return int(v.catchUps.Load()) }
