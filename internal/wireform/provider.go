package wireform

import (
	"example.com/curfew/internal/account"
	"example.com/curfew/internal/oidc"
	"example.com/curfew/internal/providercheck"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
)

// UserWith returns a user with the accounts at identity providers that the user is linked
// to.
func UserWith(u store.User, identities []store.Identity) wire.User {
	w := User(u)
	list := make([]wire.Identity, len(identities))
	for i, id := range identities {
		list[i] = wire.Identity{
			Provider: id.Provider, Issuer: id.Issuer, Subject: id.Subject, LinkedAt: instant(id.LinkedAt), LastSignInAt: optional(id.LastSignInAt),
		}
	}
	w.Identities = &list
	return w
}

// ReadIdentities is the inverse of UserWith for the identities.
func ReadIdentities(w wire.User) []store.Identity {
	if w.Identities == nil {
		return nil
	}
	identities := make([]store.Identity, len(*w.Identities))
	for i, id := range *w.Identities {
		identities[i] = store.Identity{
			Provider: id.Provider, Issuer: id.Issuer, Subject: id.Subject, UserID: w.ID,
			LinkedAt: id.LinkedAt.UnixMicro(), LastSignInAt: readOptional(id.LastSignInAt),
		}
	}
	return identities
}

// Provider returns a provider without its client secret. base is the address at which
// browsers reach the server.
func Provider(p store.Provider, base string) wire.Provider {
	permissions := map[string][]string{}
	for group, list := range p.GroupPermissions {
		permissions[group] = append([]string{}, list...)
	}
	return wire.Provider{
		Name: p.Name, Issuer: p.Issuer, ClientID: p.ClientID, HasClientSecret: p.SealedSecret != "",
		Scopes: append([]string{}, p.Scopes...), NameClaim: p.NameClaim, GroupsClaim: p.GroupsClaim, GroupPermissions: permissions,
		CreateUsers: p.CreateUsers, AllowedEmailDomains: append([]string{}, p.AllowedEmailDomains...),
		AllowedGroups: append([]string{}, p.AllowedGroups...), ACRValues: append([]string{}, p.ACRValues...), LinkByEmail: p.LinkByEmail,
		RedirectURI: oidc.RedirectURI(base, p.Name), BackchannelLogoutURI: oidc.LogoutURI(base), PostLogoutRedirectURI: oidc.PostLogoutURI(base),
		CreatedAt: instant(p.CreatedAt), UpdatedAt: instant(p.UpdatedAt),
	}
}

// ProviderChange returns a change of a provider as the API's body.
func ProviderChange(name *string, c account.ProviderChange) wire.ProviderChange {
	return wire.ProviderChange{
		Name: name, Issuer: c.Issuer, ClientID: c.ClientID, ClientSecret: c.ClientSecret, Scopes: c.Scopes, NameClaim: c.NameClaim, GroupsClaim: c.GroupsClaim,
		GroupPermissions: c.GroupPermissions, CreateUsers: c.CreateUsers, AllowedEmailDomains: c.AllowedEmailDomains,
		AllowedGroups: c.AllowedGroups, ACRValues: c.ACRValues, LinkByEmail: c.LinkByEmail,
	}
}

// ReadProviderChange is the inverse of ProviderChange, without the name.
func ReadProviderChange(w wire.ProviderChange) account.ProviderChange {
	return account.ProviderChange{
		Issuer: w.Issuer, ClientID: w.ClientID, ClientSecret: w.ClientSecret, Scopes: w.Scopes, NameClaim: w.NameClaim, GroupsClaim: w.GroupsClaim,
		GroupPermissions: w.GroupPermissions, CreateUsers: w.CreateUsers, AllowedEmailDomains: w.AllowedEmailDomains,
		AllowedGroups: w.AllowedGroups, ACRValues: w.ACRValues, LinkByEmail: w.LinkByEmail,
	}
}

// ProviderCheck returns the result of a check.
func ProviderCheck(r providercheck.Report) wire.ProviderCheck {
	return wire.ProviderCheck{OK: r.OK(), Problems: append([]string{}, r.Problems...), Warnings: append([]string{}, r.Warnings...)}
}
