package session

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
	"example.com/curfew/token"
)

// Record is the record of a session, live or not.
type Record struct {
	Live
	Provider string // the identity provider that the user signed in through; "" if there was none
	End      *End   // nil: the session is live
}

// End is how a session ended.
type End struct {
	// Reason is the reason for which its tokens are refused.
	Reason token.Reason
	At     int64 // µs; 0 if it is not known: earlier settings ended the session
	// Epoch is that of the revocation, or of the change of the key; 0 if neither has ended
	// it. A revocation of all users is the latest since the session began.
	Epoch  revocation.Epoch
	Action string // of the audit entry at that epoch; "" if there is none
}

// Record returns the record of a session of a user. The error is store.ErrNotFound if the
// user has no such session, or its record has been deleted.
func (s *Service) Record(ctx context.Context, c authz.Caller, userID, sid string) (Record, error) {
	if err := c.MayRevoke(userID); err != nil {
		return Record{}, err
	}
	if !token.ValidSessionID(sid) {
		return Record{}, fmt.Errorf("%w: the session id is malformed", store.ErrNotFound)
	}
	row, err := s.store.Session(ctx, sid)
	if err == nil && row.UserID != userID {
		err = fmt.Errorf("%w: the user has no session with that id", store.ErrNotFound)
	}
	if err != nil {
		return Record{}, err
	}
	r := Record{Live: Live{Session: row, Current: c.Session != nil && c.Session.ID == sid}}
	at, err := s.store.ProviderSession(ctx, sid)
	if err != nil && !isNotFound(err) {
		return Record{}, err
	}
	r.Provider = at.Provider
	live, err := s.live(ctx)
	if err != nil {
		return Record{}, err
	}
	all, err := s.store.LiveSessions(ctx, userID, live)
	if err != nil || slices.ContainsFunc(all, func(l store.Session) bool { return l.ID == sid }) {
		return r, err
	}
	r.End, err = s.endOf(ctx, row, live)
	return r, err
}

// endOf returns the earliest end of a session that is not live.
func (s *Service) endOf(ctx context.Context, row store.Session, live store.Live) (*End, error) {
	ends := endsByTime(row, live)
	for _, find := range []func(context.Context, store.Session) (*End, error){s.endByRevocation, s.endByKey} {
		end, err := find(ctx, row)
		if err != nil {
			return nil, err
		}
		if end != nil {
			ends = append(ends, *end)
		}
	}
	if len(ends) == 0 { // signed out by a release that kept no revocation
		return &End{Reason: token.ErrRevoked, At: row.EndedAt}, nil
	}
	end := slices.MinFunc(ends, func(a, b End) int { return cmp.Compare(a.At, b.At) })
	return &end, nil
}

// endsByTime returns the ends that the clock has brought: the rules of token.Validator.
func endsByTime(row store.Session, live store.Live) (ends []End) {
	in, now := live.Settings, second(live.Now)
	sess := token.Session{
		IssuedAt: second(row.BeganAt), LastRefresh: second(row.LastSeenAt), SessionExpiry: second(row.SessionExpiry), RememberMe: row.RememberMe,
	}
	add := func(reason token.Reason, over bool, at token.UnixTime) {
		if over && now < at {
			at = 0 // earlier settings have ended it
		}
		if over {
			ends = append(ends, End{Reason: reason, At: micros(at)})
		}
	}
	maximum, idle := sess.MaximumEnd(in.Settings), sess.IdleEnd(in.Settings)
	add(token.ErrMaximumDuration, now >= maximum || in.Over(sess.IssuedAt, row.Epoch, now), maximum)
	if !row.RememberMe {
		add(token.ErrIdleTimeout, in.Idle(sess.LastRefresh, row.Epoch, now), idle)
	}
	if len(ends) == 0 {
		expires := second(row.ExpiresAt)
		add(token.ErrExpired, now >= expires, expires)
	}
	return ends
}

// endByRevocation returns the first revocation that has ended the session; nil if there
// was none.
func (s *Service) endByRevocation(ctx context.Context, row store.Session) (*End, error) {
	revoked, err := s.store.RevokedBefore(ctx, row.UserID, row.ID)
	if err != nil {
		return nil, err
	}
	if !row.RememberMe {
		revoked.Remembered = 0
	}
	if row.Epoch < revoked.Everyone {
		// Maintain refuses tokens older than any session can be. That ends none, and is
		// not in the audit.
		entries, err := s.store.Audits(ctx, store.AuditFilter{Epoch: revoked.Everyone, Scoped: true}, 1)
		if err != nil {
			return nil, err
		}
		if len(entries) == 0 {
			revoked.Everyone = 0
		}
	}
	if row.Epoch < revoked.User {
		if revoked.User, err = s.firstOfUser(ctx, row, revoked.User); err != nil {
			return nil, err
		}
	}
	var first revocation.Epoch
	for _, epoch := range []revocation.Epoch{revoked.Everyone, revoked.Remembered, revoked.User, revoked.Session} {
		if row.Epoch < epoch && (first == 0 || epoch < first) {
			first = epoch
		}
	}
	if first == 0 {
		return nil, nil
	}
	end := &End{Reason: token.ErrRevoked, At: first.Time().UnixMicro(), Epoch: first}
	entries, err := s.store.Audits(ctx, store.AuditFilter{Epoch: first, Scoped: true}, MaxUsers)
	i := slices.IndexFunc(entries, func(e store.Audit) bool { return len(entries) == 1 || e.TargetID == row.UserID })
	if err != nil || i < 0 {
		return end, err
	}
	end.Action, end.At = entries[i].Action, entries[i].At
	return end, nil
}

// firstOfUser returns the epoch of the first revocation of all sessions of the user that
// ended the session. The store keeps the last one, and the audit has all of them.
func (s *Service) firstOfUser(ctx context.Context, row store.Session, last revocation.Epoch) (revocation.Epoch, error) {
	entries, err := s.store.Audits(ctx, store.AuditFilter{Target: row.UserID, Scoped: true, From: row.BeganAt}, MaxUsers)
	for _, e := range entries {
		if e.Scope == revocation.KindUser && e.TargetID == row.UserID && row.Epoch < e.Epoch {
			last = min(last, e.Epoch)
		}
	}
	return last, err
}

// endByKey returns the end of a session whose key is retired; nil if it is not.
func (s *Service) endByKey(ctx context.Context, row store.Session) (*End, error) {
	keys, err := s.store.Keys(ctx)
	i := slices.IndexFunc(keys, func(k store.Key) bool { return k.ID == row.KeyID && k.State == store.KeyRetired })
	if err != nil || i < 0 {
		return nil, err
	}
	return &End{Reason: token.ErrUnknownKey, At: keys[i].RetiredAt, Epoch: keys[i].Epoch}, nil
}
