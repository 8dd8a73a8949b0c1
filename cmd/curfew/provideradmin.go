package main

import (
	"context"
	"net/http"
	"net/url"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/internal/wireform"
)

// providerAdmin manages identity providers, and the accounts there that users are linked
// to. The client secret is in no answer.
type providerAdmin interface {
	Providers(ctx context.Context) ([]wire.Provider, error)
	Provider(ctx context.Context, name string) (wire.Provider, error)
	CreateProvider(ctx context.Context, name string, change account.ProviderChange) (wire.Provider, error)
	// ChangeProvider returns the provider with the receipt of the sessions that ended.
	ChangeProvider(ctx context.Context, name string, change account.ProviderChange, reason string) (wire.Provider, error)
	DeleteProvider(ctx context.Context, name, reason string) (session.Receipt, error)
	CheckProvider(ctx context.Context, name string) (wire.ProviderCheck, error)
	SignInMethods(ctx context.Context) (store.SignInMethods, error)
	ChangeSignInMethods(ctx context.Context, to store.SignInMethods) error
	Identities(ctx context.Context, userID string) ([]store.Identity, error)
	Unlink(ctx context.Context, userID, issuer, subject, reason string) (session.Receipt, error)
}

// base returns the address at which browsers reach the servers of the database.
func (l local) base() string { return l.Installed.Issuer }

func (l local) Providers(ctx context.Context) ([]wire.Provider, error) {
	all, err := l.Accounts.Providers(ctx, l.Caller)
	return each(all, func(p store.Provider) wire.Provider { return wireform.Provider(p, l.base()) }), err
}

func (l local) Provider(ctx context.Context, name string) (wire.Provider, error) {
	p, err := l.Accounts.Provider(ctx, l.Caller, name)
	return wireform.Provider(p, l.base()), err
}

func (l local) CreateProvider(ctx context.Context, name string, change account.ProviderChange) (wire.Provider, error) {
	p, err := l.Accounts.CreateProvider(ctx, l.Caller, name, change)
	return wireform.Provider(p, l.base()), err
}

func (l local) ChangeProvider(ctx context.Context, name string, change account.ProviderChange, reason string) (wire.Provider, error) {
	p, receipt, err := l.Sessions.ChangeProvider(ctx, l.Caller, name, change, reason, 0)
	w := wireform.Provider(p, l.base())
	if receipt != nil {
		r := wireform.Receipt(*receipt)
		w.Receipt = &r
	}
	return w, err
}

func (l local) DeleteProvider(ctx context.Context, name, reason string) (session.Receipt, error) {
	return l.Sessions.DeleteProvider(ctx, l.Caller, name, reason, 0)
}

func (l local) CheckProvider(ctx context.Context, name string) (wire.ProviderCheck, error) {
	report, err := l.Tools.CheckProvider(ctx, name)
	return wireform.ProviderCheck(report), err
}

func (l local) SignInMethods(ctx context.Context) (store.SignInMethods, error) {
	return l.Accounts.SignInMethods(ctx)
}

func (l local) ChangeSignInMethods(ctx context.Context, to store.SignInMethods) error {
	return l.Accounts.ChangeSignInMethods(ctx, l.Caller, to)
}

func (l local) Identities(ctx context.Context, userID string) ([]store.Identity, error) {
	return l.Accounts.Identities(ctx, l.Caller, userID)
}

func (l local) Unlink(ctx context.Context, userID, issuer, subject, reason string) (session.Receipt, error) {
	return l.Sessions.Unlink(ctx, l.Caller, userID, issuer, subject, reason, 0)
}

func providerPath(name, rest string) string { return "/v1/providers/" + url.PathEscape(name) + rest }

// Providers implements admin.
func (r *remote) Providers(ctx context.Context) ([]wire.Provider, error) {
	var answer wire.Providers
	err := r.get(ctx, "/v1/providers", nil, &answer)
	return answer.Providers, err
}

// Provider implements admin.
func (r *remote) Provider(ctx context.Context, name string) (p wire.Provider, err error) {
	return p, r.get(ctx, providerPath(name, ""), nil, &p)
}

// CreateProvider implements admin.
func (r *remote) CreateProvider(ctx context.Context, name string, change account.ProviderChange) (p wire.Provider, err error) {
	_, err = r.do(ctx, http.MethodPost, "/v1/providers", nil, wireform.ProviderChange(&name, change), &p)
	return p, err
}

// ChangeProvider implements admin.
func (r *remote) ChangeProvider(ctx context.Context, name string, change account.ProviderChange, reason string) (p wire.Provider, err error) {
	_, err = r.do(ctx, http.MethodPatch, withReason(providerPath(name, ""), reason), nil, wireform.ProviderChange(nil, change), &p)
	return p, err
}

// DeleteProvider implements admin.
func (r *remote) DeleteProvider(ctx context.Context, name, reason string) (session.Receipt, error) {
	var receipt wire.Receipt
	_, err := r.do(ctx, http.MethodDelete, withReason(providerPath(name, ""), reason), nil, nil, &receipt)
	return wireform.ReadReceipt(receipt), err
}

// CheckProvider implements admin.
func (r *remote) CheckProvider(ctx context.Context, name string) (result wire.ProviderCheck, err error) {
	_, err = r.do(ctx, http.MethodPost, providerPath(name, "/check"), nil, nil, &result)
	return result, err
}

// SignInMethods implements admin.
func (r *remote) SignInMethods(ctx context.Context) (store.SignInMethods, error) {
	var m wire.SignInMethods
	err := r.get(ctx, "/v1/sign-in-methods", nil, &m)
	return store.SignInMethods(m), err
}

// ChangeSignInMethods implements admin.
func (r *remote) ChangeSignInMethods(ctx context.Context, to store.SignInMethods) error {
	_, err := r.do(ctx, http.MethodPatch, "/v1/sign-in-methods", nil, wire.SignInMethods(to), nil)
	return err
}

// Identities implements admin.
func (r *remote) Identities(ctx context.Context, userID string) ([]store.Identity, error) {
	var u wire.User
	err := r.get(ctx, userPath(userID, ""), nil, &u)
	return wireform.ReadIdentities(u), err
}

// Unlink implements admin.
func (r *remote) Unlink(ctx context.Context, userID, issuer, subject, reason string) (session.Receipt, error) {
	query := url.Values{"issuer": {issuer}, "subject": {subject}}
	set(query, "reason", reason)
	var receipt wire.Receipt
	_, err := r.do(ctx, http.MethodDelete, userPath(userID, "/identities?"+query.Encode()), nil, nil, &receipt)
	return wireform.ReadReceipt(receipt), err
}
