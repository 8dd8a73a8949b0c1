package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
	"example.com/curfew/settings"
)

// ErrLostRace means that the settings have changed since they were read.
var ErrLostRace = errors.New("the settings were changed meanwhile")

// AnyTag is the If-Match value that matches any settings (RFC 9110, section
// 13.1.1).
const AnyTag = "*"

func tag(in settings.InForce) string { return fmt.Sprintf(`"%d"`, in.Epoch) }

// Settings returns the settings in force, and the entity tag to change them with.
func (s *Service) Settings(ctx context.Context) (settings.InForce, string, error) {
	in, err := s.store.Settings(ctx)
	return in.InForce, tag(in.InForce), err
}

// ChangeSettings replaces the settings if ifMatch is still their entity tag;
// otherwise the error wraps [ErrLostRace]. An error that wraps settings.ErrInvalid
// reports all values out of bounds. Disabling remember me revokes every remember-me
// session.
func (s *Service) ChangeSettings(ctx context.Context, c authz.Caller, to settings.Settings, ifMatch string) (settings.InForce, string, error) {
	fail := func(err error) (settings.InForce, string, error) { return settings.InForce{}, "", err }
	if err := c.MayAdminister(); err != nil {
		return fail(err)
	}
	if err := to.Validate(s.config.MinimumTimeout); err != nil {
		return fail(err)
	}
	ending := s.store.CountForReceipt(ctx, func(ctx context.Context, live store.Live) (store.Counts, error) {
		return s.store.CountEnding(ctx, live, changed(live, to, s.now()))
	})
	var after settings.InForce
	var revoked []revocation.Revocation
	err := s.store.Update(ctx, c, authz.Caller.MayAdminister, func(tx authz.Tx) error {
		now := s.now()
		row, err := tx.Settings(ctx)
		if err != nil {
			return err
		}
		if ifMatch != AnyTag && ifMatch != tag(row.InForce) {
			return fmt.Errorf("%w: read the settings again and repeat the change", ErrLostRace)
		}
		entry := store.Audit{
			At: now.UnixMicro(), Actor: tx.Caller.Actor, Action: wire.ActionSettingsChange,
			TargetKind: "settings", Epoch: tx.Epoch, Detail: changeDetail(row.Settings, to),
		}
		revoked = nil
		if row.RememberMeEnabled && !to.RememberMeEnabled {
			entry.Scope = revocation.KindRemembered
			revoked = append(revoked, revocation.Revocation{Scope: revocation.Remembered(), Epoch: tx.Epoch})
		}
		op := authz.LoosenSettings
		if shortens(row.Settings, to) || len(revoked) > 0 {
			op = authz.EndBySettings
		}
		if err := tx.Caller.CheckRecent(op); err != nil {
			return err
		}
		if op == authz.EndBySettings {
			receipt := tx.NewReceipt(now, store.ScopeSettings, "authentication settings changed")
			if len(revoked) > 0 {
				receipt.Scope = string(revocation.KindRemembered)
			}
			setCounts(&receipt, ending)
			if err := tx.AddReceipts(ctx, receipt); err != nil {
				return err
			}
		}
		row.InForce = row.Change(to, now, tx.Epoch)
		row.LongestMaximum = max(row.LongestMaximum, settings.Seconds(to.MaximumSessionDuration))
		after = row.InForce
		if err := tx.PutSettings(ctx, row); err != nil {
			return err
		}
		if err := tx.PutRevocations(ctx, revoked...); err != nil {
			return err
		}
		return tx.AppendAudit(ctx, entry)
	})
	if err != nil {
		return fail(err)
	}
	s.WakeReceipts()
	s.config.View.Applied(revoked...)
	if err := s.config.View.AppliedUpTo(ctx, after.Epoch); err != nil {
		return fail(fmt.Errorf("%w: settings saved, but this node could not read them back: %w", store.ErrUnavailable, err))
	}
	return after, tag(after), nil
}

// shortens reports whether a change may end sessions by time.
func shortens(from, to settings.Settings) bool {
	return to.SessionTimeout < from.SessionTimeout || to.MaximumSessionDuration < from.MaximumSessionDuration
}

// changeDetail returns the detail of the audit entry of a change. The members are those
// of the API.
func changeDetail(from, to settings.Settings) string {
	type values struct {
		Timeout    int64 `json:"session_timeout_seconds"`
		Maximum    int64 `json:"maximum_session_duration_seconds"`
		RememberMe bool  `json:"remember_me_enabled"`
	}
	of := func(s settings.Settings) values {
		return values{settings.Seconds(s.SessionTimeout), settings.Seconds(s.MaximumSessionDuration), s.RememberMeEnabled}
	}
	b, err := json.Marshal(map[string]values{"from": of(from), "to": of(to)})
	if err != nil {
		panic(err) // numbers and booleans
	}
	return string(b)
}

// Preview is what a change of settings would end.
type Preview struct {
	store.Counts
	Own bool // the caller's own session is among them
}

// PreviewSettings reports what ChangeSettings would do: how many live sessions of
// how many users it would end, and whether it would end the caller's own.
func (s *Service) PreviewSettings(ctx context.Context, c authz.Caller, to settings.Settings) (Preview, error) {
	var none Preview
	if err := c.MayAdminister(); err != nil {
		return none, err
	}
	if err := to.Validate(s.config.MinimumTimeout); err != nil {
		return none, err
	}
	row, err := s.store.Settings(ctx)
	if err != nil {
		return none, err
	}
	now := s.now()
	before := store.Live{Now: now.UnixMicro(), Settings: row.InForce}
	after := changed(before, to, now)
	counts, err := s.store.CountEnding(ctx, before, after)
	if err != nil {
		return none, err
	}
	preview := Preview{Counts: counts}
	if c.Session != nil {
		preview.Own = c.Session.CheckTime(&after.Settings, now) != nil || after.WithoutRemembered && c.Session.RememberMe
	}
	return preview, nil
}

// changed returns live with the settings changed at now.
func changed(live store.Live, to settings.Settings, now time.Time) store.Live {
	live.WithoutRemembered = live.Settings.RememberMeEnabled && !to.RememberMeEnabled
	live.Settings = live.Settings.Change(to, now, live.Settings.Epoch+1)
	return live
}
