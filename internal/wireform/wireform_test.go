package wireform

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/settings"
)

func TestJSON(t *testing.T) {
	for want, value := range map[string]any{
		`{"id":"u","name":"Ann","email":null,"permissions":[],"groups":[],"disabled":false,"created_at":"1970-01-01T00:00:01.000002Z","last_sign_in_at":null}`: User(store.User{ID: "u", Name: "Ann", CreatedAt: 1_000_002, PasswordHash: "secret"}),
		`{"id":"u","name":"Ann","email":"a@b.c","permissions":["UserEdit"],"groups":["ops"],"disabled":true,"created_at":"1970-01-01T00:00:00Z","last_sign_in_at":"1970-01-01T00:00:02Z"}`: User(store.User{
			ID: "u", Name: "Ann", Email: "a@b.c", Permissions: []string{"UserEdit"}, Groups: []string{"ops"}, Disabled: true, LastSignInAt: 2_000_000}),
		`{"id":"c","name":"C","capabilities":[],"created_at":"1970-01-01T00:00:00Z"}`:                            Client(store.Client{ID: "c", Name: "C", SecretHash: "hash", OldSecretHash: "hash"}, ""),
		`{"id":"c","name":"C","capabilities":["follow"],"created_at":"1970-01-01T00:00:00Z","secret":"s"}`:       Client(store.Client{ID: "c", Name: "C", Capabilities: []string{"follow"}}, "s"),
		`{"session_timeout_seconds":1200,"maximum_session_duration_seconds":1728000,"remember_me_enabled":true}`: Settings(settings.Default()),
		`{"id":7,"at":"1970-01-01T00:00:00.000001Z","actor":{"kind":"user","id":"a","name":"A"},"action":"x","target":{"kind":"user","id":"b","name":"B"},"reason":"r","address":"192.0.2.1","request_id":"q","epoch":9,"detail":{"a":1}}`: Audit(store.Audit{
			ID: 7, At: 1, Actor: store.Actor{Kind: "user", ID: "a", Name: "A", Address: "192.0.2.1", RequestID: "q"}, Action: "x",
			TargetKind: "user", TargetID: "b", TargetName: "B", Reason: "r", Epoch: 9, Detail: `{"a":1}`}),
		`{"id":0,"at":"1970-01-01T00:00:00Z","actor":{"kind":"","id":"","name":""},"action":"","target":{"kind":"","id":"","name":""},"reason":"","address":"","request_id":""}`: Audit(store.Audit{Detail: "{"}),
	} {
		got, err := json.Marshal(value)
		if err != nil || string(got) != want {
			t.Errorf("%s, %v\nwant %s", got, err, want)
		}
	}
}

func TestSettingsBackAndForth(t *testing.T) {
	for _, s := range []settings.Settings{{}, settings.Default(), {SessionTimeout: time.Minute, MaximumSessionDuration: settings.MaxDuration}} {
		if got, missing := ReadSettings(Settings(s)); got != s || missing != nil {
			t.Errorf("%+v, missing %q, want %+v", got, missing, s)
		}
	}
	got, missing := ReadSettings(wire.Settings{})
	want := []string{settings.FieldSessionTimeout, settings.FieldMaximumSessionDuration, settings.FieldRememberMeEnabled}
	if got != (settings.Settings{}) || !slices.Equal(missing, want) {
		t.Errorf("of nothing: %+v, missing %q, want %q", got, missing, want)
	}
}
