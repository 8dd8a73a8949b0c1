package account

import (
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"example.com/curfew/internal/loopback"
	"example.com/curfew/internal/store"
)

// clocksApart is how far the clocks of two nodes may differ.
const clocksApart = 2 * time.Minute

// ProviderChange is a change of a provider, or what a new one differs in from the
// defaults: the scopes openid, profile and email, the name claim preferred_username, and
// no groups. Members that are nil stay as they are.
type ProviderChange struct {
	Issuer, ClientID *string
	// ClientSecret replaces the client secret; "" removes it, for a public client. It is
	// required if the issuer or the client ID changes and there was a secret.
	ClientSecret           *string
	Scopes                 *[]string
	NameClaim, GroupsClaim *string // GroupsClaim "": groups are not taken over
	GroupPermissions       *map[string][]string
	CreateUsers            *bool
	AllowedEmailDomains    *[]string
	AllowedGroups          *[]string
	ACRValues              *[]string
	LinkByEmail            *bool
}

func newProvider(name string) store.Provider {
	return store.Provider{Name: name, Scopes: []string{"openid", "profile", "email"}, NameClaim: claimUserName}
}

// The bounds of a provider's members.
const (
	maxIssuer       = 512  // bytes
	maxClientID     = 255  // bytes
	maxClientSecret = 1024 // bytes
	maxTokenText    = 255  // bytes of a scope, a claim's name or an ACR value
	maxGroupText    = 255  // bytes of a group's name
	maxMembers      = 64   // of a list
)

var (
	providerName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)
	// scopeToken is RFC 6749, section 3.3, and good for claims and ACR values as well.
	scopeToken = regexp.MustCompile(`^[\x21\x23-\x5b\x5d-\x7e]+$`)
	domainName = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
)

// IsProviderName reports whether a provider can have a name: 1 to 32 lower-case letters,
// digits and hyphens, which does not begin with a hyphen.
func IsProviderName(name string) bool { return providerName.MatchString(name) }

// applyTo returns the provider with the change, without a new secret's seal, and reports
// all that is wrong with it.
func (c *ProviderChange) applyTo(old store.Provider) (store.Provider, error) {
	p := old
	set(&p.Issuer, c.Issuer)
	set(&p.ClientID, c.ClientID)
	set(&p.NameClaim, c.NameClaim)
	set(&p.GroupsClaim, c.GroupsClaim)
	set(&p.CreateUsers, c.CreateUsers)
	set(&p.LinkByEmail, c.LinkByEmail)
	for _, l := range []struct {
		to   *[]string
		from *[]string
	}{
		{&p.Scopes, c.Scopes}, {&p.AllowedEmailDomains, c.AllowedEmailDomains}, {&p.AllowedGroups, c.AllowedGroups}, {&p.ACRValues, c.ACRValues},
	} {
		if l.from != nil {
			*l.to = once(*l.from)
		}
	}
	for i, domain := range p.AllowedEmailDomains {
		p.AllowedEmailDomains[i] = store.EmailKey(domain)
	}
	if c.GroupPermissions != nil {
		p.GroupPermissions = map[string][]string{}
		for group, permissions := range *c.GroupPermissions {
			permissions = once(permissions)
			slices.Sort(permissions)
			p.GroupPermissions[group] = permissions
		}
	}
	var wrong Invalid
	note := func(field, format string, args ...any) {
		if invalid, ok := InvalidField(field, format, args...).(*Invalid); ok { //nolint:errorlint // made there
			wrong.Fields = append(wrong.Fields, invalid.Fields...)
		}
	}
	checkProvider(p, note)
	switch moved := old.Issuer != p.Issuer || old.ClientID != p.ClientID; {
	case c.ClientSecret == nil && moved && old.SealedSecret != "":
		note("client_secret", "is required when the issuer or the client ID changes")
	case c.ClientSecret == nil:
	case *c.ClientSecret == "":
		p.SealedSecret = ""
	case strings.TrimSpace(*c.ClientSecret) == "":
		note("client_secret", "must not be white space alone")
	case len(*c.ClientSecret) > maxClientSecret || !printable(*c.ClientSecret):
		note("client_secret", "must be at most %d printable ASCII characters", maxClientSecret)
	}
	if len(wrong.Fields) > 0 {
		return store.Provider{}, &wrong
	}
	return p, nil
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// once returns a list with each text once, in the order of the list.
func once(list []string) []string {
	out := make([]string, 0, len(list))
	for _, text := range list {
		if !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	return out
}

// checkProvider notes the faults of a provider.
func checkProvider(p store.Provider, note func(field, format string, args ...any)) {
	if !IsProviderName(p.Name) {
		note("name", "must be 1 to 32 lower-case letters, digits and hyphens, and not begin with a hyphen")
	}
	if problem := issuerProblem(p.Issuer); problem != "" {
		note("issuer", "%s", problem)
	}
	if n := len(p.ClientID); n < 1 || n > maxClientID || !printable(p.ClientID) || strings.TrimSpace(p.ClientID) != p.ClientID {
		note("client_id", "must be 1 to %d printable ASCII characters, without spaces around them", maxClientID)
	}
	tokens := func(field string, list []string) {
		for _, text := range list {
			if len(text) > maxTokenText || !scopeToken.MatchString(text) {
				note(field, "contains %q, but must contain only printable ASCII without spaces, quotes and backslashes", clipped(text))
				return
			}
		}
	}
	tokens("scopes", p.Scopes)
	tokens("acr_values", p.ACRValues)
	tokens("name_claim", []string{p.NameClaim})
	if p.GroupsClaim != "" {
		tokens("groups_claim", []string{p.GroupsClaim})
	}
	if !slices.Contains(p.Scopes, "openid") {
		note("scopes", "must contain openid")
	}
	for _, domain := range p.AllowedEmailDomains {
		if len(domain) > 253 || !domainName.MatchString(domain) {
			note("allowed_email_domains", "contains %q, which is not a domain like example.com", clipped(domain))
		}
	}
	groups := func(field string, list []string) {
		if len(list) > 0 && p.GroupsClaim == "" {
			note(field, "needs groups_claim, the claim that holds the groups")
		}
		for _, group := range list {
			if n := len(group); n < 1 || n > maxGroupText || !utf8.ValidString(group) || strings.TrimSpace(group) != group || strings.ContainsFunc(group, invisible) {
				note(field, "contains %q, but a group must have 1 to %d bytes of visible text, without spaces around it", clipped(group), maxGroupText)
			}
		}
	}
	groups("allowed_groups", p.AllowedGroups)
	groups("group_permissions", slices.Sorted(maps.Keys(p.GroupPermissions)))
	for _, group := range slices.Sorted(maps.Keys(p.GroupPermissions)) {
		for _, permission := range p.GroupPermissions[group] {
			if !slices.Contains(store.Permissions(), permission) {
				note("group_permissions", "gives %q to %q; valid permissions are %s", clipped(permission), clipped(group), oneOf(store.Permissions()))
			}
		}
		if len(p.GroupPermissions[group]) == 0 {
			note("group_permissions", "gives no permission to %q", clipped(group))
		}
	}
	for _, l := range []struct {
		field string
		n     int
	}{
		{"scopes", len(p.Scopes)}, {"acr_values", len(p.ACRValues)}, {"allowed_email_domains", len(p.AllowedEmailDomains)},
		{"allowed_groups", len(p.AllowedGroups)}, {"group_permissions", len(p.GroupPermissions)},
	} {
		if l.n > maxMembers {
			note(l.field, "must have at most %d members, but has %d", maxMembers, l.n)
		}
	}
}

func invisible(r rune) bool { return !visible(r) }

// printable reports whether a text is printable ASCII (VSCHAR of RFC 6749).
func printable(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r < 0x20 || r > 0x7e })
}

// issuerProblem says why a text cannot be the issuer of a provider; "" if it can
// (OpenID Connect Core, section 1.2). Issuers are compared as texts, so spellings that
// other programs take for the same URL are refused.
func issuerProblem(issuer string) string {
	u, err := url.Parse(issuer)
	switch {
	case issuer == "":
		return "is required"
	case len(issuer) > maxIssuer || !scopeToken.MatchString(issuer) || err != nil || u.Opaque != "" || u.Host == "" || u.Hostname() == "":
		return fmt.Sprintf("must be a URL like https://login.example.com, of at most %d bytes", maxIssuer)
	case strings.ContainsAny(issuer, "?#"):
		return "must not have a query or a fragment"
	case u.User != nil:
		return "must not have a user name or a password"
	case u.Scheme != "https" && (u.Scheme != "http" || !loopback.Is(u.Hostname())):
		return "must begin with https://; http:// is for loopback addresses only"
	case !strings.HasPrefix(issuer, u.Scheme+"://") || u.Host != strings.ToLower(u.Host):
		return "must have its scheme and host in lower case"
	case strings.HasSuffix(u.Path, "/.well-known/openid-configuration"):
		return "must be the issuer, without /.well-known/openid-configuration at its end"
	case strings.HasSuffix(u.Path, "//") || slices.ContainsFunc(strings.Split(u.Path, "/"), func(s string) bool { return s == "." || s == ".." }):
		return "must have a path without . and .. and with at most one slash at its end"
	}
	return ""
}

// clipped is shortened for texts that need not be valid.
func clipped(text string) string { return shortened(strings.ToValidUTF8(text, "\ufffd")) }

// Ends says why the change of a provider would end the sessions that began there; "" if
// it would end none. The error is that of the change.
func (c *ProviderChange) Ends(p store.Provider) (string, error) {
	next, err := c.applyTo(p)
	if err != nil {
		return "", err
	}
	return endsSessions(p, next), nil
}

// endsSessions says why a change of a provider ends the sessions that began at it; "" if
// it does not. It does if a user who has signed in there could now be refused, or get fewer
// permissions.
func endsSessions(old, p store.Provider) string {
	lessOf := func(old, now []string) bool { // a list that admits all if it is empty
		return len(now) > 0 && (len(old) == 0 || leaves(old, now))
	}
	switch {
	case old.Issuer != p.Issuer:
		return "issuer of the identity provider changed"
	case old.ClientID != p.ClientID:
		return "client ID of the identity provider changed"
	case lessOf(old.AllowedEmailDomains, p.AllowedEmailDomains):
		return "fewer email domains allowed"
	case lessOf(old.AllowedGroups, p.AllowedGroups):
		return "fewer groups allowed"
	case old.GroupsClaim != p.GroupsClaim && old.GroupsClaim != "":
		return "claim with the groups changed"
	case len(p.ACRValues) > 0 && !slices.Equal(old.ACRValues, p.ACRValues):
		return "stronger authentication required"
	}
	for group, permissions := range old.GroupPermissions {
		if leaves(permissions, p.GroupPermissions[group]) {
			return "a group no longer gives a permission"
		}
	}
	return ""
}

// Takes returns the users from whom the change of a provider would take permissions, and
// which. The zero value means none. The error is that of the change.
func (c *ProviderChange) Takes(p store.Provider) (store.Holders, error) {
	next, err := c.applyTo(p)
	if err != nil {
		return store.Holders{}, err
	}
	return Taken(p, next), nil
}

// Taken returns the users who lose permissions when a provider changes, and which ones:
// those that the old mapping of groups gives and the new one does not, since later sign-ins
// would leave them as they are. The zero provider stands for a removed one.
func Taken(old, p store.Provider) store.Holders {
	left := permissionsOf(p)
	if old.Issuer != p.Issuer {
		left = nil
	}
	taken := slices.DeleteFunc(permissionsOf(old), func(permission string) bool { return slices.Contains(left, permission) })
	if len(taken) == 0 {
		return store.Holders{}
	}
	return store.Holders{Issuer: old.Issuer, Permissions: taken}
}

// permissionsOf returns the permissions that the groups of a provider give.
func permissionsOf(p store.Provider) []string {
	if p.GroupsClaim == "" {
		return nil
	}
	return slices.DeleteFunc(store.Permissions(), func(permission string) bool { return len(givenTo(p.GroupPermissions, permission)) == 0 })
}
