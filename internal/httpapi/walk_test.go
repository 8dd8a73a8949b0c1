package httpapi

import (
	"testing"

	"example.com/curfew/internal/wire"
)

// The walk of cmd/curfew/docs/api.md.
func TestWalk(t *testing.T) {
	for name, options := range engines(t) {
		t.Run(name, func(t *testing.T) { walkThrough(t, start(t, options(t)...)) })
	}
}

func engines(*testing.T) map[string]func(*testing.T) []option {
	return map[string]func(*testing.T) []option{
		"sqlite":   func(*testing.T) []option { return nil },
		"postgres": func(t *testing.T) []option { return []option{onPostgres(t)} },
	}
}

func walkThrough(t *testing.T, s *server) {
	// Sign in, with and without remember me.
	var admin, remembered wire.Issued
	s.do("POST", "/v1/sessions", wire.SignIn{Username: "Admin", Password: password}).must(201, &admin)
	s.do("POST", "/v1/sessions", wire.SignIn{Username: "admin", Password: password, RememberMe: true}).must(201, &remembered)
	if admin.Session.IdleExpiresAt == nil || admin.Session.RememberMe {
		t.Errorf("an ordinary session: %+v", admin.Session)
	}
	if remembered.Session.IdleExpiresAt != nil || !remembered.Session.RememberMe || !remembered.ExpiresAt.Equal(remembered.Session.ExpiresAt) {
		t.Errorf("a remember-me session: %+v", remembered.Session)
	}
	s.do("POST", "/v1/sessions", wire.SignIn{Username: "admin", Password: "not the password"}).problem(401, "bad_credentials")

	// Who am I; refresh.
	me := bearerToken(admin.Token)
	var described wire.Session
	s.do("GET", "/v1/session", nil, me).must(200, &described)
	if described.ID != admin.Session.ID || described.User.Name != "admin" || described.User.ID != s.admin.ID {
		t.Errorf("GET /v1/session: %+v", described)
	}
	var refreshed wire.Issued
	s.do("POST", "/v1/session/refresh", nil, me).must(200, &refreshed)
	if refreshed.Session.ID != admin.Session.ID || !refreshed.Session.IssuedAt.Equal(admin.Session.IssuedAt) || refreshed.Session.Epoch != admin.Session.Epoch {
		t.Errorf("refreshed: %+v, was %+v", refreshed.Session, admin.Session)
	}

	// Change the session timeout and see it bind the token that is there.
	var before, after wire.Settings
	got := s.do("GET", "/v1/settings/authentication", nil, me).must(200, &before)
	body := `{"session_timeout_seconds":600,"maximum_session_duration_seconds":1728000,"remember_me_enabled":true}`
	s.do("PUT", "/v1/settings/authentication", body, me).problem(428, "precondition_required")
	var preview wire.SettingsPreview
	s.do("PUT", "/v1/settings/authentication?dry_run=true", body, me).must(200, &preview)
	if preview.Own {
		t.Errorf("preview: %+v", preview)
	}
	put := s.do("PUT", "/v1/settings/authentication", body, me, header{"If-Match", got.Header.Get("ETag")}).must(200, &after)
	if *after.SessionTimeoutSeconds != 600 || put.Header.Get("ETag") == got.Header.Get("ETag") {
		t.Errorf("after the change: %s, ETag %s", put.body, put.Header.Get("ETag"))
	}
	s.do("PUT", "/v1/settings/authentication", body, me, header{"If-Match", got.Header.Get("ETag")}).problem(412, "precondition_failed")
	var shortened wire.Session
	s.do("GET", "/v1/session", nil, me).must(200, &shortened)
	if d := shortened.IdleExpiresAt.Sub(shortened.LastRefresh).Seconds(); d != 600 {
		t.Errorf("the session times out %v s after its last refresh, want 600", d)
	}

	// A user with UserEdit revokes another user's sessions.
	var editor, ann wire.User
	s.do("POST", "/v1/users", `{"name":"Editor","password":"`+password+`","permissions":["UserEdit"]}`, me).must(201, &editor)
	s.do("POST", "/v1/users", `{"name":"ann","password":"`+password+`","email":"ann@example.com"}`, me).must(201, &ann)
	var asEditor, asAnn, again wire.Issued
	s.do("POST", "/v1/sessions", wire.SignIn{Username: "editor", Password: password}).must(201, &asEditor)
	s.do("POST", "/v1/sessions", wire.SignIn{Username: "ANN", Password: password}).must(201, &asAnn)
	s.do("GET", "/v1/users", nil, bearerToken(asAnn.Token)).problem(403, "forbidden")
	s.do("POST", path("/v1/users/%s/revocations", editor.ID), `{}`, bearerToken(asAnn.Token)).problem(403, "forbidden")

	var receipt wire.Receipt
	s.do("POST", path("/v1/users/%s/revocations", ann.ID), `{"reason":"lost device"}`, bearerToken(asEditor.Token), header{"Prefer", "wait=5"}).must(201, &receipt)
	if receipt.Scope != "user" || receipt.ID != ann.ID || receipt.Reason != "lost device" || !receipt.Enforcement.EffectiveEverywhere || receipt.Issued != nil {
		t.Errorf("receipt: %+v", receipt)
	}
	s.do("GET", "/v1/session", nil, bearerToken(asAnn.Token)).problem(401, "revoked")
	s.do("POST", "/v1/sessions", wire.SignIn{Username: "ann", Password: password}).must(201, &again)
	s.do("GET", "/v1/session", nil, bearerToken(again.Token)).must(200, nil)
	var kept wire.Receipt
	s.do("GET", path("/v1/revocations/%d", receipt.Epoch), nil, bearerToken(again.Token)).must(200, &kept)
	if kept.Epoch != receipt.Epoch || kept.RevokedBefore != receipt.RevokedBefore {
		t.Errorf("the receipt as kept: %+v, was %+v", kept, receipt)
	}

	// My own: keep this one, end the others.
	var live wire.LiveSessions
	s.do("GET", "/v1/users/me/sessions", nil, me).must(200, &live)
	if len(live.Sessions) != 2 {
		t.Errorf("live sessions: %+v, want 2", live.Sessions)
	}
	var keep wire.Receipt
	s.do("POST", "/v1/users/me/revocations", `{"keep_current":true}`, me).must(201, &keep)
	if keep.Issued == nil || keep.Session.ID != admin.Session.ID || keep.Session.Epoch != keep.Epoch {
		t.Fatalf("keep_current: %+v", keep)
	}
	s.do("GET", "/v1/session", nil, me).problem(401, "revoked")
	s.do("GET", "/v1/session", nil, bearerToken(remembered.Token)).problem(401, "revoked")
	me = bearerToken(keep.Token)
	s.do("GET", "/v1/users/me/sessions", nil, me).must(200, &live)
	if len(live.Sessions) != 1 || !live.Sessions[0].Current {
		t.Errorf("live sessions: %+v, want this one", live.Sessions)
	}

	// The audit knows.
	var audit wire.AuditEntries
	s.do("GET", "/v1/audit?target="+ann.ID+"&action=sessions.", nil, me).must(200, &audit)
	if len(audit.Entries) != 1 || audit.Entries[0].Actor.Name != "Editor" || audit.Entries[0].Reason != "lost device" || audit.Entries[0].Epoch != receipt.Epoch {
		t.Errorf("audit: %+v", audit.Entries)
	}
	s.do("GET", "/v1/audit?session="+again.Session.ID, nil, me).must(200, &audit)
	if len(audit.Entries) != 1 || audit.Entries[0].Action != wire.ActionSignIn || audit.Entries[0].Target.ID != ann.ID {
		t.Errorf("audit of a session: %+v", audit.Entries)
	}

	// A password is changed, and the session goes on.
	var changed wire.Receipt
	s.do("PUT", "/v1/users/me/password", `{"current":"wrong wrong wrong","new":"another horse battery staple"}`, bearerToken(again.Token)).problem(401, "bad_credentials")
	s.do("PUT", "/v1/users/me/password", `{"current":"`+password+`","new":"another horse battery staple"}`, bearerToken(again.Token)).must(200, &changed)
	s.do("GET", "/v1/session", nil, bearerToken(again.Token)).problem(401, "revoked")
	s.do("GET", "/v1/session", nil, bearerToken(changed.Token)).must(200, nil)

	// Sign out; once more is no error.
	s.do("DELETE", "/v1/session", nil, bearerToken(changed.Token)).must(204, nil)
	s.do("DELETE", "/v1/session", nil, bearerToken(changed.Token)).must(204, nil)
	s.do("GET", "/v1/session", nil, bearerToken(changed.Token)).problem(401, "revoked")

	// Everyone.
	var everyone wire.Receipt
	s.do("POST", "/v1/revocations", `{"scope":"everyone","reason":"drill"}`, me).must(201, &everyone)
	if everyone.Scope != "everyone" || everyone.ID != "" {
		t.Errorf("receipt: %+v", everyone)
	}
	s.do("GET", "/v1/session", nil, me).problem(401, "revoked")
	s.do("GET", "/v1/session", nil, bearerToken(asEditor.Token)).problem(401, "revoked")
	s.do("POST", "/v1/sessions", wire.SignIn{Username: "admin", Password: password}).must(201, nil)
}
