package replica

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"example.com/curfew/revocation"
	"example.com/curfew/settings"
	"example.com/curfew/token"
)

const (
	// catchUpTime is the maximum time of a call of CatchUp.
	catchUpTime = 2 * time.Second
	// failFast is how long a failure is returned to new callers without another
	// request to the source.
	failFast = 100 * time.Millisecond
)

// View is the read side of a [Replica]. It implements [token.View]. Only CatchUp
// waits; the other methods take no lock.
type View struct {
	now      func() time.Time
	settings settings.Value
	keys     token.Keys
	issuers  token.Issuers
	cache    *revocation.Cache
	state    atomic.Pointer[State] // as published
	rounds   *Coalescer
	failed   atomic.Pointer[failure]
}

type failure struct {
	at  time.Time
	err error
}

var _ token.View = (*View)(nil)

// State returns the published state.
func (v *View) State() State { return *v.state.Load() }

// Epoch returns the epoch up to which every change has been applied.
func (v *View) Epoch() revocation.Epoch { return v.state.Load().Epoch }

// Trusted reports whether the lease is running at now.
func (v *View) Trusted(now time.Time) bool { return v.state.Load().Lease.Running(now) }

// LeaseLeft returns the remaining time of the lease at now.
func (v *View) LeaseLeft(now time.Time) time.Duration { return max(0, v.state.Load().Lease.Left(now)) }

// Keys returns the trusted keys.
func (v *View) Keys() token.KeySource { return &v.keys }

// Issuers returns the accepted issuers.
func (v *View) Issuers() token.IssuerSource { return &v.issuers }

// Settings returns the settings in force.
func (v *View) Settings() settings.Source { return &v.settings }

// Cache returns the cache of revocations.
func (v *View) Cache() *revocation.Cache { return v.cache }

// CatchUp returns nil once the view includes everything up to the source's clock as
// read after the call began. It takes at most 2 s. Errors wrap
// [token.ErrUnavailable].
func (v *View) CatchUp(ctx context.Context) error {
	if f := v.failed.Load(); f != nil && v.now().Sub(f.at) < failFast {
		return Unavailable(f.err)
	}
	ctx, cancel := context.WithTimeout(ctx, catchUpTime)
	defer cancel()
	if err := v.rounds.Join().Wait(ctx); err != nil {
		return Unavailable(err)
	}
	return nil
}

// Request requests a round without waiting for it.
func (v *View) Request() { v.rounds.Join() }

// Failure returns the error of the last round that CatchUp has waited for, or nil.
func (v *View) Failure() error {
	if f := v.failed.Load(); f != nil {
		return f.err
	}
	return nil
}

// NewValidator returns a validator on this view. It sets the fields of c that the
// view knows, and an empty Audience to the installation's first. The caller must
// close the validator.
func (v *View) NewValidator(c token.Config) (*token.Validator, error) {
	in := v.State().Installation
	c.Issuers, c.Keys, c.Settings, c.Revocations, c.View = &v.issuers, &v.keys, &v.settings, v.cache, v
	if v.issuers.Current() == nil {
		return nil, errors.New("the view has no issuer yet")
	}
	if c.Audience == "" && len(in.Audience) > 0 {
		c.Audience = in.Audience[0]
	}
	return token.NewValidator(c)
}

// Unavailable makes err wrap [token.ErrUnavailable].
func Unavailable(err error) error {
	if errors.Is(err, token.ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", token.ErrUnavailable, err)
}
