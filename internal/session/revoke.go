package session

import (
	"context"
	"fmt"
	"slices"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
	"example.com/curfew/token"
)

const (
	// MaxUsers is the maximum number of users in one revoking call.
	MaxUsers = 10_000
)

// SignOut revokes the session of a verified token (servertoken.Ending), even if
// keep_current or a password change has replaced the token by a newer one. A
// session that has already ended is no error.
func (s *Service) SignOut(ctx context.Context, sess *token.Session, from authz.Origin) error {
	return s.endSession(ctx, sess, from.Device, &call{byToken: true, entries: []store.Audit{{
		Actor:  userActor(sess.Subject, sess.Subject, from),
		Action: wire.ActionSignOut,
	}}})
}

// EndToken is SignOut on behalf of a client (RFC 7009).
func (s *Service) EndToken(ctx context.Context, c authz.Caller, sess *token.Session) error {
	row, err := s.store.Session(ctx, sess.ID)
	if err != nil && !isNotFound(err) {
		return err
	}
	return s.endSession(ctx, sess, row.Device, &call{
		caller: c, need: authz.Caller.MayContinue,
		entries: []store.Audit{{Actor: c.Actor, Action: wire.ActionRevokeSession}},
	})
}

// endSession ends the session of a verified token. device is that of the session, as
// far as it is known.
func (s *Service) endSession(ctx context.Context, sess *token.Session, device string, c *call) error {
	left, name, err := s.leftToEnd(ctx, sess)
	if err != nil || !left {
		return err
	}
	c.end = sess.ID
	c.scopes = []revocation.Scope{revocation.Session(sess.ID)}
	e := &c.entries[0]
	authz.AboutSession(e, store.Session{ID: sess.ID, UserID: sess.Subject, Device: device}, name)
	if e.Actor.Kind == store.ActorUser {
		e.Actor.Name = name
	}
	return s.group.commit(ctx, c)
}

// leftToEnd reports whether a token of the session could still be valid: this one,
// or a newer one (the row then has a later epoch). name is the name of the user, or
// the id if the name is not known.
func (s *Service) leftToEnd(ctx context.Context, sess *token.Session) (left bool, name string, err error) {
	name = sess.Subject
	if u, err := s.store.User(ctx, sess.Subject); err == nil {
		name = u.Name
	}
	revoked, err := s.store.RevokedBefore(ctx, sess.Subject, sess.ID)
	if err != nil {
		return false, name, err
	}
	before := revoked.Before(sess.RememberMe)
	if sess.Epoch >= before {
		return true, name, nil
	}
	row, err := s.store.Session(ctx, sess.ID)
	if isNotFound(err) {
		return false, name, nil
	}
	return err == nil && row.UserID == sess.Subject && row.Epoch >= before, name, err
}

// RevokeSession revokes one session of a user. The error is store.ErrNotFound if
// the user has no such session. A session that has already ended is no error.
func (s *Service) RevokeSession(ctx context.Context, c authz.Caller, userID, sid, reason string) (Receipt, error) {
	if err := c.MayRevoke(userID); err != nil {
		return Receipt{}, err
	}
	if err := account.CheckReason(reason); err != nil {
		return Receipt{}, err
	}
	if !token.ValidSessionID(sid) {
		return Receipt{}, fmt.Errorf("%w: the session id is malformed", store.ErrNotFound)
	}
	if err := s.limitRevoking(ctx, c, userID, true); err != nil {
		return Receipt{}, err
	}
	cl := &call{
		caller: c, need: authz.OnUser(authz.Caller.MayRevoke, userID),
		users: []string{userID}, session: sid, end: sid,
		scopes:  []revocation.Scope{revocation.Session(sid)},
		entries: []store.Audit{{Actor: c.Actor, Action: wire.ActionRevokeSession, Reason: reason, TargetID: userID}},
		receipt: &store.Receipt{Scope: string(revocation.KindSession), ScopeID: sid, UserID: userID},
	}
	return s.commit(ctx, c, cl, reason, 0)
}

// RevokeUser revokes all sessions of a user. keepCurrent is only for the caller's
// own sessions: the current one continues, and the receipt carries its token, in
// which only the epoch has changed. wait is the maximum time to wait until every
// validator has confirmed.
func (s *Service) RevokeUser(ctx context.Context, c authz.Caller, userID, reason string, keepCurrent bool, wait time.Duration) (Receipt, error) {
	if err := c.MayRevoke(userID); err != nil {
		return Receipt{}, err
	}
	if err := account.CheckReason(reason); err != nil {
		return Receipt{}, err
	}
	if keepCurrent && (!c.IsSelf(userID) || c.Session == nil) {
		return Receipt{}, account.InvalidField("keep_current", "is allowed only when you revoke your own sessions")
	}
	if err := s.limitRevoking(ctx, c, userID, false); err != nil {
		return Receipt{}, err
	}
	if keepCurrent {
		return s.revokeOthers(ctx, c, reason, wait)
	}
	cl := &call{
		caller: c, need: authz.OnUser(authz.Caller.MayRevoke, userID),
		users:  []string{userID},
		scopes: []revocation.Scope{revocation.User(userID)},
		entries: []store.Audit{{
			Actor: c.Actor, Action: wire.ActionRevokeUser, Reason: reason,
			TargetKind: "user", TargetID: userID, Scope: revocation.KindUser,
		}},
		receipt: &store.Receipt{Scope: string(revocation.KindUser), ScopeID: userID, UserID: userID},
	}
	return s.commit(ctx, c, cl, reason, wait)
}

// Many names the sessions that RevokeMany revokes.
type Many struct {
	Scope  string   // "everyone", "remembered" or [ScopeUsers]
	Users  []string // ids, with ScopeUsers only
	Reason string
}

// ScopeUsers is the scope of a list of users, in [Many] and in receipts.
const ScopeUsers = store.ScopeUsers

// RevokeMany revokes everyone, all remember-me sessions, or up to 10 000 users by
// id: all of them or, if one does not exist, none (see [UnknownUsers]).
func (s *Service) RevokeMany(ctx context.Context, c authz.Caller, what Many, wait time.Duration) (Receipt, error) {
	if err := c.MayAdminister(); err != nil {
		return Receipt{}, err
	}
	if err := account.CheckReason(what.Reason); err != nil {
		return Receipt{}, err
	}
	if what.Scope != ScopeUsers && len(what.Users) > 0 {
		return Receipt{}, account.InvalidField("users", "is allowed only with scope users")
	}
	op := authz.RevokeMany
	cl := &call{caller: c, receipt: &store.Receipt{Scope: what.Scope}}
	add := func(action, kind, id string, scope revocation.Scope) {
		cl.scopes = append(cl.scopes, scope)
		cl.entries = append(cl.entries, store.Audit{
			Actor: c.Actor, Action: action, Reason: what.Reason, TargetKind: kind, TargetID: id, Scope: scope.Kind})
	}
	switch what.Scope {
	case string(revocation.KindEveryone):
		add(wire.ActionRevokeEveryone, what.Scope, "", revocation.Everyone())
	case string(revocation.KindRemembered):
		add(wire.ActionRevokeRemembered, what.Scope, "", revocation.Remembered())
	case ScopeUsers:
		cl.users = slices.Clone(what.Users)
		slices.Sort(cl.users)
		cl.users = slices.Compact(cl.users)
		if n := len(cl.users); n < 1 || n > MaxUsers {
			return Receipt{}, account.InvalidField("users", "must contain 1 to %d users, but has %d", MaxUsers, n)
		}
		for _, id := range cl.users {
			add(wire.ActionRevokeUser, "user", id, revocation.User(id))
		}
		if len(cl.users) == 1 {
			op = authz.RevokeUser
		}
	default:
		return Receipt{}, account.InvalidField("scope", "must be everyone, remembered or users")
	}
	cl.need = authz.Recently(op, authz.Caller.MayAdminister)
	if err := cl.need(c); err != nil { // before sessions are counted for it
		return Receipt{}, err
	}
	if err := s.limitMany(ctx, c); err != nil {
		return Receipt{}, err
	}
	switch what.Scope {
	case ScopeUsers:
		cl.receipt.Named = int64(len(cl.users))
		if len(cl.users) == 1 {
			cl.receipt.UserID = cl.users[0]
		}
	default:
		setCounts(cl.receipt, s.countEnding(ctx, what.Scope))
	}
	return s.commit(ctx, c, cl, what.Reason, wait)
}

// RevokeFor revokes all sessions of the users that a client with the capability
// revoke names (Global Token Revocation).
func (s *Service) RevokeFor(ctx context.Context, c authz.Caller, ids []string, reason string) error {
	need := authz.Using(store.Revoke)
	if err := need(c); err != nil {
		return err
	}
	cl := &call{caller: c, need: need, users: ids, receipt: receiptOfUsers(ids)}
	cl.receipt.Reason = reason
	for _, id := range ids {
		cl.scopes = append(cl.scopes, revocation.User(id))
		cl.entries = append(cl.entries, store.Audit{
			Actor: c.Actor, Action: wire.ActionRevokeUser, Reason: reason, TargetKind: "user", TargetID: id, Scope: revocation.KindUser})
	}
	err := s.group.commit(ctx, cl)
	s.WakeReceipts()
	return err
}

// commit commits a call and returns its receipt, as c may see it.
func (s *Service) commit(ctx context.Context, c authz.Caller, cl *call, reason string, wait time.Duration) (Receipt, error) {
	cl.receipt.Reason = reason
	if err := s.group.commit(ctx, cl); err != nil {
		return Receipt{}, err
	}
	return s.committed(ctx, c, *cl.receipt, cl.committed, wait), nil
}

// revokeOthers is RevokeUser with keep_current. It checks the session inside the
// transaction, after it has taken the clock. No revocation can come in between, so
// the new epoch never overtakes one. It shares the transaction with no other call.
func (s *Service) revokeOthers(ctx context.Context, c authz.Caller, reason string, wait time.Duration) (Receipt, error) {
	var issued Issued
	var receipt store.Receipt
	err := s.store.Update(ctx, c, authz.Caller.MayContinue, func(tx authz.Tx) (err error) {
		if issued, receipt, err = s.moveOn(ctx, tx, reason); err != nil {
			return err
		}
		return tx.AppendAudit(ctx, store.Audit{
			At: s.now().UnixMicro(), Actor: tx.Caller.Actor, Action: wire.ActionRevokeUser, Reason: reason,
			TargetKind: "user", TargetID: issued.User.ID, TargetName: issued.User.Name,
			Epoch: tx.Epoch, Scope: revocation.KindUser, Detail: `{"keep_current":true}`,
		})
	})
	if err != nil {
		return Receipt{}, err
	}
	return s.kept(ctx, c, issued, receipt, wait), nil
}

// moveOn revokes all sessions of the caller at the transaction's epoch, and mints
// the token with which the caller's session continues.
func (s *Service) moveOn(ctx context.Context, tx authz.Tx, reason string) (Issued, store.Receipt, error) {
	if err := s.config.Ring.Sync(ctx, tx.SigningKeys); err != nil {
		return Issued{}, store.Receipt{}, err
	}
	next := *tx.Caller.Session
	next.Epoch = tx.Epoch
	next.Issuer, next.Audience = s.config.issuer()
	issued, err := s.mint(ctx, next, *tx.Caller.User, tx.InForce)
	if err != nil {
		return Issued{}, store.Receipt{}, err
	}
	receipt, err := tx.AddUserReceipt(ctx, s.now(), *tx.Caller.User, 1, reason)
	if err != nil {
		return Issued{}, store.Receipt{}, err
	}
	if err := tx.PutRevocations(ctx, revocation.Revocation{Scope: revocation.User(next.Subject), Epoch: tx.Epoch}); err != nil {
		return Issued{}, store.Receipt{}, err
	}
	return issued, receipt, tx.MoveSession(ctx, next.ID, tx.Epoch)
}

// kept applies the commit of moveOn and returns its receipt.
func (s *Service) kept(ctx context.Context, c authz.Caller, issued Issued, row store.Receipt, wait time.Duration) Receipt {
	committed := s.now()
	s.config.View.Applied(revocation.Revocation{Scope: revocation.User(issued.User.ID), Epoch: row.Epoch})
	r := s.committed(ctx, c, row, committed, wait)
	r.Issued = &issued
	return r
}
