package session

import (
	"context"
	"errors"
	"fmt"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
	"example.com/curfew/settings"
	"example.com/curfew/token"
)

func isNotFound(err error) bool { return errors.Is(err, store.ErrNotFound) }

// SignIn checks a name and a password and begins a session. Its errors are those of
// account.Service.Authenticate, and those of the store.
//
// SignIn reads the epoch before anything else. A revocation while the password is
// being checked therefore also ends this session.
func (s *Service) SignIn(ctx context.Context, name, password string, rememberMe bool, from account.Origin) (issued Issued, err error) {
	if s.config.SignedIn != nil {
		defer func() { s.config.SignedIn(err) }()
	}
	u, epoch, err := s.config.Accounts.Authenticate(ctx, name, password, from)
	if err != nil {
		return Issued{}, err
	}
	issued, err = s.begin(ctx, epoch, u, rememberMe, from)
	if err != nil {
		return Issued{}, err
	}
	if err := s.keepSignIn(ctx, issued, from); err != nil {
		return Issued{}, err
	}
	return issued, nil
}

// Issue begins a session for a user whom the calling client has authenticated. It
// creates a missing user, without a password. A disabled user is a conflict. A
// session created by a client never carries a permission.
func (s *Service) Issue(ctx context.Context, c account.Caller, userID string, rememberMe bool, from account.Origin) (Issued, error) {
	need := func(c account.Caller) error { return c.MayUse(store.Issue) }
	if err := need(c); err != nil {
		return Issued{}, err
	}
	epoch, err := s.store.Clock(ctx)
	if err != nil {
		return Issued{}, err
	}
	u, err := s.store.User(ctx, userID)
	if isNotFound(err) {
		u, err = s.config.Accounts.EnsureUser(ctx, c, userID)
	}
	if err != nil {
		return Issued{}, err
	}
	if u.Disabled {
		return Issued{}, fmt.Errorf("%w: user %s is disabled; enable the account first", store.ErrConflict, u.ID)
	}
	issued, err := s.begin(ctx, epoch, u, rememberMe, from)
	if err != nil {
		return Issued{}, err
	}
	if err := s.keepIssued(ctx, c, need, issued, from); err != nil {
		return Issued{}, err
	}
	return issued, nil
}

// keep stores the row of a new session. The token is returned only if that commits.
func keep(ctx context.Context, tx store.Tx, issued Issued, by store.Actor, from account.Origin) error {
	row := issued.row(by, from)
	if err := tx.InsertSession(ctx, row); err != nil {
		return err
	}
	if err := tx.TouchUser(ctx, row.UserID, row.BeganAt); err != nil {
		return err
	}
	return tx.AppendAudit(ctx, beginEntry(by, row, issued.User))
}

// begin mints the first token of a session whose epoch has been read. It then reads
// the settings and the signing key, because a session signed with a key that
// another node has just retired in an emergency would be over at once.
func (s *Service) begin(ctx context.Context, epoch revocation.Epoch, u store.User, rememberMe bool, from account.Origin) (Issued, error) {
	in, err := s.store.Settings(ctx)
	if err != nil {
		return Issued{}, err
	}
	keys, err := s.store.Keys(ctx)
	if err != nil {
		return Issued{}, err
	}
	if err := s.config.Ring.Sync(ctx, keys); err != nil {
		return Issued{}, err
	}
	now := s.now()
	sess := token.Session{
		Issuer:     s.config.Installation.Issuer,
		Audience:   s.config.Installation.Audience,
		Subject:    u.ID,
		ID:         token.NewSessionID(),
		IssuedAt:   token.UnixTime(now.Unix()),
		RememberMe: rememberMe && in.RememberMeEnabled,
		Epoch:      epoch,
	}.Refreshed(now, in.Settings)
	issued, err := s.mint(ctx, sess, u, in.InForce)
	issued.at = now
	return issued, err
}

func (s *Service) mint(ctx context.Context, sess token.Session, u store.User, in settings.InForce) (Issued, error) {
	key, err := s.config.Ring.Signing(ctx)
	if err != nil {
		return Issued{}, err
	}
	raw, err := token.Mint(key, sess)
	if err != nil {
		return Issued{}, err
	}
	sess.KeyID = key.ID()
	return Issued{Token: raw, Session: sess, User: u, InForce: in}, nil
}

// row returns the stored row of a new session.
func (i Issued) row(by store.Actor, from account.Origin) store.Session {
	now := i.at.UnixMicro()
	return store.Session{
		ID:         i.Session.ID,
		UserID:     i.Session.Subject,
		RememberMe: i.Session.RememberMe,
		Epoch:      i.Session.Epoch,
		KeyID:      i.Session.KeyID,
		Device:     from.Device,
		Address:    from.Address,
		BegunBy:    by.Kind,
		BeganAt:    now,
		LastSeenAt: now,
		ExpiresAt:  i.Session.ExpiresAt.Time().UnixMicro(),
	}
}

func beginEntry(by store.Actor, row store.Session, u store.User) store.Audit {
	detail := `{"remember_me":false}`
	if row.RememberMe {
		detail = `{"remember_me":true}`
	}
	return store.Audit{
		At: row.BeganAt, Actor: by, Action: wire.ActionSignIn,
		TargetKind: "user", TargetID: u.ID, TargetName: u.Name,
		Detail: detail,
	}
}

// Refresh mints a new token of a session that the caller has validated. The
// transaction that records the refresh checks the session again: everything
// committed before the call applies.
func (s *Service) Refresh(ctx context.Context, sess *token.Session) (Issued, error) {
	if _, err := s.take(LimitRefresh, s.limits.refresh, sess.ID); err != nil {
		return Issued{}, err
	}
	if err := s.config.View.CatchUp(ctx); err != nil {
		return Issued{}, err
	}
	var issued Issued
	caller := account.Caller{Session: sess}
	err := s.store.Record(ctx, caller, account.Caller.MayContinue, func(tx authz.Tx) (err error) {
		if err := s.config.Ring.Sync(ctx, tx.SigningKeys); err != nil {
			return err
		}
		if issued, err = s.mint(ctx, sess.Refreshed(s.now(), tx.InForce.Settings), *tx.Caller.User, tx.InForce); err != nil {
			return err
		}
		next := &issued.Session
		return tx.RefreshSession(ctx, next.ID, next.LastRefresh.Time().UnixMicro(), next.ExpiresAt.Time().UnixMicro(), next.KeyID)
	})
	if err != nil {
		return Issued{}, err
	}
	return issued, nil
}
