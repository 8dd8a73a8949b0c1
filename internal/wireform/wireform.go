// Package wireform converts rows and settings to the JSON shapes of the API, and
// settings back. The API, the exports of the console and the command line (--json)
// share it, so that a program reads the same from each.
package wireform

import (
	"encoding/json"
	"time"

	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/settings"
)

// User returns a user without the hash of the password.
func User(u store.User) wire.User {
	w := wire.User{
		ID:          u.ID,
		Name:        u.Name,
		Permissions: append([]string{}, u.Permissions...),
		Groups:      append([]string{}, u.Groups...),
		Disabled:    u.Disabled,
		CreatedAt:   instant(u.CreatedAt),

		MustChangePassword: u.MustChangePassword,
	}
	if u.Email != "" {
		w.Email = &u.Email
	}
	w.LastSignInAt = optional(u.LastSignInAt)
	return w
}

// Key returns a signing key without its sealed part.
func Key(k store.Key) wire.Key {
	return wire.Key{
		ID: k.ID, Algorithm: k.Algorithm, State: k.State, CreatedAt: instant(k.CreatedAt),
		ActivatedAt: optional(k.ActivatedAt), RetireAt: optional(k.RetireAt), RetiredAt: optional(k.RetiredAt),
	}
}

// optional returns an instant, or nil for 0.
func optional(micros int64) *time.Time {
	if micros == 0 {
		return nil
	}
	t := instant(micros)
	return &t
}

// Client returns a client without the hashes of its secrets. secret is "" except in
// the answer to the call that has made it.
func Client(c store.Client, secret string) wire.Client {
	return wire.Client{
		ID:           c.ID,
		Name:         c.Name,
		Capabilities: append([]string{}, c.Capabilities...),
		CreatedAt:    instant(c.CreatedAt),
		Secret:       secret,
	}
}

// Audit returns an entry of the audit log. A detail that is not JSON is left out.
func Audit(e store.Audit) wire.AuditEntry {
	w := wire.AuditEntry{
		ID:     e.ID,
		At:     instant(e.At),
		Actor:  wire.AuditActor{Kind: e.Actor.Kind, ID: e.Actor.ID, Name: e.Actor.Name},
		Action: e.Action,
		Target: wire.AuditTarget{Kind: e.TargetKind, ID: e.TargetID, Name: e.TargetName},
		Reason: e.Reason, Address: e.Actor.Address, RequestID: e.Actor.RequestID,
		Epoch: int64(e.Epoch),
	}
	if json.Valid([]byte(e.Detail)) {
		w.Detail = json.RawMessage(e.Detail)
	}
	return w
}

// Settings returns settings with all members set.
func Settings(s settings.Settings) wire.Settings {
	timeout, maximum := settings.Seconds(s.SessionTimeout), settings.Seconds(s.MaximumSessionDuration)
	return wire.Settings{SessionTimeoutSeconds: &timeout, MaximumSessionDurationSeconds: &maximum, RememberMeEnabled: &s.RememberMeEnabled}
}

// ReadSettings is the inverse of Settings. It returns the fields that are missing; the
// settings are zero if there are any. It does not check bounds.
func ReadSettings(w wire.Settings) (s settings.Settings, missing []string) {
	if w.SessionTimeoutSeconds == nil {
		missing = append(missing, settings.FieldSessionTimeout)
	}
	if w.MaximumSessionDurationSeconds == nil {
		missing = append(missing, settings.FieldMaximumSessionDuration)
	}
	if w.RememberMeEnabled == nil {
		missing = append(missing, settings.FieldRememberMeEnabled)
	}
	if missing != nil {
		return settings.Settings{}, missing
	}
	return settings.Settings{
		SessionTimeout:         settings.FromSeconds(*w.SessionTimeoutSeconds),
		MaximumSessionDuration: settings.FromSeconds(*w.MaximumSessionDurationSeconds),
		RememberMeEnabled:      *w.RememberMeEnabled,
	}, nil
}

// instant returns a time of the store, which is in µs.
func instant(micros int64) time.Time { return time.UnixMicro(micros).UTC() }
