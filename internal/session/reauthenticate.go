package session

import (
	"context"
	"encoding/json"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/token"
)

// Reauthenticate checks the password of the caller's user, and mints a new token of the
// caller's session: a refresh whose auth_time is now. The authentication context class
// is that of the last authentication, so the token has none. Tokens that the session
// had before keep their auth_time until they are refreshed.
//
// While passwords are switched off, the error is account.ErrPasswordsOff: a sign-in
// through a provider is then the way to authenticate again.
//
// Failed attempts count like those of a sign-in. The transaction decides the session
// again after the password was checked: a session that has ended meanwhile stays ended, and
// the password of a user who must choose a new one is
// account.ErrPasswordChangeRequired, as at a sign-in.
func (s *Service) Reauthenticate(ctx context.Context, c authz.Caller, password string, from authz.Origin) (Issued, error) {
	if c.Session == nil || c.User == nil {
		return Issued{}, token.ErrMissing
	}
	if err := s.limitPassword(ctx, c, c.User.ID); err != nil {
		return Issued{}, err
	}
	if err := s.config.Accounts.ConfirmPassword(ctx, c, password, from); err != nil {
		return Issued{}, err
	}
	return s.renew(ctx, c, func(tx authz.Tx, next *token.Session) error {
		if tx.Caller.User.MustChangePassword {
			return account.ErrPasswordChangeRequired
		}
		now := s.now()
		if at := token.UnixTime(now.Unix()); at >= next.AuthTime { // of a session without a row
			next.AuthTime, next.ACR = at, ""
		}
		if err := tx.AuthenticateSession(ctx, next.ID, now.UnixMicro(), ""); err != nil {
			return err
		}
		detail, err := json.Marshal(authz.SessionDetail{Session: next.ID})
		if err != nil {
			return err
		}
		return tx.AppendAudit(ctx, store.Audit{
			At: now.UnixMicro(), Actor: tx.Caller.Actor, Action: wire.ActionReauthenticate,
			TargetKind: targetUser, TargetID: tx.Caller.User.ID, TargetName: tx.Caller.User.Name, Detail: string(detail),
		})
	})
}
