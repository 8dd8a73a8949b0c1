package httpapi

import (
	"encoding/base64"
	"net/http"
	"testing"

	"example.com/curfew/internal/store"
)

// The scheme is in any letter case, with one or more spaces behind it (RFC 9110,
// sections 11.1 and 11.4), wherever a credential is read. Nothing else is.
func TestSpellingsOfTheScheme(t *testing.T) {
	s := start(t)
	good := s.token(s.user("ann"))
	client := s.service("billing", store.Introspect)
	basic := base64.StdEncoding.EncodeToString([]byte(client.id + ":" + client.secret))
	for _, tt := range []struct {
		before, after string
		bearer, basic int
	}{
		{" ", "", 200, 200},
		{"  ", "", 200, 200},
		{"        ", "", 200, 200},
		{" ", " ", 200, 200}, // not part of the value (RFC 9110, section 5.5)
		{"\t", "", 401, 401},
		{" \t", "", 401, 401},
		{"  \t ", "", 401, 401},
		{" ", " x", 401, 401},
		{" ", ", Bearer x", 401, 401},
		{"", "", 401, 401},
		{": ", "", 401, 401},
		{"= ", "", 401, 401},
	} {
		for _, scheme := range []string{"Bearer", "bearer", "BEARER", "bEaReR"} {
			for _, path := range []string{"/v1/session", "/v1/verify", "/v1/verify?x=y", "/v1/users/me/sessions"} {
				for range 2 { // a token that was proven before takes a shorter way
					if a := s.do(http.MethodGet, path, nil, header{"Authorization", scheme + tt.before + good + tt.after}); a.StatusCode != tt.bearer {
						t.Errorf("%s, %s%q…%q: %d, want %d", path, scheme, tt.before, tt.after, a.StatusCode, tt.bearer)
					}
				}
			}
		}
		for _, scheme := range []string{"Basic", "basic", "BASIC"} {
			if a := s.do(http.MethodGet, "/v1/clients/me", nil, header{"Authorization", scheme + tt.before + basic + tt.after}); a.StatusCode != tt.basic {
				t.Errorf("%s%q…%q: %d, want %d", scheme, tt.before, tt.after, a.StatusCode, tt.basic)
			}
		}
	}
	for _, path := range []string{"/v1/session", "/v1/verify"} {
		for _, second := range []string{"Bearer " + good, "Bearer x.y.z", "Basic " + basic, ""} {
			a := s.do(http.MethodGet, path, nil, header{"Authorization", "Bearer " + good}, header{"Authorization", second})
			if a.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s: a second header %.8q: %d, want 401", path, second, a.StatusCode)
			}
		}
		if a := s.do(http.MethodGet, path+"?access_token="+good, nil); a.StatusCode < 400 {
			t.Errorf("%s: a token in the query: %d", path, a.StatusCode)
		}
	}
}
