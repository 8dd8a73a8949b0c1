package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"time"

	"example.com/curfew/internal/wire"
	"example.com/curfew/token"
)

// limited fails unless an answer is 429 and says when to come again.
func (a *answer) limited() {
	a.Helper()
	a.problem(http.StatusTooManyRequests, "rate_limited")
	if n, err := strconv.Atoi(a.Header.Get("Retry-After")); err != nil || n < 1 {
		a.Errorf("%s: Retry-After is %q", a.what, a.Header.Get("Retry-After"))
	}
}

// An attacker fails in a user's name until sign-ins from new addresses are refused
// unchecked. The token of an earlier session lets the user in; a token of another
// user, a revoked one, and a text that is no token do not.
func TestSignInWithAnEarlierToken(t *testing.T) {
	s := start(t, behindProxy)
	ann, bob := s.user("ann"), s.user("bob")
	s.setPassword(ann)
	revoked := s.token(ann)
	s.do("DELETE", "/v1/session", nil, bearerToken(revoked)).must(204, nil)
	own, other := s.token(ann), s.token(bob)
	addresses := 0
	signIn := func(password string, more ...credential) *answer {
		addresses++
		return s.do("POST", "/v1/sessions", wire.SignIn{Username: "ann", Password: password},
			append(more, header{"X-Forwarded-For", fmt.Sprintf("198.51.100.%d", addresses)})...)
	}
	for range 10 {
		signIn("not her password").problem(401, "bad_credentials")
	}
	signIn(password).limited()
	signIn(password, bearerToken(other)).limited()
	signIn(password, bearerToken(revoked)).limited()
	signIn(password, bearerToken("e30.e30.e30")).limited()
	signIn("not her password", bearerToken(own)).problem(401, "bad_credentials")
	signIn(password, bearerToken(own)).must(201, nil)

	// It has its own count, whatever the address.
	for range 9 {
		signIn("not her password", bearerToken(own)).problem(401, "bad_credentials")
	}
	signIn(password, bearerToken(own)).limited()
}

// A user who writes all the time is told to slow down, on every route that writes
// for them; signing out is none of them.
func TestWritesAreLimited(t *testing.T) {
	s := start(t)
	ann := s.user("ann")
	s.setPassword(ann)
	me := bearerToken(s.token(ann))
	limitedAfter := func(most int, do func() *answer) {
		t.Helper()
		began := time.Now()
		for i := 0; ; i++ {
			a := do()
			if a.StatusCode == http.StatusTooManyRequests {
				a.limited()
				if i < most {
					t.Errorf("%s: limited after %d calls, want %d", a.what, i, most)
				}
				return
			}
			if i > most+int(time.Since(began)/time.Second)*10+10 { // the bucket fills as time goes on
				t.Fatalf("%s: %d calls are not limited", a.what, i)
			}
		}
	}
	limitedAfter(120, func() *answer { return s.do("DELETE", "/v1/users/me/sessions/"+token.NewSessionID(), nil, me) })
	s.do("POST", "/v1/users/me/revocations", `{"keep_current":true}`, me).limited()
	s.do("PUT", "/v1/users/me/password", map[string]string{"current": "not her password", "new": "another good password"}, me).problem(401, "bad_credentials")
	limitedAfter(9, func() *answer {
		return s.do("PUT", "/v1/users/me/password", map[string]string{"current": "not her password", "new": "another good password"}, me)
	})
	s.do("POST", "/v1/session/refresh", nil, me).must(200, nil)
	s.do("DELETE", "/v1/session", nil, me).must(204, nil)

	editor := bearerToken(s.token(s.user("editor", "UserEdit")))
	limitedAfter(10, func() *answer { return s.do("POST", "/v1/users/"+s.admin.ID+"/revocations", `{}`, editor) })
	s.do("POST", "/v1/users/"+ann.ID+"/revocations", `{}`, editor).must(201, nil)
	// Meanwhile the administrator takes the permission away.
	admin := bearerToken(s.token(s.admin))
	found, err := s.accounts.FindUser(context.Background(), "editor")
	if err != nil {
		t.Fatal(err)
	}
	s.do("PATCH", "/v1/users/"+found.ID, `{"permissions":[]}`, admin).must(200, nil)
}
