package wireform

import (
	"time"

	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/token"
)

// Issued returns the answer that carries a token.
func Issued(i session.Issued) wire.Issued {
	return wire.Issued{Token: i.Token, TokenType: "Bearer", ExpiresAt: i.Session.ExpiresAt.Time(), Session: Session(i)}
}

// Session returns a session with its remaining time. No displayed end is later than
// the token's exp, except for a session that a refresh could still extend.
func Session(i session.Issued) wire.Session {
	s, in := &i.Session, i.InForce.Settings
	w := wire.Session{
		ID:          s.ID,
		User:        wire.UserRef{ID: s.Subject, Name: i.User.Name, Email: s.Email, Groups: s.Groups},
		IssuedAt:    s.IssuedAt.Time(),
		LastRefresh: s.LastRefresh.Time(),
		RememberMe:  s.RememberMe,
		Epoch:       int64(s.Epoch),
		ExpiresAt:   s.MaximumEnd(in).Time(),

		AuthTime: OptionalDate(s.AuthTime), ACR: s.ACR, SessionExpiry: OptionalDate(s.SessionExpiry),
	}
	if s.RememberMe {
		w.ExpiresAt = min(s.MaximumEnd(in), s.ExpiresAt).Time()
		return w
	}
	idle := min(s.IdleEnd(in), s.ExpiresAt, s.MaximumEnd(in)).Time()
	w.IdleExpiresAt = &idle
	return w
}

// OptionalDate returns a date, or nil for 0.
func OptionalDate(t token.UnixTime) *time.Time {
	if t == 0 {
		return nil
	}
	at := t.Time()
	return &at
}

// LiveSession returns an entry of a list of live sessions.
func LiveSession(l session.Live) wire.LiveSession {
	return wire.LiveSession{
		ID: l.ID, Device: l.Device, Address: l.Address,
		BeganAt: instant(l.BeganAt), LastSeenAt: instant(l.LastSeenAt), LastUsedAt: optional(l.UsedAt()),
		RememberMe: l.RememberMe, Current: l.Current,
	}
}

// LiveSessions returns a list, which is never nil.
func LiveSessions(sessions []session.Live) []wire.LiveSession {
	out := make([]wire.LiveSession, len(sessions))
	for i, l := range sessions {
		out[i] = LiveSession(l)
	}
	return out
}

// Receipt returns a receipt.
func Receipt(r session.Receipt) wire.Receipt {
	e := r.Enforcement
	w := wire.Receipt{
		Scope: r.Scope, ID: r.ScopeID,
		By:          wire.AuditActor{Kind: r.Actor.Kind, ID: r.Actor.ID, Name: r.Actor.Name},
		Users:       counted(r.Users),
		Sessions:    counted(r.Sessions),
		Named:       r.Named,
		CommittedAt: instant(r.CommittedAt), RevokedBefore: r.Epoch.String(), Epoch: int64(r.Epoch), Reason: r.Reason,
		Enforcement: wire.Enforcement{
			Validators: e.Validators, Confirmed: e.Confirmed, Waiting: append([]string{}, e.Waiting...),
			EffectiveEverywhere: e.EffectiveEverywhere, EffectiveBy: e.EffectiveBy,
			Lapsed: make([]wire.Lapse, len(e.Lapsed)), Unreadable: e.Unreadable,
		},
	}
	if r.UserID != "" {
		w.Target = &wire.UserRef{ID: r.UserID, Name: r.UserName}
	}
	for i, l := range e.Lapsed {
		w.Enforcement.Lapsed[i] = wire.Lapse{Name: l.Name, At: instant(l.At)}
	}
	if r.Closed() {
		at, by := instant(r.ClosedAt), r.ClosedBy
		w.Enforcement.ClosedAt, w.Enforcement.ClosedBy = &at, &by
	}
	if r.Issued != nil {
		issued := Issued(*r.Issued)
		w.Issued = &issued
	}
	return w
}

func counted(n int64) *int64 {
	if n == store.NotCounted {
		return nil
	}
	return &n
}
