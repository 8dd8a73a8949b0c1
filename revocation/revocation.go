// Package revocation records which sessions were revoked. It keeps the epoch of the
// last revocation of each scope in a bounded [Cache] that never misses one.
//
// The API follows semantic versioning: within a major version nothing exported changes
// its meaning or disappears, and no interface that callers implement gains a method.
package revocation

import (
	"fmt"
	"time"
)

// Epoch is a reading of the store's epoch clock: microseconds since the Unix epoch,
// raised by at least one at every change of the shared state. The order of epochs
// is the order of commits. The zero Epoch is before every change.
//
// Compare only epochs of the same store. An Epoch is also close to a wall-clock
// time and is displayed as one, but no decision uses that time.
type Epoch int64

// Time returns the time that e stands for, in UTC.
func (e Epoch) Time() time.Time { return time.UnixMicro(int64(e)).UTC() }

// String returns the time in RFC 3339 format with microseconds.
func (e Epoch) String() string { return e.Time().Format("2006-01-02T15:04:05.000000Z07:00") }

// Next returns the epoch of a change made at now when the epoch clock reads e. It
// is at least e + 1, whatever the wall clock says.
func (e Epoch) Next(now time.Time) Epoch { return max(e+1, Epoch(now.UnixMicro())) }

// Kind is the kind of a [Scope]. Its values are those of the wire format.
type Kind string

// The kinds of scopes.
const (
	KindEveryone   Kind = "everyone"   // every session
	KindRemembered Kind = "remembered" // every remember-me session
	KindUser       Kind = "user"       // the sessions of one user
	KindSession    Kind = "session"    // one session
)

// Scope is a set of sessions that can be revoked together. The zero Scope is not
// valid.
type Scope struct {
	Kind Kind
	ID   string // the user's or the session's id; "" for everyone and remembered
}

// Everyone returns the scope of all sessions.
func Everyone() Scope { return Scope{Kind: KindEveryone} }

// Remembered returns the scope of all remember-me sessions.
func Remembered() Scope { return Scope{Kind: KindRemembered} }

// User returns the scope of the sessions of the user id.
func User(id string) Scope { return Scope{Kind: KindUser, ID: id} }

// Session returns the scope of the session id.
func Session(id string) Scope { return Scope{Kind: KindSession, ID: id} }

// Valid reports whether the kind of s is known and s has an ID exactly if its kind
// requires one.
func (s Scope) Valid() bool {
	switch s.Kind {
	case KindEveryone, KindRemembered:
		return s.ID == ""
	case KindUser, KindSession:
		return s.ID != ""
	}
	return false
}

// String returns "everyone", "remembered", "user ID" or "session ID".
func (s Scope) String() string {
	if s.ID == "" {
		return string(s.Kind)
	}
	return fmt.Sprintf("%s %s", s.Kind, s.ID)
}

// Revocation says that every session of Scope with an epoch below Epoch is revoked.
// The store keeps one for each scope, and the change feed delivers them.
type Revocation struct {
	Scope Scope
	Epoch Epoch
}
