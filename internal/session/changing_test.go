package session_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/token"
)

const chosen = "a staple, a battery, a horse"

// mustChange makes a user with a password who must choose another one.
func (n *node) mustChange(name string) store.User {
	n.testDatabase.t.Helper()
	u := n.person(name)
	yes := true
	u, _, err := n.accounts.ChangeUser(context.Background(), cli, u.ID, account.UserChange{MustChangePassword: &yes}, "")
	if err != nil || !u.MustChangePassword {
		n.testDatabase.t.Fatalf("%+v, %v", u, err)
	}
	return u
}

func (n *node) signIn(name, password string) error {
	_, err := n.sessions.SignIn(context.Background(), name, password, false, authz.Origin{Address: "192.0.2.1"})
	return err
}

func (n *node) signInChanging(name, password, newPassword string) (session.Issued, error) {
	return n.sessions.SignInChanging(context.Background(), name, password, newPassword, true, authz.Origin{Address: "192.0.2.1"})
}

// wants checks an error; invalid means any *account.Invalid.
func wants(t *testing.T, what string, err, want error) {
	t.Helper()
	if want == errInvalid { // a mark of these tests
		if _, ok := errors.AsType[*account.Invalid](err); !ok {
			t.Errorf("%s: error %v, want an invalid member", what, err)
		}
		return
	}
	if !errors.Is(err, want) {
		t.Errorf("%s: error %v, want %v", what, err, want)
	}
}

var errInvalid = errors.New("invalid")

// A user who must choose a new password begins no session without one, and the session
// that begins with it ends all others.
func TestMustChangePassword(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n, other := w.start(0, 0), w.start(0, 0)
		u := n.person("ann")
		before := n.as(u)
		raw := n.mustBegin(u.ID, false).Token
		u = n.mustChange("ben")
		n.person("cy")
		for _, tt := range []struct {
			what, name, password string
			chosen               *string
			want                 error
		}{
			{"without a new one", "ben", goodPassword, nil, account.ErrPasswordChangeRequired},
			{"wrong", "ben", chosen, nil, account.ErrBadCredentials},
			{"wrong, with a new one", "ben", chosen, ptr(chosen), account.ErrBadCredentials},
			{"an unknown name, with a new one", "zoe", goodPassword, ptr(chosen), account.ErrBadCredentials},
			{"an empty new one", "ben", goodPassword, ptr(""), errInvalid},
			{"a weak new one", "ben", goodPassword, ptr("12345678901234"), errInvalid},
			{"the same", "ben", goodPassword, ptr(goodPassword), errInvalid},
			{"a user who need not", "cy", goodPassword, ptr(chosen), errInvalid},
			{"a user who need not, and is wrong", "cy", chosen, ptr(chosen), account.ErrBadCredentials},
		} {
			var err error
			if tt.chosen == nil {
				err = n.signIn(tt.name, tt.password)
			} else {
				_, err = n.signInChanging(tt.name, tt.password, *tt.chosen)
			}
			wants(t, tt.what, err, tt.want)
		}
		if now, err := n.store.User(t.Context(), u.ID); err != nil || now.PasswordHash != u.PasswordHash || !now.MustChangePassword || now.LastSignInAt != 0 {
			t.Fatalf("after refused sign-ins: %+v, %v", now, err)
		}

		// A client that has authenticated the user itself is not concerned.
		old := n.mustBegin(u.ID, false)
		issued, err := n.signInChanging("ben", goodPassword, chosen)
		if err != nil {
			t.Fatal(err)
		}
		if err := other.feed.CatchUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, on := range []*node{n, other} {
			if got := on.check(issued.Token); got != "" {
				t.Errorf("the session is refused: %s", got)
			}
			if got := on.check(old.Token); got != token.ErrRevoked {
				t.Errorf("a session before: %q, want %q", got, token.ErrRevoked)
			}
			if got := on.check(raw); got != "" {
				t.Errorf("another user's session is refused: %s", got)
			}
		}
		if !issued.Session.RememberMe {
			t.Error("remember me was forgotten")
		}
		wants(t, "the old password", n.signIn("ben", goodPassword), account.ErrBadCredentials)
		wants(t, "the new password", n.signIn("ben", chosen), nil)
		_, err = n.signInChanging("ben", chosen, goodPassword)
		wants(t, "once more", err, errInvalid)

		entries, err := n.store.Audits(t.Context(), store.AuditFilter{Target: u.ID, Action: wire.ActionUserPassword}, 10)
		if err != nil || len(entries) != 1 || entries[0].Actor.ID != u.ID || entries[0].Reason != account.PasswordRequired ||
			entries[0].Detail != `{"must_change_password":{"from":true,"to":false}}` {
			t.Errorf("audit: %+v, %v", entries, err)
		}
		entries, err = n.store.Audits(t.Context(), store.AuditFilter{Target: u.ID, Actor: u.ID, Action: wire.ActionSignInFailed}, 10)
		if err != nil || len(entries) != 1 || entries[0].Reason == "" {
			t.Errorf("audit of the refused sign-in: %+v, %v", entries, err)
		}
		receipt, err := n.sessions.Receipt(t.Context(), cli, issued.Session.Epoch, 0)
		if err != nil || receipt.UserID != u.ID || receipt.Sessions != 1 || receipt.Actor.ID != u.ID || receipt.Reason != account.PasswordRequired {
			t.Errorf("receipt: %+v, %v", receipt.Receipt, err)
		}

		// Changing the own password ends the flag; a password from another user does not.
		yes := true
		u, _, err = n.accounts.ChangeUser(t.Context(), cli, before.User.ID, account.UserChange{MustChangePassword: &yes}, "")
		wants(t, "set it for a user with a session", err, nil)
		if got := n.check(raw); got != "" {
			t.Errorf("the flag has ended a session: %s", got)
		}
		_, err = n.sessions.ChangePassword(t.Context(), before, u.ID, account.NewPassword{Current: ptr(goodPassword), New: chosen, MustChange: &yes}, authz.Origin{})
		wants(t, "for oneself", err, errInvalid)
		_, err = n.sessions.ChangePassword(t.Context(), cli, u.ID, account.NewPassword{New: goodPassword + "!"}, authz.Origin{})
		wants(t, "by another", err, nil)
		wants(t, "after it", n.signIn("ann", goodPassword+"!"), account.ErrPasswordChangeRequired)
		no := false
		_, err = n.sessions.ChangePassword(t.Context(), cli, u.ID, account.NewPassword{New: goodPassword, MustChange: &no}, authz.Origin{})
		wants(t, "by another, who ends it", err, nil)
		own := n.as(u)
		_, _, err = n.accounts.ChangeUser(t.Context(), cli, u.ID, account.UserChange{MustChangePassword: &yes}, "")
		wants(t, "set it again", err, nil)
		_, err = n.sessions.ChangePassword(t.Context(), own, u.ID, account.NewPassword{Current: ptr(goodPassword), New: chosen}, authz.Origin{})
		wants(t, "change the own password", err, nil)
		wants(t, "after that", n.signIn("ann", chosen), nil)
	})
}

func ptr[T any](v T) *T { return &v }

// What happens to a user while the passwords are checked decides: then nothing is
// written, and no session begins.
func TestMustChangePasswordInBetween(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.start(0, 0)
		ctx := context.Background()
		yes, no := true, false
		change := func(c account.UserChange) func(store.User) error {
			return func(u store.User) error { _, _, err := n.accounts.ChangeUser(ctx, cli, u.ID, c, ""); return err }
		}
		revoke := func(scope string) func(store.User) error {
			return func(store.User) error {
				_, err := n.sessions.RevokeMany(ctx, cli, session.Many{Scope: scope}, 0)
				return err
			}
		}
		for name, tt := range map[string]struct {
			meanwhile func(store.User) error
			want      error
		}{
			"nothing":       {func(store.User) error { return nil }, nil},
			"revoked":       {func(u store.User) error { _, err := n.sessions.RevokeUser(ctx, cli, u.ID, "", false, 0); return err }, store.ErrConflict},
			"all-revoked":   {revoke("everyone"), store.ErrConflict},
			"remember-me":   {revoke("remembered"), store.ErrConflict},
			"disabled":      {change(account.UserChange{Disabled: &yes}), store.ErrConflict},
			"deleted":       {func(u store.User) error { _, err := n.sessions.DeleteUser(ctx, cli, u.ID, "", 0); return err }, store.ErrConflict},
			"new-password":  {change(account.UserChange{Password: ptr(chosen + "?")}), store.ErrConflict},
			"flag-ended":    {change(account.UserChange{MustChangePassword: &no}), store.ErrConflict},
			"renamed":       {change(account.UserChange{Name: ptr("another name")}), nil},
			"another-begun": {func(u store.User) error { n.mustBegin(u.ID, false); return nil }, nil},
		} {
			u := n.mustChange(name)
			var changed store.User
			during := &interrupted{Store: n.store}
			during.beforeSettings = func() { // the passwords have been checked
				wants(t, name, tt.meanwhile(u), nil)
				changed, _ = n.store.User(ctx, u.ID) // the zero User if it was deleted
			}
			service := session.New(session.Config{
				Store: during, Accounts: n.accounts, Ring: n.ring, View: n.feed,
				Installation: store.Installation{Issuer: issuer, Audience: []string{issuer}}, Now: n.now,
			})
			issued, err := service.SignInChanging(ctx, name, goodPassword, chosen, true, authz.Origin{})
			service.Close()
			wants(t, name, err, tt.want)
			now, _ := n.store.User(ctx, u.ID)
			if wrote := now.PasswordHash != changed.PasswordHash; wrote != (tt.want == nil) {
				t.Errorf("%s: the password was written: %v", name, wrote)
			}
			if tt.want == nil {
				if got := n.check(issued.Token); got != "" {
					t.Errorf("%s: the session is refused: %s", name, got)
				}
			}
		}
	})
}

// Of concurrent sign-ins with new passwords one wins, on whichever node.
func TestMustChangePasswordRaces(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		nodes := []*node{w.start(0, 0), w.start(0, 0)}
		u := nodes[0].mustChange("ann")
		const attempts = 4
		var work sync.WaitGroup
		errs := make([]error, attempts)
		issued := make([]session.Issued, attempts)
		passwords := make([]string, attempts)
		for i := range attempts {
			passwords[i] = chosen + string(rune('a'+i))
			work.Go(func() { issued[i], errs[i] = nodes[i%2].signInChanging("ann", goodPassword, passwords[i]) })
		}
		work.Wait()
		won := -1
		for i, err := range errs {
			switch {
			case err == nil && won >= 0:
				t.Errorf("%d and %d have both won", won, i)
			case err == nil:
				won = i
			case !errors.Is(err, store.ErrConflict) && !errors.Is(err, account.ErrBadCredentials):
				t.Error(err)
			}
		}
		if won < 0 {
			t.Fatal("none has won")
		}
		for i, n := range nodes {
			if err := n.feed.CatchUp(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := n.check(issued[won].Token); got != "" {
				t.Errorf("node %d refuses the session: %s", i, got)
			}
		}
		wants(t, "its password", nodes[0].signIn(u.Name, passwords[won]), nil)
	})
}
