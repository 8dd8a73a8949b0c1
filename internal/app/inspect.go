package app

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.com/curfew/internal/keyring"
	"example.com/curfew/revocation"
	"example.com/curfew/settings"
	"example.com/curfew/token"
)

// Explain applies each rule to a token, with the present state of the database.
// audience is one of the installation's; "" means the first.
func (t *Tools) Explain(ctx context.Context, raw, audience string) (token.Explanation, error) {
	switch {
	case audience == "":
		audience = t.Installed.Audience[0]
	case !slices.Contains(t.Installed.Audience, audience):
		return token.Explanation{}, fmt.Errorf("this installation does not issue tokens for the audience %q; use %s", audience, strings.Join(t.Installed.Audience, ", "))
	}
	p, err := t.snapshotView(ctx, audience)
	if err != nil {
		return token.Explanation{}, err
	}
	defer p.cache.Close()
	explanation := p.validator.Explain(ctx, raw)
	s := explanation.Session
	if s == nil {
		return explanation, nil
	}
	// Now that it is known whose token it is: what concerns it, and again.
	revoked, err := t.Store.RevokedBefore(ctx, s.Subject, s.ID)
	if err != nil {
		return token.Explanation{}, err
	}
	for scope, epoch := range map[revocation.Scope]revocation.Epoch{
		revocation.Everyone(): revoked.Everyone, revocation.Remembered(): revoked.Remembered,
		revocation.User(s.Subject): revoked.User, revocation.Session(s.ID): revoked.Session,
	} {
		if epoch > 0 && scope.Valid() {
			p.cache.Apply(revocation.Revocation{Scope: scope, Epoch: epoch})
		}
	}
	p.epoch = revoked.Clock
	return p.validator.Explain(ctx, raw), nil
}

// snapshotView is a view of the database at one moment. Nothing in it is behind:
// it was taken after the token came in.
type snapshotView struct {
	validator *token.Validator
	cache     *revocation.Cache
	epoch     revocation.Epoch
}

func (t *Tools) snapshotView(ctx context.Context, audience string) (*snapshotView, error) {
	clock, err := t.Store.Clock(ctx) // first: the rest is at least as new
	if err != nil {
		return nil, err
	}
	rows, err := t.Store.Keys(ctx)
	if err != nil {
		return nil, err
	}
	trusted, err := keyring.Trusted(rows)
	if err != nil {
		return nil, err
	}
	set, err := token.NewKeySet(trusted...)
	if err != nil {
		return nil, err
	}
	in, err := t.Store.Settings(ctx)
	if err != nil {
		return nil, err
	}
	var keys token.Keys
	keys.Set(set)
	var values settings.Value
	values.Set(in.InForce)
	issuers, err := issuersOf(t.Installed)
	if err != nil {
		return nil, err
	}
	p := &snapshotView{cache: revocation.NewCache(revocation.CacheConfig{Capacity: 16}), epoch: clock}
	p.validator, err = token.NewValidator(token.Config{
		Issuers: issuers, Audience: audience, Keys: &keys, Settings: &values,
		Revocations: p.cache, View: p, Now: t.now,
	})
	if err != nil {
		p.cache.Close()
		return nil, err
	}
	return p, nil
}

// Epoch implements token.View.
func (p *snapshotView) Epoch() revocation.Epoch { return p.epoch }

// Trusted implements token.View.
func (*snapshotView) Trusted(time.Time) bool { return true }

// CatchUp implements token.View.
func (*snapshotView) CatchUp(context.Context) error { return nil }
