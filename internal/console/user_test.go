package console

import (
	"context"
	"fmt"
	"html"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/token"
)

func TestUsers(t *testing.T) {
	s := open(t)
	for i := range 120 {
		s.user(fmt.Sprintf("Person %03d", i))
	}
	p := s.as(s.admin)
	s.issue(s.user("zoe"), false)
	seen := 0
	for path := "/users"; path != ""; {
		a := p.get(path).is(http.StatusOK)
		seen += strings.Count(a.body, `<th role="rowheader"`)
		path = ""
		for _, href := range a.hrefs() {
			if strings.Contains(href, "cursor=") {
				path = href
			}
		}
	}
	if seen != 122 {
		t.Errorf("%d users on all pages, want 122", seen)
	}
	p.get("/users?search=person+01").is(http.StatusOK).says("Person 010", "Person 019").saysNot("Person 020", "Next page")
	p.get("/users?search=ZO%C3%8B").is(http.StatusOK).says("No user is found by “ ZOË ”")
	p.get("/users?search=ZOE").is(http.StatusOK).says("zoe")
	if a := p.get("/users?search=admin"); !strings.Contains(a.text(), "AdministerSystem") {
		t.Error("the list does not show permissions")
	}
}

// The list is filtered and sorted, says how many users the filter selects, and selects
// users for one revocation: several of them, or all that are found.
func TestUserFilters(t *testing.T) {
	s := open(t)
	editor := s.user("editor", store.UserEdit)
	group := []string{"ops"}
	var ops []store.User
	for i := range 60 {
		name := fmt.Sprintf("Person %03d", i)
		u, err := s.accounts.CreateUser(t.Context(), trusted, account.UserChange{Name: &name, Groups: &group})
		s.must(err)
		ops = append(ops, u)
	}
	yes := true
	_, _, err := s.accounts.ChangeUser(t.Context(), trusted, ops[7].ID, account.UserChange{Disabled: &yes}, "")
	s.must(err)
	s.issue(ops[9], false)
	s.must(s.store.Update(t.Context(), func(tx store.Tx) error {
		return tx.PutIdentity(t.Context(), store.Identity{Issuer: "https://corp.test", Subject: "s", UserID: ops[5].ID, Provider: "corp", LinkedAt: 1})
	}))
	p := s.as(s.admin)
	p.get("/users").is(http.StatusOK).says("62 users")
	p.get("/users?show=linked").is(http.StatusOK).says("1 user found", "Person 005", "With an account at an identity provider").saysNot("Person 006")
	p.get("/users?group=ops").is(http.StatusOK).says("60 users found", "all 60 users found", "Person 049", "Next page").saysNot("Person 050", "editor")
	next := p.next(p.get("/users?group=ops"))
	p.get(next).is(http.StatusOK).says("Person 050", "Person 059", "First page").saysNot("Next page", "Person 049")
	p.get("/users?show=disabled").is(http.StatusOK).says("1 user found", "Person 007").saysNot("Person 008")
	p.get("/users?show=administrators").is(http.StatusOK).says("1 user found", "admin").saysNot("editor", "Person")
	p.get("/users?show=live&group=ops").is(http.StatusOK).says("1 user found", "Person 009")
	p.get("/users?search=person+01&group=ops").is(http.StatusOK).says("10 users found", "Person 019").saysNot("Person 020")
	p.get("/users?group=nowhere").is(http.StatusOK).says("0 users found", "No user is found.")
	for _, cursor := range []string{"-1", "x", "1e3"} {
		p.get("/users?sort=last&cursor=" + cursor).is(http.StatusNotFound)
	}
	p.post("/users/selected", "id", ops[1].ID, "id", ops[2].ID).is(http.StatusOK).says("2 users selected.", "name:Person 001 name:Person 002").saysNot("Person 003")
	p.post("/users/selected", "all", "on", "group", "ops").is(http.StatusOK).says("60 users selected.", "name:Person 000", "name:Person 059").saysNot("name:editor")
	p.post("/users/selected", "group", "ops").is(http.StatusUnprocessableEntity).says("Select at least one user.", "60 users found")
	p.post("/users/selected", "id", "nobody").is(http.StatusNotFound)
	s.as(editor).get("/users").is(http.StatusOK).says("62 users").saysNot("of the selected")
	s.as(editor).post("/users/selected", "id", ops[1].ID).is(http.StatusForbidden)
	if n := len(s.audits(wire.ActionRevokeUser)); n > 0 {
		t.Errorf("selecting has revoked: %d entries", n)
	}
}

// next returns the address of the next page of a list; "" if there is none.
func (p *person) next(a answer) string {
	for _, href := range a.hrefs() {
		if strings.Contains(href, "cursor=") {
			return href
		}
	}
	return ""
}

// The heading of a column sorts the list, and sorts it the other way round if it is sorted
// by it already. The filter stays, and the pages have each user once, in that order.
func TestUsersAreSorted(t *testing.T) {
	s := open(t)
	group := []string{"ops"}
	var byName, byLast []string
	for i := range 110 {
		name := fmt.Sprintf("Person %03d", i)
		u, err := s.accounts.CreateUser(t.Context(), trusted, account.UserChange{Name: &name, Groups: &group})
		s.must(err)
		s.must(s.store.Update(t.Context(), func(tx store.Tx) error { return tx.TouchUser(t.Context(), u.ID, int64(1e15)+int64(i%7)) }))
		byName = append(byName, name)
	}
	for last := range 7 {
		for i := last; i < 110; i += 7 {
			byLast = append(byLast, fmt.Sprintf("Person %03d", i))
		}
	}
	p := s.as(s.admin)
	person := regexp.MustCompile(`(?s)<th role="rowheader".*?<bdi>(.*?)</bdi>`)
	heading := func(a answer, words string) (sorted, href string) {
		t.Helper()
		m := regexp.MustCompile(`<th role="columnheader" scope="col"(?: aria-sort="([a-z]+)")?><a href="([^"]*)">` + words + `<`).FindStringSubmatch(a.body)
		if m == nil {
			t.Fatalf("no heading %q", words)
		}
		return m[1], html.UnescapeString(m[2])
	}
	path := "/users?group=ops"
	for _, step := range []struct {
		column, other, sorted string
		want                  []string
	}{
		{"Name", "Last sign-in", "ascending", byName},
		{"Name", "Last sign-in", "descending", reversed(byName)},
		{"Last sign-in", "Name", "descending", reversed(byLast)},
		{"Last sign-in", "Name", "ascending", byLast},
		{"Name", "Last sign-in", "ascending", byName},
	} {
		var got []string
		for next := path; next != ""; {
			a := p.get(next).is(http.StatusOK).says("110 users found")
			for _, m := range person.FindAllStringSubmatch(a.body, -1) {
				got = append(got, m[1])
			}
			if sorted, _ := heading(a, step.column); sorted != step.sorted {
				t.Errorf("%s: %s is %q, want %q", next, step.column, sorted, step.sorted)
			}
			if sorted, _ := heading(a, step.other); sorted != "" {
				t.Errorf("%s: %s is %q too", next, step.other, sorted)
			}
			next = p.next(a)
		}
		if !slices.Equal(got, step.want) {
			t.Errorf("%s: %q, want %q", path, got, step.want)
		}
		column := step.column
		if path == "/users?group=ops&sort=name-desc" || path == "/users?group=ops&sort=last-asc" {
			column = step.other
		}
		_, path = heading(p.get(path), column)
	}
	// A search is in the order of the match until a heading is followed.
	a := p.get("/users?search=person")
	if sorted, href := heading(a, "Name"); sorted != "" || href != "/users?search=person&sort=name" {
		t.Errorf("the names found are %q, and lead to %s", sorted, href)
	}
}

func reversed(texts []string) []string {
	texts = slices.Clone(texts)
	slices.Reverse(texts)
	return texts
}

// The list of the selected users stands for them and for no other, whatever their names
// are: a list of names can be a table with several columns.
func TestSelectedUsersByName(t *testing.T) {
	s := open(t)
	p := s.as(s.admin)
	eve, comma, quoted := s.user("eve;admin"), s.user("eve,admin@corp.example"), s.user(`"admin" x`)
	plain, sep := s.user("ann"), s.user("sep=;")
	textarea := regexp.MustCompile(`(?s)<textarea[^>]* name="(names|ids)"[^>]*>(.*?)</textarea>`)
	list := func(a answer, name string) []string {
		for _, m := range textarea.FindAllStringSubmatch(a.body, -1) {
			if m[1] == name {
				return strings.Split(html.UnescapeString(m[2]), "\n")
			}
		}
		t.Fatalf("no list of %s in\n%s", name, a.body)
		return nil
	}
	for _, users := range [][]store.User{{eve}, {comma}, {quoted}, {plain}, {sep}, {eve, plain}, {comma, eve}, {quoted, comma}, {eve, comma, quoted, plain, sep}} {
		var ids, form []string
		for _, u := range users {
			ids, form = append(ids, u.ID), append(form, "id", u.ID)
		}
		selected := p.post("/users/selected", form...).is(http.StatusOK)
		asked := p.post("/revocations", "scope", "users", "names", strings.Join(list(selected, "names"), "\n"), "reason", "Offboarding").is(http.StatusOK)
		got := list(asked, "ids")
		slices.Sort(ids)
		slices.Sort(got)
		if !slices.Equal(got, ids) {
			t.Errorf("%d users from %q: would revoke %q, want %q", len(users), users[0].Name, got, ids)
		}
	}
}

func TestNewUser(t *testing.T) {
	s := open(t)
	p := s.as(s.admin)
	p.get("/new-user").is(http.StatusOK).says("Permissions", "AdministerSystem")
	to := p.post("/users", "name", "Zoë", "email", "zoe@example.com", "password", "twelve bytes or more", "UserEdit", "on").is(http.StatusSeeOther).location
	p.get(to).is(http.StatusOK).says("Zoë", "Account created.", "Enabled")
	u, err := s.accounts.FindUser(context.Background(), "zoë")
	s.must(err)
	if u.Email != "zoe@example.com" || len(u.Permissions) != 1 || u.Permissions[0] != store.UserEdit || u.PasswordHash == "" {
		t.Errorf("made %+v", u)
	}
	a := p.post("/users", "name", "ZOË", "email", "zoe@example.com").is(http.StatusUnprocessableEntity).says("Another user has this name or ID, or a similar-looking one.")
	if a.input("name") != "ZOË" || a.input("email") != "zoe@example.com" {
		t.Error("what was typed is gone")
	}
	p.post("/users", "name", "ZOË", "password", "twelve bytes or more").is(http.StatusUnprocessableEntity).says("Enter the password again")
	p.get(p.post("/users", "name", "robot").is(http.StatusSeeOther).location).is(http.StatusOK).says("without a password. Services can start sessions for the user").saysNot("can sign in now")
	p.post("/users", "name", "zoë", "email", "nonsense", "password", "short").is(http.StatusUnprocessableEntity).says("Name: This is the name of another user.", "Email: ", "Password: Must have at least 12")
	a = p.post("/users", "name", "a\u202eb", "email", "nonsense", "password", "short").is(http.StatusUnprocessableEntity)
	for _, field := range []string{"name", "email", "password"} {
		if !strings.Contains(a.body, `id="`+field+`-wrong"`) {
			t.Errorf("nothing is said about the field %s", field)
		}
	}
	// UserEdit gives no permissions, whatever is sent.
	editor := s.as(u)
	editor.get("/new-user").is(http.StatusOK).saysNot("AdministerSystem")
	editor.post("/users", "name", "mallory", "AdministerSystem", "on").is(http.StatusForbidden).says("This requires the AdministerSystem permission")
}

func TestChangeUser(t *testing.T) {
	s := open(t)
	other, third := s.user("other"), s.user("third")
	p := s.as(s.admin)
	path := "/users/" + other.ID
	p.get(p.post(path, "name", "Others", "email", "o@example.com").to(path).location).is(http.StatusOK).says("Saved.", "Others")
	a := p.post(path, "name", "third", "email", "x@example.com").is(http.StatusUnprocessableEntity).says("Another user has this name or ID, or a similar-looking one.")
	if a.input("name") != "third" || a.input("email") != "x@example.com" {
		t.Error("what was typed is gone")
	}
	p.post(path, "name", "Others", "email", "").to(path)
	p.post(path+"/permissions", "UserEdit", "on").to(path)
	raw := s.issue(other, false)
	p.get(path+"/disable").is(http.StatusOK).says("Disable Others?", "This ends 1 live session of Others")
	p.get(p.post(path+"/disable").to(path).location).is(http.StatusOK).says("Account disabled", "Enable the account")
	if got := s.reason(raw); got != token.ErrRevoked {
		t.Errorf("a disabled user's session: %q", got)
	}
	p.post(path + "/enable").to(path)
	raw = s.issue(other, false)
	p.post(path+"/password", "new", "short").is(http.StatusUnprocessableEntity)
	p.get(p.post(path+"/password", "new", "twelve bytes or more").to(path).location).is(http.StatusOK).says("Password changed", "Receipt", "password changed")
	if got := s.reason(raw); got != token.ErrRevoked {
		t.Errorf("a session from before the password: %q", got)
	}
	u, err := s.store.User(context.Background(), other.ID)
	s.must(err)
	if u.Name != "Others" || u.Email != "" || u.Disabled || len(u.Permissions) != 1 || u.PasswordHash == "" {
		t.Errorf("in the store: %+v", u)
	}
	// Groups are separated by commas. Leaving one revokes, and the page has the receipt.
	groups := func(a answer, want string) {
		t.Helper()
		if got := a.input("groups"); got != want {
			t.Errorf("the groups on the page are %q, want %q", got, want)
		}
	}
	groups(p.get(p.post(path+"/groups", "groups", "staff, on call ,, ops").to(path).location).is(http.StatusOK).says("Groups saved."), "on call, ops, staff")
	raw = s.issue(other, false)
	p.post(path+"/groups", "groups", "on call, ops, sales, staff").to(path)
	if got := s.reason(raw); got != "" {
		t.Errorf("after joining a group: %q", got)
	}
	p.post(path+"/groups", "groups", "ops, staff").is(http.StatusOK).says("Remove Others from on call, sales?", "This ends 1 live session of Others")
	if got := s.reason(raw); got != "" {
		t.Errorf("before the removal is confirmed: %q", got)
	}
	groups(p.get(p.post(path+"/groups", "groups", "ops, staff", "confirmed", "on").to(path).location).is(http.StatusOK).says("Receipt"), "ops, staff")
	if got := s.reason(raw); got != token.ErrRevoked {
		t.Errorf("after leaving a group: %q", got)
	}
	groups(p.post(path+"/groups", "groups", "ops, Ops").is(http.StatusUnprocessableEntity).says("differ only in letter case"), "ops, Ops")
	p.get("/users").is(http.StatusOK).says("ops, staff")
	groups(p.get(p.post("/users", "name", "grouped", "groups", "sales").is(http.StatusSeeOther).location).is(http.StatusOK), "sales")

	// No user is locked out for good.
	own := "/users/" + s.admin.ID
	p.post(own + "/disable").is(http.StatusUnprocessableEntity).says("the last enabled administrator")
	p.post(own + "/permissions").is(http.StatusUnprocessableEntity).says("the last enabled administrator")
	p.get(own).is(http.StatusOK).says("Change your password on your profile")
	p.post(own+"/password", "new", "twelve bytes or more").to("/profile")
	p.post(own, "name", "admin", "email", "thief@example.com").is(http.StatusUnprocessableEntity).says("Can't be changed on your own account")
	p.post(own+"/groups", "groups", "ops").is(http.StatusUnprocessableEntity).says("Can't be changed on your own account")
	p.get(p.post(own, "name", "root", "email", "").to(own).location).is(http.StatusOK).says("Saved.", "Another administrator can, or curfew user email")
	p.get("/users/nobody").is(http.StatusNotFound)
	p.get("/users/..%2F..").is(http.StatusNotFound)
	p.post("/users/nobody/revoke", "reason", "Offboarding").is(http.StatusNotFound)
	_ = third
}

// A password that Curfew generates is shown once, and works.
func TestGeneratedPasswords(t *testing.T) {
	s := open(t)
	p := s.as(s.admin)
	shown := regexp.MustCompile(`<code id="password">([A-Z2-7-]{23})</code>`)
	signsIn := func(name string, a answer) {
		t.Helper()
		m := shown.FindStringSubmatch(a.body)
		if m == nil {
			t.Fatalf("no password on the page:\n%s", a.text())
		}
		s.signedOut().post("/sign-in", "username", name, "password", m[1]).to("/")
	}
	p.post("/users", "name", "yvonne", "how", "generate", "must_change", "on").is(http.StatusCreated).says("The user can sign in now, and must choose a new password then.", "Sign in at", strings.TrimSuffix(issuer, "/")+"/sign-in")
	signsIn("zoe", p.post("/users", "name", "zoe", "how", "generate", "password", "typed, and then not chosen").is(http.StatusCreated).says("it is shown only once", "Account created."))
	u, err := s.accounts.FindUser(t.Context(), "zoe")
	s.must(err)
	signsIn("zoe", p.post("/users/"+u.ID+"/password", "generate", "on", "new", "").is(http.StatusCreated).says("All of the user’s sessions are revoked.", "Sign in at"))
	p.post("/users", "name", "yan", "how", "typed", "password", "").is(http.StatusUnprocessableEntity).says("Must have at least 12")
	p.get(p.post("/users", "name", "yan", "how", "none", "password", "typed, and then not chosen").is(http.StatusSeeOther).location).says("without a password")
}

// UserEdit cannot touch an administrator's account, but may revoke their sessions.
func TestUserEdit(t *testing.T) {
	s := open(t)
	p := s.as(s.user("editor", store.UserEdit))
	path := "/users/" + s.admin.ID
	raw := s.issue(s.admin, false)
	a := p.get(path).is(http.StatusOK).says("This is an administrator’s account.")
	a.saysNot("Audit log") // it is not for UserEdit
	if n := strings.Count(a.body, "<fieldset class=\"bare\" disabled>"); n != 4 {
		t.Errorf("%d forms are disabled, want 4", n)
	}
	for _, form := range [][]string{{"", "name", "x"}, {"/permissions"}, {"/groups", "groups", "ops"}, {"/password", "new", "twelve bytes or more"}, {"/disable"}, {"/enable"}} {
		p.post(path+form[0], form[1:]...).is(http.StatusForbidden).says("This requires the AdministerSystem permission")
	}
	p.post(path+"/revoke", "reason", "Malicious activity").to(path)
	if s.reason(raw) != token.ErrRevoked {
		t.Error("the session goes on")
	}
}

// A user is deleted with a reason and a word, the receipt names the user, and the last
// administrator stays.
func TestDeleteUser(t *testing.T) {
	s := open(t)
	other, second := s.user("other"), s.user("second", store.AdministerSystem)
	raw := s.issue(other, false)
	p, editor := s.as(s.admin), s.as(s.user("editor", store.UserEdit))
	path := "/users/" + other.ID
	p.get(path).is(http.StatusOK).says("Delete the user")
	p.get(path+"/delete").is(http.StatusOK).says("Delete other?", "This ends 1 live session of other", "Type delete to confirm")
	for _, form := range [][]string{{}, {"reason", "Offboarding"}, {"reason", "Offboarding", "word", "other"}, {"word", "delete"}} {
		p.post(path+"/delete", form...).is(http.StatusUnprocessableEntity).says("Nothing was changed")
	}
	if got := s.reason(raw); got != "" {
		t.Fatalf("before it is confirmed: %q", got)
	}
	editor.get("/users/" + second.ID).is(http.StatusOK).saysNot("Delete the user")
	editor.get("/users/" + second.ID + "/delete").is(http.StatusForbidden)
	editor.post("/users/"+second.ID+"/delete", "reason", "Offboarding", "word", "delete").is(http.StatusForbidden)
	done := p.post(path+"/delete", "reason", "Offboarding", "word", "delete").is(http.StatusSeeOther)
	p.get(done.location).is(http.StatusOK).says("User deleted.", "Receipt", "other", "Offboarding")
	if got := s.reason(raw); got != token.ErrRevoked {
		t.Errorf("a deleted user's session: %q", got)
	}
	// What links to the user leads to a record, for callers that may see users.
	record := p.get(path).is(http.StatusOK).says("Deleted user other", other.ID, "This user was deleted on", "Deleted by: admin", "Reason: Offboarding")
	for _, href := range record.hrefs() {
		if strings.HasPrefix(href, "/") && p.get(href).status != http.StatusOK {
			t.Errorf("the link to %s answers %d", href, p.get(href).status)
		}
	}
	for _, page := range []string{strings.SplitN(done.location, "?", 2)[0], "/audit?person=" + other.ID} {
		if !slices.Contains(p.get(page).is(http.StatusOK).hrefs(), path) {
			t.Errorf("%s does not link to the deleted user", page)
		}
	}
	editor.get(path).is(http.StatusOK).says("Deleted user other").saysNot("Audit log")
	s.as(s.user("ordinary")).get(path).is(http.StatusForbidden)
	p.post(path, "name", "again").is(http.StatusNotFound)
	p.get(path + "/delete").is(http.StatusNotFound)
	own := s.as(second)
	own.get("/users/" + second.ID + "/delete").is(http.StatusOK).says("This is your own account.")
	own.post("/users/"+second.ID+"/delete", "reason", "Offboarding", "word", "delete").to("/sign-in")
	p.post("/users/"+s.admin.ID+"/delete", "reason", "Offboarding", "word", "delete").is(http.StatusUnprocessableEntity).says("the last enabled administrator", "Delete admin?")
	p.get("/profile").is(http.StatusOK)
}
