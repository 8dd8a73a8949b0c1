package wireform

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"
	"time"

	"example.com/curfew/internal/feed"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/settings"
)

func TestJSON(t *testing.T) {
	for want, value := range map[string]any{
		`{"id":"u","name":"Ann","email":null,"permissions":[],"groups":[],"disabled":false,"must_change_password":false,"created_at":"1970-01-01T00:00:01.000002Z","last_sign_in_at":null}`: User(store.User{ID: "u", Name: "Ann", CreatedAt: 1_000_002, PasswordHash: "secret"}),
		`{"id":"u","name":"Ann","email":"a@b.c","permissions":["UserEdit"],"groups":["ops"],"disabled":true,"must_change_password":true,"created_at":"1970-01-01T00:00:00Z","last_sign_in_at":"1970-01-01T00:00:02Z"}`: User(store.User{
			ID: "u", Name: "Ann", Email: "a@b.c", Permissions: []string{"UserEdit"}, Groups: []string{"ops"}, Disabled: true, MustChangePassword: true, LastSignInAt: 2_000_000}),
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

// What the API shows can be read back without loss.
func TestBackAndForth(t *testing.T) {
	for _, u := range []store.User{
		{ID: "u", Name: "Ann", Permissions: []string{}, Groups: []string{}, CreatedAt: 1_000_002},
		{ID: "u", Name: "Ann", Email: "a@b.c", Permissions: []string{"UserEdit"}, Groups: []string{"ops"}, Disabled: true, MustChangePassword: true, CreatedAt: 1, LastSignInAt: 2},
	} {
		if got := ReadUser(User(u)); !reflect.DeepEqual(got, u) {
			t.Errorf("%+v, want %+v", got, u)
		}
	}
	live := session.Live{Session: store.Session{ID: "s", Device: "d", Address: "192.0.2.1", BeganAt: 1, LastSeenAt: 2, LastUsedAt: 3, RememberMe: true}, Current: true}
	if got := ReadLiveSession(LiveSession(live)); got != live {
		t.Errorf("%+v, want %+v", got, live)
	}
	entry := store.Audit{
		ID: 7, At: 1, Actor: store.Actor{Kind: "user", ID: "a", Name: "A", Address: "192.0.2.1", RequestID: "q"}, Action: "x",
		TargetKind: "user", TargetID: "b", TargetName: "B", Reason: "r", Epoch: 9, Detail: `{"a":1}`,
	}
	if got := ReadAudit(Audit(entry)); got != entry {
		t.Errorf("%+v, want %+v", got, entry)
	}
	for _, k := range []store.Key{{ID: "k", Algorithm: "ES256", State: "next", CreatedAt: 1}, {ID: "k", State: "retired", CreatedAt: 1, ActivatedAt: 2, RetireAt: 3, RetiredAt: 4}} {
		if got := ReadKey(Key(k)); !reflect.DeepEqual(got, k) {
			t.Errorf("%+v, want %+v", got, k)
		}
	}
	lapsed := []store.Lapse{{Name: "n", At: 3}}
	closed := store.Closing{ClosedAt: 5, ClosedBy: store.ByLease, Validators: 2, Confirmed: 1, Lapsed: lapsed, EffectiveBy: 6}
	open := session.Receipt{
		Receipt: store.Receipt{
			Epoch: 9, Scope: store.ScopeUsers, Reason: "r", Actor: store.Actor{Kind: "cli", Name: "c"},
			Users: store.NotCounted, Sessions: 0, Named: 2, CommittedAt: 4,
		},
		Enforcement: feed.Enforcement{Validators: 2, Confirmed: 1, Waiting: []string{"n"}, EffectiveBy: time.UnixMicro(6).UTC()},
	}
	whole := open
	whole.Scope, whole.ScopeID, whole.UserID, whole.UserName, whole.Named = "user", "u", "u", "Ann", 0
	whole.Closing = closed
	whole.Enforcement.Waiting, whole.Enforcement.Lapsed, whole.Enforcement.EffectiveEverywhere = []string{}, lapsed, true
	for _, r := range []session.Receipt{open, whole} {
		if got := ReadReceipt(Receipt(r)); !reflect.DeepEqual(got, r) {
			t.Errorf("%+v\nwant %+v", got, r)
		}
	}
}
