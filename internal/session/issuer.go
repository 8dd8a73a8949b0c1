package session

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
)

// MaxKeep is the maximum time for which the issuer before is accepted: no session
// lives longer.
const MaxKeep = 400 * 24 * time.Hour

// IssuerChange is a change of the issuer.
type IssuerChange struct {
	Issuer string // checked by the caller
	// Audience are the new audiences. Nil: the old issuer among them is replaced by
	// the new one; with KeepUntil, the new one is added.
	Audience []string
	// KeepUntil is the instant until which sessions of the issuer before are accepted.
	// Zero: all sessions end now.
	KeepUntil time.Time
	Reason    string
}

// SetIssuer changes the issuer of all tokens to come. Users, services, sessions'
// records and the audit stay. Without KeepUntil it revokes everyone in the same
// transaction, and returns the receipt; otherwise receipt is nil. Servers go on, and
// should be restarted: they serve at the path of the issuer that they were started
// with.
func (s *Service) SetIssuer(ctx context.Context, c authz.Caller, change IssuerChange) (in store.Installation, receipt *Receipt, err error) {
	if err := account.CheckReason(change.Reason); err != nil {
		return in, nil, err
	}
	keep := !change.KeepUntil.IsZero()
	if left := change.KeepUntil.Sub(s.now()); keep && (left <= 0 || left > MaxKeep) {
		return in, nil, account.InvalidField("keep_sessions_until", "must be in the future, at most %d days ahead", MaxKeep/(24*time.Hour))
	}
	ending := s.store.CountForReceipt(ctx, func(ctx context.Context, live store.Live) (store.Counts, error) {
		return s.store.CountLive(ctx, live, "", "")
	})
	var row store.Receipt
	err = s.store.Update(ctx, c, authz.Recently(authz.ChangeIssuer, authz.Caller.MayAdminister), func(tx authz.Tx) error {
		before, err := tx.Installation(ctx)
		if err != nil {
			return err
		}
		if before.Issuer == change.Issuer {
			return account.InvalidField("issuer", "is already %q", change.Issuer)
		}
		if err := change.checkKeeping(before, s.now()); keep && err != nil {
			return err
		}
		in = change.apply(before, s.now())
		in.Epoch = tx.Epoch
		if err := tx.PutInstallation(ctx, in); err != nil {
			return err
		}
		members := map[string]any{"from": before.Issuer, "to": in.Issuer, "audience": in.Audience}
		if keep {
			members["keep_sessions_until"] = change.KeepUntil.UTC().Truncate(time.Second)
		}
		detail, err := json.Marshal(members)
		if err != nil {
			return err
		}
		entry := store.Audit{
			At: s.now().UnixMicro(), Actor: tx.Caller.Actor, Action: wire.ActionIssuer, Reason: change.Reason,
			TargetKind: "settings", Epoch: tx.Epoch, Detail: string(detail),
		}
		if !keep {
			entry.TargetKind, entry.Scope = string(revocation.KindEveryone), revocation.KindEveryone
			row = tx.NewReceipt(s.now(), entry.TargetKind, cmp.Or(change.Reason, "issuer changed"))
			setCounts(&row, ending)
			if err := tx.AddReceipts(ctx, row); err != nil {
				return err
			}
			if err := tx.PutRevocations(ctx, revocation.Revocation{Scope: revocation.Everyone(), Epoch: tx.Epoch}); err != nil {
				return err
			}
		}
		return tx.AppendAudit(ctx, entry)
	})
	if err != nil || keep {
		return in, nil, err
	}
	committed := s.now()
	s.config.View.Applied(revocation.Revocation{Scope: revocation.Everyone(), Epoch: in.Epoch})
	r := s.committed(ctx, c, row, committed, 0)
	return in, &r, nil
}

// checkKeeping checks that the change, which keeps sessions, ends none and brings back
// none.
func (c IssuerChange) checkKeeping(before store.Installation, now time.Time) error {
	for _, f := range before.Former {
		if f.Issuer == c.Issuer && f.Until <= now.Unix() {
			return account.InvalidField("keep_sessions_until", "must not be given: sessions of %q have been over since %s and would be valid again; without it all sessions end",
				c.Issuer, time.Unix(f.Until, 0).UTC().Format(time.RFC3339))
		}
	}
	// Servers check the first audience, and followers any of them.
	if c.Audience == nil || len(before.Audience) == 0 {
		return nil
	}
	for _, audience := range before.Audience {
		if !slices.Contains(c.Audience, audience) {
			return account.InvalidField("audience", "must contain %q: the sessions that are kept are for it", audience)
		}
	}
	if c.Audience[0] != before.Audience[0] {
		return account.InvalidField("audience", "must begin with %q: the sessions that are kept are for it, and servers check the first", before.Audience[0])
	}
	return nil
}

// apply returns the installation after the change.
func (c IssuerChange) apply(before store.Installation, now time.Time) store.Installation {
	after := store.Installation{Issuer: c.Issuer, Audience: c.Audience}
	keep := !c.KeepUntil.IsZero()
	if after.Audience == nil {
		after.Audience = slices.Clone(before.Audience)
		switch i := slices.Index(after.Audience, before.Issuer); {
		case i < 0 || slices.Contains(after.Audience, c.Issuer):
		case keep: // sessions that go on name the old one
			after.Audience = append(after.Audience, c.Issuer)
		default:
			after.Audience[i] = c.Issuer
		}
	}
	if !keep {
		return after
	}
	// A former issuer stays after its end, as long as its sessions could be brought back.
	for _, f := range append(before.Former, store.FormerIssuer{Issuer: before.Issuer, Until: c.KeepUntil.Unix()}) {
		if f.Issuer != c.Issuer && f.Until > now.Add(-MaxKeep).Unix() {
			after.Former = append(after.Former, f)
		}
	}
	return after
}
