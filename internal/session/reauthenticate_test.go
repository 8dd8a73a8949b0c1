package session_test

import (
	"errors"
	"testing"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/token"
)

// callerOf returns the caller of a token, as a request has it.
func (n *node) callerOf(raw string) authz.Caller {
	t := n.testDatabase.t
	t.Helper()
	c, err := n.accounts.UserCaller(t.Context(), n.validated(raw), authz.Origin{Address: "192.0.2.7"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A confirmed password gives the session a token whose auth_time is now. Nothing else
// of the session changes, older tokens keep theirs, and a refresh on another node has
// the new one.
func TestReauthenticate(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		a, b := w.start(0, 0), w.start(0, 0)
		u := a.createUser("ann")
		for name, tt := range map[string]struct {
			how      session.Authentication
			remember bool
		}{
			"an old sign-in":                {session.Authentication{At: token.UnixTime(a.now().Unix()) - 5000, ACR: "mfa"}, true},
			"an unknown authentication":     {session.Authentication{}, false},
			"a session with a limit":        {session.Authentication{SessionExpiry: token.UnixTime(a.now().Unix()) + 700}, false},
			"an authentication of just now": {session.Authentication{At: token.UnixTime(a.now().Unix())}, false},
		} {
			issued, err := a.beginAs(u, tt.remember, tt.how)
			if err != nil {
				t.Fatal(err)
			}
			before := token.UnixTime(a.now().Unix())
			c := a.callerOf(issued.Token)
			next, err := a.sessions.Reauthenticate(t.Context(), c, password, authz.Origin{Address: "192.0.2.7"})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			s, old := a.validated(next.Token), a.validated(issued.Token)
			if s.AuthTime < before || s.AuthTime > s.LastRefresh || s.ACR != "" {
				t.Errorf("%s: auth_time %d, acr %q, want from %d to %d and none", name, s.AuthTime, s.ACR, before, s.LastRefresh)
			}
			if s.ID != old.ID || s.IssuedAt != old.IssuedAt || s.Epoch != old.Epoch || s.RememberMe != old.RememberMe || s.SessionExpiry != old.SessionExpiry || s.Subject != u.ID {
				t.Errorf("%s: %+v, before %+v", name, s, old)
			}
			if old.AuthTime != tt.how.At || old.ACR != tt.how.ACR {
				t.Errorf("%s: the older token has auth_time %d", name, old.AuthTime)
			}
			refreshed, err := b.sessions.Refresh(t.Context(), old)
			if err != nil || refreshed.Session.AuthTime != s.AuthTime || refreshed.Session.ACR != "" {
				t.Errorf("%s: refreshed %+v, %v", name, refreshed.Session, err)
			}
			entries, err := a.store.Audits(t.Context(), store.AuditFilter{Action: wire.ActionReauthenticate}, 1)
			if err != nil || len(entries) != 1 {
				t.Fatalf("%s: audit %v, %v", name, entries, err)
			}
			if e := entries[0]; e.Actor.ID != u.ID || e.Actor.Address != "192.0.2.7" || e.TargetID != u.ID || e.TargetName != "ann" || session.EntrySession(e) != s.ID || e.Scope != "" {
				t.Errorf("%s: audit entry %+v", name, e)
			}
		}
	})
}

// What ends or forbids the session refuses a confirmation, and leaves its row as it is.
func TestReauthenticateRefused(t *testing.T) {
	yes := true
	change := func(c account.UserChange) func(*node, store.User, session.Issued) error {
		return func(n *node, u store.User, _ session.Issued) error {
			_, _, err := n.accounts.ChangeUser(n.testDatabase.t.Context(), cli, u.ID, c, "")
			return err
		}
	}
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.start(0, 0)
		ctx := t.Context()
		for _, tt := range []struct {
			name     string
			password string
			before   func(*node, store.User, session.Issued) error
			want     error
		}{
			{"a wrong password", "not the password of ann", nil, account.ErrBadCredentials},
			{"no password", "", nil, account.ErrBadCredentials},
			{"must choose a new one", password, change(account.UserChange{MustChangePassword: &yes}), account.ErrPasswordChangeRequired},
			{"must choose a new one, and a wrong password", "wrong", change(account.UserChange{MustChangePassword: &yes}), account.ErrBadCredentials},
			{"disabled", password, change(account.UserChange{Disabled: &yes}), token.ErrRevoked},
			{"another password", password, change(account.UserChange{Password: new("meadow-copper-58-sparrow")}), token.ErrRevoked},
			{"the other password", "meadow-copper-58-sparrow", change(account.UserChange{Password: new("meadow-copper-58-sparrow")}), token.ErrRevoked},
			{"deleted", password, func(n *node, u store.User, _ session.Issued) error {
				_, err := n.accounts.DeleteUser(ctx, cli, u.ID, "")
				return err
			}, token.ErrRevoked},
			{"signed out", password, func(n *node, _ store.User, i session.Issued) error {
				return n.sessions.SignOut(ctx, &i.Session, authz.Origin{})
			}, token.ErrRevoked},
			{"signed out, and a wrong password", "wrong", func(n *node, _ store.User, i session.Issued) error {
				return n.sessions.SignOut(ctx, &i.Session, authz.Origin{})
			}, token.ErrRevoked},
			{"passwords off", password, func(n *node, _ store.User, _ session.Issued) error {
				return n.accounts.ChangeSignInMethods(ctx, cli, store.SignInMethods{})
			}, account.ErrPasswordsOff},
			{"passwords off, and signed out", password, func(n *node, _ store.User, i session.Issued) error {
				return n.sessions.SignOut(ctx, &i.Session, authz.Origin{})
			}, token.ErrRevoked},
		} {
			u := n.createUser(tt.name)
			at := token.UnixTime(n.now().Unix()) - 3000
			issued, err := n.beginAs(u, true, session.Authentication{At: at})
			if err != nil {
				t.Fatal(err)
			}
			c := n.callerOf(issued.Token) // authenticated before
			if tt.before != nil {
				if err := tt.before(n, u, issued); err != nil {
					t.Fatalf("%s: %v", tt.name, err)
				}
			}
			if got, err := n.sessions.Reauthenticate(ctx, c, tt.password, authz.Origin{}); !errors.Is(err, tt.want) || got.Token != "" {
				t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
			}
			if row, err := n.store.Session(ctx, issued.Session.ID); err == nil && row.AuthenticatedAt != int64(at)*1e6 {
				t.Errorf("%s: the row has the authentication %v", tt.name, time.UnixMicro(row.AuthenticatedAt))
			}
		}
		for name, c := range map[string]authz.Caller{"a client": {Client: &store.Client{ID: "x"}}, "the command line": cli, "no caller": {}} {
			if _, err := n.sessions.Reauthenticate(ctx, c, password, authz.Origin{}); !errors.Is(err, token.ErrMissing) {
				t.Errorf("%s: %v, want %v", name, err, token.ErrMissing)
			}
		}
	})
}

// Wrong passwords are limited as at a sign-in, and then the right one is refused too.
func TestReauthenticateIsLimited(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.start(0, 0)
		issued, err := n.beginAs(n.createUser("ann"), false, session.Authentication{})
		if err != nil {
			t.Fatal(err)
		}
		c := n.callerOf(issued.Token)
		for i := range 10 {
			if _, err := n.sessions.Reauthenticate(t.Context(), c, "wrong", authz.Origin{}); !errors.Is(err, account.ErrBadCredentials) {
				t.Fatalf("attempt %d: %v", i, err)
			}
		}
		limited := (*account.RateLimited)(nil)
		if _, err := n.sessions.Reauthenticate(t.Context(), c, password, authz.Origin{}); !errors.As(err, &limited) {
			t.Errorf("after ten wrong attempts: %v, want a limit", err)
		}
		entries, err := n.store.Audits(t.Context(), store.AuditFilter{Action: wire.ActionSignInFailed}, 100)
		if err != nil || len(entries) != 10 {
			t.Errorf("%d failures in the audit, %v", len(entries), err)
		}
		for _, e := range entries {
			if e.Actor.ID != c.User.ID || e.Actor.Name != "ann" || e.Reason != account.WrongConfirmation || e.Detail != `{"session":"`+c.Session.ID+`"}` {
				t.Errorf("the entry does not name the user, the session and the reason: %+v", e)
			}
		}
		// Another node counts the failures as well, by the store.
		if _, err := w.start(0, 0).sessions.Reauthenticate(t.Context(), c, password, authz.Origin{}); !errors.As(err, &limited) {
			t.Errorf("on another node: %v, want a limit", err)
		}
	})
}
