package wireform

import (
	"time"

	"example.com/curfew/internal/feed"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
)

// The functions below are the inverse of those that write. A program that reads
// answers of the API gets the rows back, without what the API does not show.

// ReadUser returns a user. The API shows no password hash.
func ReadUser(w wire.User) store.User {
	u := store.User{
		ID: w.ID, Name: w.Name, Permissions: w.Permissions, Groups: w.Groups, Disabled: w.Disabled, MustChangePassword: w.MustChangePassword, CreatedAt: w.CreatedAt.UnixMicro(),
	}
	if w.Email != nil {
		u.Email = *w.Email
	}
	u.LastSignInAt = readOptional(w.LastSignInAt)
	return u
}

// ReadLiveSession returns an entry of a list of live sessions.
func ReadLiveSession(w wire.LiveSession) session.Live {
	return session.Live{
		Session: store.Session{
			ID: w.ID, Device: w.Device, Address: w.Address,
			BeganAt: w.BeganAt.UnixMicro(), LastSeenAt: w.LastSeenAt.UnixMicro(), LastUsedAt: readOptional(w.LastUsedAt), RememberMe: w.RememberMe,
		},
		Current: w.Current,
	}
}

// ReadAudit returns an entry of the audit log.
func ReadAudit(w wire.AuditEntry) store.Audit {
	return store.Audit{
		ID: w.ID, At: w.At.UnixMicro(), Action: w.Action, Reason: w.Reason, Epoch: revocation.Epoch(w.Epoch), Detail: string(w.Detail),
		Actor:      store.Actor{Kind: w.Actor.Kind, ID: w.Actor.ID, Name: w.Actor.Name, Address: w.Address, RequestID: w.RequestID},
		TargetKind: w.Target.Kind, TargetID: w.Target.ID, TargetName: w.Target.Name,
	}
}

// ReadReceipt returns a receipt, without a token.
func ReadReceipt(w wire.Receipt) session.Receipt {
	e := w.Enforcement
	r := session.Receipt{
		Receipt: store.Receipt{
			Epoch: revocation.Epoch(w.Epoch), Scope: w.Scope, ScopeID: w.ID, Reason: w.Reason, Named: w.Named,
			Actor: store.Actor{Kind: w.By.Kind, ID: w.By.ID, Name: w.By.Name},
			Users: readCount(w.Users), Sessions: readCount(w.Sessions), CommittedAt: w.CommittedAt.UnixMicro(),
		},
		Enforcement: feed.Enforcement{
			Validators: e.Validators, Confirmed: e.Confirmed, Waiting: e.Waiting,
			EffectiveEverywhere: e.EffectiveEverywhere, EffectiveBy: e.EffectiveBy, Unreadable: e.Unreadable,
		},
	}
	if w.Target != nil {
		r.UserID, r.UserName = w.Target.ID, w.Target.Name
	}
	for _, l := range e.Lapsed {
		r.Enforcement.Lapsed = append(r.Enforcement.Lapsed, store.Lapse{Name: l.Name, At: l.At.UnixMicro()})
	}
	if e.ClosedAt != nil && e.ClosedBy != nil {
		r.Closing = store.Closing{
			ClosedAt: e.ClosedAt.UnixMicro(), ClosedBy: *e.ClosedBy, Validators: e.Validators, Confirmed: e.Confirmed,
			Lapsed: r.Enforcement.Lapsed, EffectiveBy: e.EffectiveBy.UnixMicro(),
		}
	}
	return r
}

// ReadClient returns a service client, without its secret.
func ReadClient(w wire.Client) store.Client {
	return store.Client{ID: w.ID, Name: w.Name, Capabilities: w.Capabilities, CreatedAt: w.CreatedAt.UnixMicro()}
}

// ReadKey returns a signing key.
func ReadKey(w wire.Key) store.Key {
	return store.Key{
		ID: w.ID, Algorithm: w.Algorithm, State: w.State, CreatedAt: w.CreatedAt.UnixMicro(),
		ActivatedAt: readOptional(w.ActivatedAt), RetireAt: readOptional(w.RetireAt), RetiredAt: readOptional(w.RetiredAt),
	}
}

func readOptional(t *time.Time) int64 {
	if t == nil {
		return 0
	}
	return t.UnixMicro()
}

func readCount(n *int64) int64 {
	if n == nil {
		return store.NotCounted
	}
	return *n
}

// Instant returns an instant in microseconds as the API's queries have it: RFC 3339.
func Instant(micros int64) string { return instant(micros).Format(time.RFC3339Nano) }
