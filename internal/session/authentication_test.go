package session_test

import (
	"strings"
	"testing"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
	"example.com/curfew/settings"
	"example.com/curfew/token"
)

// createUser creates a user with a password.
func (n *node) createUser(name string) store.User {
	t := n.testDatabase.t
	t.Helper()
	u, err := n.accounts.CreateUser(t.Context(), cli, account.UserChange{Name: &name, Password: new(password)})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// beginAs begins a session with an authentication.
func (n *node) beginAs(u store.User, rememberMe bool, how session.Authentication) (session.Issued, error) {
	t := n.testDatabase.t
	t.Helper()
	epoch, err := n.store.Clock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return n.sessions.Begin(t.Context(), u, epoch, rememberMe, how, authz.Origin{})
}

// validated returns the session of a token that the node accepts.
func (n *node) validated(raw string) *token.Session {
	t := n.testDatabase.t
	t.Helper()
	s, err := n.validator.Validate(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A sign-in with a password sets auth_time, in the token and in the row. A session
// that a client begins has none.
func TestSignInSetsAuthTime(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.start(0, 0)
		n.createUser("ann")
		before := token.UnixTime(n.now().Unix())
		issued, err := n.sessions.SignIn(t.Context(), "ann", password, false, authz.Origin{})
		if err != nil {
			t.Fatal(err)
		}
		s := n.validated(issued.Token)
		if s.AuthTime < before || s.AuthTime > s.LastRefresh || s.ACR != "" || s.SessionExpiry != 0 {
			t.Errorf("auth_time %d, acr %q, session_expiry %d; want a second from %d to %d", s.AuthTime, s.ACR, s.SessionExpiry, before, s.LastRefresh)
		}
		row, err := n.store.Session(t.Context(), s.ID)
		if err != nil || row.AuthenticatedAt != int64(s.AuthTime)*1e6 || row.ACR != "" || row.SessionExpiry != 0 {
			t.Errorf("row %+v, %v", row, err)
		}
		// The operator of the command line can do everything anyway.
		if s := n.validated(n.mustBegin("ben", false).Token); s.AuthTime < before || s.AuthTime > s.LastRefresh {
			t.Errorf("the session of the command line has auth_time %d", s.AuthTime)
		}
		k, secret, err := n.accounts.CreateClient(t.Context(), cli, account.NewClient{Name: "svc", Capabilities: []string{store.Issue}})
		if err != nil {
			t.Fatal(err)
		}
		client, err := n.accounts.ClientCaller(t.Context(), k.ID, secret, authz.Origin{})
		if err != nil {
			t.Fatal(err)
		}
		issued, err = n.sessions.Issue(t.Context(), client, "ben", false, authz.Origin{})
		if err != nil {
			t.Fatal(err)
		}
		if s := n.validated(issued.Token); s.AuthTime != 0 {
			t.Errorf("the session of a client has auth_time %d", s.AuthTime)
		}
	})
}

// What an authentication says is in the token and in the row, as far as a token may
// say it. A session that would be over does not begin.
func TestBeginAs(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.start(0, 0)
		u := n.createUser("ann")
		now := token.UnixTime(n.now().Unix())
		long := settings.Default().MaximumSessionDuration
		for name, tt := range map[string]struct {
			how, want session.Authentication // At of want: relative to the beginning if it is 1
		}{
			"a provider that remembers the user": {session.Authentication{At: now - 1000, ACR: "mfa"}, session.Authentication{At: now - 1000, ACR: "mfa"}},
			"a provider whose clock is ahead":    {session.Authentication{At: now + 10_000}, session.Authentication{At: 1}},
			"an acr that no token may carry":     {session.Authentication{At: now, ACR: "a\nb"}, session.Authentication{At: now}},
			"an acr that is too long":            {session.Authentication{At: now, ACR: strings.Repeat("x", 513)}, session.Authentication{At: now}},
			"a limit":                            {session.Authentication{SessionExpiry: now + 600}, session.Authentication{SessionExpiry: now + 600}},
			"a limit beyond the settings":        {session.Authentication{SessionExpiry: now.Add(2 * long)}, session.Authentication{SessionExpiry: now.Add(2 * long)}},
		} {
			issued, err := n.beginAs(u, true, tt.how)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			s := n.validated(issued.Token)
			if tt.want.At == 1 {
				tt.want.At = s.IssuedAt
			}
			if got := (session.Authentication{At: s.AuthTime, ACR: s.ACR, SessionExpiry: s.SessionExpiry}); got != tt.want {
				t.Errorf("%s: %+v, want %+v", name, got, tt.want)
			}
			end := s.IssuedAt.Add(long)
			if tt.want.SessionExpiry != 0 {
				end = min(end, tt.want.SessionExpiry)
			}
			if s.ExpiresAt != end {
				t.Errorf("%s: exp %d, want %d", name, s.ExpiresAt, end)
			}
		}
		for _, expiry := range []token.UnixTime{1, now - 1, now} {
			if _, err := n.beginAs(u, false, session.Authentication{At: now, SessionExpiry: expiry}); token.ReasonOf(err) != token.ErrMaximumDuration {
				t.Errorf("session_expiry %d s from now: %v, want %v", expiry-now, err, token.ErrMaximumDuration)
			}
		}
	})
}

// A refresh takes the claims from the row, on another node too: a token that a release
// without them has minted gets them back.
func TestRefreshTakesClaimsFromTheRow(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		a, b := w.start(0, 0), w.start(0, 0)
		u := a.createUser("ann")
		now := token.UnixTime(a.now().Unix())
		how := session.Authentication{At: now - 50, ACR: "mfa", SessionExpiry: now + 900}
		issued, err := a.beginAs(u, false, how)
		if err != nil {
			t.Fatal(err)
		}
		claims := func(s token.Session) session.Authentication {
			return session.Authentication{At: s.AuthTime, ACR: s.ACR, SessionExpiry: s.SessionExpiry}
		}
		without := issued.Session
		without.AuthTime, without.ACR, without.SessionExpiry = 0, "", 0
		without.ExpiresAt = without.MaximumEnd(settings.Default())
		for name, from := range map[string]token.Session{"with": issued.Session, "without": without} {
			next, err := b.sessions.Refresh(t.Context(), &from)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if got := claims(next.Session); got != how || next.Session.ExpiresAt > how.SessionExpiry {
				t.Errorf("%s: %+v, want %+v; exp %d", name, got, how, next.Session.ExpiresAt)
			}
			b.validated(next.Token)
		}
		// Another authentication is in the row, not in older tokens.
		err = a.store.Update(t.Context(), func(tx store.Tx) error {
			return tx.AuthenticateSession(t.Context(), issued.Session.ID, int64(now+5)*1e6, "pwd")
		})
		if err != nil {
			t.Fatal(err)
		}
		how.At, how.ACR = now+5, "pwd"
		next, err := b.sessions.Refresh(t.Context(), &issued.Session)
		if err != nil || claims(next.Session) != how || next.Session.LastRefresh < how.At {
			t.Errorf("after another authentication: %+v, %v; want %+v", next.Session, err, how)
		}
	})
}

// A refresh at the limit of the row is refused, even if the token does not say so.
func TestRefreshEndsAtTheRowsLimit(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		a := w.start(0, 0)
		u := a.createUser("ann")
		issued, err := a.beginAs(u, true, session.Authentication{SessionExpiry: token.UnixTime(a.now().Unix()) + 300})
		if err != nil {
			t.Fatal(err)
		}
		late := w.start(0, 300*time.Second)
		for name, expiry := range map[string]token.UnixTime{"with": issued.Session.SessionExpiry, "without": 0} {
			s := issued.Session
			s.SessionExpiry, s.ExpiresAt = expiry, s.IssuedAt.Add(time.Hour)
			if expiry != 0 {
				s.ExpiresAt = expiry
			}
			if _, err := late.sessions.Refresh(t.Context(), &s); token.ReasonOf(err) != token.ErrMaximumDuration {
				t.Errorf("%s: %v, want %v", name, err, token.ErrMaximumDuration)
			}
		}
	})
}
