package session

import (
	"context"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
	"example.com/curfew/token"
)

const (
	mostUsers     = 10_000 // in one revoking call
	longestReason = 1000   // bytes
)

// mayRevoke: everybody their own, holders of UserEdit or AdministerSystem
// anybody's.
func mayRevoke(c account.Caller, userID string) error {
	if c.Trusted || c.IsSelf(userID) || c.Can(store.UserEdit) || c.Can(store.AdministerSystem) {
		return nil
	}
	return account.Forbidden(store.UserEdit)
}

func administrates(c account.Caller) error {
	if c.Trusted || c.Can(store.AdministerSystem) {
		return nil
	}
	return account.Forbidden(store.AdministerSystem)
}

func checkReason(reason string) error {
	if len(reason) > longestReason || !utf8.ValidString(reason) {
		return account.InvalidField("reason", "must be UTF-8 text of at most %d bytes", longestReason)
	}
	return nil
}

// SignOut revokes the session of the caller. A session that has ended already is
// no error.
func (s *Service) SignOut(ctx context.Context, sess *token.Session, from account.Origin) error {
	name := sess.Subject
	if u, err := s.store.User(ctx, sess.Subject); err == nil {
		name = u.Name
	}
	return s.group.commit(ctx, &call{
		end:    sess.ID,
		scopes: []revocation.Scope{revocation.Session(sess.ID)},
		entries: []store.Audit{{
			Actor:  store.Actor{Kind: store.ActorUser, ID: sess.Subject, Name: name, Address: from.Address, RequestID: from.RequestID},
			Action: wire.ActionSignOut, TargetKind: "session", TargetID: sess.ID, Scope: revocation.KindSession,
		}},
	})
}

// EndToken revokes the session of a token on behalf of a client (RFC 7009).
func (s *Service) EndToken(ctx context.Context, c account.Caller, sess *token.Session) error {
	return s.group.commit(ctx, &call{
		end:    sess.ID,
		scopes: []revocation.Scope{revocation.Session(sess.ID)},
		entries: []store.Audit{{
			Actor: c.Actor, Action: wire.ActionRevokeSession,
			TargetKind: "session", TargetID: sess.ID, Scope: revocation.KindSession,
		}},
	})
}

// RevokeSession revokes one session of a user. store.ErrNotFound if the user has
// no such session; one that has ended already is no error.
func (s *Service) RevokeSession(ctx context.Context, c account.Caller, userID, sid, reason string) (wire.Receipt, error) {
	if err := mayRevoke(c, userID); err != nil {
		return wire.Receipt{}, err
	}
	if err := checkReason(reason); err != nil {
		return wire.Receipt{}, err
	}
	if !token.ValidSessionID(sid) {
		return wire.Receipt{}, fmt.Errorf("%w: no session has an id of that form", store.ErrNotFound)
	}
	cl := &call{
		users: []string{userID}, session: sid, end: sid,
		scopes: []revocation.Scope{revocation.Session(sid)},
		entries: []store.Audit{{
			Actor: c.Actor, Action: wire.ActionRevokeSession, Reason: reason,
			TargetKind: "session", TargetID: sid, TargetName: userID, Scope: revocation.KindSession,
		}},
	}
	return s.commit(ctx, c, cl, string(revocation.KindSession), sid, reason, 0)
}

// RevokeUser revokes all sessions of a user. With keepCurrent, which is for
// oneself alone, the caller's session goes on: the receipt carries its token with
// nothing changed but the epoch. wait is how long to wait for every validator to
// confirm.
func (s *Service) RevokeUser(ctx context.Context, c account.Caller, userID, reason string, keepCurrent bool, wait time.Duration) (wire.Receipt, error) {
	if err := mayRevoke(c, userID); err != nil {
		return wire.Receipt{}, err
	}
	if err := checkReason(reason); err != nil {
		return wire.Receipt{}, err
	}
	if keepCurrent {
		if !c.IsSelf(userID) || c.Session == nil {
			return wire.Receipt{}, account.InvalidField("keep_current", "is for one's own sessions only")
		}
		return s.revokeOthers(ctx, c, reason, wait)
	}
	cl := &call{
		users:  []string{userID},
		scopes: []revocation.Scope{revocation.User(userID)},
		entries: []store.Audit{{
			Actor: c.Actor, Action: wire.ActionRevokeUser, Reason: reason,
			TargetKind: "user", TargetID: userID, Scope: revocation.KindUser,
		}},
	}
	return s.commit(ctx, c, cl, string(revocation.KindUser), userID, reason, wait)
}

// RevokeMany revokes everyone, all remember-me sessions, or up to 10 000 users by
// id: all of them or, if one does not exist, none (see [UnknownUsers]).
func (s *Service) RevokeMany(ctx context.Context, c account.Caller, what wire.RevokeMany, wait time.Duration) (wire.Receipt, error) {
	if err := administrates(c); err != nil {
		return wire.Receipt{}, err
	}
	if err := checkReason(what.Reason); err != nil {
		return wire.Receipt{}, err
	}
	if what.Scope != "users" && len(what.Users) > 0 {
		return wire.Receipt{}, account.InvalidField("users", "goes with scope users only")
	}
	cl := &call{}
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
	case "users":
		cl.users = slices.Clone(what.Users)
		slices.Sort(cl.users)
		cl.users = slices.Compact(cl.users)
		if n := len(cl.users); n < 1 || n > mostUsers {
			return wire.Receipt{}, account.InvalidField("users", "must name 1 to %d users, these are %d", mostUsers, n)
		}
		for _, id := range cl.users {
			add(wire.ActionRevokeUser, "user", id, revocation.User(id))
		}
	default:
		return wire.Receipt{}, account.InvalidField("scope", "must be everyone, remembered or users")
	}
	r, err := s.commit(ctx, c, cl, what.Scope, "", what.Reason, wait)
	r.Users = len(cl.users)
	return r, err
}

// RevokeFor revokes all sessions of users whom a client with the capability
// revoke names (Global Token Revocation).
func (s *Service) RevokeFor(ctx context.Context, c account.Caller, ids []string, reason string) error {
	if !c.Trusted && !c.Client.Can(store.Revoke) {
		return account.Forbidden(store.Revoke)
	}
	cl := &call{users: ids}
	for _, id := range ids {
		cl.scopes = append(cl.scopes, revocation.User(id))
		cl.entries = append(cl.entries, store.Audit{
			Actor: c.Actor, Action: wire.ActionRevokeUser, Reason: reason, TargetKind: "user", TargetID: id, Scope: revocation.KindUser})
	}
	return s.group.commit(ctx, cl)
}

// commit commits a call and returns its receipt, as c may see it.
func (s *Service) commit(ctx context.Context, c account.Caller, cl *call, scope, id, reason string, wait time.Duration) (wire.Receipt, error) {
	if err := s.group.commit(ctx, cl); err != nil {
		return wire.Receipt{}, err
	}
	return s.receipt(ctx, c, scope, id, reason, cl.epoch, cl.committed, wait), nil
}

// revokeOthers is RevokeUser with keep_current. The session is held against the
// store inside the transaction, after the clock has been taken: no revocation can
// come between, so none is ever outrun by the new epoch. It shares the
// transaction with no other call.
func (s *Service) revokeOthers(ctx context.Context, c account.Caller, reason string, wait time.Duration) (wire.Receipt, error) {
	var issued Issued
	var epoch revocation.Epoch
	err := s.store.Update(ctx, func(tx store.Tx) (err error) {
		if epoch, err = tx.Advance(ctx, s.now()); err != nil {
			return err
		}
		if issued, err = s.moveOn(ctx, tx, c.Session, epoch); err != nil {
			return err
		}
		return tx.AppendAudit(ctx, store.Audit{
			At: s.now().UnixMicro(), Actor: c.Actor, Action: wire.ActionRevokeUser, Reason: reason,
			TargetKind: "user", TargetID: issued.User.ID, TargetName: issued.User.Name,
			Epoch: epoch, Scope: revocation.KindUser, Detail: `{"keep_current":true}`,
		})
	})
	if err != nil {
		return wire.Receipt{}, err
	}
	return s.kept(ctx, c, issued, epoch, reason, wait), nil
}

// moveOn revokes all sessions of the user of sess at epoch and mints the token
// with which sess goes on. The caller holds the clock.
func (s *Service) moveOn(ctx context.Context, tx store.Tx, sess *token.Session, epoch revocation.Epoch) (Issued, error) {
	u, in, err := s.stillGood(ctx, tx, sess)
	if err != nil {
		return Issued{}, err
	}
	keys, err := tx.Keys(ctx)
	if err != nil {
		return Issued{}, err
	}
	if !slices.ContainsFunc(keys, func(k store.Key) bool { return k.ID == sess.KeyID && k.State != store.KeyRetired }) {
		return Issued{}, fmt.Errorf("%w: the key was retired", token.ErrUnknownKey)
	}
	if err := s.config.Ring.Sync(ctx, keys); err != nil {
		return Issued{}, err
	}
	next := *sess
	next.Epoch = epoch
	issued, err := s.mint(ctx, next, u, in)
	if err != nil {
		return Issued{}, err
	}
	if err := tx.PutRevocations(ctx, revocation.Revocation{Scope: revocation.User(u.ID), Epoch: epoch}); err != nil {
		return Issued{}, err
	}
	return issued, tx.MoveSession(ctx, sess.ID, epoch)
}

// kept applies what moveOn has committed and returns its receipt.
func (s *Service) kept(ctx context.Context, c account.Caller, issued Issued, epoch revocation.Epoch, reason string, wait time.Duration) wire.Receipt {
	committed := s.now()
	s.config.View.Applied(revocation.Revocation{Scope: revocation.User(issued.User.ID), Epoch: epoch})
	r := s.receipt(ctx, c, string(revocation.KindUser), issued.User.ID, reason, epoch, committed, wait)
	w := issued.Wire()
	r.Issued = &w
	return r
}
