package httpapi

import (
	"testing"

	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
)

// A deleted user is gone: the sessions end with a receipt, the id is not given again in
// any way, the name is free, and the audit keeps both.
func TestDeleteUser(t *testing.T) {
	s := start(t)
	me := bearerToken(s.token(s.admin))
	client := s.service("issuer", store.Issue)
	var issued wire.Issued
	s.do("POST", "/v1/users/gone/sessions", wire.Issue{}, client).must(201, &issued)
	ann := s.user("ann")
	raw := s.token(ann)

	var receipt wire.Receipt
	s.do("DELETE", "/v1/users/"+ann.ID+"?reason=offboarding", nil, me).must(200, &receipt)
	if receipt.Scope != "user" || receipt.Target == nil || receipt.Target.ID != ann.ID || receipt.Target.Name != "ann" || *receipt.Sessions != 1 ||
		receipt.Reason != "offboarding" || !receipt.Enforcement.EffectiveEverywhere || receipt.Enforcement.ClosedAt == nil {
		t.Errorf("%+v", receipt)
	}
	s.do("GET", "/v1/session", nil, bearerToken(raw)).problem(401, "revoked")
	s.do("GET", "/v1/users/"+ann.ID, nil, me).problem(404, "not_found")
	s.do("DELETE", "/v1/users/"+ann.ID, nil, me).problem(404, "not_found")
	s.do("DELETE", "/v1/users/gone", nil, me).must(200, nil)
	s.do("GET", "/v1/session", nil, bearerToken(issued.Token)).problem(401, "revoked")

	// The id is not given again: to a client's user, as a name, in other letters.
	s.do("POST", "/v1/users/gone/sessions", wire.Issue{}, client).problem(409, "conflict")
	s.do("POST", "/v1/users/GONE/sessions", wire.Issue{}, client).problem(409, "conflict")
	s.do("POST", "/v1/users", `{"name":"gone"}`, me).problem(409, "conflict")
	bob := s.user("bob")
	s.do("PATCH", "/v1/users/"+bob.ID, `{"name":"gone"}`, me).problem(409, "conflict")
	again := s.user("ann") // the name is free
	if again.ID == ann.ID {
		t.Error("the id was given again")
	}

	for text, want := range map[string]int{ann.ID: 1, "id:" + ann.ID: 1, "gone": 1} {
		var list wire.Receipts
		s.do("GET", "/v1/revocations?user="+text, nil, me).must(200, &list)
		if len(list.Revocations) != want {
			t.Errorf("receipts of %s: %+v", text, list)
		}
	}
	// A filter that names no user selects nothing, as any other.
	for _, query := range []string{"revocations?user=never", "revocations?by=never", "audit?person=never", "audit?actor=id:never", "audit?target=name:never"} {
		s.do("GET", "/v1/"+query, nil, me).must(200, nil)
	}
	var audit wire.AuditEntries
	s.do("GET", "/v1/audit?action="+wire.ActionUserDelete+"&person="+ann.ID, nil, me).must(200, &audit)
	if len(audit.Entries) != 1 || audit.Entries[0].Target != (wire.AuditTarget{Kind: "user", ID: ann.ID, Name: "ann"}) || audit.Entries[0].Reason != "offboarding" {
		t.Errorf("the audit has %+v", audit.Entries)
	}

	// The last administrator stays.
	s.do("DELETE", "/v1/users/me", nil, me).problem(409, "conflict")
	s.do("GET", "/v1/session", nil, me).must(200, nil)
}
