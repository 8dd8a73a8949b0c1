package httpapi

import (
	"slices"
	"testing"

	"example.com/curfew/internal/wire"
)

// Who the user is comes from the store: at the sign-in, and again at each refresh.
func TestIdentityAtSignInAndRefresh(t *testing.T) {
	s := start(t)
	me := bearerToken(s.token(s.admin))
	var zoe wire.User
	s.do("POST", "/v1/users", `{"name":"Zoë","email":"zoe@example.com","password":"`+password+`","groups":["ops"]}`, me).must(201, &zoe)
	var issued wire.Issued
	check := func(what, name, email string, groups ...string) {
		t.Helper()
		c := claims(t, issued.Token)
		if c.Subject != zoe.ID || c.Name != name || c.Email != email || !slices.Equal(c.Groups, groups) {
			t.Errorf("%s: the token carries %q, %q, %q, %q", what, c.Subject, c.Name, c.Email, c.Groups)
		}
		var shown wire.Session
		s.do("GET", "/v1/session", nil, bearerToken(issued.Token)).must(200, &shown)
		if shown.User.Name != name || shown.User.Email != email || !slices.Equal(shown.User.Groups, groups) {
			t.Errorf("%s: GET /v1/session says %+v", what, shown.User)
		}
	}
	s.do("POST", "/v1/sessions", wire.SignIn{Username: "zoë", Password: password}).must(201, &issued)
	check("sign-in", "Zoë", "zoe@example.com", "ops")
	s.do("PATCH", "/v1/users/"+zoe.ID, `{"name":"Zoë K.","email":null,"groups":["ops","staff"]}`, me).must(200, nil)
	s.do("POST", "/v1/session/refresh", nil, bearerToken(issued.Token)).must(200, &issued)
	check("refresh", "Zoë K.", "", "ops", "staff")
}
