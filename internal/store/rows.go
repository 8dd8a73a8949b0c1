// Package store says what a store promises: the rows, the interfaces through
// which they are read and written, and the errors. Times are microseconds since
// the Unix epoch, zero for "never"; no implementation asks for the time itself.
package store

import (
	"slices"

	"example.com/curfew/revocation"
	"example.com/curfew/settings"
)

// The permissions that a user may hold.
const (
	AdministerSystem = "AdministerSystem"
	UserEdit         = "UserEdit"
)

// Permissions returns all permissions.
func Permissions() []string { return []string{AdministerSystem, UserEdit} }

// User is an account.
type User struct {
	ID           string
	Name         string   // as shown: NFC, trimmed
	NameKey      string   // what names are compared by; unique
	Email        string   // "" if none
	Permissions  []string // sorted
	Groups       []string // names, sorted
	Disabled     bool
	PasswordHash string // PHC string; "" if the user has no password
	// MustChangePassword: a session begins with the password only together with a new
	// one, which replaces it.
	MustChangePassword bool
	CreatedAt          int64
	LastSignInAt       int64
}

// Has reports whether the user holds the permission and is not disabled.
func (u *User) Has(permission string) bool {
	return u != nil && !u.Disabled && slices.Contains(u.Permissions, permission)
}

// Streak is a number of failed sign-ins without a successful one between them.
type Streak struct {
	Count  int64
	LastAt int64 // µs; the last failure
}

// The capabilities that a service client may have.
const (
	Introspect = "introspect"
	Follow     = "follow"
	Issue      = "issue"
	Revoke     = "revoke"
)

// Capabilities returns all capabilities.
func Capabilities() []string { return []string{Introspect, Follow, Issue, Revoke} }

// Client is a service that authenticates with an id and a secret.
type Client struct {
	ID           string
	Name         string
	Capabilities []string // sorted
	// SecretHash is the hash of the secret in use. OldSecretHash still works
	// until OldSecretUntil.
	SecretHash     string
	OldSecretHash  string
	OldSecretUntil int64
	CreatedAt      int64
	Deleted        bool // a deleted client stays as a row with its epoch
	Epoch          revocation.Epoch
}

// Can reports whether the client has the capability and is not deleted.
func (c *Client) Can(capability string) bool {
	return c != nil && !c.Deleted && slices.Contains(c.Capabilities, capability)
}

// Session is the record of a session: for lists and counts, and to determine
// whether it carries its user's permissions. No validation reads it.
type Session struct {
	ID         string
	UserID     string
	RememberMe bool
	Epoch      revocation.Epoch // the token's epoch
	KeyID      string           // of the key that signed its latest token
	Device     string           // from the User-Agent; may be ""
	Address    string           // of the client at sign-in
	BegunBy    string           // kind of the actor that began it; "" if unknown: it carries no permission
	BeganAt    int64            // µs; the token's iat, to the µs
	LastSeenAt int64            // µs; sign-in or last refresh
	LastUsedAt int64            // µs; last use that was reported (see package uses), or last refresh if later; 0 if there was neither. Not for decisions.
	ExpiresAt  int64            // µs; the latest token's exp
	EndedAt    int64            // µs; signed out or revoked alone; 0 if not. A wide revocation does not touch it.

	// The token's auth_time and session_expiry in µs, 0 if it has none, and its acr.
	AuthenticatedAt int64
	ACR             string
	SessionExpiry   int64
}

// UsedAt returns when the session was last used (µs): LastUsedAt, or the last refresh
// if that was later, which earlier releases record only there. 0 means that no use has
// been recorded since the sign-in.
func (s Session) UsedAt() int64 {
	if s.LastSeenAt > s.BeganAt {
		return max(s.LastUsedAt, s.LastSeenAt)
	}
	return s.LastUsedAt
}

// Use says that a session was used.
type Use struct {
	Session string
	At      int64 // µs
	// Since is the start of a window (µs). The use is recorded unless a use in that
	// window, or a later one, is.
	Since int64
}

// Live is what decides whether a session row stands for a live session: the
// rules of token.Validator in the words of the store.
type Live struct {
	Now      int64 // µs
	Settings settings.InForce
	// WithoutRemembered counts no remember-me session as live: as if all of them
	// were revoked at Now.
	WithoutRemembered bool
}

// Counts is a number of sessions and of the users they belong to.
type Counts struct{ Sessions, Users int64 }

// The states of a signing key.
const (
	KeyNext     = "next"     // published, not yet signing
	KeyActive   = "active"   // signs
	KeyRetiring = "retiring" // still verifies
	KeyRetired  = "retired"  // no longer trusted; the row stays
)

// Key is a signing key.
type Key struct {
	ID          string
	Algorithm   string
	State       string
	PublicJWK   string // JSON, public members only
	Sealed      string // the private key, sealed with the key-encryption key; "" once it signs no more
	CreatedAt   int64
	ActivatedAt int64
	RetiringAt  int64
	RetireAt    int64 // when a retiring key becomes retired by itself
	RetiredAt   int64
	Epoch       revocation.Epoch // of its last change
}

// Settings is the one row of settings.
type Settings struct {
	settings.InForce
	// LongestMaximum is the longest maximum session duration ever in force, in
	// seconds: no older session can live.
	LongestMaximum int64
}

// Installation holds the values that are set on the first start. Only `curfew issuer
// set` changes them.
type Installation struct {
	Issuer   string
	Audience []string
	// Former are the issuers of earlier that are accepted too. Some may be over.
	Former []FormerIssuer
	Epoch  revocation.Epoch
}

// FormerIssuer is an issuer of earlier, whose sessions are accepted until an instant.
type FormerIssuer struct {
	Issuer string `json:"issuer"`
	Until  int64  `json:"until"` // seconds since the Unix epoch
}

// The kinds of actors in the audit.
const (
	ActorUser   = "user"
	ActorClient = "client"
	ActorCLI    = "cli"
	ActorSystem = "system"
)

// Actor is the author of an action, and where it came from.
type Actor struct {
	Kind      string
	ID        string // the user's or the client's id; "" for cli and system
	Name      string
	Address   string
	RequestID string
}

// Audit is one entry of the audit: who did what to whom, when, from where, why.
type Audit struct {
	ID         int64 // ascending; given by the store
	At         int64
	Actor      Actor
	Action     string // e.g. "sign_in", "user.disable", "sessions.revoke": see internal/wire
	TargetKind string // "user", "session", "client", "key", "provider", "settings", "everyone", "remembered"
	TargetID   string
	TargetName string
	Reason     string
	// Epoch is that of the change, or 0. Scope is the kind of scope that the
	// change revoked ("" if none), with TargetID as its id: from these a receipt
	// can be had again.
	Epoch  revocation.Epoch
	Scope  revocation.Kind
	Detail string // JSON object, or ""
}

// Node is the row of a server's node, which the others read.
type Node struct {
	ID        string // random, new for each process
	Name      string // host:port, for people
	Version   string
	StartedAt int64
	Beat      int64 // raised at each write: a row that stands still is dead; see Leaving
	LeaseMS   int64 // the length of its leases
	// ViewEpoch is how far its own view has come; Confirmed the least of that and
	// of what its live followers have confirmed.
	ViewEpoch revocation.Epoch
	Confirmed revocation.Epoch
	Followers int64    // live followers, with all that stand behind them
	Waiting   []string // followers that have not confirmed ViewEpoch, by name; at most 20
	// Asks is the highest epoch that a receipt here has waited for: the others
	// write their rows when they have confirmed it.
	Asks revocation.Epoch
	Left bool // the node has said goodbye: its lease and those it granted are given up
	// Lapsed are followers whose leases ran out before they had confirmed the view,
	// the latest last; at most 20.
	Lapsed []LapsedFollower
}

// Leaving reports whether the node has ended and left its row for the leases that it had
// granted. The row counts until they have run out, and is deleted later. The mark is a
// negative Beat: releases that do not know it see a row that stands still, and count it
// as long. (They would take another value of the column gone for Left, and count the row
// for nothing while followers still have leases.)
func (n Node) Leaving() bool { return n.Beat < 0 }

// LapsedFollower is a follower whose leases ran out at a node. It had confirmed
// Confirmed when they did, and the node's view was at View. It therefore never
// confirmed the epochs between: above Confirmed, up to View.
type LapsedFollower struct {
	Name       string           `json:"name"`
	Validators int64            `json:"validators"` // the follower, and those behind it
	Confirmed  revocation.Epoch `json:"confirmed"`
	View       revocation.Epoch `json:"view"`
	At         int64            `json:"at"` // µs; the end of the last lease, margin included
}

// The scopes of receipts besides those of package revocation.
const (
	ScopeUsers    = "users"    // several users
	ScopeSettings = "settings" // sessions that shorter settings ended
	ScopeKey      = "key"      // sessions whose signing key was retired
	ScopeProvider = "provider" // sessions that began at a provider
)

// Receipt is the record of a revocation.
type Receipt struct {
	Epoch revocation.Epoch
	Scope string // a revocation.Kind, or one of the scopes above
	// ScopeID is the id of the user, the session or the key, or the name of the
	// provider; "" for other scopes.
	ScopeID string
	// UserID and UserName are the user whose sessions ended; "" if it is not one
	// user's. The name is that of the time.
	UserID, UserName string
	Actor            Actor // without address and request
	Reason           string
	// Users and Sessions are the numbers of live sessions that ended, and of their
	// users; NotCounted if unknown.
	Users, Sessions int64
	// Named is how many users a receipt of ScopeUsers names, with live sessions or not.
	Named       int64
	CommittedAt int64 // µs
	Closing           // zero while the receipt is open
}

// NotCounted is a number in a [Receipt] that is not known.
const NotCounted = -1

// The ways in which a receipt closes.
const (
	ByConfirmation = "confirmation" // every validator has confirmed
	ByLease        = "lease"        // the leases of some ran out before they confirmed
)

// Closing is the state of a revocation when it is in force everywhere.
type Closing struct {
	ClosedAt    int64  // µs
	ClosedBy    string // ByConfirmation or ByLease
	Validators  int64  // with a lease at the commit, or since
	Confirmed   int64
	Lapsed      []Lapse
	EffectiveBy int64 // µs; the latest instant that the receipt could close at
}

// Lapse is a validator whose lease ran out before it confirmed.
type Lapse struct {
	Name string `json:"name"`
	At   int64  `json:"at"` // µs; margin included
}

// Changes is everything that changed after an epoch.
type Changes struct {
	// Epoch is the store's clock as read before the rows; with More, the last
	// epoch included.
	Epoch revocation.Epoch
	More  bool
	// Clock is the store's clock as read before the rows, More or not.
	Clock        revocation.Epoch
	Installation *Installation // nil unless newer
	Settings     *Settings     // nil unless newer
	Keys         []Key         // all keys, if any of them is newer; else nil
	// Clients is the epoch of the last change of a client, newer or not; 0 if
	// there has been none.
	Clients     revocation.Epoch
	Revocations []revocation.Revocation
}

// RevokedBefore is what the store knows about the scopes of one session.
type RevokedBefore struct {
	Clock                               revocation.Epoch // as read before the rows
	Everyone, Remembered, User, Session revocation.Epoch
}

// Before returns the greatest that concerns the session.
func (r RevokedBefore) Before(rememberMe bool) revocation.Epoch {
	before := max(r.Everyone, r.User, r.Session)
	if rememberMe {
		before = max(before, r.Remembered)
	}
	return before
}
