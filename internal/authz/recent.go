package authz

import (
	"time"

	"example.com/curfew/token"
)

// An Operation is a change of a kind that could end or grant much at once. The table
// below says whether it requires a recent authentication.
type Operation string

// The operations.
const (
	RevokeMany          Operation = "revoke many"
	RevokeUser          Operation = "revoke a user"
	EndBySettings       Operation = "end by settings"
	LoosenSettings      Operation = "loosen settings"
	ChangeIssuer        Operation = "change the issuer"
	RetireKey           Operation = "retire a key"
	ImportKey           Operation = "import a key"
	RotateKey           Operation = "rotate keys"
	ChangePermissions   Operation = "change permissions"
	ChangeGroups        Operation = "change groups"
	ChangeAdministrator Operation = "change an administrator"
	ChangeOrdinaryUser  Operation = "change an ordinary user"
	CreateClient        Operation = "create a client"
	CreateSecret        Operation = "create a secret"
	DeleteClient        Operation = "delete a client"
	ChangeProviders     Operation = "change identity providers"
	ChangeSignInMethods Operation = "change the sign-in methods"
)

// asking is the table of operations: whether each requires that the caller's user has
// authenticated recently, with the reason. An operation that is not in it does.
var asking = map[Operation]struct {
	asks bool
	why  string
}{
	RevokeMany:          {true, "ends everyone's sessions, all remember-me sessions, or those of several users"},
	RevokeUser:          {false, "must be quick in an emergency, and ends the sessions of one user only"},
	EndBySettings:       {true, "shorter times, and remember me switched off, end many sessions at once"},
	LoosenSettings:      {false, "ends no session, and revives none"},
	ChangeIssuer:        {true, "ends everyone's sessions"},
	RetireKey:           {true, "ends every session that the key has signed"},
	ImportKey:           {true, "the owner of the key can sign sessions of every user"},
	RotateKey:           {false, "ends no session, and the new key is Curfew's own"},
	ChangePermissions:   {true, "grants or takes control over everything"},
	ChangeGroups:        {true, "grants access to services; taking a group ends sessions"},
	ChangeAdministrator: {true, "a password, a name or an email address takes over an administrator's account"},
	ChangeOrdinaryUser:  {false, "concerns one user without control over others"},
	CreateClient:        {true, "grants a service access to sessions of every user"},
	CreateSecret:        {true, "the new secret is access to sessions of every user"},
	DeleteClient:        {false, "must be quick in an emergency, and takes the access of one service"},
	ChangeProviders:     {true, "a provider decides who signs in and with which permissions; a change can end all sessions that began there"},
	ChangeSignInMethods: {true, "decides how every user signs in"},
}

// CheckRecent returns a *token.AuthenticationError if the operation requires a recent
// authentication and the caller's user authenticated too long ago: see
// [Store.ReauthenticateWithin]. Check it after the permission, so that a caller without
// the permission learns that first. Clients and trusted callers are never asked.
func (c Caller) CheckRecent(op Operation) error {
	if rule, known := asking[op]; c.old == nil || known && !rule.asks {
		return nil
	}
	return c.old
}

// Recently is need for an operation: it then requires what CheckRecent does.
func Recently(op Operation, need Need) Need {
	return func(c Caller) error {
		if err := need(c); err != nil {
			return err
		}
		return c.CheckRecent(op)
	}
}

// tooOld returns an error if the user of a session authenticated longer than within ago.
// Zero within means never.
func tooOld(s *token.Session, within time.Duration, now time.Time) *token.AuthenticationError {
	if within == 0 || s.CheckAuthTime(within, now) == nil {
		return nil
	}
	return &token.AuthenticationError{AuthTime: s.AuthTime, MaxAge: within}
}
