package console

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/wire"
	"example.com/curfew/token"
)

// The walk of the documentation: a user, their sessions, a reason, the receipt.
func TestRevokeUser(t *testing.T) {
	s := open(t)
	other := s.user("other")
	one, two, mine := s.issue(other, false), s.issue(other, true), s.as(s.admin)
	path := "/users/" + other.ID
	mine.get(path).is(http.StatusOK).says("Firefox on Linux", "192.0.2.1", "Remember me", "Revoke sessions")
	mine.get(path+"/revoke").is(http.StatusOK).says("Revoke the sessions of other?", "This ends 2 live sessions of other", "Suspicious activity reported", "Malicious activity", "Offboarding", "Role change", "Lost device", "Other")
	for _, tt := range []struct {
		reason, note, want string
		status             int
	}{
		{"", "", "", http.StatusUnprocessableEntity},
		{"Other", "", "", http.StatusUnprocessableEntity},
		{"Other", "  ", "", http.StatusUnprocessableEntity},
		{"Lost device", strings.Repeat("é", 901), "", http.StatusUnprocessableEntity},
		{"Lost device", strings.Repeat("é", 900), "Lost device: " + strings.Repeat("é", 900), http.StatusSeeOther},
		{"", "left in a train", "left in a train", http.StatusSeeOther},
		{"Other", "a whim", "a whim", http.StatusSeeOther},
		{"Lost device", "left in a train", "Lost device: left in a train", http.StatusSeeOther},
		{"Lost device", "", "Lost device", http.StatusSeeOther},
	} {
		a := mine.post(path+"/revoke", "reason", tt.reason, "note", tt.note).is(tt.status)
		if tt.status != http.StatusSeeOther {
			if tt.reason == "" {
				a.says("Reason: Choose a reason.").contains(`href="#why"`, `id="why-wrong"`).lacks(`id="note-wrong"`)
			} else {
				a.says("Details: ").contains(`href="#note"`, `id="note-wrong"`).lacks(`id="why-wrong"`)
			}
			if s.reason(one) != "" {
				t.Fatalf("%q, %q: revoked", tt.reason, tt.note)
			}
			continue
		}
		entry := s.audits(wire.ActionRevokeUser)[0]
		page := mine.get(a.location).is(http.StatusOK).says("Sessions revoked.", "Receipt", "Revoked before", tt.want, "In force everywhere", "No live sessions.")
		if before := (when{time.UnixMicro(int64(entry.Epoch)), s.now()}); !strings.Contains(page.body, before.ISO()) || !strings.Contains(page.body, before.Micro()) {
			t.Errorf("the receipt does not show %s", before.Micro())
		}
		if entry.Reason != tt.want || entry.Actor.ID != s.admin.ID || entry.Actor.Address != "192.0.2.7" {
			t.Errorf("in the audit: %+v", entry)
		}
	}
	for _, raw := range []string{one, two} {
		if got := s.reason(raw); got != token.ErrRevoked {
			t.Errorf("a session: %q, want revoked", got)
		}
	}
	if s.reason(mine.token) != "" {
		t.Error("the administrator's session is over")
	}
	mine.get(path).is(http.StatusOK).says("Last revocation", "Epoch").contains(`<a href="/revocations/` + epochText(int64(s.audits(wire.ActionRevokeUser)[0].Epoch)) + `">`)
}

func TestRevokeOneSession(t *testing.T) {
	s := open(t)
	other := s.user("other")
	keep, end := s.issue(other, false), s.issue(other, false)
	session, err := s.validator.Validate(context.Background(), end)
	s.must(err)
	path := "/users/" + other.ID + "/sessions/" + session.ID + "/revoke"
	s.as(s.user("third")).get(path).is(http.StatusForbidden)
	s.as(s.user("fourth")).post(path).is(http.StatusForbidden)
	p := s.as(s.admin)
	p.get(path).is(http.StatusOK).says("Revoke this session of other?", "Users › other", "The session on Firefox on Linux, from 192.0.2.1", "Lost device")
	p.post(path, "reason", "Other").is(http.StatusUnprocessableEntity)
	p.get(p.post(path, "reason", "Lost device").to("/users/"+other.ID).location).is(http.StatusOK).says("Session revoked.", "One session: Firefox on Linux, from 192.0.2.1", "Lost device")
	entries := s.audits(wire.ActionRevokeSession)
	if len(entries) != 1 || entries[0].TargetKind != "user" || entries[0].TargetID != other.ID || entries[0].TargetName != "other" ||
		entries[0].Reason != "Lost device" || !strings.Contains(entries[0].Detail, session.ID) || !strings.Contains(entries[0].Detail, "Firefox") {
		t.Errorf("the audit has %+v", entries)
	}
	if s.reason(end) != token.ErrRevoked || s.reason(keep) != "" {
		t.Errorf("ended: %q, kept: %q", s.reason(end), s.reason(keep))
	}
	p.get("/users/"+other.ID).is(http.StatusOK).says("Last revocation", "One session", "Lost device").contains(`<a href="/revocations/` + epochText(int64(entries[0].Epoch)) + `">`)
	p.get(path).is(http.StatusNotFound) // it is no longer live
	p.post("/users/" + s.admin.ID + "/sessions/" + session.ID + "/revoke").is(http.StatusNotFound)
	// One's own, without any permission.
	mine := &person{s, other, keep}
	third := s.issue(other, false)
	session, err = s.validator.Validate(context.Background(), third)
	s.must(err)
	mine.get(mine.post("/users/" + other.ID + "/sessions/" + session.ID + "/revoke").to("/profile").location).is(http.StatusOK).says("Session revoked.")
	if s.reason(third) != token.ErrRevoked || s.reason(keep) != "" {
		t.Errorf("ended: %q, kept: %q", s.reason(third), s.reason(keep))
	}
}

// Lists come as spreadsheets write them.
func TestRevokeManyFromAFile(t *testing.T) {
	s := open(t)
	email := func(name, address string) {
		_, err := s.accounts.CreateUser(t.Context(), trusted, account.UserChange{Name: &name, Email: &address})
		s.must(err)
	}
	email("Zoë", "zoe@example.org")
	email("Łukasz", "lukasz@example.org")
	email("Schmidt, Anna", "anna@example.org")
	email("one", "shared@example.org")
	email("two", "shared@example.org")
	p := s.as(s.admin)
	for _, tt := range []struct{ what, file, typed, says, people string }{
		{"UTF-16", "\xff\xfeZ\x00o\x00\xeb\x00\r\x00\n\x00A\x01u\x00k\x00a\x00s\x00z\x00", "", "Łukasz", "2 users"},
		{"a table with a heading", "name;email\r\nZoë;zoe@example.org\r\n\"Schmidt, Anna\";x\r\n", "", "Schmidt, Anna", "2 users"},
		{"typed, with a comma", "", "Schmidt, Anna", "Schmidt, Anna", "1 user"},
		{"email addresses", "", "ZOE@example.org\nlukasz@example.org", "Zoë", "2 users"},
	} {
		a := p.upload(tt.file, "scope", "users", "names", tt.typed, "reason", "Offboarding").is(http.StatusOK)
		a.says("Revoke these sessions?", tt.says, "of "+tt.people).saysNot("no user")
	}
	p.upload("", "scope", "users", "names", "shared@example.org", "reason", "Offboarding").is(http.StatusUnprocessableEntity).
		says("is ambiguous: it is the email address of user", "write id:")
}

// Where an earlier release let a name be another user's id, the list is refused and
// names both.
func TestAmbiguousList(t *testing.T) {
	s := open(t)
	victim, decoy := s.user("victim"), s.user("decoy")
	_, key, err := account.NormalizeName(victim.ID)
	s.must(err)
	db, err := sql.Open("sqlite", s.file)
	s.must(err)
	_, err = db.ExecContext(t.Context(), "UPDATE users SET name = ?, name_key = ? WHERE id = ?", victim.ID, key, decoy.ID)
	s.must(errors.Join(err, db.Close()))
	p := s.as(s.admin)
	p.post("/revocations", "scope", "users", "names", victim.ID, "reason", "Offboarding").is(http.StatusUnprocessableEntity).
		says("it is the name of user "+decoy.ID, "and the id of user", "victim")
	p.post("/revocations", "scope", "users", "names", "id:"+victim.ID, "reason", "Offboarding").is(http.StatusOK).says("Revoke these sessions?", "1 user", "victim")
	p.post("/revocations", "scope", "users", "names", "name:"+victim.ID, "reason", "Offboarding").is(http.StatusOK).says("Revoke these sessions?", "1 user", victim.ID)
}

// upload posts a form with a list in a file.
func (p *person) upload(file string, fields ...string) answer {
	p.Helper()
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	for i := 0; i+1 < len(fields); i += 2 {
		p.must(w.WriteField(fields[i], fields[i+1]))
	}
	part, err := w.CreateFormFile("file", "names.txt")
	p.must(err)
	_, err = part.Write([]byte(file))
	p.must(err)
	p.must(w.Close())
	r := httptest.NewRequest(http.MethodPost, "http://console.test/revocations", &body)
	r.Header.Set("Content-Type", w.FormDataContentType())
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.AddCookie(&http.Cookie{Name: "__Host-curfew_session", Value: p.token}) // #nosec G124 -- of a request
	rec := httptest.NewRecorder()
	p.handler.ServeHTTP(rec, r)
	return answer{p.T, rec.Code, rec.Result().Header, rec.Body.String(), rec.Result().Header.Get("Location"), rec.Result().Cookies()}
}

func TestRevokeMany(t *testing.T) {
	s := open(t)
	ada, bob := s.user("Ada"), s.user("Bob")
	sessions := []string{s.issue(ada, false), s.issue(ada, true), s.issue(bob, false)}
	p := s.as(s.admin)
	p.get("/revocations/new").is(http.StatusOK).says("Unknown names are shown before you confirm.")
	for _, tt := range []struct {
		what   string
		fields []string
		says   string
	}{
		{"no name", []string{"scope", "users", "names", " \n ", "reason", "Offboarding"}, "Enter at least one name"},
		{"no reason", []string{"scope", "users", "names", "ada"}, "Reason: Choose a reason."},
		{"no scope", []string{"names", "ada", "reason", "Offboarding"}, "Choose whose sessions to revoke."},
		{"no known user", []string{"scope", "users", "names", "eve\nmallory", "reason", "Offboarding"}, "No user has any of these names."},
		{"too many", []string{"scope", "users", "reason", "Offboarding"}, "10 001 names"},
	} {
		file := ""
		if tt.what == "too many" {
			for i := range 10_001 {
				file += fmt.Sprintf("name %d\n", i)
			}
		}
		a := p.upload(file, tt.fields...).is(http.StatusUnprocessableEntity)
		if text := strings.ReplaceAll(a.text(), "\u202f", " "); !strings.Contains(text, tt.says) {
			t.Errorf("%s: the page does not say %q: %s", tt.what, tt.says, clip(text, 500))
		}
	}
	a := p.upload("\xef\xbb\xbfBOB\r\nnobody\r\n", "scope", "users", "names", "ada\n"+ada.ID+"\n ada ", "reason", "Other", "note", "a test").is(http.StatusOK)
	a.says("1 name of the list belongs to no user", "nobody", "This ends 3 live sessions of 2 users", "Ada", "Bob", "Revoke the sessions of the 2 users found", "Correct the list")
	for _, raw := range sessions {
		if s.reason(raw) != "" {
			t.Fatal("checking has revoked")
		}
	}
	done := p.post("/revocations/confirmed", "scope", "users", "ids", ada.ID+"\r\n"+bob.ID, "reason", "Other", "note", "a test").is(http.StatusSeeOther)
	p.get(done.location).is(http.StatusOK).says("The sessions of 2 users", "a test", "admin", "In force everywhere")
	for _, raw := range sessions {
		if got := s.reason(raw); got != token.ErrRevoked {
			t.Errorf("a session: %q, want revoked", got)
		}
	}
	entries := s.audits(wire.ActionRevokeUser)
	if len(entries) != 2 || entries[0].Epoch != entries[1].Epoch {
		t.Errorf("entries %+v, want two of one epoch", entries)
	}
	// All or none.
	fresh := s.issue(ada, false)
	p.post("/revocations/confirmed", "scope", "users", "ids", ada.ID+"\ngone", "reason", "Offboarding").is(http.StatusUnprocessableEntity).says("Nothing was revoked: 1 user of the list no longer exists")
	if s.reason(fresh) != "" {
		t.Error("revoked nevertheless")
	}
}

func TestRevokeEveryone(t *testing.T) {
	s := open(t)
	other := s.user("other")
	ordinary, remembered := s.issue(other, false), s.issue(other, true)
	p := s.as(s.admin)
	p.upload("", "scope", "remembered", "reason", "Malicious activity").is(http.StatusOK).says("the “Remember me” sessions of all users").saysNot("This includes your own session")
	for _, word := range []string{"", "everyone", "remember"} {
		p.post("/revocations/confirmed", "scope", "remembered", "reason", "Malicious activity", "word", word).is(http.StatusUnprocessableEntity).says("Type “remember me” to confirm.", "the “Remember me” sessions of all users")
	}
	done := p.post("/revocations/confirmed", "scope", "remembered", "reason", "Malicious activity", "word", "remember me").is(http.StatusSeeOther)
	p.get(done.location).is(http.StatusOK).says("All remember-me sessions")
	if s.reason(ordinary) != "" || s.reason(remembered) != token.ErrRevoked {
		t.Errorf("ordinary: %q, remembered: %q", s.reason(ordinary), s.reason(remembered))
	}
	p.upload("", "scope", "everyone", "reason", "Malicious activity").is(http.StatusOK).says("All users must sign in again", "This includes your own session")
	p.post("/revocations/confirmed", "scope", "everyone", "reason", "Malicious activity").is(http.StatusUnprocessableEntity).says("Type “everyone” to confirm.")
	over := p.post("/revocations/confirmed", "scope", "everyone", "reason", "Malicious activity", "word", "Everyone").to("/sign-in")
	s.signedOut().get(over.location).is(http.StatusOK).says("You revoked these sessions, including your own. Sign in to see the receipt.")
	if s.reason(ordinary) != token.ErrRevoked {
		t.Errorf("ordinary: %q", s.reason(ordinary))
	}
}

// The list has every revocation with its receipt, newest first, by person, reason and
// day, and is exported as it is selected.
func TestRevocationsAreListed(t *testing.T) {
	s := open(t)
	ada, bob := s.user("Ada"), s.user("Bob")
	s.issue(ada, false)
	s.issue(ada, true)
	p := s.as(s.admin)
	epoch := p.post("/users/"+ada.ID+"/revoke", "reason", "Lost device", "note", "=1+1").query("receipt")
	both := p.post("/revocations/confirmed", "scope", "users", "ids", ada.ID+"\n"+bob.ID, "reason", "Offboarding").is(http.StatusSeeOther)
	p.get("/revocations").is(http.StatusOK).says("All sessions of one user", "Ada", "2 sessions", "The sessions of 2 users", "Lost device: =1+1", "admin", "after")
	if a := p.get("/revocations").body; strings.Index(a, "/revocations/"+epoch) < strings.Index(a, strings.TrimSuffix(both.location, "?done=revoked")) {
		t.Error("the list is not newest first")
	}
	p.get("/revocations?person=ada").is(http.StatusOK).says("Lost device", "The sessions of 2 users")
	p.get("/revocations?person=bob").is(http.StatusOK).says("The sessions of 2 users").saysNot("Lost device: =1+1")
	p.get("/revocations?reason=lost").is(http.StatusOK).says("Lost device").saysNot("The sessions of 2 users")
	p.get("/revocations?to=2026-01-01").is(http.StatusOK).says("No revocation matches.")
	p.get("/revocations?from=2026-02-02&to=2026-01-01").is(http.StatusUnprocessableEntity).says("The filter was not applied.", "The end date is before the start date.").saysNot("Nothing was changed")
	p.get("/revocations?before=x").is(http.StatusNotFound)
	for path, want := range map[string]int{"/revocations/export?format=jsonl&reason=lost": 1, "/revocations/export?format=jsonl": 2, "/revocations/" + epoch + "/export?format=jsonl": 1} {
		var receipts []wire.Receipt
		for line := range strings.Lines(p.get(path).is(http.StatusOK).body) {
			var r wire.Receipt
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatal(err)
			}
			receipts = append(receipts, r)
		}
		if len(receipts) != want || receipts[len(receipts)-1].Target.Name != "Ada" || *receipts[len(receipts)-1].Sessions != 2 || receipts[len(receipts)-1].Enforcement.ClosedAt == nil {
			t.Errorf("%s: %+v, want %d", path, receipts, want)
		}
	}
	table := p.get("/revocations/" + epoch + "/export?format=csv").is(http.StatusOK).body
	for _, text := range []string{epoch, "'Lost", ",Ada,", ",confirmation,"} {
		if strings.Contains(table, text) == (text == "'Lost") {
			t.Errorf("the table and %q: %s", text, table)
		}
	}
	p.get("/revocations/export?format=pdf").is(http.StatusBadRequest)
}

// A user who may revoke a scope may see its receipts.
func TestReceipts(t *testing.T) {
	s := open(t)
	ada := s.user("Ada")
	p := s.as(s.admin)
	epoch := p.post("/users/"+ada.ID+"/revoke", "reason", "Offboarding").query("receipt")
	for _, below := range []string{"", "/state"} {
		path := "/revocations/" + epoch + below
		p.get(path).is(http.StatusOK).says("In force everywhere", "Confirmed by the one validator")
		s.as(ada).get(path).is(http.StatusOK)
		s.as(s.user("bob" + strings.Trim(below, "/"))).get(path).is(http.StatusForbidden)
		p.get("/revocations/1" + below).is(http.StatusNotFound)
		p.get("/revocations/x" + below).is(http.StatusNotFound)
		p.get("/revocations/99999999999999999999" + below).is(http.StatusNotFound)
	}
	p.get("/users/" + ada.ID + "?receipt=1").is(http.StatusNotFound)
	if a := p.get("/revocations/" + epoch); strings.Contains(a.body, "http-equiv") {
		t.Error("a receipt that is complete fetches itself anew")
	}
}

// A filter for a person that no user and no receipt has is said, apart from a filter that
// selects nothing.
func TestRevocationsOfAnUnknownPerson(t *testing.T) {
	s := open(t)
	s.user("known")
	p := s.as(s.admin)
	p.get("/revocations?person=never").is(http.StatusOK).says("No user has the name, email or ID", "no revocation found is of such a user")
	p.get("/revocations?person=known").is(http.StatusOK).says("No revocation matches.").saysNot("No user has the name")
}

// The steps of a trail lead to their pages, and a page says in which zone its times are
// only if it has some.
func TestTrailAndZone(t *testing.T) {
	s := open(t)
	ada := s.user("Ada")
	p := s.as(s.admin)
	trail := `<a href="/users"><bdi>Users</bdi></a> <span aria-hidden="true">›</span> <a href="/users/` + ada.ID + `"><bdi>Ada</bdi></a></p>`
	if body := p.get("/users/" + ada.ID + "/revoke").is(http.StatusOK).body; !strings.Contains(body, trail) {
		t.Errorf("the trail does not lead to the page of the user:\n%s", body)
	}
	p.get("/users/" + ada.ID).is(http.StatusOK).says("Times are UTC.")
	p.get("/new-user").is(http.StatusOK).saysNot("Times are")
	s.signedOut().get("/sign-in").is(http.StatusOK).saysNot("Times are")
}
