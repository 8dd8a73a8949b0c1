package httpapi

import (
	"testing"
	"time"

	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/token"
)

// Introspection and the description of a session show how its user authenticated and
// when it ends at the latest. A session without these claims shows none.
func TestAuthenticationIsShown(t *testing.T) {
	s := start(t)
	ann := s.user("ann")
	client := s.service("resource", store.Introspect)
	var minted token.Session
	capped := s.mint(ann, func(sess *token.Session) {
		sess.AuthTime, sess.ACR, sess.SessionExpiry = sess.IssuedAt-30, "mfa", sess.IssuedAt+600
		sess.ExpiresAt = sess.SessionExpiry
		minted = *sess
	})
	var i introspection
	s.do("POST", "/oauth/introspect", "token="+capped, client).must(200, &i)
	if i.AuthTime != minted.AuthTime || i.ACR != "mfa" || i.SessionExpiry != minted.SessionExpiry || i.ExpiresAt != minted.SessionExpiry {
		t.Errorf("introspection: %+v, minted %+v", i, minted)
	}
	var view wire.Session
	s.do("GET", "/v1/session", nil, bearerToken(capped)).must(200, &view)
	if view.AuthTime == nil || !view.AuthTime.Equal(minted.AuthTime.Time()) || view.ACR != "mfa" ||
		view.SessionExpiry == nil || !view.SessionExpiry.Equal(minted.SessionExpiry.Time()) || !view.ExpiresAt.Equal(minted.SessionExpiry.Time()) {
		t.Errorf("session: %+v, minted %+v", view, minted)
	}

	plain := s.mint(ann, func(*token.Session) {})
	i, view = introspection{}, wire.Session{}
	s.do("POST", "/oauth/introspect", "token="+plain, client).must(200, &i)
	s.do("GET", "/v1/session", nil, bearerToken(plain)).must(200, &view)
	if i.AuthTime != 0 || i.ACR != "" || i.SessionExpiry != 0 || view.AuthTime != nil || view.ACR != "" || view.SessionExpiry != nil {
		t.Errorf("a session without them: %+v, %+v", i, view)
	}

	// A sign-in with a password sets auth_time.
	before := time.Now().Truncate(time.Second)
	var issued wire.Issued
	s.do("POST", "/v1/sessions", wire.SignIn{Username: "admin", Password: password}).must(201, &issued)
	if at := issued.Session.AuthTime; at == nil || at.Before(before) || at.After(issued.Session.LastRefresh) {
		t.Errorf("auth_time of a sign-in: %v, want from %v to %v", at, before, issued.Session.LastRefresh)
	}
}
