package console

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/feed"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
	"example.com/curfew/token"
)

func TestAudit(t *testing.T) {
	s := open(t)
	ada, bob := s.user("Ada"), s.user("Bob")
	email := "ada@example.com"
	_, _, err := s.accounts.ChangeUser(context.Background(), trusted, ada.ID, account.UserChange{Email: &email}, "")
	s.must(err)
	p := s.as(s.admin)
	p.post("/users/"+ada.ID+"/revoke", "reason", "Lost device", "note", "100% sure").to("/users/" + ada.ID)
	s.signedOut().post("/sign-in", "username", "Ada", "password", "not the password")
	s.signedOut().post("/sign-in", "username", "Zoe", "password", "not the password")
	p.post("/users/" + bob.ID + "/disable").to("/users/" + bob.ID)
	s.wait(48 * time.Hour)
	p = s.as(s.admin)
	p.post("/users/" + bob.ID + "/enable").to("/users/" + bob.ID)
	today, before := s.now().UTC().Format(time.DateOnly), s.now().Add(-48*time.Hour).UTC().Format(time.DateOnly)
	row := `<tr role="row"> `
	rows := func(path string) int {
		t.Helper()
		return strings.Count(spaces.ReplaceAllString(p.get(path).is(http.StatusOK).body, " "), row+`<td role="cell" data-label="When">`)
	}
	for path, want := range map[string]int{
		"/audit?person=Ada&action=sessions.revoke":                    1,
		"/audit?person=" + ada.ID + "&action=sessions.revoke":         1,
		"/audit?person=Bob&action=sessions.revoke":                    0,
		"/audit?action=user.disable":                                  1,
		"/audit?action=user.enable":                                   1,
		"/audit?action=user.enable&from=" + today:                     1,
		"/audit?action=user.enable&to=" + before:                      0,
		"/audit?action=user.disable&from=" + before + "&to=" + before: 1,
		"/audit?action=user.disable&from=" + today:                    0,
		"/audit?person=nobody":                                        0,
		"/audit?person=ada%40example.com&action=sessions.revoke":      1,
		"/audit?person=id%3A" + ada.ID + "&action=session.refused":    1,
		"/audit?action=session.refused":                               2,
		"/audit?reason=LOST":                                          1,
		"/audit?reason=100%25":                                        1,
		"/audit?reason=%25":                                           1,
		"/audit?reason=stolen":                                        0,
		"/audit?action=session.refused&address=192.0.2.7":             2,
		"/audit?action=session.refused&address=192.0.2.":              2,
		"/audit?action=session.refused&address=192.0.2":               0,
	} {
		if got := rows(path); got != want {
			t.Errorf("%s: %d rows, want %d", path, got, want)
		}
	}
	p.get("/audit?action=sessions.revoke").says("Revoked a user’s sessions", "Lost device", "192.0.2.7", "Revoked a user’s sessions: receipt", s.now().Add(-48*time.Hour).UTC().Format("2006-01-02 "), "times on this page are UTC").saysNot("Times are")
	p.get("/audit?action=session.refused").says("not signed in Sign-in refused Ada 192.0.2.7", "not signed in Sign-in refused unknown name 192.0.2.7")
	p.get("/audit?person=nobody").says("No user has the name, email or ID", "and no entry found has it")
	p.get("/audit?person=Ada&action=key.rotate").says("No entry matches.").saysNot("No user has")
	same, another := "same@example.com", s.user("Another")
	for _, u := range []store.User{another, bob} {
		_, _, err := s.accounts.ChangeUser(context.Background(), trusted, u.ID, account.UserChange{Email: &same}, "")
		s.must(err)
	}
	p.get("/audit?person="+same).is(http.StatusUnprocessableEntity).says("is ambiguous", "id:"+bob.ID)
	a := p.get("/audit?action=sessions.revoke")
	for _, href := range a.hrefs() {
		if strings.HasPrefix(href, "/users/") || strings.HasPrefix(href, "/revocations/") || strings.HasPrefix(href, "/audit/") {
			p.get(href).is(http.StatusOK)
		}
	}
	a = p.get("/audit?from=x&to=2026-13-01&person=Ada").is(http.StatusUnprocessableEntity).says("Enter a date such as 2026-11-23.")
	if a.input("person") != "Ada" {
		t.Error("what was typed is gone")
	}
	p.get("/audit?from=2026-02-02&to=2026-01-01").is(http.StatusUnprocessableEntity).says("The filter was not applied.", "The end date is before the start date.").saysNot("Nothing was changed")
	p.get("/audit?before=x").is(http.StatusNotFound)
}

func TestAuditPages(t *testing.T) {
	s := open(t)
	ctx := context.Background()
	s.must(s.store.Update(ctx, func(tx store.Tx) error {
		for range 1234 {
			if err := tx.AppendAudit(ctx, store.Audit{At: s.now().UnixMicro(), Actor: trusted.Actor, Action: "test"}); err != nil {
				return err
			}
		}
		return nil
	}))
	p := s.as(s.admin)
	seen, pages := 0, 0
	for path := "/audit?action=test"; path != ""; pages++ {
		a := p.get(path).is(http.StatusOK)
		seen += strings.Count(a.body, `data-label="When"`)
		path = ""
		for _, href := range a.hrefs() {
			if strings.Contains(href, "before=") {
				path = href
			}
		}
	}
	if seen != 1234 || pages != 25 {
		t.Errorf("%d entries on %d pages, want 1234 on 25", seen, pages)
	}
	if n := strings.Count(p.get("/audit/export?format=jsonl&action=test").is(http.StatusOK).body, "\n"); n != 1234 {
		t.Errorf("%d lines exported, want 1234", n)
	}
}

// What people and clients have typed is what spreadsheets are handed: no cell of
// it begins as a formula does.
func TestExport(t *testing.T) {
	s := open(t)
	ctx := context.Background()
	hostile := []string{"1795453200123456", "0042", "12E4", "123456789012345", "\u200b=1", "=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "\nx", " =1", "\u00a0=1", "＝1", "－1", "a,b\"c\nd", "a\u2028b", "plain"}
	s.must(s.store.Update(ctx, func(tx store.Tx) error {
		for _, h := range hostile {
			if err := tx.AppendAudit(ctx, store.Audit{At: s.now().UnixMicro(), Action: "test", Reason: h, TargetName: h, Epoch: 1795453200123456, Detail: `{"a":"` + "=1" + `"}`, Actor: store.Actor{Kind: "user", ID: "-id", Name: h}}); err != nil {
				return err
			}
		}
		return nil
	}))
	p := s.as(s.admin)
	a := p.get("/audit/export?format=csv&action=test").is(http.StatusOK)
	if got := a.header.Get("Content-Disposition"); !strings.HasPrefix(got, `attachment; filename="audit-`) {
		t.Errorf("Content-Disposition %q", got)
	}
	body, marked := strings.CutPrefix(a.body, "\ufeff")
	if !marked {
		t.Errorf("the export begins with %.6q, not with a byte order mark", a.body)
	}
	if plain := p.get("/audit/export?format=csv&bom=no&action=test").is(http.StatusOK); plain.body != body {
		t.Errorf("without a byte order mark: %.20q", plain.body)
	}
	p.get("/audit/export?format=csv&bom=perhaps").is(http.StatusBadRequest)
	table, err := csv.NewReader(strings.NewReader(body)).ReadAll()
	s.must(err)
	if len(table) != len(hostile)+1 {
		t.Fatalf("%d rows, want %d", len(table), len(hostile)+1)
	}
	for i, row := range table[1:] {
		for _, cell := range row {
			if trimmed := strings.TrimLeft(cell, " \u00a0"); trimmed != "" && strings.ContainsAny(trimmed[:1], "=+-@\t\r\n") || strings.HasPrefix(trimmed, "＝") || strings.HasPrefix(trimmed, "－") {
				t.Errorf("a cell is %q", cell)
			}
			if _, err := strconv.ParseUint(cell, 10, 64); err == nil && len(cell) > 15 {
				t.Errorf("a cell is the number %s", cell)
			}
		}
		want := strings.ReplaceAll(hostile[len(hostile)-1-i], "\r", "") // newest first; csv.Writer keeps no lone CR
		if row[12] != "'1795453200123456" {
			t.Errorf("the epoch is %q", row[12])
		}
		if got := strings.TrimPrefix(row[9], "'"); got != want {
			t.Errorf("the reason %q is %q", want, got)
		}
	}
	a = p.get("/audit/export?format=jsonl&action=test").is(http.StatusOK)
	var n int
	for line := range strings.Lines(a.body) {
		var e wire.AuditEntry
		s.must(json.Unmarshal([]byte(line), &e))
		if want := hostile[len(hostile)-1-n]; e.Reason != want || e.Target.Name != want || e.Actor.Name != want || string(e.Detail) != `{"a":"=1"}` {
			t.Errorf("line %d: %+v", n, e)
		}
		n++
	}
	if n != len(hostile) {
		t.Errorf("%d lines, want %d", n, len(hostile))
	}
	p.get("/audit/export").is(http.StatusBadRequest)
	p.get("/audit/export?format=csv&from=x").is(http.StatusBadRequest)
}

func TestKeys(t *testing.T) {
	s := open(t)
	p := s.as(s.admin)
	raw := s.issue(s.user("other"), false)
	old, err := s.ring.Signing(context.Background())
	s.must(err)
	p.get("/keys").is(http.StatusOK).says(old.ID(), "active", "next", "ES256", "Signs every new session", `"kty": "EC"`).saysNot(`"d":`)
	// The standby key is published long enough for every validator.
	s.wait(lease + time.Minute)
	p.get("/keys/rotate").is(http.StatusOK).says("no user is signed out")
	rotated := p.get(p.post("/keys/rotate").to("/keys").location).is(http.StatusOK).says("Keys rotated.", "retiring", "Signed from", "Signing since")
	if signs := strings.Index(rotated.body, "Signs every new session"); signs > strings.Index(rotated.body, "Published and trusted in advance") || signs > strings.Index(rotated.body, "No longer signs") {
		t.Error("the active key is not the first of the page")
	}
	if next, err := s.ring.Signing(context.Background()); err != nil || next.ID() == old.ID() {
		t.Errorf("signing still with %v, %v", next.ID(), err)
	}
	if s.reason(raw) != "" {
		t.Error("a rotation has ended a session")
	}
	p.get("/keys/retire?kid="+old.ID()).is(http.StatusOK).says("This ends 2 live sessions of 2 users.", "This includes your own session")
	p.post("/keys/retire", "kid", old.ID()).is(http.StatusUnprocessableEntity).says("Choose a reason.", "Type “retire” to confirm.")
	p.post("/keys/retire", "kid", "none", "reason", "Key lost", "word", "retire").is(http.StatusNotFound)
	for _, word := range []string{"", "x", "retire it"} {
		p.post("/keys/retire", "kid", old.ID(), "reason", "Key compromised", "word", word).is(http.StatusUnprocessableEntity).says("Type “retire” to confirm.").saysNot("Choose a reason.")
	}
	p.post("/keys/retire", "kid", old.ID(), "reason", "Key compromised", "word", " Retire ").to("/sign-in")
	if got := s.reason(raw); got != token.ErrUnknownKey {
		t.Errorf("a session of the key: %q, want %q", got, token.ErrUnknownKey)
	}
	s.as(s.admin).get("/keys").is(http.StatusOK).says("Retired keys")
	if e := s.audits(wire.ActionKeyRetire); len(e) != 1 || e[0].Reason != "Key compromised" || e[0].Actor.ID != s.admin.ID {
		t.Errorf("in the audit: %+v", e)
	}
}

func TestServices(t *testing.T) {
	s := open(t)
	p := s.as(s.admin)
	p.get("/services").is(http.StatusOK).says("No services yet.")
	a := p.post("/services", "name", "Billing", "follow", "on").is(http.StatusCreated).says("it is shown only once", "billing")
	secret := secretOf(a)
	ctx := context.Background()
	clients, err := s.accounts.Clients(ctx, trusted)
	s.must(err)
	id := clients[0].ID
	works := func(secret string) bool {
		_, err := s.accounts.ClientCaller(ctx, id, secret, trustedOrigin)
		return err == nil
	}
	if !works(secret) {
		t.Fatal("the secret that was shown does not work")
	}
	if page := p.get("/services").is(http.StatusOK).says("Billing", "follow"); strings.Contains(page.body, secret) {
		t.Error("the secret is shown again")
	}
	p.get("/services/"+id+"/secret").is(http.StatusOK).says("works for another 24 hours", "Revoke the old secret immediately")
	second := secretOf(p.post("/services/" + id + "/secret").is(http.StatusCreated).says("works for another 24 hours"))
	if !works(secret) || !works(second) || secret == second {
		t.Error("the old or the new secret does not work")
	}
	p.get("/services").is(http.StatusOK).says("The previous secret works until")
	third := secretOf(p.post("/services/"+id+"/secret", "revoke_old", "on").is(http.StatusCreated).says("The old secrets no longer work."))
	if works(secret) || works(second) || !works(third) {
		t.Error("an old secret works, or the new one does not")
	}
	p.get("/services").is(http.StatusOK).saysNot("The previous secret works until")
	p.get("/services/"+id+"/remove").is(http.StatusOK).says("Remove Billing?", "requests with it are refused")
	p.get(p.post("/services/" + id + "/remove").to("/services").location).is(http.StatusOK).says("Service removed.")
	if works(third) {
		t.Error("a removed service gets in")
	}
	a = p.post("/services", "name", "").is(http.StatusUnprocessableEntity)
	if !strings.Contains(a.body, `id="name-wrong"`) {
		t.Error("nothing is said about the name")
	}
	p.post("/services/nobody/secret").is(http.StatusNotFound)
}

func secretOf(a answer) string {
	_, rest, _ := strings.Cut(a.body, `<code id="secret">`)
	secret, _, _ := strings.Cut(rest, "</code>")
	return secret
}

func TestOverview(t *testing.T) {
	s := open(t)
	other := s.user("other")
	s.issue(other, false)
	p := s.as(s.admin)
	p.post("/users/"+other.ID+"/revoke", "reason", "Offboarding").to("/users/" + other.ID)
	s.issue(other, false)
	s.issue(other, true)
	a := p.get("/").is(http.StatusOK)
	a.says("3 live sessions", "2 users signed in", "1 validator: 1 node, 0 followers", "node.test:1", "This one", "up to date", "last read the database just now", "revoked", "The session was revoked.", "12"+"\u202f"+"345",
		"Needs attention The account admin still has its first password, which was set when the account was created. Change the password", "Requests arrive through 10.1.2.3, which is not a trusted proxy.", "start the server with --trusted-proxies 10.1.2.3.",
		"Forward auth sends browsers from app.example:8080 to the sign-in page", "start the server with --return-hosts app.example:8080.",
		"Live sessions in the last day", "Recent revocations", "All sessions of one user: receipt of ", "UTC other admin Offboarding In force")
	charts := func(by *person, want map[string]string) {
		t.Helper()
		for query, words := range want {
			if body := by.get("/?" + query).is(http.StatusOK).body; !strings.Contains(body, `aria-label="`+words+`"`) {
				t.Errorf("?%s does not say %q", query, words)
			}
		}
	}
	charts(p, map[string]string{
		"show=sign-ins&span=hour":     "Sign-ins in the last hour: 4 in all, at most 4 in a minute.",
		"show=revocations&span=week":  "Revocations in the last week: 1 in all, at most 1 in 3 hours.",
		"show=refused":                "Sign-ins refused in the last day: none.",
		"span=hour":                   "Live sessions in the last hour: 3 now, at most 3.",
		"show=nonsense&span=nonsense": "Live sessions in the last day: 3 now, at most 3.",
	})
	// Each number links to what it counts.
	for _, href := range a.hrefs() {
		if !strings.HasPrefix(href, "#") && !strings.HasPrefix(href, "/docs") {
			p.get(href).is(http.StatusOK)
		}
	}
	// It is drawn from the audit: an hour later the hour is empty, the day is not.
	s.wait(2 * time.Hour)
	charts(s.as(s.admin), map[string]string{
		"show=sign-ins&span=hour":    "Sign-ins in the last hour: 1 in all, at most 1 in a minute.",
		"show=revocations&span=hour": "Revocations in the last hour: none.",
		"show=live&span=hour":        "Live sessions in the last hour: 2 now, at most 2.",
		"show=live&span=day":         "Live sessions in the last day: 2 now, at most 3.",
		"show=revocations&span=day":  "Revocations in the last day: 1 in all, at most 1 in half an hour.",
	})
}

// Points that need attention come first, urgent ones before others; things in order are
// not mentioned. Bounds: just before, at, just after.
func TestAttention(t *testing.T) {
	s := open(t)
	now := time.Now().Truncate(time.Microsecond)
	day := 24 * time.Hour
	inOrder := func() *overviewPage { return &overviewPage{ring: s.ring} }
	x := &exchange{base: &base{now: func() time.Time { return now }}, ctx: context.Background(), caller: trusted}
	status := feed.Status{Name: "one", Trusted: true, Epoch: revocation.Epoch(now.Add(-time.Minute).UnixMicro())}
	certificate := func(lasts, left time.Duration) *overviewPage {
		p := inOrder()
		p.certificate = func() (begins, ends time.Time) { return now.Add(left - lasts), now.Add(left) }
		return p
	}
	with := func(change func(*feed.Status)) feed.Status {
		changed := status
		change(&changed)
		return changed
	}
	for _, tt := range []struct {
		what   string
		page   *overviewPage
		status feed.Status
		urgent bool
		says   string // "" for nothing
	}{
		{"all in order", inOrder(), status, false, ""},
		{"no contact with the database", inOrder(), with(func(s *feed.Status) { s.Trusted = false }), true, "This node has not reached the database"},
		{"the last read failed", inOrder(), with(func(s *feed.Status) { s.Error = store.ErrUnavailable }), true, "The last read of the database failed."},
		{"a node is silent", inOrder(), with(func(s *feed.Status) { s.Nodes = []feed.NodeState{{Name: "two", Dead: true, Waiting: []string{"x"}}} }), true, "two has not reported for a whole lease."},
		{"one of two nodes with one name is silent", inOrder(), with(func(s *feed.Status) {
			s.Nodes = []feed.NodeState{{Name: s.Name, Dead: true, Started: time.Date(2026, 11, 29, 9, 58, 0, 0, time.UTC)}}
		}), true, "one (started 29 November, 09:58 UTC) has not reported for a whole lease."},
		{"a node has stopped", inOrder(), with(func(s *feed.Status) {
			s.Nodes = []feed.NodeState{{Name: "two", Leaving: true, ViewEpoch: s.Epoch - 1, Waiting: []string{"x"}}}
		}), false, ""},
		{"a node is behind", inOrder(), with(func(s *feed.Status) { s.Nodes = []feed.NodeState{{Name: "two", ViewEpoch: s.Epoch - 1}} }), false, "two is not up to date"},
		{"a node is behind by a change of this moment", inOrder(), with(func(s *feed.Status) {
			s.Epoch = revocation.Epoch(now.Add(-behindAfter).UnixMicro())
			s.Nodes = []feed.NodeState{{Name: "two", ViewEpoch: s.Epoch - 1}}
		}), false, ""},
		{"followers wait", inOrder(), with(func(s *feed.Status) { s.Waiting = []string{"billing", "shop"} }), false, "Followers of one have not confirmed the last change."},
		{"followers of another node wait", inOrder(), with(func(s *feed.Status) {
			s.Nodes = []feed.NodeState{{Name: "two", ViewEpoch: s.Epoch, Waiting: []string{"shop"}}}
		}), false, "Followers of two have not confirmed"},
		{"clocks are a little apart", inOrder(), with(func(s *feed.Status) { s.Epoch = revocation.Epoch(now.Add(clocksApart).UnixMicro()) }), false, ""},
		{"clocks are apart", inOrder(), with(func(s *feed.Status) { s.Epoch = revocation.Epoch(now.Add(clocksApart + time.Second).UnixMicro()) }), true, "Clocks are apart: the last change is dated"},
		{"a certificate", certificate(90*day, 15*day), status, false, ""},
		{"a certificate near its end", certificate(90*day, 14*day-time.Second), status, false, "The TLS certificate of this node ends in 13 days."},
		{"a certificate of six days", certificate(6*day, 2*day), status, false, ""},
		{"a certificate of six days, near its end", certificate(6*day, day), status, false, "The TLS certificate of this node ends in 24 hours."},
		{"a certificate at its end", certificate(90*day, 0), status, true, "The TLS certificate of this node ended just now."},
		{"no certificate", &overviewPage{ring: s.ring, certificate: func() (begins, ends time.Time) { return }}, status, false, ""},
		{"a warning", &overviewPage{ring: s.ring, warnings: func() []string { return []string{"no notifications"} }}, status, false, "No notifications."},
	} {
		found, err := tt.page.attention(x, tt.status, x.nodes(tt.status), nil)
		s.must(err)
		switch {
		case tt.says == "" && len(found) > 0:
			t.Errorf("%s: %+v", tt.what, found)
		case tt.says != "" && (len(found) != 1 || found[0].Urgent != tt.urgent || !strings.HasPrefix(found[0].Words, tt.says)):
			t.Errorf("%s: %+v, want %q, urgent %v", tt.what, found, tt.says, tt.urgent)
		}
	}
	key := func(state string, age time.Duration) store.Key {
		return store.Key{State: state, CreatedAt: 1, ActivatedAt: now.Add(-age).UnixMicro()}
	}
	for _, tt := range []struct {
		what string
		keys []store.Key
		says string
	}{
		{"no key yet", nil, ""},
		{"in order", []store.Key{key(store.KeyActive, keyAge), key(store.KeyNext, 0), key(store.KeyRetired, 3*keyAge)}, ""},
		{"an old key", []store.Key{key(store.KeyActive, keyAge+time.Second), key(store.KeyNext, 0)}, "The active signing key has signed for more than a year."},
		{"no next key", []store.Key{key(store.KeyActive, 0)}, "No next signing key stands by"},
	} {
		found := x.keysToReplace(tt.keys)
		if tt.says == "" && len(found) > 0 || tt.says != "" && (len(found) != 1 || !strings.HasPrefix(found[0].Words, tt.says)) {
			t.Errorf("%s: %+v, want %q", tt.what, found, tt.says)
		}
	}
}

// A new installation says what to do next, as long as it is not done.
func TestFirstSteps(t *testing.T) {
	s := open(t)
	p := s.as(s.admin)
	a := p.get("/").is(http.StatusOK).says("First steps", "Change the password of the first account.", "Add users", "Protect a service")
	for _, href := range []string{"/profile#password-heading", "/new-user", "/settings/authentication/new-provider", "/docs/sign-in-providers", "/docs/forward-auth", "/docs/applications"} {
		if !slices.Contains(a.hrefs(), href) {
			t.Errorf("no link to %s", href)
		}
	}
	p.post("/profile/password", "current", password, "new", "four unrelated words", "again", "four unrelated words").to("/profile")
	p.get("/").is(http.StatusOK).says("First steps", "Add users").saysNot("first account", "first password")
	p.post("/settings/authentication/providers", "name", "corp", "issuer", "https://login.example", "client_id", "curfew", "scopes", "openid", "name_claim", "sub").to("/settings/authentication/providers/corp")
	p.get("/").is(http.StatusOK).says("First steps", "Add users", "Protect a service").saysNot("identity provider")
	s.user("ann")
	p.get("/").is(http.StatusOK).says("First steps", "Protect a service").saysNot("Add users")
	p.post("/services", "name", "hello", "follow", "on").is(http.StatusCreated)
	p.get("/").is(http.StatusOK).saysNot("First steps")

	// Many users: the installation is not new.
	s = open(t)
	p = s.as(s.admin)
	for i := range fewUsers - 2 {
		s.user(fmt.Sprintf("user%d", i))
	}
	p.get("/").is(http.StatusOK).says("First steps", "Protect a service")
	s.user("the tenth")
	p.get("/").is(http.StatusOK).saysNot("First steps")

	s = open(t)
	p = s.as(s.admin)
	p.post("/settings/authentication/providers", "name", "corp", "issuer", "https://login.example", "client_id", "curfew", "scopes", "openid", "name_claim", "sub").to("/settings/authentication/providers/corp")
	p.get("/").is(http.StatusOK).says("still has its first password", "First steps", "Change the password")
	second := s.as(s.user("second", store.AdministerSystem))
	a = second.get("/").is(http.StatusOK).says("The account admin still has its first password", "Set a new password")
	if !slices.Contains(a.hrefs(), userPath(s.admin.ID)+"#set-password") {
		t.Error("no link to the page of the account")
	}
}

func TestFirstPasswordWords(t *testing.T) {
	x := &exchange{caller: authz.Caller{}}
	u := store.User{ID: "1", Name: "admin"}
	file := x.firstPassword(&account.FirstPassword{User: u, Generated: true, File: "vm:/data/curfew.db.admin-password"})
	shown := x.firstPassword(&account.FirstPassword{User: u, Generated: true})
	if file.Flag != "vm:/data/curfew.db.admin-password" || !strings.Contains(file.Words, "delete the file that it was written to:") || !strings.Contains(shown.Words, "showed on a terminal") || file.Path != "/users/1#set-password" {
		t.Errorf("%+v\n%+v", file, shown)
	}
}
