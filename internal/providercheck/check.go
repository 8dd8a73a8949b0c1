// Package providercheck checks the configuration of an identity provider against the
// provider's own discovery document. It signs no user in: that the client secret is
// right, only a sign-in can tell.
package providercheck

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"example.com/curfew/internal/oidc"
	"example.com/curfew/internal/store"
)

// Discoverer fetches the metadata of a provider. *oidc.Client is one.
type Discoverer interface {
	Discover(ctx context.Context, issuer string) (oidc.Metadata, error)
}

// Secrets opens the client secret of a provider. *account.Service is one.
type Secrets interface {
	ClientSecret(ctx context.Context, p store.Provider) (string, error)
}

// Report is the result of a check.
type Report struct {
	// Problems prevent sign-ins.
	Problems []string
	// Warnings are about what the provider does not offer, or does not announce.
	Warnings []string
}

// OK reports whether no problem was found.
func (r Report) OK() bool { return len(r.Problems) == 0 }

// Check fetches the discovery document of the provider's issuer and compares the
// configuration with it.
func Check(ctx context.Context, d Discoverer, secrets Secrets, p store.Provider) Report {
	var r Report
	if _, err := secrets.ClientSecret(ctx, p); err != nil {
		r.Problems = append(r.Problems, err.Error())
	}
	m, err := d.Discover(ctx, p.Issuer)
	if err != nil {
		r.Problems = append(r.Problems, err.Error())
		r.open(p)
		return r
	}
	r.compare(p, m)
	r.open(p)
	return r
}

func (r *Report) warnf(format string, args ...any) {
	r.Warnings = append(r.Warnings, fmt.Sprintf(format, args...))
}

// compare compares a configuration with a discovery document. Most of its lists are
// optional and need not be complete (Discovery 1.0, section 3), so a missing value is a
// warning.
func (r *Report) compare(p store.Provider, m oidc.Metadata) {
	if missing := lacking(m.Scopes, p.Scopes); missing != "" {
		r.warnf("the provider does not announce these scopes: %s", missing)
	}
	if missing := lacking(m.Claims, []string{p.NameClaim}); missing != "" {
		r.warnf("the provider does not announce the claim %s, which is the sign-in name", missing)
	}
	if p.GroupsClaim != "" {
		if missing := lacking(m.Claims, []string{p.GroupsClaim}); missing != "" {
			r.warnf("the provider does not announce the claim %s, which holds the groups", missing)
		}
	}
	if missing := lacking(m.Claims, []string{"auth_time"}); missing != "" {
		r.warnf("the provider does not announce the claim auth_time; without it, a user whose sessions were revoked can't sign in through it again")
	}
	if missing := lacking(m.ACRValues, p.ACRValues); missing != "" {
		r.warnf("the provider does not announce these acr_values: %s", missing)
	}
	methods := m.TokenAuthMethods
	if len(methods) == 0 {
		methods = []string{"client_secret_basic"} // the default of Discovery, section 3
	}
	switch {
	case p.SealedSecret == "" && !slices.Contains(methods, "none"):
		r.warnf("there is no client secret, and the provider announces no clients without one")
	case p.SealedSecret != "" && !slices.Contains(methods, "client_secret_basic") && !slices.Contains(methods, "client_secret_post"):
		r.Problems = append(r.Problems, "the provider accepts no client secret (token_endpoint_auth_methods_supported: "+strings.Join(methods, ", ")+")")
	}
	if !m.BackchannelLogout {
		r.warnf("the provider does not announce back-channel logout; a sign-out there does not end sessions here")
	}
	if m.EndSessionEndpoint == "" {
		r.warnf("the provider has no end_session_endpoint; a sign-out here can't sign out there")
	}
}

// open warns of a configuration that lets more users in than most operators want.
func (r *Report) open(p store.Provider) {
	if p.CreateUsers && len(p.AllowedEmailDomains) == 0 && len(p.AllowedGroups) == 0 {
		r.warnf("each user of the provider gets an account here; restrict that with allowed email domains or groups, if the provider has other users than yours")
	}
}

// lacking returns the wanted values that a list does not have; "" if the list is not
// given.
func lacking(list, wanted []string) string {
	if len(list) == 0 {
		return ""
	}
	return strings.Join(slices.DeleteFunc(slices.Clone(wanted), func(w string) bool { return slices.Contains(list, w) }), ", ")
}
