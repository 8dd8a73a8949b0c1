package httpapi

import (
	"testing"

	"example.com/curfew/internal/wire"
)

// The API answers password_change_required only after the password was verified, and
// begins a session with a new one.
func TestMustChangePassword(t *testing.T) {
	for name, options := range engines(t) {
		t.Run(name, func(t *testing.T) {
			s := start(t, options(t)...)
			me := bearerToken(s.token(s.admin))
			const given, chosen = "correct horse battery", "a staple, a battery, a horse"
			var u wire.User
			s.do("POST", "/v1/users", `{"name":"zoe","password":"`+given+`","must_change_password":true}`, me).must(201, &u)
			if !u.MustChangePassword {
				t.Errorf("created: %+v", u)
			}
			signIn := func(password, more string) *answer {
				return s.do("POST", "/v1/sessions", `{"username":"zoe","password":"`+password+`"`+more+`}`)
			}
			signIn("not the password", "").problem(401, "bad_credentials")
			signIn("not the password", `,"new_password":"short"`).problem(401, "bad_credentials")
			a := signIn(given, "")
			a.problem(403, "password_change_required")
			if got := a.Header.Get("WWW-Authenticate"); got != "" {
				t.Errorf("a challenge: %q", got)
			}
			signIn(given, `,"new_password":null`).problem(403, "password_change_required")
			signIn(given, `,"new_password":""`).problem(400, "invalid_request")
			signIn(given, `,"new_password":"`+given+`"`).problem(400, "invalid_request")
			var issued struct{ Token string }
			signIn(given, `,"new_password":"`+chosen+`"`).must(201, &issued)
			s.do("GET", "/v1/session", nil, bearerToken(issued.Token)).must(200, nil)
			signIn(given, "").problem(401, "bad_credentials")
			signIn(chosen, `,"new_password":"`+given+`"`).problem(400, "invalid_request")

			one := "/v1/users/" + u.ID
			s.do("GET", one, nil, me).must(200, &u)
			if u.MustChangePassword {
				t.Errorf("after the change: %+v", u)
			}
			s.do("PUT", one+"/password", `{"new":"`+given+`","must_change_password":true}`, me).must(200, nil)
			signIn(given, "").problem(403, "password_change_required")
			s.do("PATCH", one, `{"must_change_password":false}`, me).must(200, &u)
			signIn(given, "").must(201, &issued)
			self := bearerToken(issued.Token)
			s.do("PUT", "/v1/users/me/password", `{"current":"`+given+`","new":"`+chosen+`","must_change_password":false}`, self).problem(400, "invalid_request")
			s.do("PATCH", "/v1/users/"+s.admin.ID, `{"must_change_password":true}`, me).problem(400, "invalid_request")
		})
	}
}
