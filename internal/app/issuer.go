package app

import (
	"context"

	"example.com/curfew/internal/config"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
	"example.com/curfew/token"
)

// SetIssuer changes the issuer: see [session.Service.SetIssuer].
func (t *Tools) SetIssuer(ctx context.Context, change session.IssuerChange) (store.Installation, *session.Receipt, error) {
	err := config.CheckIssuer(change.Issuer)
	if err == nil {
		_, err = prefixOf(change.Issuer)
	}
	for _, audience := range change.Audience {
		if err == nil {
			err = config.CheckAudience(audience)
		}
	}
	if err != nil {
		return store.Installation{}, nil, err
	}
	in, receipt, err := t.Sessions.SetIssuer(ctx, t.Caller, change)
	if err == nil {
		t.Installed = in
	}
	return in, receipt, err
}

// issuersOf returns the issuers that an installation accepts.
func issuersOf(in store.Installation) (*token.Issuers, error) {
	former := map[string]token.UnixTime{}
	for _, f := range in.Former {
		former[f.Issuer] = token.UnixTime(f.Until)
	}
	set, err := token.NewIssuerSet(in.Issuer, former)
	issuers := &token.Issuers{}
	issuers.Set(set)
	return issuers, err
}
