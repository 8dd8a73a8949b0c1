// Package revocation knows which sessions were revoked: for each scope the epoch
// of its last revocation, kept in a bounded cache that never misses one.
package revocation

import (
	"fmt"
	"time"
)

// Epoch is a reading of the store's epoch clock: microseconds since the Unix
// epoch, raised by at least one at every change of shared state. Order among
// epochs is order of commit. The zero Epoch lies before every change.
//
// An Epoch compares events of one store. It is also close to a date, which is
// how people are shown it, but nothing is decided by the date.
type Epoch int64

// Time returns the date that e stands for.
func (e Epoch) Time() time.Time { return time.UnixMicro(int64(e)).UTC() }

// String returns the date in RFC 3339 with microseconds.
func (e Epoch) String() string { return e.Time().Format("2006-01-02T15:04:05.000000Z07:00") }

// Next returns the epoch of a change that is made at now when the clock stands at
// e: never lower than e + 1, whatever the wall clock says.
func (e Epoch) Next(now time.Time) Epoch { return max(e+1, Epoch(now.UnixMicro())) }

// Kind is the kind of a [Scope], as it stands on the wire.
type Kind string

// The kinds of scopes.
const (
	KindEveryone   Kind = "everyone"   // every session
	KindRemembered Kind = "remembered" // every remember-me session
	KindUser       Kind = "user"       // the sessions of one user
	KindSession    Kind = "session"    // one session
)

// Scope names a set of sessions that can be revoked together. The zero Scope is
// not valid.
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

// Valid reports whether s has a known kind, and an id exactly if its kind takes one.
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

// Revocation says that every session of Scope with an epoch below Epoch is
// revoked. It is what the store keeps for each scope and what the change feed
// carries.
type Revocation struct {
	Scope Scope
	Epoch Epoch
}
