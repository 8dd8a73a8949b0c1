package console

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
)

// The page of a session has what is known of it, and how it ended, with the receipt and
// the part of the audit that is about it.
func TestSessionPage(t *testing.T) {
	s := open(t)
	u, editor, ordinary := s.user("ann"), s.as(s.user("editor", store.UserEdit)), s.as(s.user("ordinary"))
	p := s.as(s.admin)
	sessionOf := func(raw string) string {
		t.Helper()
		v, err := s.validator.Validate(t.Context(), raw)
		s.must(err)
		return v.ID
	}
	raw := s.issue(u, true)
	id, other := sessionOf(raw), sessionOf(s.issue(u, false))
	page := userPath(u.ID, "/sessions/", id)
	if list := p.get(userPath(u.ID)).is(http.StatusOK); strings.Count(list.body, ` href="`+page+`"`) != 1 || !strings.Contains(list.body, `aria-label="Computer"`) {
		t.Error("the list has no link to the session, or no icon")
	}
	p.get(page).is(http.StatusOK).says("Session: Firefox on Linux", "Live", "Remember me", "192.0.2.1", "Gecko/20100101 Firefox/128.0", id, "Revoke this session", "Audit log of this session").
		saysNot("How it ended", "This session ", other)
	editor.get(page).is(http.StatusOK).says(id).saysNot("Audit log of this session")
	ordinary.get(page).is(http.StatusForbidden).saysNot(id)
	own := sessionOf(ordinary.token)
	ordinary.get(userPath(ordinary.user.ID, "/sessions/", own)).is(http.StatusOK).says("This session", own, "Profile")
	// Under another user there is none, nor after the record is gone.
	p.get(userPath(s.admin.ID, "/sessions/", id)).is(http.StatusNotFound)
	p.get(userPath(u.ID, "/sessions/x")).is(http.StatusNotFound)

	editor.post(page+"/revoke", "reason", "Lost device").is(http.StatusSeeOther)
	ended := p.get(page).is(http.StatusOK).says("Ended", "How it ended", "Revoked a session", "editor", "Lost device", "Receipt")
	ended.saysNot("Revoke this session", "Expires")
	receipt := "/revocations/" + epochText(s.audits(wire.ActionRevokeSession)[0].Epoch)
	audit := address("/audit", url.Values{"person": {u.ID}, "session": {id}})
	for _, href := range []string{receipt, audit} {
		if !slices.Contains(ended.hrefs(), href) {
			t.Errorf("no link to %s in %v", href, ended.hrefs())
		}
	}
	for path, want := range map[string]int{audit: 2, "/audit?session=" + other: 1} {
		if n := strings.Count(p.get(path).is(http.StatusOK).body, `data-label="When"`); n != want {
			t.Errorf("%s: %d entries, want %d", path, n, want)
		}
	}
	p.get("/audit?session=x").is(http.StatusUnprocessableEntity).says("The filter was not applied.", "A session ID has 22 letters")

	// The holder of a session sees that all users were revoked, and not why.
	mine := sessionOf(s.issue(ordinary.user, false))
	p.post("/revocations/confirmed", "scope", "everyone", "reason", "Malicious activity", "word", "everyone").is(http.StatusSeeOther)
	again := s.as(ordinary.user)
	again.get(userPath(ordinary.user.ID, "/sessions/", mine)).is(http.StatusOK).says("Revoked everyone’s sessions").saysNot("Malicious activity", "Receipt")
}
