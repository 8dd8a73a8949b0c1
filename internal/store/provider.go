package store

import (
	"context"

	"example.com/curfew/revocation"
)

// Provider is an OpenID Connect provider that users sign in with.
type Provider struct {
	Name     string // [a-z0-9][a-z0-9-]{0,31}
	Issuer   string // exactly as the provider spells it
	ClientID string
	// SealedSecret is the client secret, sealed with the key-encryption key; "" for
	// a public client.
	SealedSecret string
	Scopes       []string
	// NameClaim is the claim of the sign-in name, and GroupsClaim that of the groups;
	// "" if groups are not taken over.
	NameClaim, GroupsClaim string
	// GroupPermissions has the permissions that the members of a group hold.
	GroupPermissions map[string][]string
	CreateUsers      bool // unknown users are created
	// AllowedEmailDomains and AllowedGroups admit only users with an email address of
	// one of the domains, and members of one of the groups. Empty admits all.
	AllowedEmailDomains, AllowedGroups []string
	ACRValues                          []string // requested, in order of preference; one of them is required
	LinkByEmail                        bool     // a verified email address links an identity to a user
	CreatedAt                          int64    // the epoch of the creation
	UpdatedAt                          int64    // the epoch of the last change
}

// Identity is an account at a provider's issuer, and the user that it signs in.
type Identity struct {
	Issuer, Subject string // compared byte by byte
	UserID          string
	Provider        string // the name of the provider that it was linked through
	LinkedAt        int64
	LastSignInAt    int64
}

// ProviderSession is what a session that began at a provider is known by there.
type ProviderSession struct {
	SessionID       string
	Provider        string // its name at sign-in
	Issuer, Subject string
	SID             string // the provider's id of its own session; "" if it gave none
	SealedIDToken   string // sealed with the key-encryption key; "" if none was kept
}

// Holders selects the users with an identity at an issuer who hold one of the permissions
// at least. The zero value selects none.
type Holders struct {
	Issuer      string
	Permissions []string
}

// ProviderSessionFilter selects provider sessions. Empty fields do not select.
type ProviderSessionFilter struct {
	Provider             string
	Issuer, SID, Subject string
	User                 string // the user's id
	// OpenAt, if above 0, selects only sessions that have not ended alone, and whose
	// latest token does not expire before that instant (µs).
	OpenAt int64
}

// SignInMethods tells how users may sign in.
type SignInMethods struct {
	Passwords bool
}

// ProviderReader reads providers, and the identities and sessions of users there.
type ProviderReader interface {
	// Providers returns all providers, by name.
	Providers(ctx context.Context) ([]Provider, error)
	Provider(ctx context.Context, name string) (Provider, error)
	// Identity returns the identity with an issuer and a subject.
	Identity(ctx context.Context, issuer, subject string) (Identity, error)
	// Identities returns the identities of the user, by issuer and subject.
	Identities(ctx context.Context, userID string) ([]Identity, error)
	// ProviderSession returns what a session began with. The error is ErrNotFound if
	// it did not begin at a provider.
	ProviderSession(ctx context.Context, sessionID string) (ProviderSession, error)
	// ProviderSessions returns the sessions that a filter selects, by id. The sessions
	// may be over.
	ProviderSessions(ctx context.Context, f ProviderSessionFilter) ([]ProviderSession, error)
	// Holders returns the users that h selects, by id.
	Holders(ctx context.Context, h Holders) ([]User, error)
	// CountLiveThrough counts the live sessions that began at a provider, and all those
	// of the users that h selects.
	CountLiveThrough(ctx context.Context, live Live, provider string, h Holders) (Counts, error)
	// ProviderSessionEnded reports whether the provider has ended its session sid, at
	// any time in the last hour, or all sessions of the subject after the epoch given.
	// Without a sid, the end of each session of the subject after that epoch counts.
	ProviderSessionEnded(ctx context.Context, issuer, sid, subject string, after revocation.Epoch) (bool, error)
	// SignInMethods returns how users may sign in; with passwords, if nothing is stored.
	SignInMethods(ctx context.Context) (SignInMethods, error)
	// CountProviderAdministrators counts the enabled holders of AdministerSystem with
	// an identity of an issuer that a provider has.
	CountProviderAdministrators(ctx context.Context) (int64, error)
}

// ProviderWriter writes them.
type ProviderWriter interface {
	// PutProvider inserts or replaces a provider. The caller has called Advance.
	PutProvider(ctx context.Context, p Provider) error
	// DeleteProvider removes a provider, and nothing else. ErrNotFound.
	DeleteProvider(ctx context.Context, name string) error
	// PutIdentity links an identity, or raises LastSignInAt if it is linked to
	// the same user. The error is ErrConflict if it is linked to another user, or if
	// the issuer or the subject is no valid text or too long.
	PutIdentity(ctx context.Context, i Identity) error
	// DeleteIdentity removes an identity. ErrNotFound.
	DeleteIdentity(ctx context.Context, issuer, subject string) error
	// InsertProviderSession adds what a session began with. Its session is inserted in
	// the same transaction. ErrConflict if the session has it already.
	InsertProviderSession(ctx context.Context, s ProviderSession) error
	// EndProviderSession notes that the provider has ended its session sid, of the subject
	// unless that is "", or, if sid is "", all sessions of the subject. epoch is that of
	// the transaction.
	EndProviderSession(ctx context.Context, issuer, sid, subject string, epoch revocation.Epoch) error
	// RecordLogoutToken notes a logout token, seen at an instant (µs). The error is
	// ErrConflict if it was seen before.
	RecordLogoutToken(ctx context.Context, issuer, jti string, at int64) error
	PutSignInMethods(ctx context.Context, m SignInMethods) error
}
