package account_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
)

// mailed creates a user with the password good and an email address.
func (n *node) mailed(name, email string) store.User {
	n.t.Helper()
	u, err := n.CreateUser(n.t.Context(), cli, account.UserChange{Name: &name, Email: &email, Password: ptr(good)})
	if err != nil {
		n.t.Fatal(err)
	}
	return u
}

// addressed gives a user an address that may be the name of another user, as earlier
// releases did.
func (n *node) addressed(u store.User, email string) store.User {
	n.t.Helper()
	u.Email = email
	noErr(n.t, n.store.Update(n.t.Context(), func(tx store.Tx) error { return tx.UpdateUser(n.t.Context(), u) }))
	return u
}

// A sign-in name is not the address of another user, in either order, whichever way it is
// given.
func TestNamesAndAddressesOfOthers(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.node()
		mira, named := n.mailed("mira", "Mira@Example.org"), n.mailed("Named@Example.org", "named@example.org")
		third := n.add("third")
		editor := n.as(n.add("editor", store.UserEdit))
		create := func(name, email string) error {
			_, err := n.CreateUser(t.Context(), editor, account.UserChange{Name: &name, Email: &email})
			return err
		}
		for _, name := range []string{"mira@example.org", "MIRA@example.org", " mira@example.org "} {
			invalid(t, "a user named "+name, create(name, ""), "name")
			invalid(t, "renamed to "+name, n.change(editor, third.ID, account.UserChange{Name: &name}), "name")
		}
		for _, email := range []string{"named@example.org", "NAMED@EXAMPLE.ORG"} {
			invalid(t, "a user with "+email, create("fourth", email), "email")
			invalid(t, "changed to "+email, n.change(editor, third.ID, account.UserChange{Email: &email}), "email")
		}
		invalid(t, "both at once", create("mira@example.org", "named@example.org"), "name", "email")
		_, err := n.EnsureUser(t.Context(), cli, "mira@example.org")
		is(t, "a subject", err, account.ErrNameTaken)

		// A user's own name and address may be the same.
		noErr(t, n.change(editor, mira.ID, account.UserChange{Name: ptr("MIRA@example.org")}))
		noErr(t, create("fifth@example.org", "Fifth@example.org"))
		noErr(t, n.change(editor, named.ID, account.UserChange{Email: ptr("NAMED@example.org")}))

		// Users of an earlier release that break the rule stay usable.
		n.addressed(third, "named@example.org")
		noErr(t, n.change(editor, third.ID, account.UserChange{Name: ptr("renamed"), Disabled: ptr(true)}))
		noErr(t, n.change(editor, third.ID, account.UserChange{Email: ptr("Named@example.org"), Disabled: ptr(false)}))
		noErr(t, n.change(editor, named.ID, account.UserChange{Name: ptr("NAMED@example.org"), Disabled: ptr(true)}))
		noErr(t, n.signIn("renamed", good, "192.0.2.1"))
	})
}

func TestSignInByEmail(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.node()
		mira := n.mailed("mira", "Mira@Example.org")
		zoe := n.mailed("zoe", "Zoe\u0308@example.org") // decomposed
		long := n.mailed("long", strings.Repeat("l", 64)+"@"+strings.Repeat("a.", 90)+"example")
		one, two := n.mailed("one", "shared@example.org"), n.mailed("two", "SHARED@example.org")
		n.mailed("off", "off@example.org")
		off, err := n.store.UserByName(t.Context(), "off")
		noErr(t, err)
		noErr(t, n.change(cli, off.ID, account.UserChange{Disabled: ptr(true)}))
		// The name of one user is the address of another.
		named, owner := n.add("boss@example.org"), n.addressed(n.add("owner"), "boss@example.org")
		noErr(t, n.change(cli, owner.ID, account.UserChange{Password: ptr("staple battery correct")}))

		for _, tt := range []struct {
			typed, password string
			want            store.User // zero: refused
		}{
			{"mira@example.org", good, mira},
			{"Mira@Example.org", good, mira},
			{" MIRA@EXAMPLE.ORG ", good, mira},
			{"Zo\u00eb@example.org", good, zoe},
			{"zoe\u0308@example.org", good, zoe},
			{long.Email, good, long},
			{"boss@example.org", good, named},
			{"boss@example.org", "staple battery correct", store.User{}},
			{"mira@example.org", "wrong horse battery", store.User{}},
			{"shared@example.org", good, store.User{}},
			{"off@example.org", good, store.User{}},
			{"nobody@example.org", good, store.User{}},
			{"mira@example.or", good, store.User{}},
			{"<mira@example.org>", good, store.User{}},
			{"Mira <mira@example.org>", good, store.User{}},
			{"mira@example.org, mira@example.org", good, store.User{}},
			{"@example.org", good, store.User{}},
			{"%@example.org", good, store.User{}},
		} {
			u, _, err := n.Authenticate(t.Context(), tt.typed, tt.password, home)
			if tt.want.ID == "" {
				is(t, tt.typed, err, account.ErrBadCredentials)
				if err.Error() != account.ErrBadCredentials.Error() {
					t.Errorf("%q: %v says more than that", tt.typed, err)
				}
			} else if noErr(t, err); u.ID != tt.want.ID {
				t.Errorf("%q is %s, want %s", tt.typed, u.Name, tt.want.Name)
			}
			w.pass(window)
		}
		// An address that is unique again is good again.
		noErr(t, n.change(cli, two.ID, account.UserChange{Email: ptr("")}))
		u, _, err := n.Authenticate(t.Context(), "shared@example.org", good, home)
		if noErr(t, err); u.ID != one.ID {
			t.Errorf("the address that is unique again is %s", u.Name)
		}
	})
}

// lookups is a store that records by what users are looked up.
type lookups struct {
	store.Store
	made []string
}

func (l *lookups) UserByName(ctx context.Context, key string) (store.User, error) {
	l.made = append(l.made, "name")
	return l.Store.UserByName(ctx, key)
}

func (l *lookups) UserByEmail(ctx context.Context, email string) (store.User, error) {
	l.made = append(l.made, "email")
	return l.Store.UserByEmail(ctx, email)
}

func (l *lookups) KnownAddress(ctx context.Context, user, address string, since int64) (bool, error) {
	l.made = append(l.made, "address")
	return l.Store.KnownAddress(ctx, user, address, since)
}

// Every text with the form of an address takes the same look-ups, whatever it names.
func TestSignInByEmailTakesTheSameLookups(t *testing.T) {
	w := sqlite(t)
	l := &lookups{Store: w.store()}
	n := w.nodeWith(l, account.Config{})
	n.mailed("mira", "mira@example.org")
	n.mailed("one", "shared@example.org")
	n.mailed("two", "shared@example.org")
	n.add("boss@example.org")
	for _, typed := range []string{
		"mira@example.org", "shared@example.org", "boss@example.org", "nobody@example.org", strings.Repeat("x", 200) + "@example.org",
	} {
		l.made = nil
		err := n.signIn(typed, "wrong horse battery", "192.0.2.7")
		is(t, typed, err, account.ErrBadCredentials)
		if !slices.Equal(l.made, []string{"name", "email", "address"}) {
			t.Errorf("%s: looked up by %q", typed, l.made)
		}
		w.pass(window)
	}
}

// The limits of sign-ins by name hold for addresses, and are counted apart: what
// happens to the one says nothing about the other.
func TestLimitsOfSignInByEmail(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.node()
		n.mailed("mira", "mira@example.org")
		refused := func(typed string) (after int) {
			t.Helper()
			spelling := []string{typed, strings.ToUpper(typed), " " + typed}
			for i := 0; ; i++ {
				err := n.signIn(spelling[i%3], "wrong horse battery", "192.0.2."+string(rune('1'+i%9)))
				if i > 2*forAccount || !isBad(err) {
					limited(t, typed, err)
					return i
				}
			}
		}
		for _, typed := range []string{"mira@example.org", "nobody@example.org", "mira", "nobody"} {
			if after := refused(typed); after != forAccount {
				t.Errorf("%s: limited after %d failures, want %d", typed, after, forAccount)
			}
		}
		w.pass(window)
		noErr(t, n.signIn("mira@example.org", good, "192.0.2.1"))
		// The audit log says whose account it was, and not what was typed.
		for _, e := range n.audits(wire.ActionSignInFailed) {
			if strings.Contains(e.TargetName+e.Detail+e.Reason, "@") {
				t.Errorf("the audit log has what was typed: %+v", e)
			}
		}
	})
}

func isBad(err error) bool { return err != nil && err.Error() == account.ErrBadCredentials.Error() }
