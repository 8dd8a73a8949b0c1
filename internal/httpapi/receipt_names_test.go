package httpapi

import (
	"slices"
	"testing"

	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
)

// The names of services that have not confirmed are the operator's: other users
// learn how many there are.
func TestReceiptNamesServicesToOperatorsOnly(t *testing.T) {
	s := start(t)
	payroll := s.service("payroll", store.Follow)
	s.do("GET", "/v1/changes?after=0&follower=silent", nil, payroll).must(200, nil)
	for name, row := range map[string]struct {
		permissions []string
		named       bool
	}{
		"user":          {nil, false},
		"editor":        {[]string{store.UserEdit}, true},
		"administrator": {[]string{store.AdministerSystem}, true},
	} {
		u := s.user(name, row.permissions...)
		var begun, later wire.Receipt
		s.do("POST", "/v1/users/me/revocations", `{"reason":"lost","keep_current":true}`, bearerToken(s.token(u))).must(201, &begun)
		s.do("GET", path("/v1/revocations/%d", begun.Epoch), nil, bearerToken(begun.Token)).must(200, &later)
		for what, r := range map[string]wire.Receipt{"the answer": begun, "the receipt read later": later} {
			e := r.Enforcement
			if e.Waiting == nil || slices.Contains(e.Waiting, "payroll") != row.named || !row.named && len(e.Waiting) > 0 {
				t.Errorf("%s: %s names %q", name, what, e.Waiting)
			}
			if e.Validators != 2 || e.Confirmed != 1 || e.EffectiveEverywhere {
				t.Errorf("%s: %s says %+v, want 1 of 2 validators", name, what, e)
			}
		}
	}
}
