package httpapi

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.com/curfew/internal/store"
	"example.com/curfew/internal/store/migrated"
	"example.com/curfew/internal/wire"
	"example.com/curfew/token"
)

func TestUsers(t *testing.T) {
	for name, options := range engines(t) {
		t.Run(name, func(t *testing.T) { users(t, start(t, options(t)...)) })
	}
}

func users(t *testing.T, s *server) {
	me := bearerToken(s.token(s.admin))
	var names []string
	for i := range 25 {
		name := fmt.Sprintf("user %02d", i)
		names = append(names, name)
		s.user(name)
	}
	var found []string
	query := "/v1/users?search=USER&limit=10"
	for page := 0; ; page++ {
		var list wire.Users
		s.do("GET", query, nil, me).must(200, &list)
		for _, u := range list.Users {
			found = append(found, u.Name)
		}
		if list.NextCursor == "" || page > 5 {
			break
		}
		query = "/v1/users?search=USER&limit=10&cursor=" + list.NextCursor
	}
	if !slices.Equal(found, names) {
		t.Errorf("pages of ten: %v", found)
	}

	a := s.do("POST", "/v1/users", `{"name":"  Zoë ","email":"zoe@example.com"}`, me).must(201, nil)
	var zoe wire.User
	s.do("GET", a.Header.Get("Location"), nil, me).must(200, &zoe)
	if zoe.Name != "Zoë" || *zoe.Email != "zoe@example.com" || zoe.Disabled || zoe.LastSignInAt != nil || zoe.Permissions == nil {
		t.Errorf("%+v", zoe)
	}
	s.do("POST", "/v1/users", `{"name":"ZOË"}`, me).problem(409, "conflict")
	one := "/v1/users/" + zoe.ID
	s.do("PATCH", one, `{"email":null}`, me).must(200, &zoe)
	if zoe.Email != nil {
		t.Errorf("email %q after null", *zoe.Email)
	}
	s.do("PATCH", one, `{"name":"zoë 2"}`, me).must(200, &zoe)
	if zoe.Name != "zoë 2" {
		t.Errorf("%+v", zoe)
	}
	p := s.do("PATCH", one, `{"name":"","password":"short","permissions":["Root"],"email":"not an address"}`, me).problem(400, "invalid_request")
	var fields []string
	for _, e := range p.Errors {
		fields = append(fields, e.Field)
	}
	slices.Sort(fields)
	if !slices.Equal(fields, []string{"email", "name", "password", "permissions"}) {
		t.Errorf("errors about %v, want all four", fields)
	}
	for _, email := range []string{`""`, `1`, `["zoe@example.org"]`, `"zoe"`} {
		p := s.do("PATCH", one, `{"email":`+email+`}`, me).problem(400, "invalid_request")
		if len(p.Errors) != 1 || p.Errors[0].Field != "email" {
			t.Errorf("email %s: errors %+v, want one about email", email, p.Errors)
		}
	}
	if a := s.do("PATCH", one, `{"password":"hunter2"}`, me); strings.Contains(string(a.body), "hunter2") {
		t.Errorf("a password comes back: %s", a.body)
	}

	// Disabling revokes.
	raw := s.token(store.User{ID: zoe.ID})
	s.do("PATCH", one, `{"disabled":true}`, me).must(200, nil)
	s.do("GET", "/v1/session", nil, bearerToken(raw)).problem(401, "revoked")
	s.do("PATCH", one, `{"disabled":false}`, me).must(200, nil)
	s.do("GET", "/v1/session", nil, bearerToken(raw)).problem(401, "revoked")

	// So does leaving a group; joining one does not.
	s.do("PATCH", one, `{"groups":["ops","équipe"]}`, me).must(200, &zoe)
	if !slices.Equal(zoe.Groups, []string{"ops", "équipe"}) {
		t.Errorf("groups %q", zoe.Groups)
	}
	raw = s.token(store.User{ID: zoe.ID})
	s.do("PATCH", one, `{"groups":["sales","équipe","ops"]}`, me).must(200, nil)
	s.do("GET", "/v1/session", nil, bearerToken(raw)).must(200, nil)
	s.do("PATCH", one, `{"groups":["sales","équipe"]}`, me).must(200, nil)
	s.do("GET", "/v1/session", nil, bearerToken(raw)).problem(401, "revoked")
	var last wire.AuditEntries
	s.do("GET", "/v1/audit?action=user.groups&limit=1", nil, me).must(200, &last)
	s.do("PATCH", one, `{"email":"zoe@audit.example"}`, me).must(200, nil)
	for query, want := range map[string]int{"target=zoe%40audit.example": 1, "person=zoe%40audit.example": 1, "person=id:" + zoe.ID: 1, "actor=zoe%40audit.example": 0, "person=zoe%40other.example": 0} {
		var found wire.AuditEntries
		s.do("GET", "/v1/audit?action=user.change&limit=1&"+query, nil, me).must(200, &found)
		if len(found.Entries) != want {
			t.Errorf("%s: %d entries, want %d", query, len(found.Entries), want)
		}
	}
	var receipt wire.Receipt
	s.do("GET", fmt.Sprintf("/v1/revocations/%d", last.Entries[0].Epoch), nil, me).must(200, &receipt)
	if receipt.Scope != "user" || receipt.ID != zoe.ID || !receipt.Enforcement.EffectiveEverywhere {
		t.Errorf("receipt %+v", receipt)
	}
	for _, groups := range []string{`["a,b"]`, `["a\r\nRemote-User: root"]`, `[""]`, `["ops","OPS"]`, `"ops"`, `[1]`} {
		s.do("PATCH", one, `{"groups":`+groups+`}`, me).problem(400, "invalid_request")
	}

	// The last administrator.
	for _, body := range []string{`{"disabled":true}`, `{"permissions":[]}`} {
		s.do("PATCH", "/v1/users/me", body, me).problem(409, "conflict")
	}
	// A session alone takes over no account: neither as "me" nor by the id.
	for _, path := range []string{"/v1/users/me", "/v1/users/" + s.admin.ID} {
		p := s.do("PATCH", path, `{"password":"a password of the thief's","email":"thief@example.com"}`, me).problem(400, "invalid_request")
		if len(p.Errors) != 2 || !strings.Contains(p.Errors[0].Detail, "PUT /v1/users/me/password") {
			t.Errorf("%s: %+v does not name the right call", path, p.Errors)
		}
	}
	s.do("POST", "/v1/sessions", wire.SignIn{Username: "admin", Password: password}).must(201, nil)
	s.do("GET", "/v1/users/nobody", nil, me).problem(404, "not_found")
	s.do("PATCH", "/v1/users/nobody", `{"name":"x"}`, me).problem(404, "not_found")
	s.do("PATCH", "/v1/users/nobody?reason="+strings.Repeat("x", 1001), `{"name":"x"}`, me).problem(400, "invalid_request")
	s.do("PATCH", "/v1/users/nobody?why=x", `{"name":"x"}`, me).problem(400, "invalid_request")
	s.do("POST", "/v1/users/nobody/revocations", nil, me).problem(404, "not_found")
	s.do("GET", "/v1/users/nobody/sessions", nil, me).problem(404, "not_found")

	// An address that only one user has is as good as the name.
	s.do("POST", "/v1/users", `{"name":"mira","email":"Mira@example.org","password":"`+password+`"}`, me).must(201, nil)
	for _, name := range []string{"mira@example.org", " MIRA@EXAMPLE.ORG", "Mira"} {
		s.do("POST", "/v1/sessions", wire.SignIn{Username: name, Password: password}).must(201, nil)
	}
	s.do("POST", "/v1/revocations", `{"scope":"users","users":["mira@example.org"]}`, me).must(201, nil)
	s.do("POST", "/v1/users", `{"name":"other","email":"mira@EXAMPLE.org"}`, me).must(201, nil)
	s.do("POST", "/v1/sessions", wire.SignIn{Username: "mira@example.org", Password: password}).problem(401, "bad_credentials")
	s.do("POST", "/v1/revocations", `{"scope":"users","users":["mira@example.org"]}`, me).problem(422, "ambiguous")
	s.do("POST", "/v1/sessions", wire.SignIn{Username: "mira", Password: password}).must(201, nil)

	// Names that are none are answered as wrong ones are, on every engine.
	for _, name := range []string{"", "\x01", "nobody", strings.Repeat("x", 5000), "\u202eevil", "a\u200bb"} {
		s.do("POST", "/v1/sessions", wire.SignIn{Username: name, Password: "wrong"}).problem(401, "bad_credentials")
	}
}

// Failed attempts are limited, and the answer says when to come again; successful
// ones never count.
func TestRateLimit(t *testing.T) {
	s := start(t, behindProxy)
	s.user("ann")
	for range 3 {
		s.do("POST", "/v1/sessions", wire.SignIn{Username: "admin", Password: password}).must(201, nil)
	}
	limited := 0
	for i := range 15 {
		// Each from an address of its own.
		from := header{"X-Forwarded-For", fmt.Sprintf("198.51.100.%d", i)}
		a := s.do("POST", "/v1/sessions", wire.SignIn{Username: "ann", Password: "not the password"}, from)
		if a.StatusCode != 429 {
			a.problem(401, "bad_credentials")
			continue
		}
		limited++
		a.problem(429, "rate_limited")
		if n, err := strconv.Atoi(a.Header.Get("Retry-After")); err != nil || n < 1 || n > 60 {
			t.Errorf("Retry-After: %q", a.Header.Get("Retry-After"))
		}
	}
	if limited != 5 {
		t.Errorf("%d of 15 attempts were refused unseen, want 5", limited)
	}
	s.do("POST", "/v1/sessions", wire.SignIn{Username: "admin", Password: password}).must(201, nil)
}

func TestClients(t *testing.T) {
	s := start(t)
	me := bearerToken(s.token(s.admin))
	var created, renewed, again wire.Client
	s.do("POST", "/v1/clients", `{"name":"billing","capabilities":["introspect","follow"]}`, me).must(201, &created)
	if created.Secret == "" || !slices.Equal(created.Capabilities, []string{"follow", "introspect"}) {
		t.Errorf("%+v", created)
	}
	var list wire.Clients
	if a := s.do("GET", "/v1/clients?limit=1", nil, me).must(200, &list); strings.Contains(string(a.body), "secret") || len(list.Clients) != 1 {
		t.Errorf("%s", a.body)
	}
	old := basic{created.ID, created.Secret}
	var self wire.Client
	s.do("GET", "/v1/clients/me", nil, old).must(200, &self)
	if self.ID != created.ID || self.Secret != "" {
		t.Errorf("%+v", self)
	}
	s.do("POST", "/v1/clients/"+created.ID+"/secrets", nil, me).must(201, &renewed)
	s.do("GET", "/v1/clients/me", nil, old).must(200, nil) // for another 24 hours
	s.do("POST", "/v1/clients/"+created.ID+"/secrets", nil, me).must(201, &again)
	s.do("GET", "/v1/clients/me", nil, old).problem(401, "bad_credentials") // or until the next
	s.do("GET", "/v1/clients/me", nil, basic{created.ID, renewed.Secret}).must(200, nil)
	s.do("GET", "/v1/clients/me", nil, basic{created.ID, again.Secret}).must(200, nil)
	var last wire.Client
	s.do("POST", "/v1/clients/"+created.ID+"/secrets", `{"revoke_old":true,"x":1}`, me).problem(400, "invalid_request")
	s.do("POST", "/v1/clients/"+created.ID+"/secrets", `{"revoke_old":true}`, me).must(201, &last)
	for _, old := range []string{renewed.Secret, again.Secret} {
		s.do("GET", "/v1/clients/me", nil, basic{created.ID, old}).problem(401, "bad_credentials")
	}
	s.do("GET", "/v1/clients/me", nil, basic{created.ID, last.Secret}).must(200, nil)
	again = last
	s.do("DELETE", "/v1/clients/"+created.ID, nil, me).must(204, nil)
	s.do("GET", "/v1/clients/me", nil, basic{created.ID, again.Secret}).problem(401, "bad_credentials")
	for _, id := range []string{created.ID, "nobody", "a%00b", "%ff", strings.Repeat("a", 200)} {
		s.do("DELETE", "/v1/clients/"+id, nil, me).problem(404, "not_found")
		s.do("POST", "/v1/clients/"+id+"/secrets", nil, me).problem(404, "not_found")
	}
	s.do("DELETE", "/v1/clients/me", nil, me).problem(405, "method_not_allowed")
	for _, body := range []string{`{}`, `{"name":"x"}`, `{"name":"x","capabilities":[]}`, `{"name":"x","capabilities":["root"]}`, `{"name":"","capabilities":["follow"]}`} {
		s.do("POST", "/v1/clients", body, me).problem(400, "invalid_request")
	}
	for _, made := range []wire.Client{created, renewed, again} {
		s.keepSecret(made.Secret)
	}
}

func TestSettings(t *testing.T) {
	s := start(t)
	me := bearerToken(s.token(s.admin))
	const at = "/v1/settings/authentication"
	tag := header{"If-Match", s.do("GET", at, nil, me).must(200, nil).Header.Get("ETag")}
	for _, tt := range []struct {
		body   string
		code   string
		fields string
	}{
		{`{}`, "invalid_settings", "maximum_session_duration_seconds remember_me_enabled session_timeout_seconds"},
		{`{"session_timeout_seconds":1200}`, "invalid_settings", "maximum_session_duration_seconds remember_me_enabled"},
		{`{"session_timeout_seconds":59,"maximum_session_duration_seconds":34560001,"remember_me_enabled":true}`, "invalid_settings", "maximum_session_duration_seconds session_timeout_seconds"},
		{`{"session_timeout_seconds":-9223372036854775808,"maximum_session_duration_seconds":9223372036854775807,"remember_me_enabled":true}`, "invalid_settings", "maximum_session_duration_seconds session_timeout_seconds"},
		{`{"session_timeout_seconds":1201,"maximum_session_duration_seconds":1200,"remember_me_enabled":true}`, "invalid_settings", "maximum_session_duration_seconds"},
		{`{"session_timeout_seconds":1e19,"maximum_session_duration_seconds":1200,"remember_me_enabled":true}`, "invalid_request", "session_timeout_seconds"},
		{`{"session_timeout_seconds":60.5,"maximum_session_duration_seconds":1200,"remember_me_enabled":true}`, "invalid_request", "session_timeout_seconds"},
		{`{"session_timeout_seconds":null,"maximum_session_duration_seconds":1200,"remember_me_enabled":true}`, "invalid_settings", "session_timeout_seconds"},
	} {
		for _, query := range []string{"", "?dry_run=true"} {
			var fields []string
			for _, e := range s.do("PUT", at+query, tt.body, me, tag).problem(400, tt.code).Errors {
				if !slices.Contains(fields, e.Field) {
					fields = append(fields, e.Field)
				}
			}
			slices.Sort(fields)
			if strings.Join(fields, " ") != tt.fields {
				t.Errorf("%s: errors about %v, want %s", tt.body, fields, tt.fields)
			}
		}
	}
	s.do("PUT", at+"?dryrun=true", defaultSettings, me, tag).problem(400, "invalid_request")
	s.do("PUT", at+"?dry_run=yes", defaultSettings, me, tag).problem(400, "invalid_request")

	for _, match := range []string{"W/" + tag[1], `"x"`, `x`, `"x", "y"`, `W/"x", "y"`, ""} {
		s.do("PUT", at, defaultSettings, me, header{"If-Match", match}).problem(412, "precondition_failed")
	}
	// One of several, and the wildcard.
	s.do("PUT", at, defaultSettings, me, header{"If-Match", `"x", ` + tag[1]}).must(200, nil)
	s.do("PUT", at, defaultSettings, me, tag).problem(412, "precondition_failed")
	after := s.do("PUT", at, defaultSettings, me, header{"If-Match", "*"}).must(200, nil)

	// A preview tells what would end, and ends nothing.
	old := s.mint(s.admin, func(sess *token.Session) { sess.LastRefresh -= 300; sess.IssuedAt -= 300 })
	short := `{"session_timeout_seconds":60,"maximum_session_duration_seconds":1728000,"remember_me_enabled":true}`
	var preview wire.SettingsPreview
	s.do("PUT", at+"?dry_run=true", short, bearerToken(old)).must(200, &preview)
	if !preview.Own {
		t.Errorf("%+v", preview)
	}
	s.do("GET", "/v1/session", nil, bearerToken(old)).must(200, nil)
	s.do("PUT", at, short, me, header{"If-Match", after.Header.Get("ETag")}).must(200, nil)
	s.do("GET", "/v1/session", nil, bearerToken(old)).problem(401, "idle_timeout")
}

func TestReceipts(t *testing.T) {
	s := start(t)
	me := bearerToken(s.token(s.admin))
	ann := s.user("ann")
	one := "/v1/users/" + ann.ID + "/revocations"
	for prefer, applied := range map[string]string{"wait=2": "wait=2", "wait=100": "wait=30", "wait=x": "", "return=minimal": ""} {
		a := s.do("POST", one, `{"reason":"a reason"}`, me, header{"Prefer", prefer}).must(201, nil)
		if got := a.Header.Get("Preference-Applied"); got != applied {
			t.Errorf("%s: applied %q, want %q", prefer, got, applied)
		}
	}
	// A follower that does not confirm holds the answer, which is then 202 and
	// names it.
	client := s.service("billing", store.Follow)
	s.do("GET", "/v1/changes?after=0&follower=silent&wait=0", nil, client).must(200, nil)
	var pending, now wire.Receipt
	began := time.Now()
	a := s.do("POST", one, `{}`, me, header{"Prefer", "wait=1"}).must(202, &pending)
	if took := time.Since(began); took < 900*time.Millisecond {
		t.Errorf("it was held for %v, want 1 s", took)
	}
	if e := pending.Enforcement; e.EffectiveEverywhere || e.Validators != 2 || e.Confirmed != 1 || len(e.Waiting) != 1 || !e.EffectiveBy.After(time.Now()) {
		t.Errorf("%+v", e)
	}
	s.do("POST", one, `{}`, me).must(201, nil) // without a wish to wait
	var changes struct{ Epoch int64 }
	s.do("GET", "/v1/changes?after=0&follower=silent", nil, client).must(200, &changes)
	s.do("GET", path("/v1/changes?after=%d&confirmed=%d&follower=silent", changes.Epoch, changes.Epoch), nil, client).must(200, nil)
	s.do("GET", a.Header.Get("Location"), nil, me, header{"Prefer", "wait=5"}).must(200, &now)
	if e := now.Enforcement; !e.EffectiveEverywhere || e.Confirmed != e.Validators || len(e.Waiting) != 0 {
		t.Errorf("%+v", e)
	}
	for _, epoch := range []string{"0", "1", "-1", "x", "99999999999999999999", "1.5", "9223372036854775807"} {
		s.do("GET", "/v1/revocations/"+epoch, nil, me).problem(404, "not_found")
	}
	s.do("POST", one, `{"keep_current":true}`, me).problem(400, "invalid_request")
	s.do("POST", one, `{"reason":"`+strings.Repeat("x", 1001)+`"}`, me).problem(400, "invalid_request")
	s.do("POST", one, `{"reason":"`+strings.Repeat("é", 1001)+`"}`, me).problem(400, "invalid_request")
	s.do("POST", one, `{"reason":"`+strings.Repeat("é", 1000)+`"}`, me).must(201, nil)
	s.do("POST", one, `{"reason":"a\u0000b"}`, me).problem(400, "invalid_request")
}

func TestRevokeMany(t *testing.T) {
	s := start(t)
	me := bearerToken(s.token(s.admin))
	var ids, tokens []string
	for i := range 3 {
		u := s.user(fmt.Sprint("user ", i))
		ids, tokens = append(ids, u.ID), append(tokens, s.token(u))
	}
	body := func(users ...string) wire.RevokeMany { return wire.RevokeMany{Scope: "users", Users: users} }
	s.do("POST", "/v1/revocations", body(ids[0], "nobody"), me).problem(404, "not_found")
	s.do("GET", "/v1/session", nil, bearerToken(tokens[0])).must(200, nil) // all or none
	for _, bad := range []any{body(), `{"scope":"all"}`, `{"scope":"everyone","users":["a"]}`, `{}`, `{"scope":"users","users":[null]}`, `{"scope":"users","users":["a\u0000"]}`} {
		if a := s.do("POST", "/v1/revocations", bad, me); a.StatusCode != 400 && a.StatusCode != 404 {
			t.Errorf("%v: %d %s", bad, a.StatusCode, a.body)
		}
	}
	var r wire.Receipt
	s.do("POST", "/v1/revocations", body(ids[0], ids[1], ids[0]), me).must(201, &r)
	if r.Scope != "users" || r.Users == nil || *r.Users != 2 {
		t.Errorf("%+v", r)
	}
	for i, raw := range tokens {
		if a := s.do("GET", "/v1/session", nil, bearerToken(raw)); (a.StatusCode == 200) != (i == 2) {
			t.Errorf("user %d: %d", i, a.StatusCode)
		}
	}
	// The most that there may be in one call.
	many := make([]string, 10_001)
	for i := range many {
		many[i] = fmt.Sprintf("user-%d", i)
	}
	s.doWith(plainClient, "POST", "/v1/revocations", body(many...), me).problem(400, "invalid_request")
	s.doWith(plainClient, "POST", "/v1/revocations", body(many[:10_000]...), me).problem(404, "not_found")
}

func TestAudit(t *testing.T) {
	s := start(t)
	me := bearerToken(s.token(s.admin))
	for i := range 12 {
		s.user(fmt.Sprint("user ", i))
	}
	var seen []int64
	query := "/v1/audit?action=user.create&limit=5"
	for range 5 {
		var list wire.AuditEntries
		s.do("GET", query, nil, me).must(200, &list)
		for _, e := range list.Entries {
			seen = append(seen, e.ID)
		}
		if list.NextCursor == "" {
			break
		}
		query = "/v1/audit?action=user.create&limit=5&cursor=" + list.NextCursor
	}
	if len(seen) != 13 || !slices.IsSortedFunc(seen, func(a, b int64) int { return int(b - a) }) {
		t.Errorf("%v, want 13, the newest first", seen)
	}
	var none wire.AuditEntries
	s.do("GET", "/v1/audit?to=2001-02-03T04:05:06Z", nil, me).must(200, &none)
	if none.Entries == nil || len(none.Entries) != 0 {
		t.Errorf("%+v", none)
	}
	for _, query := range []string{"from=yesterday", "session=x", "from=2026-01-01", "to=0001-01-01T00:00:00Z", "limit=0", "cursor=x", "before=1", "cursor=" + cursor("audit", "x")} {
		s.do("GET", "/v1/audit?"+query, nil, me).problem(400, "invalid_request")
	}
}

func TestLiveSessions(t *testing.T) {
	s := start(t)
	ann := s.user("ann")
	var mine string
	for range 7 {
		mine = s.token(ann)
	}
	me := bearerToken(mine)
	seen := map[string]bool{}
	current := 0
	query := "/v1/users/me/sessions?limit=3"
	for range 5 {
		var list wire.LiveSessions
		s.do("GET", query, nil, me).must(200, &list)
		for _, one := range list.Sessions {
			seen[one.ID] = true
			if one.Current {
				current++
			}
		}
		if list.NextCursor == "" {
			break
		}
		query = "/v1/users/me/sessions?limit=3&cursor=" + list.NextCursor
	}
	if len(seen) != 7 || current != 1 {
		t.Errorf("%d sessions, %d of them this one", len(seen), current)
	}
	own := claims(t, mine).ID
	for _, sid := range []string{"x", token.NewSessionID(), strings.Repeat("A", 22)} {
		s.do("DELETE", "/v1/users/me/sessions/"+sid, nil, me).problem(404, "not_found")
	}
	other := s.token(s.user("bob"))
	s.do("DELETE", "/v1/users/me/sessions/"+claims(t, other).ID, nil, me).problem(404, "not_found") // another user's
	s.do("GET", "/v1/session", nil, bearerToken(other)).must(200, nil)
	s.do("DELETE", "/v1/users/me/sessions/"+own, nil, me).must(204, nil)
	s.do("GET", "/v1/session", nil, me).problem(401, "revoked")
}

// Where a sign-in came from is kept in a form that every store can hold.
func TestOrigin(t *testing.T) {
	for name, engine := range engines(t) {
		t.Run(name, func(t *testing.T) {
			s := start(t, append(engine(t), behindProxy)...)
			var issued wire.Issued
			s.do("POST", "/v1/sessions", wire.SignIn{Username: "admin", Password: password},
				header{"X-Forwarded-For", "6.6.6.6, 198.51.100.9, 10.1.1.1"}, header{"User-Agent", "a\xffb\t" + strings.Repeat("é", 500)}).must(201, &issued)
			var list wire.LiveSessions
			s.do("GET", "/v1/users/me/sessions", nil, bearerToken(issued.Token)).must(200, &list)
			one := list.Sessions[0]
			if one.Address != "198.51.100.9" || !strings.HasPrefix(one.Device, "abé") || len(one.Device) > 256 {
				t.Errorf("%+v", one)
			}
		})
	}
}

// Two nodes on one PostgreSQL: what one has answered binds the other in no time.
func TestTwoNodes(t *testing.T) {
	dsn := migrated.Postgres(t)
	on := func(join bool) option {
		return func(_ *Config, set *setup) { set.database, set.join = dsn, join }
	}
	a, b := start(t, on(false)), start(t, on(true))
	ann := a.user("ann")
	for range 10 {
		raw := a.token(ann)
		b.do("GET", "/v1/session", nil, bearerToken(raw)).must(200, nil) // at once, on every node
		var receipt wire.Receipt
		a.do("POST", "/v1/users/"+ann.ID+"/revocations", nil, bearerToken(a.token(a.admin)), header{"Prefer", "wait=5"}).must(201, &receipt)
		if e := receipt.Enforcement; !e.EffectiveEverywhere || e.Validators != 2 {
			t.Errorf("%+v", e)
		}
		b.do("GET", "/v1/session", nil, bearerToken(raw)).problem(401, "revoked")
		b.do("GET", "/v1/session", nil, bearerToken(b.token(ann))).must(200, nil)
	}
}

// An edge answers what an edge can, and nothing else.
func TestEdge(t *testing.T) {
	s := start(t)
	config := Config{
		Clients: s.accounts, Feed: s.node, Validator: s.validator, Keys: s.node.Keys(), Settings: s.node.Settings(), Issuer: issuer,
	}
	edge, err := NewEdge(config)
	if err != nil {
		t.Fatal(err)
	}
	e := s.at(t, edge)
	ann := s.user("ann")
	raw := s.mint(ann, func(*token.Session) {})
	due := s.mint(ann, func(sess *token.Session) { sess.LastRefresh -= 400; sess.IssuedAt -= 400 })
	client := s.service("all", store.Capabilities()...)
	e.identity(e.do("GET", "/v1/verify", nil, bearerToken(raw)).must(200, nil), ann, claims(t, raw).ID)
	if a := e.do("GET", "/v1/verify", nil, cookie(due)).must(200, nil); a.Header.Get("Set-Cookie") != "" {
		t.Error("an edge cannot refresh")
	}
	e.do("POST", "/oauth/introspect", "token="+raw, client).must(200, nil)
	e.do("POST", "/oauth/introspect", "token="+raw, basic{client.id, "x"}).problem(401, "bad_credentials")
	e.do("GET", "/v1/changes?after=0", nil, client).must(200, nil)
	e.do("GET", "/v1/clients/me", nil, client).must(200, nil)
	e.do("GET", "/.well-known/jwks.json", nil).must(200, nil)
	e.do("GET", "/livez", nil).must(200, nil)
	for _, route := range Routes() {
		if route.Edge {
			continue
		}
		path := strings.NewReplacer("{id}", "x", "{sid}", "x", "{epoch}", "1").Replace(route.Pattern)
		if a := e.doWith(plainClient, route.Method, path, nil, bearerToken(raw)); a.StatusCode != 404 && a.StatusCode != 405 {
			t.Errorf("%s %s: %d %s", route.Method, path, a.StatusCode, a.body)
		}
	}
	config.Clients = nil
	if _, err := NewEdge(config); err == nil {
		t.Error("an edge that cannot tell who its clients are")
	}
}

// What New needs it says.
func TestNewRequires(t *testing.T) {
	s := start(t)
	full := Config{
		Sessions: s.sessions, Accounts: s.accounts, Feed: s.node, Validator: s.validator,
		Keys: s.node.Keys(), Settings: s.node.Settings(), Ring: s.ring, Issuer: issuer,
	}
	if _, err := New(full); err != nil {
		t.Fatal(err)
	}
	for field, remove := range map[string]func(*Config){
		"Sessions": func(c *Config) { c.Sessions = nil }, "Accounts": func(c *Config) { c.Accounts = nil },
		"Feed": func(c *Config) { c.Feed = nil }, "Validator": func(c *Config) { c.Validator = nil },
		"Keys": func(c *Config) { c.Keys = nil }, "Settings": func(c *Config) { c.Settings = nil }, "Issuer": func(c *Config) { c.Issuer = "" },
		"Ring": func(c *Config) { c.Ring = nil },
	} {
		c := full
		remove(&c)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("without %s: %v", field, err)
		}
	}
}

// Requests are counted, and clients do not choose the labels.
func TestMetrics(t *testing.T) {
	s := start(t)
	s.do("GET", "/v1/session", nil, bearerToken("x.y.z")).problem(401, "malformed")
	s.do("GET", "/v1/session", nil, bearerToken(s.token(s.admin))).must(200, nil)
	s.do("GET", "/v1/made-up-by-a-client", nil).problem(404, "not_found")
	s.doWith(plainClient, "MADEUP", "/v1/verify", nil).must(401, nil)
	all, err := s.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, family := range all {
		for _, m := range family.GetMetric() {
			fmt.Fprintln(&text, family.GetName(), m.String())
		}
	}
	for _, want := range []string{
		`curfew_validations_total label:{name:"reason" value:"malformed"} counter:{value:1`,
		`curfew_validations_total label:{name:"reason" value:"good"} counter:{value:1`,
		`curfew_http_requests_total label:{name:"method" value:"GET"} label:{name:"route" value:"none"} label:{name:"status" value:"404"} counter:{value:1`,
		`curfew_http_requests_total label:{name:"method" value:"other"} label:{name:"route" value:"/v1/verify"} label:{name:"status" value:"401"} counter:{value:1`,
	} {
		if !strings.Contains(strings.ReplaceAll(text.String(), "  ", " "), want) {
			t.Errorf("%s is not in\n%s", want, text.String())
		}
	}
	if lower := strings.ToLower(text.String()); strings.Contains(lower, "madeup") || strings.Contains(lower, "made-up") {
		t.Error("a client has chosen a label")
	}
	if got := s.metrics.Refusals(); got[token.ErrMalformed] != 1 || got[token.ErrMissing] != 0 {
		t.Errorf("refusals %v", got)
	}
}
