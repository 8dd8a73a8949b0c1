package feed

import (
	"sync/atomic"
	"time"

	"example.com/curfew/revocation"
	"example.com/curfew/settings"
	"example.com/curfew/token"
)

// view is this node's copy of the shared state. Validators read it without a lock.
type view struct {
	settings settings.Value
	keys     token.Keys
	cache    *revocation.Cache

	epoch atomic.Int64
	lease atomic.Pointer[token.Lease]
}

// Epoch returns the epoch up to which every change has been applied.
func (v *view) Epoch() revocation.Epoch { return revocation.Epoch(v.epoch.Load()) }

// Trusted reports whether the view's lease is running at now.
func (v *view) Trusted(now time.Time) bool {
	l := v.lease.Load()
	return l != nil && l.Running(now)
}

// left returns the rest of the view's lease.
func (v *view) left(now time.Time) time.Duration {
	l := v.lease.Load()
	if l == nil {
		return 0
	}
	return max(0, l.Left(now))
}

// distrust ends the lease.
func (v *view) distrust() { v.lease.Store(&token.Lease{}) }
