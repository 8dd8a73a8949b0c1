// Package wire holds the JSON shapes, paths, header names and code words that stand
// on the wire: plain data, shared by servers and clients.
package wire

import (
	"encoding/json"
	"time"
)

// SignIn is the body of POST /v1/sessions.
type SignIn struct {
	Username   string `json:"username"`
	Password   string `json:"password"`
	RememberMe bool   `json:"remember_me"`
	// NewPassword replaces the password of a user who must choose a new one; nil if it
	// was not given.
	NewPassword *string `json:"new_password,omitempty"`
}

// Reauthenticate is the body of POST /v1/session/reauthenticate.
type Reauthenticate struct {
	Password string `json:"password"`
}

// Issue is the body of POST /v1/users/{id}/sessions.
type Issue struct {
	RememberMe bool `json:"remember_me"`
}

// Issued is the answer to whatever mints a token.
type Issued struct {
	Token     string    `json:"token"`
	TokenType string    `json:"token_type"` // "Bearer"
	ExpiresAt time.Time `json:"expires_at"` // the token's exp
	Session   Session   `json:"session"`
}

// UserRef is the user of a session. Email and Groups are absent if tokens do not
// carry them.
type UserRef struct {
	ID     string   `json:"id"`
	Name   string   `json:"name"`
	Email  string   `json:"email,omitempty"`
	Groups []string `json:"groups,omitempty"`
}

// Session is the session of the caller.
type Session struct {
	ID            string     `json:"id"`
	User          UserRef    `json:"user"`
	IssuedAt      time.Time  `json:"issued_at"`
	LastRefresh   time.Time  `json:"last_refresh"`
	RememberMe    bool       `json:"remember_me"`
	Epoch         int64      `json:"epoch"`
	IdleExpiresAt *time.Time `json:"idle_expires_at"` // null with remember me
	ExpiresAt     time.Time  `json:"expires_at"`      // the maximum session duration, or SessionExpiry
	// AuthTime is when the user last authenticated; null if unknown.
	AuthTime *time.Time `json:"auth_time"`
	ACR      string     `json:"acr,omitempty"`
	// SessionExpiry is when the session ends at the latest; null if only the settings
	// limit it.
	SessionExpiry *time.Time `json:"session_expiry"`
}

// LiveSession is one of the live sessions of a user.
type LiveSession struct {
	ID         string     `json:"id"`
	Device     string     `json:"device"`
	Address    string     `json:"address"`
	BeganAt    time.Time  `json:"began_at"`
	LastSeenAt time.Time  `json:"last_seen_at"` // sign-in or last refresh
	LastUsedAt *time.Time `json:"last_used_at"` // null if no use was reported
	RememberMe bool       `json:"remember_me"`
	Current    bool       `json:"current"`
}

// LiveSessions is the answer to GET /v1/users/{id}/sessions.
type LiveSessions struct {
	Sessions   []LiveSession `json:"sessions"`
	NextCursor string        `json:"next_cursor,omitempty"`
}

// RevokeUser is the body of POST /v1/users/{id}/revocations.
type RevokeUser struct {
	Reason      string `json:"reason"`
	KeepCurrent bool   `json:"keep_current"`
}

// RevokeMany is the body of POST /v1/revocations.
type RevokeMany struct {
	Scope  string   `json:"scope"` // "everyone", "remembered" or "users"
	Users  []string `json:"users,omitempty"`
	Reason string   `json:"reason"`
}

// Receipt says what was revoked, and whether it holds everywhere.
type Receipt struct {
	Scope string `json:"scope"` // "everyone", "remembered", "user", "session", "users", "settings", "key", "provider"
	ID    string `json:"id"`
	// Target is the user whose sessions ended; nil if it is not one user's.
	Target *UserRef   `json:"target"`
	By     AuditActor `json:"by"`
	// Users and Sessions are the numbers of live sessions that ended, and of their
	// users; nil if they were not counted.
	Users       *int64    `json:"users"`
	Sessions    *int64    `json:"sessions"`
	CommittedAt time.Time `json:"committed_at"`
	// Named is how many users were named, with the scope "users"; 0 otherwise.
	Named         int64       `json:"named,omitempty"`
	RevokedBefore string      `json:"revoked_before"` // RFC 3339, microseconds
	Epoch         int64       `json:"epoch"`
	Reason        string      `json:"reason"`
	Enforcement   Enforcement `json:"enforcement"`
	// Issued is set with keep_current, and for changing one's own password.
	*Issued
}

// Enforcement says on how many validators a revocation holds.
type Enforcement struct {
	Validators          int64    `json:"validators"` // nodes and followers with a live lease
	Confirmed           int64    `json:"confirmed"`
	Waiting             []string `json:"waiting"` // names, for holders of a permission; never null
	EffectiveEverywhere bool     `json:"effective_everywhere"`
	// EffectiveBy is the instant after which no validator can still accept what
	// was revoked, whatever fails.
	EffectiveBy time.Time `json:"effective_by"`
	// ClosedAt is when the revocation was found to be in force everywhere; nil while
	// the receipt is open. A closed receipt is stored, and does not change.
	ClosedAt *time.Time `json:"closed_at"`
	ClosedBy *string    `json:"closed_by"` // "confirmation" or "lease"; nil while it is open
	// Lapsed are validators whose leases ran out before they confirmed; never null.
	// They count in Validators. Names are for holders of a permission.
	Lapsed []Lapse `json:"lapsed"`
	// Unreadable means that the other servers' state could not be read: Validators
	// and Confirmed are then what this server knows.
	Unreadable bool `json:"unreadable,omitempty"`
}

// Lapse is a validator whose lease ran out, and when.
type Lapse struct {
	Name string    `json:"name"`
	At   time.Time `json:"at"`
}

// Receipts is the answer to GET /v1/revocations.
type Receipts struct {
	Revocations []Receipt `json:"revocations"`
	NextCursor  string    `json:"next_cursor,omitempty"`
}

// ChangePassword is the body of PUT /v1/users/{id}/password.
type ChangePassword struct {
	Current            *string `json:"current"`
	New                string  `json:"new"`
	MustChangePassword *bool   `json:"must_change_password"`
}

// User is an account.
type User struct {
	ID          string   `json:"id"`
	Name        string   `json:"name"`
	Email       *string  `json:"email"`
	Permissions []string `json:"permissions"` // never null
	Groups      []string `json:"groups"`      // names; never null
	Disabled    bool     `json:"disabled"`
	// MustChangePassword: the user must choose a new password at the next sign-in with
	// a password.
	MustChangePassword bool       `json:"must_change_password"`
	CreatedAt          time.Time  `json:"created_at"`
	LastSignInAt       *time.Time `json:"last_sign_in_at"`
	// Identities are in answers about one user only.
	Identities *[]Identity `json:"identities,omitempty"`
}

// Users is the answer to GET /v1/users.
type Users struct {
	Users      []User `json:"users"`
	NextCursor string `json:"next_cursor,omitempty"`
}

// UserChange is the body of POST /v1/users and PATCH /v1/users/{id}: the members
// that are given are set. An Email of null removes it; nil means that it was not
// given (no pointer: encoding/json would make it nil for null as well).
type UserChange struct {
	Name        *string         `json:"name"`
	Email       json.RawMessage `json:"email"`
	Password    *string         `json:"password"`
	Permissions *[]string       `json:"permissions"`
	Groups      *[]string       `json:"groups"`
	Disabled    *bool           `json:"disabled"`

	MustChangePassword *bool `json:"must_change_password"`
}

// Identity is an account at an identity provider that a user is linked to.
type Identity struct {
	Provider     string     `json:"provider"` // its name when the account was linked
	Issuer       string     `json:"issuer"`
	Subject      string     `json:"subject"`
	LinkedAt     time.Time  `json:"linked_at"`
	LastSignInAt *time.Time `json:"last_sign_in_at"`
}

// Provider is an identity provider (OpenID Connect), without its client secret.
type Provider struct {
	Name                string              `json:"name"`
	Issuer              string              `json:"issuer"`
	ClientID            string              `json:"client_id"`
	HasClientSecret     bool                `json:"has_client_secret"`
	Scopes              []string            `json:"scopes"`
	NameClaim           string              `json:"name_claim"`
	GroupsClaim         string              `json:"groups_claim"` // "": groups are not taken over
	GroupPermissions    map[string][]string `json:"group_permissions"`
	CreateUsers         bool                `json:"create_users"`
	AllowedEmailDomains []string            `json:"allowed_email_domains"`
	AllowedGroups       []string            `json:"allowed_groups"`
	ACRValues           []string            `json:"acr_values"`
	LinkByEmail         bool                `json:"link_by_email"`
	// RedirectURI, BackchannelLogoutURI and PostLogoutRedirectURI are to be registered at
	// the provider.
	RedirectURI           string    `json:"redirect_uri"`
	BackchannelLogoutURI  string    `json:"backchannel_logout_uri"`
	PostLogoutRedirectURI string    `json:"post_logout_redirect_uri"`
	CreatedAt             time.Time `json:"created_at"`
	UpdatedAt             time.Time `json:"updated_at"`
	// Receipt is that of the sessions that a change has ended; absent if it ended none.
	Receipt *Receipt `json:"receipt,omitempty"`
}

// Providers is the answer to GET /v1/providers.
type Providers struct {
	Providers []Provider `json:"providers"`
}

// ProviderChange is the body of POST /v1/providers and PATCH /v1/providers/{name}: the
// members that are given are set. Name is for POST only.
type ProviderChange struct {
	Name                *string              `json:"name,omitempty"`
	Issuer              *string              `json:"issuer,omitempty"`
	ClientID            *string              `json:"client_id,omitempty"`
	ClientSecret        *string              `json:"client_secret,omitempty"` // "" removes it
	Scopes              *[]string            `json:"scopes,omitempty"`
	NameClaim           *string              `json:"name_claim,omitempty"`
	GroupsClaim         *string              `json:"groups_claim,omitempty"`
	GroupPermissions    *map[string][]string `json:"group_permissions,omitempty"`
	CreateUsers         *bool                `json:"create_users,omitempty"`
	AllowedEmailDomains *[]string            `json:"allowed_email_domains,omitempty"`
	AllowedGroups       *[]string            `json:"allowed_groups,omitempty"`
	ACRValues           *[]string            `json:"acr_values,omitempty"`
	LinkByEmail         *bool                `json:"link_by_email,omitempty"`
}

// ProviderCheck is the answer to POST /v1/providers/{name}/check.
type ProviderCheck struct {
	OK       bool     `json:"ok"`
	Problems []string `json:"problems"` // these prevent sign-ins
	Warnings []string `json:"warnings"`
}

// SignInMethods is how users may sign in, besides identity providers.
type SignInMethods struct {
	Passwords bool `json:"passwords"`
}

// SignInMethodsChange is the body of PATCH /v1/sign-in-methods.
type SignInMethodsChange struct {
	Passwords *bool `json:"passwords"`
}

// Client is a service client. Secret is set in answers to POSTs only.
type Client struct {
	ID           string    `json:"id"`
	Name         string    `json:"name"`
	Capabilities []string  `json:"capabilities"`
	CreatedAt    time.Time `json:"created_at"`
	Secret       string    `json:"secret,omitempty"`
}

// Clients is the answer to GET /v1/clients.
type Clients struct {
	Clients    []Client `json:"clients"`
	NextCursor string   `json:"next_cursor,omitempty"`
}

// NewClient is the body of POST /v1/clients.
type NewClient struct {
	Name         string   `json:"name"`
	Capabilities []string `json:"capabilities"`
}

// NewSecret is the body of POST /v1/clients/{id}/secrets, which may be empty.
type NewSecret struct {
	// RevokeOld stops the secrets that the client had at once. Without it the last
	// one works for another 24 hours.
	RevokeOld bool `json:"revoke_old"`
}

// Key is a signing key, without anything secret.
type Key struct {
	ID          string     `json:"id"`
	Algorithm   string     `json:"algorithm"`
	State       string     `json:"state"` // "next", "active", "retiring" or "retired"
	CreatedAt   time.Time  `json:"created_at"`
	ActivatedAt *time.Time `json:"activated_at"` // may lie ahead; null if it has never signed
	RetireAt    *time.Time `json:"retire_at"`
	RetiredAt   *time.Time `json:"retired_at"`
}

// Keys is the answer to GET /v1/keys.
type Keys struct {
	Keys []Key `json:"keys"`
}

// RotateKey is the body of POST /v1/keys/rotations, which may be empty.
type RotateKey struct {
	Kid    string `json:"kid"` // "" means the oldest next key
	Reason string `json:"reason"`
}

// Rotation is the answer to POST /v1/keys/rotations.
type Rotation struct {
	Key       Key       `json:"key"`
	SignsFrom time.Time `json:"signs_from"`
}

// RetiredKey is the answer to DELETE /v1/keys/{kid}.
type RetiredKey struct {
	ID    string `json:"id"`
	Epoch int64  `json:"epoch"` // below which the sessions that the key signed have ended
}

// Settings is the body of GET and PUT /v1/settings/authentication. In a PUT all
// three are required.
type Settings struct {
	SessionTimeoutSeconds         *int64 `json:"session_timeout_seconds"`
	MaximumSessionDurationSeconds *int64 `json:"maximum_session_duration_seconds"`
	RememberMeEnabled             *bool  `json:"remember_me_enabled"`
}

// SettingsPreview is the answer to a PUT with dry_run=true.
type SettingsPreview struct {
	Sessions int64 `json:"sessions"` // live sessions that the change would end
	Users    int64 `json:"users"`    // of how many users
	Own      bool  `json:"own"`      // the caller's own is among them
}

// FeedSettings are the settings as the feed shows them: with floors and epoch.
type FeedSettings struct {
	SessionTimeoutSeconds         int64 `json:"session_timeout_seconds"`
	MaximumSessionDurationSeconds int64 `json:"maximum_session_duration_seconds"`
	RememberMeEnabled             bool  `json:"remember_me_enabled"`
	IdleFloor                     int64 `json:"idle_floor"`
	IdleFloorEpoch                int64 `json:"idle_floor_epoch"`
	MaximumFloor                  int64 `json:"maximum_floor"`
	MaximumFloorEpoch             int64 `json:"maximum_floor_epoch"`
	Epoch                         int64 `json:"epoch"`
}

// Revocation is one revocation in the feed.
type Revocation struct {
	Scope string `json:"scope"`
	ID    string `json:"id"`
	Epoch int64  `json:"epoch"`
}

// Changes is the answer to GET /v1/changes.
type Changes struct {
	Epoch    int64     `json:"epoch"`
	More     bool      `json:"more"`
	HeldMS   int64     `json:"held_ms"`
	LeaseMS  int64     `json:"lease_ms"`
	Now      time.Time `json:"now"`
	Issuer   string    `json:"issuer,omitempty"`
	Audience []string  `json:"audience,omitempty"`
	// Issuers are all issuers that are accepted: Issuer, and those of IssuersUntil.
	Issuers      []string             `json:"issuers,omitempty"`
	IssuersUntil map[string]time.Time `json:"issuers_until,omitempty"`
	Settings     *FeedSettings        `json:"settings,omitempty"`
	Keys         json.RawMessage      `json:"keys,omitempty"` // a JWK Set
	// ClientsEpoch is the epoch of the last change of a client: what an edge has
	// found out about its callers before is outdated.
	ClientsEpoch int64        `json:"clients_epoch,omitempty"`
	Revocations  []Revocation `json:"revocations"` // never null
}

// RevokedBefore is the answer to GET /v1/revoked-before.
type RevokedBefore struct {
	User    int64 `json:"user"`    // 0 if never revoked
	Session int64 `json:"session"` // 0 if never revoked
	Epoch   int64 `json:"epoch"`   // that the answer rests on
	LeaseMS int64 `json:"lease_ms"`
}

// Uses is the body of POST /v1/uses.
type Uses struct {
	Uses []Use `json:"uses"`
}

// Use is the last use of a session. Its age is that at the time of the report: the
// clocks of two machines are not compared.
type Use struct {
	Session    string `json:"session"`
	AgeSeconds *int64 `json:"age_seconds"`
}

// AuditEntry is one entry of the audit.
type AuditEntry struct {
	ID        int64           `json:"id"`
	At        time.Time       `json:"at"`
	Actor     AuditActor      `json:"actor"`
	Action    string          `json:"action"`
	Target    AuditTarget     `json:"target"`
	Reason    string          `json:"reason"`
	Address   string          `json:"address"`
	RequestID string          `json:"request_id"`
	Epoch     int64           `json:"epoch,omitempty"`
	Detail    json.RawMessage `json:"detail,omitempty"`
}

// AuditActor is who did it.
type AuditActor struct {
	Kind string `json:"kind"`
	ID   string `json:"id"`
	Name string `json:"name"`
}

// AuditTarget is the user or object of an action.
type AuditTarget struct {
	Kind string `json:"kind"`
	ID   string `json:"id"`
	Name string `json:"name"`
}

// AuditEntries is the answer to GET /v1/audit.
type AuditEntries struct {
	Entries    []AuditEntry `json:"entries"`
	NextCursor string       `json:"next_cursor,omitempty"`
}

// Problem is an error on the wire (RFC 9457).
type Problem struct {
	Type   string       `json:"type"`
	Title  string       `json:"title"`
	Status int          `json:"status"`
	Detail string       `json:"detail,omitempty"`
	Code   string       `json:"code"`
	Errors []FieldError `json:"errors,omitempty"` // every member that is wrong
	// Error is the code word of RFC 6749, section 5.2, in answers of /oauth/…
	Error string `json:"error,omitempty"`
}

// FieldError names a mistake in one member of a body.
type FieldError struct {
	Field  string `json:"field"`
	Detail string `json:"detail"`
}

// The code words of problems that are not reasons of package token.
const (
	CodeForbidden       = "forbidden"
	CodeNotFound        = "not_found"
	CodeConflict        = "conflict"
	CodeAmbiguous       = "ambiguous" // 422: a text that names several users
	CodeInvalidSettings = "invalid_settings"
	CodeInvalidRequest  = "invalid_request"
	CodeRateLimited     = "rate_limited"
	CodeBadCredentials  = "bad_credentials"
	// CodePasswordChangeRequired (403): name and password are right, and a session
	// begins only with a new password.
	CodePasswordChangeRequired = "password_change_required"
	CodeLostRace               = "precondition_failed" // 412
	CodeNeedsIfMatch           = "precondition_required"
	CodeTooLarge               = "too_large"
	CodeBadMethod              = "method_not_allowed"
	CodeMediaType              = "unsupported_media_type"
	CodeStartOver              = "start_over" // 410 from the feed
	CodeInternal               = "internal"
)

// The actions in the audit.
const (
	ActionSignIn           = "session.begin"
	ActionSignInFailed     = "session.refused"      // a failed sign-in, or a wrong password of a user with a session
	ActionReauthenticate   = "session.authenticate" // the password was confirmed
	ActionSignOut          = "session.end"
	ActionRevokeSession    = "session.revoke"
	ActionRevokeUser       = "sessions.revoke"
	ActionRevokeEveryone   = "sessions.revoke_everyone"
	ActionRevokeRemembered = "sessions.revoke_remembered"
	ActionUserCreate       = "user.create"
	ActionUserChange       = "user.change"
	ActionUserDisable      = "user.disable"
	ActionUserEnable       = "user.enable"
	ActionUserPermissions  = "user.permissions"
	ActionUserPassword     = "user.password"
	ActionUserGroups       = "user.groups"
	ActionUserDelete       = "user.delete"
	ActionUserLink         = "user.link" // an account at an identity provider was linked
	ActionClientCreate     = "client.create"
	ActionClientSecret     = "client.secret"
	ActionClientDelete     = "client.delete"
	ActionProviderCreate   = "provider.create"
	ActionProviderChange   = "provider.change"
	ActionProviderDelete   = "provider.delete"
	ActionSignInMethods    = "sign_in_methods.change"
	ActionUserUnlink       = "user.unlink" // an account at an identity provider was unlinked
	ActionSettingsChange   = "settings.change"
	ActionKeyCreate        = "key.create"
	ActionKeyImport        = "key.import"
	ActionKeyActivate      = "key.activate"
	ActionKeyRotate        = "key.rotate"
	ActionKeyRetire        = "key.retire"
	ActionKeyRetired       = "key.retired" // a retiring key's time was up
	ActionInstall          = "installation.create"
	ActionRestore          = "installation.restore"
	ActionCopy             = "installation.copy"
	ActionIssuer           = "installation.issuer"
	ActionPrune            = "installation.prune"
)
