package console

import (
	"net/http"
	"testing"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/wire"
)

// A wrong password of a user with a session is not a refused sign-in: the audit names the
// user and the reason, and the overview does not count it. The same holds for a sign-in
// that only lacks a new password.
func TestPasswordsOfKnownUsersAreNoRefusedSignIns(t *testing.T) {
	s := open(t)
	p := s.as(s.admin)
	figure := func(want string) {
		t.Helper()
		p.get("/?show=refused").is(http.StatusOK).contains(`aria-label="Sign-ins refused in the last day: ` + want)
	}
	figure("none.")
	p.post("/profile/password", "current", "wrong", "new", "four unrelated words", "again", "four unrelated words").is(http.StatusUnprocessableEntity)
	entries := s.audits(wire.ActionSignInFailed)
	if len(entries) != 1 || entries[0].Actor.ID != s.admin.ID || entries[0].Actor.Name != "admin" || entries[0].TargetID != s.admin.ID || entries[0].Reason != account.WrongCurrent {
		t.Fatalf("the audit has %+v", entries)
	}
	p.get("/audit").says("admin Password refused admin", account.WrongCurrent).saysNot("not signed in")
	ann, secret, yes := s.user("ann"), password, true
	_, _, err := s.accounts.ChangeUser(t.Context(), trusted, ann.ID, account.UserChange{Password: &secret, MustChangePassword: &yes}, "")
	s.must(err)
	b := s.signedOut()
	b.post("/sign-in", "username", "ann", "password", password).is(http.StatusForbidden)
	p.get("/audit?action="+wire.ActionSignInFailed).says("ann Sign-in refused ann", "the password must be changed")
	figure("none.")
	b.post("/sign-in", "username", "ann", "password", "wrong").is(http.StatusUnauthorized)
	figure("1 in all")
	p.get("/audit?action=" + wire.ActionSignInFailed).says("not signed in Sign-in refused ann")
}
