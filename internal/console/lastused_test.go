package console

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"example.com/curfew/internal/store"
	"example.com/curfew/internal/uses"
)

// sessionCell returns the text of a cell of the session table, in the row that has a
// button for the session.
func sessionCell(a answer, session, label string) string {
	for row := range strings.SplitSeq(a.body, "<tr ") {
		if strings.Contains(row, "/sessions/"+session+"/revoke") {
			m := regexp.MustCompile(`(?s)data-label="` + label + `">(.*?)</td>`).FindStringSubmatch(row)
			if m == nil {
				return "no cell"
			}
			return strings.TrimSpace(regexp.MustCompile("<[^>]*>").ReplaceAllString(m[1], ""))
		}
	}
	return "no row"
}

// The session tables of the profile and of a user's page say when each session was
// last used, and when last refreshed.
func TestLastUsed(t *testing.T) {
	s := open(t)
	ann := s.user("ann")
	own, other := s.as(ann), s.as(ann)
	current, idle := s.idOf(own), s.idOf(other)
	pages := map[string]func() answer{
		"profile": func() answer { return own.get("/profile").is(http.StatusOK) },
		"user":    func() answer { return s.as(s.admin).get("/users/" + ann.ID).is(http.StatusOK) },
	}
	cells := func(session, used, refreshed string, only ...string) {
		t.Helper()
		for name, page := range pages {
			if len(only) > 0 && only[0] != name {
				continue
			}
			a := page().says("“Last used” may be up to ten minutes behind.")
			if got := sessionCell(a, session, "Last used"); got != used {
				t.Errorf("%s: last used %q, want %q", name, got, used)
			}
			if got := sessionCell(a, session, "Last refreshed"); got != refreshed {
				t.Errorf("%s: last refreshed %q, want %q", name, got, refreshed)
			}
		}
	}
	cells(idle, "not yet", "just now")
	cells(current, "just now", "just now", "profile") // it shows the page
	cells(current, "not yet", "just now", "user")
	s.wait(10 * time.Minute)
	at := s.now().Add(-3 * time.Minute)
	s.must(s.store.RecordUses(t.Context(), []store.Use{{Session: idle, At: at.UnixMicro(), Since: at.Add(-uses.Interval).UnixMicro()}}))
	cells(idle, "3 minutes ago", "10 minutes ago")
	own.get("/users/" + ann.ID + "/sessions/" + idle).is(http.StatusOK).says("up to ten minutes behind")
}

// idOf returns the id of a person's session.
func (s *site) idOf(p *person) string {
	s.Helper()
	found, err := s.validator.Validate(s.Context(), p.token)
	s.must(err)
	return found.ID
}
