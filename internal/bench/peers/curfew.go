package peers

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"example.com/curfew/revocation"
	"example.com/curfew/settings"
	"example.com/curfew/token"
	"example.com/curfew/token/bearer"
)

// Curfew is a validator with a view that stands by itself: what a node or a
// follower has once it is started, without the network that keeps it current.
type Curfew struct {
	Validator   *token.Validator
	Revocations *revocation.Cache
	View        *View
}

// View is a view whose lease is renewed from outside, as a node's is.
type View struct {
	epoch atomic.Int64
	lease atomic.Pointer[token.Lease]
}

// Epoch implements [token.View].
func (v *View) Epoch() revocation.Epoch { return revocation.Epoch(v.epoch.Load()) }

// Trusted implements [token.View].
func (v *View) Trusted(now time.Time) bool { return v.lease.Load().Running(now) }

// CatchUp implements [token.View]: there is no server to ask.
func (v *View) CatchUp(context.Context) error { return token.ErrUnavailable }

// Renew moves the view to an epoch and begins a new lease of an hour.
func (v *View) Renew(e revocation.Epoch) {
	v.epoch.Store(int64(e))
	v.lease.Store(&token.Lease{Start: time.Now(), Length: time.Hour})
}

// NewCurfew returns a validator of the kit's tokens. change, if not nil, may
// alter its configuration; capacity is that of the revocations.
func NewCurfew(k *Kit, capacity int, change func(*token.Config)) (*Curfew, error) {
	set, err := token.NewKeySet(&k.Key.Key)
	if err != nil {
		return nil, err
	}
	keys, inForce := &token.Keys{}, &settings.Value{}
	keys.Set(set)
	inForce.Set(settings.InForce{Settings: k.Settings(), Epoch: 1})
	c := &Curfew{Revocations: revocation.NewCache(revocation.CacheConfig{Capacity: capacity}), View: &View{}}
	c.View.Renew(k.Epoch)
	config := token.Config{
		Issuer: k.Issuer, Audience: k.Audience, Keys: keys, Settings: inForce, Revocations: c.Revocations, View: c.View,
	}
	if change != nil {
		change(&config)
	}
	c.Validator, err = token.NewValidator(config)
	return c, err
}

// Name implements [Parser].
func (c *Curfew) Name() string { return "Curfew" }

// Parse implements [Parser].
func (c *Curfew) Parse(raw string) (Claims, error) {
	s, err := c.Validator.Validate(context.Background(), raw)
	if err != nil {
		return Claims{}, err
	}
	return Claims{
		Subject: s.Subject, Session: s.ID, IssuedAt: int64(s.IssuedAt), LastRefresh: int64(s.LastRefresh),
		ExpiresAt: int64(s.ExpiresAt), Epoch: int64(s.Epoch), RememberMe: s.RememberMe,
	}, nil
}

// Wrap implements [Guard].
func (c *Curfew) Wrap(next http.Handler) http.Handler { return bearer.Require(c.Validator)(next) }

// User implements [Guard].
func (c *Curfew) User(r *http.Request) string { return bearer.Session(r.Context()).Subject }
