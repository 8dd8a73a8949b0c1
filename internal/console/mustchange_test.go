package console

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"example.com/curfew/internal/wire"
)

// A user with a password from an administrator chooses another one at the first
// sign-in. No page repeats a password, and no session begins before.
func TestMustChangePassword(t *testing.T) {
	s := open(t)
	admin := s.as(s.admin)
	admin.get("/new-user").is(http.StatusOK).says("The user must change the password at the first sign-in")
	a := admin.post("/users", "name", "Zoë", "how", "generate", "must_change", "on").is(http.StatusCreated)
	given := regexp.MustCompile(`<code id="password">([^<]+)<`).FindStringSubmatch(a.body)[1]
	const chosen = "four unrelated words, zebra"
	p := s.signedOut()
	asked := func(status int, fields ...string) answer {
		t.Helper()
		a := p.post("/sign-in", append([]string{"username", "Zoë", "return", "/profile"}, fields...)...).is(status)
		if len(a.cookies) > 0 {
			t.Errorf("cookies %v", a.cookies)
		}
		for _, secret := range []string{given, chosen} {
			if strings.Contains(a.body, secret) {
				t.Error("the page has a password")
			}
		}
		return a
	}
	asks := func(a answer) answer {
		t.Helper()
		a.says("Choose a new password", "Current password", "New password, again")
		if a.input("username") != "Zoë" || a.input("return") != "/profile" {
			t.Error("the form has lost what was typed")
		}
		return a
	}
	asked(http.StatusUnauthorized, "password", "wrong password!").saysNot("Choose a new password")
	asks(asked(http.StatusForbidden, "password", given))
	asks(asked(http.StatusUnprocessableEntity, "password", given, "new", chosen, "again", "another")).says("New password, again: The two new passwords differ.")
	asks(asked(http.StatusUnprocessableEntity, "password", given, "new", "too short", "again", "too short")).says("New password: Must have at least 12 characters")
	asks(asked(http.StatusUnprocessableEntity, "password", given, "new", given, "again", given)).says("New password: Must differ from the current password.")
	asks(asked(http.StatusUnauthorized, "password", "wrong password!", "new", chosen, "again", chosen)).says("The name or password is wrong.")
	if begun := s.audits(wire.ActionSignIn); len(begun) != 1 { // the administrator's
		t.Errorf("sessions began: %+v", begun)
	}
	a = p.post("/sign-in", "username", "Zoë", "password", given, "new", chosen, "again", chosen, "return", "/profile?x=1").to("/profile")
	if a.query("x") != "1" {
		t.Errorf("leads to %s", a.location)
	}
	p.get(a.location).is(http.StatusOK).says("Password changed. You are signed in.")
	p.post("/sign-in", "username", "Zoë", "password", given).is(http.StatusUnauthorized)
	p.post("/sign-in", "username", "Zoë", "password", chosen).to("/")

	zoe := "/users/" + s.audits(wire.ActionUserPassword)[0].TargetID
	admin.get(zoe).is(http.StatusOK).saysNot("must be changed at the next sign-in")
	admin.post(zoe+"/password", "new", given, "must_change", "on").to(zoe)
	admin.get(zoe).is(http.StatusOK).says("must be changed at the next sign-in")
	asks(asked(http.StatusForbidden, "password", given))
	admin.post(zoe+"/password", "new", chosen+"!").to(zoe)
	p.post("/sign-in", "username", "Zoë", "password", chosen+"!").to("/")

	// A new password for a user who need not choose one changes nothing.
	a = p.post("/sign-in", "username", "Zoë", "password", chosen+"!", "new", chosen, "again", chosen).is(http.StatusUnprocessableEntity)
	a.says("This is allowed only when the password must be changed")
	p.post("/sign-in", "username", "Zoë", "password", chosen+"!").to("/")
	// No password is needed for a user who has none.
	admin.post("/users", "name", "Service", "how", "none", "must_change", "on").is(http.StatusSeeOther)
	if u, err := s.accounts.FindUser(t.Context(), "Service"); err != nil || u.MustChangePassword {
		t.Errorf("without a password: %+v, %v", u, err)
	}
}
