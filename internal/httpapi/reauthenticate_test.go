package httpapi

import (
	"testing"

	"example.com/curfew/internal/wire"
	"example.com/curfew/token"
)

// validated returns the session of a token that the server accepts.
func (s *server) validated(raw string) *token.Session {
	s.Helper()
	sess, err := s.validator.Validate(s.Context(), raw)
	if err != nil {
		s.Fatal(err)
	}
	return sess
}

// POST /v1/session/reauthenticate answers like a sign-in, with a token of the same
// session. What is wrong with the request changes nothing.
func TestReauthenticateAnswers(t *testing.T) {
	for name, options := range engines(t) {
		t.Run(name, func(t *testing.T) {
			s := start(t, options(t)...)
			old := s.mint(s.admin, func(sess *token.Session) {
				sess.IssuedAt, sess.LastRefresh, sess.AuthTime, sess.ACR = sess.IssuedAt-900, sess.LastRefresh-900, sess.IssuedAt-900, "mfa"
			})
			const path = "/v1/session/reauthenticate"
			var issued wire.Issued
			s.do("POST", path, wire.Reauthenticate{Password: password}, bearerToken(old)).must(200, &issued)
			was, is := s.validated(old), s.validated(issued.Token)
			if is.ID != was.ID || is.IssuedAt != was.IssuedAt || is.Epoch != was.Epoch || is.AuthTime < was.AuthTime+900 || is.ACR != "" || is.LastRefresh < is.AuthTime {
				t.Errorf("claims %+v, before %+v", is, was)
			}
			if at := issued.Session.AuthTime; at == nil || at.Unix() != int64(is.AuthTime) || issued.Session.ID != was.ID || issued.TokenType != "Bearer" {
				t.Errorf("answer %+v", issued)
			}
			if again := s.validated(old); again.AuthTime != was.AuthTime {
				t.Errorf("the older token has auth_time %d", again.AuthTime)
			}
			a := s.do("POST", path, `{"password":"not the password"}`, bearerToken(old))
			a.problem(401, "bad_credentials")
			if got := a.Header.Get("WWW-Authenticate"); got != `Bearer realm="curfew"` {
				t.Errorf("challenge %q", got)
			}
			for _, tt := range []struct {
				body   any
				with   []credential
				status int
				code   string
			}{
				{`{}`, []credential{bearerToken(old)}, 401, "bad_credentials"},
				{`{"password":null}`, []credential{bearerToken(old)}, 400, "invalid_request"},
				{`{"password":"` + password + `","remember_me":true}`, []credential{bearerToken(old)}, 400, "invalid_request"},
				{nil, []credential{bearerToken(old)}, 415, "unsupported_media_type"},
				{`{"password":"` + password + `"}`, nil, 401, "missing"},
				{`{"password":"` + password + `"}`, []credential{cookie(old)}, 401, "missing"}, // pages use their own form
				{`{"password":"` + password + `"}`, []credential{s.service("svc", "revoke")}, 401, "missing"},
			} {
				s.do("POST", path, tt.body, tt.with...).problem(tt.status, tt.code)
			}
			s.do("DELETE", "/v1/session", nil, bearerToken(issued.Token)).must(204, nil)
			s.do("POST", path, wire.Reauthenticate{Password: password}, bearerToken(old)).problem(401, "revoked")
		})
	}
}
