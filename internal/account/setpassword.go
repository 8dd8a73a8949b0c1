package account

import (
	"cmp"
	"context"
	"fmt"

	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
)

// NewPassword is a password to set. Current is the user's password so far: required
// for the caller's own account, and nil for another. MustChange sets whether another
// user must choose a new password at the next sign-in; nil leaves that as it is. A
// password that users set for themselves always ends it.
type NewPassword struct {
	Current    *string
	New        string
	MustChange *bool
}

// PasswordChange is a new password that was checked and hashed. It is written in
// the transaction that also revokes the user's sessions.
type PasswordChange struct {
	service *Service
	user    store.User // as it was checked
	hash    string
	// mustChange is the user's flag afterwards; nil leaves it as it is.
	mustChange *bool
}

// no is the flag of a user who has chosen a password.
var no = false

// PreparePassword checks whether the caller may set the password of a user, and
// hashes it. The caller's own password requires the current one, so that an
// attacker with an open session cannot keep it; failed attempts count like those of
// a sign-in. Other users require UserEdit or AdministerSystem.
func (s *Service) PreparePassword(ctx context.Context, c authz.Caller, userID string, change NewPassword, from authz.Origin) (*PasswordChange, error) {
	if err := c.MaySetPassword(userID); err != nil {
		return nil, err
	}
	u, err := s.store.User(ctx, userID)
	if err != nil {
		return nil, err
	}
	switch {
	case c.IsSelf(userID) && change.Current == nil:
		return nil, InvalidField("current", "is required to change your own password")
	case c.IsSelf(userID) && change.MustChange != nil:
		return nil, InvalidField("must_change_password", "is allowed only for another user's password")
	case c.IsSelf(userID):
		change.MustChange = &no
	case change.Current != nil:
		return nil, InvalidField("current", "is allowed only when you change your own password")
	default:
		if err := cmp.Or(c.MayChange(u), c.CheckRecent(operationOn(c, u))); err != nil {
			return nil, err
		}
	}
	current := ""
	if change.Current != nil {
		current = *change.Current
	}
	if err := checkNew("new", change.New, current, u); err != nil {
		return nil, err
	}
	if c.IsSelf(userID) {
		if u, err = s.verifyOwn(ctx, c, u, *change.Current, from, WrongCurrent); err != nil {
			return nil, err
		}
	}
	p := &PasswordChange{service: s, user: u, mustChange: change.MustChange}
	p.hash, err = s.hash(ctx, change.New)
	return p, err
}

// ConfirmPassword checks the password of the caller, a user with a session. Failed
// attempts count like those of a sign-in with the token of an earlier session. While
// passwords are switched off, the error is [ErrPasswordsOff].
func (s *Service) ConfirmPassword(ctx context.Context, c authz.Caller, password string, from authz.Origin) error {
	if err := PasswordsOn(ctx, s.store); err != nil {
		return cmp.Or(s.Again(ctx, c, authz.Caller.MayContinue), err)
	}
	u, err := s.store.User(ctx, c.User.ID)
	if err != nil {
		return cmp.Or(s.Again(ctx, c, authz.Caller.MayContinue), err) // deleted meanwhile
	}
	from.Presented = c.Session
	_, err = s.verifyOwn(ctx, c, u, password, from, WrongConfirmation)
	return err
}

// verifyOwn checks the password of u, who is the caller. If the session has ended in the
// queue, the error says only that, and nothing about the password. The audit names the
// caller as the actor of a failed attempt, with reason.
func (s *Service) verifyOwn(ctx context.Context, c authz.Caller, u store.User, password string, from authz.Origin, reason string) (store.User, error) {
	entry := failed{by: c.Actor, reason: reason}
	if c.Session != nil {
		entry.detail = detail(map[string]any{"session": c.Session.ID})
	}
	u, err := s.verify(ctx, u, u.NameKey, password, from, entry)
	if err != nil {
		return u, cmp.Or(s.Again(ctx, c, authz.Caller.MayContinue), err)
	}
	return u, nil
}

// The reasons of failed attempts of a user with a session, in the audit.
const (
	WrongCurrent      = "the current password was wrong, at a change of password"
	WrongConfirmation = "the password was wrong, at a confirmation of the user"
)

// checkNew checks a new password of a user against the policy and the current one.
func checkNew(field, password, current string, u store.User) error {
	if err := CheckPassword(field, password, u.Name, u.Email); err != nil {
		return err
	}
	if password == current {
		return InvalidField(field, "must differ from the current password")
	}
	return nil
}

// PrepareRequired checks and hashes the new password of a user who must choose one and
// has just proven the current one: u is what Authenticate returned.
func (s *Service) PrepareRequired(ctx context.Context, u store.User, current, password string) (*PasswordChange, error) {
	const field = "new_password"
	if !u.MustChangePassword {
		return nil, InvalidField(field, "is allowed only when the password must be changed; sign in without it, then change the password")
	}
	if err := checkNew(field, password, current, u); err != nil {
		return nil, err
	}
	p := &PasswordChange{service: s, user: u, mustChange: &no}
	var err error
	p.hash, err = s.hash(ctx, password)
	return p, err
}

// Write sets the password, unless it has changed since it was checked, and appends
// the audit entry of the revocation at tx.Epoch. The transaction's caller must satisfy
// Caller.MaySetPassword.
func (p *PasswordChange) Write(ctx context.Context, tx authz.Tx) error {
	u, err := p.lock(ctx, tx)
	if err != nil {
		return err
	}
	if !tx.Caller.IsSelf(u.ID) {
		if err := cmp.Or(tx.Caller.MayChange(u), tx.Caller.CheckRecent(operationOn(tx.Caller, u))); err != nil {
			return err
		}
	}
	return p.write(ctx, tx, u, PasswordChanged)
}

// WriteRequired is Write for a change from PrepareRequired, whose caller has no session
// yet. A user that is disabled now is refused as at a sign-in.
func (p *PasswordChange) WriteRequired(ctx context.Context, tx authz.Tx) error {
	u, err := p.lock(ctx, tx)
	switch {
	case err != nil:
		return err
	case u.Disabled:
		return ErrBadCredentials
	case !u.MustChangePassword:
		return fmt.Errorf("%w: the password need not be changed any more; sign in without a new one", store.ErrConflict)
	}
	return p.write(ctx, tx, u, PasswordRequired)
}

// lock locks the user's row, and compares the password with the one that was checked.
func (p *PasswordChange) lock(ctx context.Context, tx authz.Tx) (store.User, error) {
	u, err := tx.LockUser(ctx, p.user.ID)
	if err == nil && u.PasswordHash != p.user.PasswordHash {
		err = fmt.Errorf("%w: the password was changed meanwhile; try again", store.ErrConflict)
	}
	return u, err
}

// The reasons of new passwords in the audit and in receipts.
const (
	PasswordChanged  = "password changed"
	PasswordRequired = "password changed at sign-in, as required"
)

func (p *PasswordChange) write(ctx context.Context, tx authz.Tx, u store.User, reason string) error {
	entry := store.Audit{
		At: p.service.now().UnixMicro(), Actor: tx.Caller.Actor, Action: wire.ActionUserPassword,
		TargetKind: "user", TargetID: u.ID, TargetName: u.Name, Epoch: tx.Epoch, Scope: revocation.KindUser,
		Reason: reason,
	}
	if p.mustChange != nil && *p.mustChange != u.MustChangePassword {
		entry.Detail = detail(map[string]any{"must_change_password": map[string]bool{"from": u.MustChangePassword, "to": *p.mustChange}})
		u.MustChangePassword = *p.mustChange
	}
	u.PasswordHash = p.hash
	if err := tx.UpdateUser(ctx, u); err != nil {
		return err
	}
	if err := tx.EndStreak(ctx, accountKeys(u)...); err != nil {
		return err
	}
	return tx.AppendAudit(ctx, entry)
}
