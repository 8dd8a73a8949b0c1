package account_test

import (
	"testing"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
)

// write is what package session does with a password that is prepared by c.
func (n *node) write(c authz.Caller, userID string, p *account.PasswordChange) error {
	return authz.New(n.store, n.now).Update(n.t.Context(), c, authz.OnUser(authz.Caller.MaySetPassword, userID), func(tx authz.Tx) error {
		return p.Write(n.t.Context(), tx)
	})
}

func TestPreparePassword(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.node()
		alice := n.add("alice")
		self := n.as(alice)
		editor := n.as(n.add("editor", store.UserEdit))
		admin := n.as(n.add("admin", store.AdministerSystem))
		current, next := ptr(good), "the next password"

		for _, tt := range []struct {
			what   string
			c      authz.Caller
			user   string
			change account.NewPassword
			check  func(what string, err error)
		}{
			{"own, without the current one", self, alice.ID, account.NewPassword{New: next},
				func(what string, err error) { invalid(t, what, err, "current") }},
			{"own, with a wrong one", self, alice.ID, account.NewPassword{Current: ptr("wrong horse battery"), New: next},
				func(what string, err error) { is(t, what, err, account.ErrBadCredentials) }},
			{"own, too short", self, alice.ID, account.NewPassword{Current: current, New: "short"},
				func(what string, err error) { invalid(t, what, err, "new") }},
			{"an administrator's own, without the current one", admin, admin.User.ID, account.NewPassword{New: next},
				func(what string, err error) { invalid(t, what, err, "current") }},
			{"another user's", self, editor.User.ID, account.NewPassword{New: next},
				func(what string, err error) { forbidden(t, what, err, store.UserEdit) }},
			{"an unknown user's", self, "nobody", account.NewPassword{New: next},
				func(what string, err error) { forbidden(t, what, err, store.UserEdit) }},
			{"an editor: with a current one", editor, alice.ID, account.NewPassword{Current: current, New: next},
				func(what string, err error) { invalid(t, what, err, "current") }},
			{"an editor: an administrator's", editor, admin.User.ID, account.NewPassword{New: next},
				func(what string, err error) { forbidden(t, what, err, store.AdministerSystem) }},
			{"an editor: an unknown user's", editor, "nobody", account.NewPassword{New: next},
				func(what string, err error) { is(t, what, err, store.ErrNotFound) }},
			{"nobody", authz.Caller{}, alice.ID, account.NewPassword{New: next},
				func(what string, err error) { forbidden(t, what, err, store.UserEdit) }},
		} {
			_, err := n.PreparePassword(t.Context(), tt.c, tt.user, tt.change, home)
			tt.check(tt.what, err)
		}

		set := good
		for _, tt := range []struct {
			what string
			c    authz.Caller
			own  bool
		}{{"own", self, true}, {"by an editor", editor, false}, {"by an administrator", admin, false}, {"command line", cli, false}} {
			change := account.NewPassword{New: "set by " + tt.what + " just now"}
			if tt.own {
				change.Current = &set
			}
			p, err := n.PreparePassword(t.Context(), tt.c, alice.ID, change, home)
			noErr(t, err)
			noErr(t, n.signIn("alice", set, home.Address)) // nothing is written yet
			noErr(t, n.write(tt.c, alice.ID, p))
			is(t, tt.what+": the old one", n.signIn("alice", set, home.Address), account.ErrBadCredentials)
			set = change.New
			noErr(t, n.signIn("alice", set, home.Address))

			e := n.audits(wire.ActionUserPassword)[0]
			clock, err := n.store.Clock(t.Context())
			noErr(t, err)
			if e.Actor != tt.c.Actor || e.TargetID != alice.ID || e.Epoch != clock || e.Scope != revocation.KindUser {
				t.Errorf("%s: the audit says %+v", tt.what, e)
			}
		}
		n.noSecrets(set, good, next)
	})
}

// An open session is no free guess at the password.
func TestGuessingTheCurrentPassword(t *testing.T) {
	w := sqlite(t)
	n := w.node()
	alice := n.as(n.add("alice"))
	guess := func(password string) error {
		_, err := n.PreparePassword(t.Context(), alice, alice.User.ID, account.NewPassword{Current: &password, New: "the next password"}, home)
		return err
	}
	for range forAccount {
		is(t, "guessing", guess("wrong horse battery"), account.ErrBadCredentials)
	}
	limited(t, "once more", guess(good))
	limited(t, "at the sign-in", n.signIn("alice", good, "203.0.113.1"))
	w.pass(window)
	noErr(t, guess(good))
}

// Two changes that were prepared from the same password: one is written.
func TestPasswordChangedInTheMeantime(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.node()
		alice := n.as(n.add("alice"))
		prepare := func(next string) *account.PasswordChange {
			p, err := n.PreparePassword(t.Context(), alice, alice.User.ID, account.NewPassword{Current: ptr(good), New: next}, home)
			noErr(t, err)
			return p
		}
		first, second := prepare("the first of two"), prepare("the second of two")
		noErr(t, n.write(alice, alice.User.ID, first))
		is(t, "the second", n.write(alice, alice.User.ID, second), store.ErrConflict)
		noErr(t, n.signIn("alice", "the first of two", home.Address))
	})
}

// The check of the current password may renew its hash, which is no other change.
func TestPasswordChangeOfAnOldHash(t *testing.T) {
	w := sqlite(t)
	alice := w.with(account.Config{HashMemoryKiB: 2 * cheap}).add("alice")
	n := w.node()
	c := n.as(alice)
	p, err := n.PreparePassword(t.Context(), c, alice.ID, account.NewPassword{Current: ptr(good), New: "the next password"}, home)
	noErr(t, err)
	noErr(t, n.write(c, alice.ID, p))
	noErr(t, n.signIn("alice", "the next password", home.Address))
}
