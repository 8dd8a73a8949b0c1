package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/internal/wireform"
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
	s.config.View.Applied(revoked...)
	if err := s.config.View.AppliedUpTo(ctx, after.Epoch); err != nil {
		return fail(fmt.Errorf("%w: settings saved, but this node could not read them back: %w", store.ErrUnavailable, err))
	}
	return after, tag(after), nil
}

func changeDetail(from, to settings.Settings) string {
	b, err := json.Marshal(map[string]wire.Settings{"from": wireform.Settings(from), "to": wireform.Settings(to)})
	if err != nil {
		panic(err) // numbers and booleans
	}
	return string(b)
}

// PreviewSettings reports what ChangeSettings would do: how many live sessions of
// how many users it would end, and whether it would end the caller's own.
func (s *Service) PreviewSettings(ctx context.Context, c authz.Caller, to settings.Settings) (wire.SettingsPreview, error) {
	var none wire.SettingsPreview
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
	after := store.Live{
		Now:               now.UnixMicro(),
		Settings:          row.Change(to, now, row.Epoch+1),
		WithoutRemembered: row.RememberMeEnabled && !to.RememberMeEnabled,
	}
	counts, err := s.store.CountEnding(ctx, before, after)
	if err != nil {
		return none, err
	}
	preview := wire.SettingsPreview{Sessions: counts.Sessions, Users: counts.Users}
	if c.Session != nil {
		preview.Own = c.Session.CheckTime(&after.Settings, now) != nil || after.WithoutRemembered && c.Session.RememberMe
	}
	return preview, nil
}
