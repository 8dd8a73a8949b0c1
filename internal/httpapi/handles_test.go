package httpapi

import (
	"testing"

	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
)

// A name never stands for another user than its id does, and a list says which of
// the two it means.
func TestNamesAndIDs(t *testing.T) {
	s := start(t)
	me := bearerToken(s.token(s.admin))
	ann, bob := s.user("ann"), s.user("bob")
	for _, name := range []string{ann.ID, "ANN", "\u0430nn"} {
		s.do("POST", "/v1/users", map[string]any{"name": name}, me).problem(409, "conflict")
		s.do("PATCH", "/v1/users/"+bob.ID, map[string]any{"name": name}, me).problem(409, "conflict")
	}
	issuer := s.service("shop", store.Issue)
	for _, id := range []string{"admin", "Admin", "ann"} {
		s.do("POST", "/v1/users/"+id+"/sessions", `{}`, issuer).problem(409, "conflict")
	}
	s.do("POST", "/v1/users/"+ann.ID+"/sessions", `{}`, issuer).must(201, nil)

	for _, tt := range []struct {
		users  []string
		status int
		code   string
		ends   bool
	}{
		{[]string{ann.ID}, 201, "", true},
		{[]string{"id:" + ann.ID}, 201, "", true},
		{[]string{"name:ANN", "ann", ann.ID}, 201, "", true},
		{[]string{"id:ann"}, 404, "not_found", false},
		{[]string{"name:" + ann.ID}, 404, "not_found", false},
		{[]string{"ann", "nobody"}, 404, "not_found", false},
	} {
		raw, other := s.token(ann), s.token(bob)
		a := s.do("POST", "/v1/revocations", wire.RevokeMany{Scope: "users", Users: tt.users, Reason: "test"}, me)
		if tt.status == 201 {
			var receipt wire.Receipt
			if a.must(201, &receipt); receipt.Users == nil || *receipt.Users != 1 || receipt.Target == nil {
				t.Errorf("%q: %+v", tt.users, receipt)
			}
		} else {
			a.problem(tt.status, tt.code)
		}
		if a := s.do("GET", "/v1/session", nil, bearerToken(raw)); (a.StatusCode == 401) != tt.ends {
			t.Errorf("%q: %d for the session", tt.users, a.StatusCode)
		}
		s.do("GET", "/v1/session", nil, bearerToken(other)).must(200, nil)
	}
}
