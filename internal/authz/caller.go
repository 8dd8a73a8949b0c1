// Package authz decides whether a caller may make a call. It decides inside the
// transaction that writes, from the rows of that transaction. A request that was
// authenticated and then waited, for its body or for a turn to hash a password,
// therefore writes nothing if its session was revoked in the meantime.
//
// Services that write on behalf of callers hold a [Store], not a store.Store: a
// write must name its caller, except in [Store.UpdateWithoutCaller].
package authz

import (
	"crypto/subtle"
	"errors"
	"slices"
	"time"

	"example.com/curfew/internal/store"
	"example.com/curfew/token"
)

// ErrBadClient means that the client id or its secret is wrong, or that the client
// was deleted.
var ErrBadClient = errors.New("the client id or its secret is wrong")

// ErrForbidden is the error of a caller that lacks the permission or the
// capability that a call requires.
type ErrForbidden struct {
	Permission string
}

func (e *ErrForbidden) Error() string { return "requires the " + e.Permission + " " + e.kind() }

func (e *ErrForbidden) kind() string {
	if slices.Contains(store.Capabilities(), e.Permission) {
		return "capability"
	}
	return "permission"
}

// Forbidden returns an [ErrForbidden].
func Forbidden(permission string) error { return &ErrForbidden{Permission: permission} }

// Origin describes where a request came from.
type Origin struct {
	Address   string // the client's IP address
	RequestID string
	Device    string // from the User-Agent
	// Presented is an earlier session whose token was sent with a sign-in. The
	// token is verified and not revoked; the session may have timed out. It proves
	// that the user has signed in from that browser before. Nil if there is none.
	Presented *token.Session
}

// Caller is the user, the client or the program that makes a call. The zero Caller
// may do nothing.
type Caller struct {
	Actor store.Actor // the caller in the audit
	// User is the user of Session as the store has it, with the permissions that
	// the session carries. Nil if the caller is no user.
	User    *store.User
	Session *token.Session // nil if the caller is no user
	Client  *store.Client  // nil if the caller is no client
	// SecretHash is the hash of the secret that the client has proven; "" if the
	// caller is no client.
	SecretHash string
	// Trusted is set for the command line and for automatic actions. Such a caller
	// may do everything.
	Trusted bool

	// old is not nil if the user of Session authenticated too long ago for some
	// operations: see CheckRecent.
	old *token.AuthenticationError
}

// Can reports whether the caller is a user whose session carries the permission.
func (c Caller) Can(permission string) bool { return c.User.Has(permission) }

// IsSelf reports whether the caller is the user with the given id.
func (c Caller) IsSelf(userID string) bool { return c.User != nil && c.User.ID == userID }

// A Need is a call's requirement of its caller. It returns nil if the caller has
// it, else an [ErrForbidden]. The methods of [Caller] whose names begin with May
// are needs, as method expressions or in a closure.
type Need func(Caller) error

// Using is the need of a client with the capability.
func Using(capability string) Need {
	return func(c Caller) error { return c.MayUse(capability) }
}

// OnUser is a need that concerns one user, such as Caller.MayRevoke.
func OnUser(may func(Caller, string) error, userID string) Need {
	return func(c Caller) error { return may(c, userID) }
}

// MayAdminister requires AdministerSystem.
func (c Caller) MayAdminister() error {
	if c.Trusted || c.Can(store.AdministerSystem) {
		return nil
	}
	return Forbidden(store.AdministerSystem)
}

// MayEditUsers requires UserEdit or AdministerSystem.
func (c Caller) MayEditUsers() error {
	if c.Trusted || c.Can(store.UserEdit) || c.Can(store.AdministerSystem) {
		return nil
	}
	return Forbidden(store.UserEdit)
}

// MayChange is MayEditUsers for one user. The account of an administrator requires
// AdministerSystem: a new password, name or email would take it over.
func (c Caller) MayChange(u store.User) error {
	if err := c.MayEditUsers(); err != nil {
		return err
	}
	if slices.Contains(u.Permissions, store.AdministerSystem) {
		return c.MayAdminister()
	}
	return nil
}

// MayRevoke requires the caller's own sessions, or the permissions of MayEditUsers.
func (c Caller) MayRevoke(userID string) error { return c.mayManage(userID) }

// MaySetPassword requires the caller's own account, or the permissions of
// MayEditUsers. Whether these are enough for the account is for MayChange.
func (c Caller) MaySetPassword(userID string) error { return c.mayManage(userID) }

func (c Caller) mayManage(userID string) error {
	if c.IsSelf(userID) {
		return nil
	}
	return c.MayEditUsers()
}

// MayUse requires that the caller is a client with the capability.
func (c Caller) MayUse(capability string) error {
	if c.Trusted || c.Client.Can(capability) {
		return nil
	}
	return Forbidden(capability)
}

// MayContinue only requires a caller: a session that has not ended, or a client
// that was not deleted.
func (c Caller) MayContinue() error {
	if c.Trusted || c.Session != nil || c.Client != nil {
		return nil
	}
	return token.ErrMissing
}

// HasSecret reports whether a secret with the given hash is valid for the client at
// now. The previous secret is valid until OldSecretUntil. The comparison takes the
// same time for all hashes.
func HasSecret(client store.Client, hash string, now time.Time) bool {
	same := func(stored string) bool {
		return stored != "" && subtle.ConstantTimeCompare([]byte(hash), []byte(stored)) == 1
	}
	good := same(client.SecretHash)
	if now.UnixMicro() < client.OldSecretUntil {
		good = same(client.OldSecretHash) || good
	}
	return good && !client.Deleted
}

// Permitted returns the user with the permissions that a session carries: all of
// the user's if the session began with a sign-in or on the command line, and
// otherwise none. Without this rule a client that may issue sessions could become
// an administrator. A session without a row, or with a row that does not say how it
// began, carries none.
func Permitted(u store.User, began *store.Session) store.User {
	if began == nil || began.UserID != u.ID || began.BegunBy != store.ActorUser && began.BegunBy != store.ActorCLI {
		u.Permissions = []string{}
	}
	return u
}
