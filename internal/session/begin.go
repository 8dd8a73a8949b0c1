package session

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

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
// account.Service.Authenticate, those of the store, and
// account.ErrPasswordChangeRequired: see [Service.SignInChanging].
//
// SignIn reads the epoch before anything else. A revocation while the password is
// being checked therefore also ends this session.
func (s *Service) SignIn(ctx context.Context, name, password string, rememberMe bool, from authz.Origin) (Issued, error) {
	return s.signIn(ctx, name, password, nil, rememberMe, from)
}

// SignInChanging is SignIn for a user who must choose a new password: it stores the
// new password, ends the user's other sessions, and begins a session, in one
// transaction. For other users, and for a new password that is refused, the error is
// an *account.Invalid. Like every answer about the account it comes only after the
// password was verified.
func (s *Service) SignInChanging(ctx context.Context, name, password, newPassword string, rememberMe bool, from authz.Origin) (Issued, error) {
	return s.signIn(ctx, name, password, &newPassword, rememberMe, from)
}

// signIn begins a session; newPassword is nil if none is given.
func (s *Service) signIn(ctx context.Context, name, password string, newPassword *string, rememberMe bool, from authz.Origin) (issued Issued, err error) {
	if s.config.SignedIn != nil {
		defer func() { s.config.SignedIn(err) }()
	}
	u, epoch, err := s.config.Accounts.Authenticate(ctx, name, password, from)
	if err != nil {
		return Issued{}, err
	}
	var change *account.PasswordChange
	if newPassword != nil {
		if change, err = s.config.Accounts.PrepareRequired(ctx, u, password, *newPassword); err != nil {
			return Issued{}, err
		}
	}
	first, err := s.begin(ctx, epoch, u, rememberMe, byPassword(s.now()))
	if err != nil {
		return Issued{}, err
	}
	first.byPassword = true
	if change != nil {
		return s.keepChanging(ctx, first, change, from)
	}
	issued, err = s.keepSignIn(ctx, first, from)
	if errors.Is(err, account.ErrPasswordChangeRequired) {
		return Issued{}, cmp.Or(s.recordRequired(ctx, u, from), err)
	}
	return issued, err
}

// Issue begins a session for a user that the calling client has authenticated. It
// creates a missing user, without a password. A disabled user is a conflict. A
// session created by a client never carries a permission, and no auth_time. One of the
// command line has both: its user counts as authenticated now.
func (s *Service) Issue(ctx context.Context, c authz.Caller, userID string, rememberMe bool, from authz.Origin) (Issued, error) {
	need := authz.Using(store.Issue)
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
	how := Authentication{}
	if c.Trusted { // the operator of the command line, who can do everything anyway
		how.At = token.UnixTime(s.now().Unix())
	}
	first, err := s.begin(ctx, epoch, u, rememberMe, how)
	if err != nil {
		return Issued{}, err
	}
	return s.keepIssued(ctx, c, need, first, from)
}

// beginning is a session that begins, before it has a token.
type beginning struct {
	session token.Session
	user    store.User
	inForce settings.InForce
	at      time.Time // the instant whose second is the session's IssuedAt
	// byPassword: the user has proven the stored password, and nothing else.
	byPassword bool
	provider   string // the name of the provider that the user has signed in through; "" for none
}

// keep mints the first token of a session, with the claims of its user as the
// transaction reads them, and stores the session's row. The token is returned only if
// that commits. The password of a user who must choose a new one begins no session.
func (s *Service) keep(ctx context.Context, tx store.Tx, first beginning, by store.Actor, from authz.Origin) (Issued, error) {
	u, err := tx.User(ctx, first.user.ID)
	if err != nil {
		return Issued{}, err
	}
	if first.byPassword {
		if err := account.PasswordsOn(ctx, tx); err != nil {
			return Issued{}, err
		}
		if u.MustChangePassword {
			return Issued{}, account.ErrPasswordChangeRequired
		}
	}
	issued, err := s.mint(ctx, s.identity.identify(first.session, u), u, first.inForce)
	if err != nil {
		return Issued{}, err
	}
	row := issued.row(first.at, by, from)
	if err := tx.InsertSession(ctx, row); err != nil {
		return Issued{}, err
	}
	if err := tx.TouchUser(ctx, row.UserID, row.BeganAt); err != nil {
		return Issued{}, err
	}
	return issued, tx.AppendAudit(ctx, beginEntry(by, row, u, first.provider))
}

// begin prepares a session whose epoch has been read. It then reads the settings and
// the signing key, because a session signed with a key that another node has just
// retired in an emergency would be over at once.
func (s *Service) begin(ctx context.Context, epoch revocation.Epoch, u store.User, rememberMe bool, how Authentication) (beginning, error) {
	in, err := s.store.Settings(ctx)
	if err != nil {
		return beginning{}, err
	}
	keys, err := s.store.Keys(ctx)
	if err != nil {
		return beginning{}, err
	}
	if err := s.config.Ring.Sync(ctx, keys); err != nil {
		return beginning{}, err
	}
	now := s.now()
	issuer, audience := s.config.issuer()
	sess, err := how.apply(token.Session{
		Issuer:     issuer,
		Audience:   audience,
		Subject:    u.ID,
		ID:         token.NewSessionID(),
		IssuedAt:   token.UnixTime(now.Unix()),
		RememberMe: rememberMe && in.RememberMeEnabled,
		Epoch:      epoch,
	}, now)
	if err != nil {
		return beginning{}, err
	}
	return beginning{session: sess.Refreshed(now, in.Settings), user: u, inForce: in.InForce, at: now}, nil
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

// row returns the stored row of a session that began at an instant.
func (i Issued) row(at time.Time, by store.Actor, from authz.Origin) store.Session {
	now := at.UnixMicro()
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

		AuthenticatedAt: micros(i.Session.AuthTime),
		ACR:             i.Session.ACR,
		SessionExpiry:   micros(i.Session.SessionExpiry),
	}
}

func beginEntry(by store.Actor, row store.Session, u store.User, provider string) store.Audit {
	detail, err := json.Marshal(struct {
		Session    string `json:"session"`
		RememberMe bool   `json:"remember_me"`
		Provider   string `json:"provider,omitempty"`
	}{row.ID, row.RememberMe, provider})
	if err != nil {
		panic(err) // texts
	}
	return store.Audit{
		At: row.BeganAt, Actor: by, Action: wire.ActionSignIn,
		TargetKind: "user", TargetID: u.ID, TargetName: u.Name,
		Detail: string(detail),
	}
}

// Refresh mints a new token of a session that the caller has validated. The
// transaction that records the refresh checks the session again: everything
// committed before the call applies.
func (s *Service) Refresh(ctx context.Context, sess *token.Session) (Issued, error) {
	if _, err := s.take(LimitRefresh, s.limits.refresh, sess.ID); err != nil {
		return Issued{}, err
	}
	return s.renew(ctx, authz.Caller{Session: sess}, nil)
}

// renew mints a new token of the caller's session and records that. first, if not nil,
// writes in the same transaction before the row is read, and may change the session.
func (s *Service) renew(ctx context.Context, c authz.Caller, first func(authz.Tx, *token.Session) error) (Issued, error) {
	if err := s.config.View.CatchUp(ctx); err != nil {
		return Issued{}, err
	}
	var issued Issued
	err := s.store.Record(ctx, c, authz.Caller.MayContinue, func(tx authz.Tx) (err error) {
		if err := s.config.Ring.Sync(ctx, tx.SigningKeys); err != nil {
			return err
		}
		u := *tx.Caller.User
		next := *c.Session
		if first != nil {
			if err := first(tx, &next); err != nil {
				return err
			}
		}
		if next, err = stored(ctx, tx, next); err != nil {
			return err
		}
		now := s.now()
		next = next.Refreshed(now, tx.InForce.Settings)
		if err := next.CheckTime(&tx.InForce, now); err != nil {
			return err // the limit that the row has, and the token does not
		}
		next.Issuer, next.Audience = s.config.issuer()
		next = s.identity.identify(next, u)
		if issued, err = s.mint(ctx, next, u, tx.InForce); err != nil {
			return err
		}
		return tx.RefreshSession(ctx, next.ID, next.LastRefresh.Time().UnixMicro(), next.ExpiresAt.Time().UnixMicro(), next.KeyID)
	})
	if err != nil {
		return Issued{}, err
	}
	return issued, nil
}
