package tokentest

import (
	"context"
	"sync/atomic"
	"time"

	"example.com/curfew/revocation"
)

// View is a [token.View] that a test moves. Its methods are safe for concurrent
// use.
type View struct {
	store      func() revocation.Epoch // reads the issuer's epoch clock
	epoch      atomic.Int64
	distrusted atomic.Bool
	catchUp    atomic.Pointer[func(context.Context) error]
	catchUps   atomic.Int64
}

// Epoch returns what was last set, or caught up to.
func (v *View) Epoch() revocation.Epoch { return revocation.Epoch(v.epoch.Load()) }

// SetEpoch sets the epoch up to which the view has seen every change.
func (v *View) SetEpoch(e revocation.Epoch) { v.epoch.Store(int64(e)) }

// Trusted reports whether the lease runs, as set; the time does not matter.
func (v *View) Trusted(time.Time) bool { return !v.distrusted.Load() }

// SetTrusted lets the lease run or run out.
func (v *View) SetTrusted(trusted bool) { v.distrusted.Store(!trusted) }

// CatchUp brings the view to the issuer's epoch clock and lets its lease run, or
// does instead what [View.SetCatchUp] says.
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

// SetCatchUp replaces what CatchUp does: an error stands for a store that cannot
// be asked. Nil restores it.
func (v *View) SetCatchUp(f func(context.Context) error) {
	if f == nil {
		v.catchUp.Store(nil)
		return
	}
	v.catchUp.Store(&f)
}

// CatchUps returns how often the view was made to catch up.
func (v *View) CatchUps() int { return int(v.catchUps.Load()) }
