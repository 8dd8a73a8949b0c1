package session

import (
	"slices"

	"example.com/curfew/internal/store"
	"example.com/curfew/token"
)

// The claims about the user that a token may carry.
const (
	ClaimName   = "name" // the sign-in name
	ClaimEmail  = "email"
	ClaimGroups = "groups"
)

// IdentityClaims returns all of them.
func IdentityClaims() []string { return []string{ClaimName, ClaimEmail, ClaimGroups} }

// identity selects claims about the user.
type identity struct{ name, email, groups bool }

func (c Config) identity() identity {
	chosen := c.IdentityClaims
	if chosen == nil {
		chosen = IdentityClaims()
	}
	return identity{
		name:   slices.Contains(chosen, ClaimName),
		email:  slices.Contains(chosen, ClaimEmail),
		groups: slices.Contains(chosen, ClaimGroups),
	}
}

// of returns the values of the selected claims; zero for the others. Selected groups
// are never nil.
func (i identity) of(u store.User) (name, email string, groups []string) {
	if i.name {
		name = u.Name
	}
	if i.email {
		email = u.Email
	}
	if i.groups {
		groups = append([]string{}, u.Groups...)
	}
	return name, email, groups
}

// identify returns the session with the claims about the user as the store has them.
// The caller has read u in the transaction that records the token, so that a token
// that names a group is older than every revocation for leaving it.
func (i identity) identify(s token.Session, u store.User) token.Session {
	return s.WithIdentity(i.of(u))
}
