package account_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
	"example.com/curfew/token"
)

func (n *node) change(c authz.Caller, id string, change account.UserChange) error {
	_, _, err := n.ChangeUser(n.t.Context(), c, id, change, "")
	return err
}

// Every kind of caller, every kind of change, every kind of target: a change that
// the table does not allow is forbidden, and the error names the permission that it
// requires.
func TestWhoMayChangeWhom(t *testing.T) {
	n := sqlite(t).node()
	n.add("root", store.AdministerSystem) // so that no other administrator is the last
	callers := map[string]authz.Caller{
		"nobody":        {},
		"user":          n.as(n.add("user")),
		"editor":        n.as(n.add("editor", store.UserEdit)),
		"administrator": n.as(n.add("administrator", store.AdministerSystem)),
		"client": {Actor: store.Actor{Kind: store.ActorClient}, Client: &store.Client{
			ID: "c", Capabilities: store.Capabilities()}},
		"command line": cli,
	}
	changes := map[string]func(i int) account.UserChange{
		"rename":    func(i int) account.UserChange { return account.UserChange{Name: ptr(fmt.Sprintf("renamed %d", i))} },
		"email":     func(i int) account.UserChange { return account.UserChange{Email: ptr("a@example.com")} },
		"password":  func(i int) account.UserChange { return account.UserChange{Password: ptr("another password")} },
		"disable":   func(i int) account.UserChange { return account.UserChange{Disabled: ptr(true)} },
		"enable":    func(i int) account.UserChange { return account.UserChange{Disabled: ptr(false)} },
		"promote":   func(i int) account.UserChange { return account.UserChange{Permissions: ptr(store.Permissions())} },
		"take away": func(i int) account.UserChange { return account.UserChange{Permissions: ptr([]string{})} },
		"groups":    func(i int) account.UserChange { return account.UserChange{Groups: ptr([]string{"ops"})} },
		"nothing":   func(i int) account.UserChange { return account.UserChange{} },
		"all at once": func(i int) account.UserChange {
			return account.UserChange{Name: ptr(fmt.Sprintf("all %d", i)), Permissions: ptr([]string{}), Disabled: ptr(true)}
		},
	}
	const permissions = "promote, take away, all at once"
	i := 0
	for who, caller := range callers {
		for what, change := range changes {
			for _, target := range []string{"a user", "an editor", "an administrator", "a disabled administrator"} {
				i++
				var held []string
				switch target {
				case "an editor":
					held = []string{store.UserEdit}
				case "an administrator", "a disabled administrator":
					held = []string{store.AdministerSystem}
				}
				u := n.add(fmt.Sprintf("target %d", i), held...)
				if target == "a disabled administrator" {
					noErr(t, n.change(cli, u.ID, account.UserChange{Disabled: ptr(true)}))
				}
				row := who + ": " + what + " of " + target
				takes := ""
				switch who {
				case "nobody", "user", "client":
					takes = store.UserEdit
				case "editor":
					if strings.Contains(permissions, what) || strings.Contains(target, "administrator") {
						takes = store.AdministerSystem
					}
				}
				err := n.change(caller, u.ID, change(i))
				if takes == "" && err != nil {
					t.Errorf("%s: %v", row, err)
				}
				if takes != "" {
					forbidden(t, row, err, takes)
				}
			}
		}
	}
}

func TestWhoMayLookAndCreate(t *testing.T) {
	n := sqlite(t).node()
	u := n.add("user")
	editor, admin := n.as(n.add("editor", store.UserEdit)), n.as(n.add("administrator", store.AdministerSystem))
	for who, c := range map[string]authz.Caller{"nobody": {}, "a user": n.as(u)} {
		_, err := n.User(t.Context(), c, u.ID)
		forbidden(t, who+" looks", err, store.UserEdit)
		_, _, err = n.Users(t.Context(), c, "", "", 10)
		forbidden(t, who+" lists", err, store.UserEdit)
		_, _, err = n.FindUsers(t.Context(), c, []string{"user"})
		forbidden(t, who+" finds", err, store.UserEdit)
		_, err = n.CreateUser(t.Context(), c, account.UserChange{Name: ptr("x")})
		forbidden(t, who+" creates", err, store.UserEdit)
		_, err = n.UsersByEmail(t.Context(), c, "a@example.com")
		forbidden(t, who+" looks for an email", err, store.Revoke)
	}
	_, err := n.User(t.Context(), editor, u.ID)
	noErr(t, err)
	_, err = n.User(t.Context(), editor, "nobody")
	is(t, "an unknown user", err, store.ErrNotFound)
	is(t, "changing them", n.change(editor, "nobody", account.UserChange{Name: ptr("x")}), store.ErrNotFound)
	for _, p := range store.Permissions() {
		_, err = n.CreateUser(t.Context(), editor, account.UserChange{Name: ptr("with " + p), Permissions: &[]string{p}})
		forbidden(t, "an editor gives "+p, err, store.AdministerSystem)
		_, err = n.CreateUser(t.Context(), admin, account.UserChange{Name: ptr("with " + p), Permissions: &[]string{p}})
		noErr(t, err)
	}
	_, err = n.CreateUser(t.Context(), editor, account.UserChange{Name: ptr("plain"), Permissions: &[]string{}})
	noErr(t, err)
}

// Between the check of the caller and the change, an administrator takes the
// permission away.
func TestDemotedAMomentAgo(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.node()
		n.add("root", store.AdministerSystem)
		u := n.add("target")
		demoted, disabled := n.add("demoted", store.AdministerSystem), n.add("disabled", store.UserEdit)
		stale, gone := n.as(demoted), n.as(disabled)
		own := n.as(n.add("herself"))
		noErr(t, n.change(cli, demoted.ID, account.UserChange{Permissions: ptr([]string{})}))
		noErr(t, n.change(cli, disabled.ID, account.UserChange{Disabled: ptr(true)}))

		forbidden(t, "demoted", n.change(stale, u.ID, account.UserChange{Name: ptr("taken over")}), store.UserEdit)
		is(t, "disabled", n.change(gone, u.ID, account.UserChange{Name: ptr("taken over")}), token.ErrRevoked)

		for what, c := range map[string]authz.Caller{"demoted": stale, "disabled": gone} {
			p, err := n.PreparePassword(t.Context(), c, u.ID, account.NewPassword{New: "another password"}, home)
			noErr(t, err)
			if n.write(c, u.ID, p) == nil {
				t.Errorf("%s: has set a password", what)
			}
		}
		p, err := n.PreparePassword(t.Context(), own, own.User.ID, account.NewPassword{Current: ptr(good), New: "another password"}, home)
		noErr(t, err)
		noErr(t, n.change(cli, own.User.ID, account.UserChange{Disabled: ptr(true)}))
		is(t, "one's own password after being disabled", n.write(own, own.User.ID, p), token.ErrRevoked)
		if err := n.signIn("target", good, home.Address); err != nil {
			t.Errorf("the target's password is not what it was: %v", err)
		}
	})
}

func TestChangeUserAudit(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.node()
		root := n.add("root", store.AdministerSystem)
		u := n.add("alice", store.UserEdit)
		const secret = "a brand new secret"
		read, err := n.store.Clock(t.Context()) // by a sign-in that is under way
		noErr(t, err)
		changed, revoked, err := n.ChangeUser(t.Context(), n.as(root), u.ID, account.UserChange{
			Name: ptr(" Alicia "), Email: ptr("alicia@example.com"), Password: ptr(secret),
			Permissions: &[]string{store.AdministerSystem, store.UserEdit, store.UserEdit}, Disabled: ptr(true),
		}, "left the company")
		noErr(t, err)
		if changed.Name != "Alicia" || changed.NameKey != "alicia" || changed.Email != "alicia@example.com" || !changed.Disabled ||
			!slices.Equal(changed.Permissions, store.Permissions()) {
			t.Errorf("changed to %+v", changed)
		}
		kept, err := n.store.User(t.Context(), u.ID)
		noErr(t, err)
		if kept.Name != changed.Name || kept.PasswordHash != changed.PasswordHash || kept.PasswordHash == u.PasswordHash || !kept.Disabled {
			t.Errorf("kept as %+v", kept)
		}

		clock, err := n.store.Clock(t.Context())
		noErr(t, err)
		if revoked == nil || *revoked != (revocation.Revocation{Scope: revocation.User(u.ID), Epoch: clock}) {
			t.Fatalf("revoked %v, want the user at %d", revoked, clock)
		}
		if clock <= read {
			t.Errorf("revoked before %d: a sign-in that had read %d would live", clock, read)
		}
		before, err := n.store.RevokedBefore(t.Context(), u.ID, "x")
		noErr(t, err)
		if before.User != clock || !slices.Equal(n.applied, []revocation.Revocation{*revoked}) {
			t.Errorf("in the store %d, applied %v, want %v", before.User, n.applied, *revoked)
		}

		details := map[string]string{
			wire.ActionUserChange:      `{"email":{"from":"","to":"alicia@example.com"},"name":{"from":"alice","to":"Alicia"}}`,
			wire.ActionUserPermissions: `{"from":["UserEdit"],"to":["AdministerSystem","UserEdit"]}`,
			wire.ActionUserDisable:     "",
			wire.ActionUserPassword:    "",
		}
		scoped := 0
		for action, want := range details {
			entries := n.audits(action)
			if len(entries) != 1 {
				t.Fatalf("%s: %d entries, want 1", action, len(entries))
			}
			e := entries[0]
			if e.Detail != want {
				t.Errorf("%s: detail %s, want %s", action, e.Detail, want)
			}
			if e.Actor.ID != root.ID || e.Actor.Kind != store.ActorUser || e.Actor.Address != "192.0.2.9" || e.Actor.RequestID != "request-9" ||
				e.TargetKind != "user" || e.TargetID != u.ID || e.TargetName != "Alicia" ||
				e.Reason != "left the company" || e.Epoch != clock || e.At != w.now().UnixMicro() {
				t.Errorf("%s: %+v", action, e)
			}
			if e.Scope != "" {
				scoped++
			}
		}
		if scoped != 1 {
			t.Errorf("%d entries stand for the one revocation", scoped)
		}
		n.noSecrets(secret, good)
	})
}

// A stolen session must not be enough to take over the account for good.
func TestOwnPasswordAndEmail(t *testing.T) {
	n := sqlite(t).node()
	for _, permission := range store.Permissions() {
		u := n.add("holder of "+permission, permission)
		own := n.as(u)
		invalid(t, "password", n.change(own, u.ID, account.UserChange{Password: ptr("another password")}), "password")
		invalid(t, "email", n.change(own, u.ID, account.UserChange{Email: ptr("a@example.com")}), "email")
		invalid(t, "no email", n.change(own, u.ID, account.UserChange{Email: ptr("")}), "email")
		invalid(t, "groups", n.change(own, u.ID, account.UserChange{Groups: &[]string{"ops"}}), "groups")
		invalid(t, "no groups", n.change(own, u.ID, account.UserChange{Groups: &[]string{}}), "groups")
		invalid(t, "all", n.change(own, u.ID, account.UserChange{Groups: &[]string{"ops"},
			Name: ptr("renamed"), Password: ptr("another password"), Email: ptr("a@example.com")}), "password", "email", "groups")
		kept, err := n.store.User(t.Context(), u.ID)
		noErr(t, err)
		if kept.Name != u.Name || kept.Email != "" || len(kept.Groups) > 0 || kept.PasswordHash != u.PasswordHash {
			t.Errorf("changed to %+v", kept)
		}
		noErr(t, n.change(own, u.ID, account.UserChange{Name: ptr("renamed " + permission)}))
	}
}

// Only changes that lock a user out end the user's sessions.
func TestWhatRevokes(t *testing.T) {
	n := sqlite(t).node()
	u := n.add("alice")
	for _, tt := range []struct {
		what    string
		change  account.UserChange
		revokes bool
	}{
		{"rename", account.UserChange{Name: ptr("alicia")}, false},
		{"email", account.UserChange{Email: ptr("a@example.com")}, false},
		{"permissions", account.UserChange{Permissions: &[]string{store.UserEdit}}, false},
		{"enabling who is enabled", account.UserChange{Disabled: ptr(false)}, false},
		{"disable", account.UserChange{Disabled: ptr(true)}, true},
		{"disabling who is disabled", account.UserChange{Disabled: ptr(true)}, false},
		{"enable", account.UserChange{Disabled: ptr(false)}, false},
		{"password", account.UserChange{Password: ptr("another password")}, true},
		{"joining groups", account.UserChange{Groups: &[]string{"ops", "staff"}}, false},
		{"the same groups in another order", account.UserChange{Groups: &[]string{"staff", "ops", "staff"}}, false},
		{"leaving one and joining another", account.UserChange{Groups: &[]string{"ops", "sales"}}, true},
		{"a group in another case", account.UserChange{Groups: &[]string{"Ops", "sales"}}, true},
		{"leaving all groups", account.UserChange{Groups: &[]string{}}, true},
		{"leaving none", account.UserChange{Groups: &[]string{}}, false},
		{"nothing", account.UserChange{}, false},
	} {
		n.applied = nil
		_, revoked, err := n.ChangeUser(t.Context(), cli, u.ID, tt.change, "")
		noErr(t, err)
		if (revoked != nil) != tt.revokes || (len(n.applied) == 1) != tt.revokes {
			t.Errorf("%s: revoked %v, applied %v, want %v", tt.what, revoked, n.applied, tt.revokes)
		}
	}
}

func TestInvalidChanges(t *testing.T) {
	n := sqlite(t).node()
	u := n.add("alice")
	n.add("bob")
	for _, tt := range []struct {
		what   string
		change account.UserChange
		fields []string
	}{
		{"empty name", account.UserChange{Name: ptr(" ")}, []string{"name"}},
		{"unknown permission", account.UserChange{Permissions: &[]string{"UserEdit", "userEdit"}}, []string{"permissions"}},
		{"two unknown ones", account.UserChange{Permissions: &[]string{"", "root"}}, []string{"permissions", "permissions"}},
		{"short password", account.UserChange{Password: ptr("short")}, []string{"password"}},
		{"email without a domain", account.UserChange{Email: ptr("alice")}, []string{"email"}},
		{"email with a name", account.UserChange{Email: ptr("Al <a@example.com>")}, []string{"email"}},
		{"two emails", account.UserChange{Email: ptr("a@example.com, b@example.com")}, []string{"email"}},
		{"email with a line break", account.UserChange{Email: ptr("a@example.com\r\nBcc: b@example.com")}, []string{"email"}},
		{"email of 255 bytes", account.UserChange{Email: ptr(strings.Repeat("a", 243) + "@example.com")}, []string{"email"}},
		{"everything", account.UserChange{Name: ptr("\x00"), Email: ptr("x"), Permissions: &[]string{"x"}, Password: ptr("x")},
			[]string{"name", "email", "permissions", "password"}},
	} {
		invalid(t, tt.what, n.change(cli, u.ID, tt.change), tt.fields...)
		if tt.change.Name == nil {
			tt.change.Name = ptr("new")
		}
		_, err := n.CreateUser(t.Context(), cli, tt.change)
		invalid(t, tt.what+" at creation", err, tt.fields...)
	}
	_, err := n.CreateUser(t.Context(), cli, account.UserChange{})
	invalid(t, "no name", err, "name")
	is(t, "a name that is taken", n.change(cli, u.ID, account.UserChange{Name: ptr("BOB")}), account.ErrNameTaken)
	_, err = n.CreateUser(t.Context(), cli, account.UserChange{Name: ptr(" bOb ")})
	is(t, "a name that is taken, at creation", err, account.ErrNameTaken)
	is(t, "which is a conflict", err, store.ErrConflict)
	noErr(t, n.change(cli, u.ID, account.UserChange{Name: ptr("ALICE")})) // one's own, in other letters

	noErr(t, n.change(cli, u.ID, account.UserChange{Email: ptr(strings.Repeat("a", 242) + "@example.com")}))
	changed, _, err := n.ChangeUser(t.Context(), cli, u.ID, account.UserChange{Email: ptr("")}, "")
	noErr(t, err)
	if changed.Email != "" {
		t.Errorf("the email that was removed is %q", changed.Email)
	}
}

func TestLastAdministrator(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.node()
		a := n.add("a", store.AdministerSystem)
		b := n.add("b", store.AdministerSystem, store.UserEdit)
		off := n.add("off", store.AdministerSystem)
		noErr(t, n.change(cli, off.ID, account.UserChange{Disabled: ptr(true)}))
		noErr(t, n.change(n.as(b), a.ID, account.UserChange{Disabled: ptr(true)}))
		for what, change := range map[string]account.UserChange{
			"disable":          {Disabled: ptr(true)},
			"demote":           {Permissions: &[]string{store.UserEdit}},
			"demote and more":  {Permissions: &[]string{}, Name: ptr("renamed"), Password: ptr("another password")},
			"disable and more": {Disabled: ptr(true), Password: ptr("another password")},
		} {
			for who, c := range map[string]authz.Caller{"oneself": n.as(b), "command line": cli} {
				if who == "oneself" {
					change.Password = nil // which takes another call
				}
				err := n.change(c, b.ID, change)
				is(t, who+": "+what, err, account.ErrLastAdministrator)
				is(t, who+": "+what, err, store.ErrConflict)
			}
		}
		if now, err := n.store.User(t.Context(), b.ID); err != nil || now.Name != "b" || now.Disabled || len(now.Permissions) != 2 {
			t.Errorf("something of it was done: %+v, %v", now, err)
		}
		noErr(t, n.signIn("b", good, home.Address))
		noErr(t, n.change(cli, b.ID, account.UserChange{Name: ptr("still b"), Permissions: &[]string{store.AdministerSystem}}))
		noErr(t, n.change(cli, a.ID, account.UserChange{Disabled: ptr(false)}))
		noErr(t, n.change(cli, b.ID, account.UserChange{Permissions: &[]string{}}))
	})
}

// slow is a store whose transactions dawdle after the count that they decide by.
type slow struct{ store.Store }

func (s slow) Update(ctx context.Context, write func(store.Tx) error) error {
	return s.Store.Update(ctx, func(tx store.Tx) error { return write(slowTx{tx}) })
}

type slowTx struct{ store.Tx }

func (t slowTx) CountAdministrators(ctx context.Context) (int64, error) {
	n, err := t.Tx.CountAdministrators(ctx)
	time.Sleep(20 * time.Millisecond) // for the other to come in between, if it can: there would be no signal
	return n, err
}

// Two administrators, two connections, each takes the other down: one stays.
func TestTwoDemotionsAtOnce(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		first, second := w.nodeWith(slow{w.store()}, account.Config{}), w.nodeWith(slow{w.store()}, account.Config{})
		for round := range 10 {
			a := first.add(fmt.Sprintf("a%d", round), store.AdministerSystem)
			b := first.add(fmt.Sprintf("b%d", round), store.AdministerSystem)
			begin := make(chan struct{})
			errs := make(chan error, 2)
			change := account.UserChange{Permissions: &[]string{}}
			if round%2 == 1 {
				change = account.UserChange{Disabled: ptr(true)}
			}
			for n, target := range map[*node]store.User{first: a, second: b} {
				go func() {
					<-begin
					_, _, err := n.ChangeUser(context.WithoutCancel(t.Context()), cli, target.ID, change, "")
					errs <- err
				}()
			}
			close(begin)
			lost := 0
			for range 2 {
				if err := <-errs; err != nil {
					is(t, "the second", err, account.ErrLastAdministrator)
					lost++
				}
			}
			left, err := first.store.CountAdministrators(t.Context())
			noErr(t, err)
			if lost != 1 || left != 1 {
				t.Fatalf("round %d: %d refused, %d administrators left; want 1 and 1", round, lost, left)
			}
			// The next round begins without administrators.
			noErr(t, first.store.Update(t.Context(), func(tx store.Tx) error {
				for _, u := range []store.User{a, b} {
					now, err := tx.User(t.Context(), u.ID)
					if err != nil {
						return err
					}
					now.Permissions = nil
					if err := tx.UpdateUser(t.Context(), now); err != nil {
						return err
					}
				}
				return nil
			}))
		}
	})
}

func TestFindUser(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.node()
		alice := n.add("Alice")
		for _, text := range []string{"alice", "ALICE ", alice.ID} {
			u, err := n.FindUser(t.Context(), text)
			noErr(t, err)
			if u.ID != alice.ID {
				t.Errorf("%q is %s", text, u.Name)
			}
			if u, err := n.match(text); err != nil || u.ID != alice.ID {
				t.Errorf("over the API %q is %s, %v", text, u.Name, err)
			}
		}
		for _, text := range []string{"", "bob", "\x00", "\xff", strings.ToUpper(alice.ID) + "x"} {
			_, err := n.FindUser(t.Context(), text)
			is(t, fmt.Sprintf("%q", text), err, store.ErrNotFound)
		}
		found, unknown, err := n.FindUsers(t.Context(), cli, []string{"bob", alice.ID, "alice", "\x00", "Alice"})
		noErr(t, err)
		if len(found) != 1 || found[0].ID != alice.ID || !slices.Equal(unknown, []string{"bob", "\x00"}) {
			t.Errorf("found %v, unknown %q", found, unknown)
		}
	})
}

// match finds a user as a program does that has only what the API lists.
func (n *node) match(text string) (store.User, error) {
	var candidates []store.User
	id, beginning := account.Searches(text)
	if u, err := n.User(n.t.Context(), cli, id); err == nil {
		candidates = append(candidates, u)
	}
	if beginning != "" {
		users, _, err := n.Users(n.t.Context(), cli, beginning, "", 500)
		noErr(n.t, err)
		candidates = append(candidates, users...)
	}
	for i := range candidates { // the API shows no key
		candidates[i].NameKey = ""
	}
	return account.Match(text, candidates)
}

func TestFindUserByEmail(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.node()
		mira := n.mailed("mira", "Mira@Example.org")
		one, two := n.mailed("one", "shared@example.org"), n.mailed("two", "Shared@example.org")
		named, owner := n.add("boss@example.org"), n.addressed(n.add("owner"), "boss@example.org")
		both := n.mailed("both@example.org", "both@example.org")
		for text, want := range map[string]store.User{
			"mira@example.org": mira, " MIRA@EXAMPLE.ORG\t": mira, "both@example.org": both,
			"name:boss@example.org": named, "id:" + owner.ID: owner,
		} {
			u, err := n.FindUser(t.Context(), text)
			if noErr(t, err); u.ID != want.ID {
				t.Errorf("%q is %s, want %s", text, u.Name, want.Name)
			}
			if u, err := n.match(text); err != nil || u.ID != want.ID {
				t.Errorf("over the API %q is %s, %v, want %s", text, u.Name, err, want.Name)
			}
		}
		for _, text := range []string{"mira@example.or", "name:mira@example.org", "id:mira@example.org", "<mira@example.org>", "@example.org"} {
			_, err := n.FindUser(t.Context(), text)
			is(t, text, err, store.ErrNotFound)
			_, err = n.match(text)
			is(t, "over the API "+text, err, store.ErrNotFound)
		}
		for text, says := range map[string][]string{
			"shared@example.org": {"id:" + one.ID, "id:" + two.ID, "email address"},
			"Boss@example.org":   {"name:Boss@example.org", "id:" + owner.ID},
		} {
			_, err := n.match(text)
			is(t, "over the API "+text, err, account.ErrAmbiguous)
			_, err = n.FindUser(t.Context(), text)
			is(t, text, err, account.ErrAmbiguous)
			for _, word := range says {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%q does not say %s", err, word)
				}
			}
		}
		found, unknown, err := n.FindUsers(t.Context(), cli, []string{"mira@example.org", "nobody@example.org", "mira", "both@example.org"})
		noErr(t, err)
		if len(found) != 2 || found[0].ID != mira.ID || found[1].ID != both.ID || !slices.Equal(unknown, []string{"nobody@example.org"}) {
			t.Errorf("found %v, unknown %q", found, unknown)
		}
		_, _, err = n.FindUsers(t.Context(), cli, []string{"mira", "shared@example.org", "boss@example.org"})
		is(t, "a list with addresses of several users", err, account.ErrAmbiguous)
		if !strings.Contains(err.Error(), "1 more") {
			t.Errorf("%q does not say how many more", err)
		}
	})
}

// Since an earlier release a user's name may equal another user's id: a holder of
// UserEdit could once direct every command to another account than was meant.
func TestAmbiguous(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.node()
		alice := n.add("alice")
		decoy := n.add("decoy")
		w.exec("UPDATE users SET name = ?, name_key = ?, name_skeleton = '', skeleton_of = '' WHERE id = ?", "victim", "victim", decoy.ID)
		w.exec("UPDATE users SET id = ?, id_skeleton = '', skeleton_of = '' WHERE id = ?", "Victim", alice.ID)

		_, err := n.FindUser(t.Context(), "Victim")
		is(t, "both", err, account.ErrAmbiguous)
		for _, says := range []string{decoy.ID, "alice", "name:Victim", "id:Victim"} {
			if !strings.Contains(err.Error(), says) {
				t.Errorf("%q does not say %s", err, says)
			}
		}
		_, _, err = n.FindUsers(t.Context(), cli, []string{"alice", "Victim"})
		is(t, "one of a list", err, account.ErrAmbiguous)
		for text, want := range map[string]string{
			"id:Victim": "Victim", "name:Victim": decoy.ID, "name:VICTIM": decoy.ID, "victim": decoy.ID, "alice": "Victim", "name:alice": "Victim",
		} {
			u, err := n.FindUser(t.Context(), text)
			noErr(t, err)
			if u.ID != want {
				t.Errorf("%s is %s, want %s", text, u.ID, want)
			}
		}
		for _, text := range []string{"id:victim", "id:alice", "name:" + decoy.ID, "id:", "name:", "id:id:Victim"} {
			_, err := n.FindUser(t.Context(), text)
			is(t, text, err, store.ErrNotFound)
		}
		for search, want := range map[string]int{"Victim": 2, "id:Victim": 1, "id:victim": 0, "name:vic": 1, "name:" + decoy.ID: 0, "id:" + decoy.ID: 1} {
			users, next, err := n.Users(t.Context(), cli, search, "", 5)
			noErr(t, err)
			if len(users) != want || next != "" {
				t.Errorf("the search for %s finds %d users, want %d", search, len(users), want)
			}
		}
	})
}

// Neither creating nor renaming makes a name that stands for two.
func TestNamesOfOthers(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.node()
		n.add("admin", store.AdministerSystem)
		victim, err := n.EnsureUser(t.Context(), cli, "Subject-1")
		noErr(t, err)
		noErr(t, n.change(cli, victim.ID, account.UserChange{Name: ptr("victim")}))
		editor := n.as(n.add("editor", store.UserEdit))
		decoy := n.add("decoy")
		for _, name := range []string{
			"Subject-1", "subject-1", "SUBJECT-l", victim.Name, "v\u0456ctim", "\u0430dmin", "adm\u0131n", "ad\u217fin", decoyLike(editor.User.ID),
		} {
			_, err := n.CreateUser(t.Context(), editor, account.UserChange{Name: &name})
			is(t, fmt.Sprintf("creating %q", name), err, account.ErrNameTaken)
			is(t, fmt.Sprintf("renaming to %q", name), n.change(editor, decoy.ID, account.UserChange{Name: &name}), account.ErrNameTaken)
		}
		// A sign-in by what looks like a name is none by that name.
		is(t, "signing in as a look-alike", n.signIn("\u0430dmin", good, "192.0.2.1"), account.ErrBadCredentials)
		noErr(t, n.signIn("ADMIN", good, "192.0.2.1"))
		noErr(t, n.change(cli, victim.ID, account.UserChange{Name: ptr("Subject-1")})) // one's own id
	})
}

// decoyLike returns an id in other letters.
func decoyLike(id string) string { return strings.ToUpper(id) }

func TestUsersPages(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.node()
		for _, name := range []string{"Delta", "alpha", "Charlie", "bravo", "alfons"} {
			n.add(name)
		}
		var names []string
		for cursor, pages := "", 0; ; pages++ {
			if pages > 5 {
				t.Fatal("the list does not end")
			}
			users, next, err := n.Users(t.Context(), cli, "", cursor, 2)
			noErr(t, err)
			for _, u := range users {
				names = append(names, u.Name)
			}
			if next == "" {
				break
			}
			cursor = next
		}
		if want := "alfons alpha bravo Charlie Delta"; strings.Join(names, " ") != want {
			t.Errorf("names %q, want %q", names, want)
		}
		users, next, err := n.Users(t.Context(), cli, "AL", "", 2)
		noErr(t, err)
		if len(users) != 2 || next != "" {
			t.Errorf("%d users begin with AL, next %q; want 2 and the end", len(users), next)
		}
		for _, text := range []string{"\x00", "\xff", "%", "_", "'"} {
			users, _, err := n.Users(t.Context(), cli, text, text, 2)
			if err != nil || len(users) != 0 {
				t.Errorf("search and cursor %q: %d users, %v", text, len(users), err)
			}
		}
	})
}

// A search is typed as people type, on any keyboard.
func TestSearch(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.node()
		zoe, anna := n.mailed("Zoë Łukasz", "Zoë@Example.org"), n.mailed("Anna Maria Schmidt", "ANNA@example.org")
		emile := n.mailed("Émile", "\u00c9mile@example.org")
		for search, want := range map[string][]store.User{
			"Zoë@": {zoe}, "zoë@example": {zoe}, "Zoe\u0308@Example.org": {zoe}, " ZOË ": {zoe}, "ŁUK": {zoe},
			"schmidt": {anna}, "Maria Sch": {anna}, "anna@EXAMPLE": {anna}, "hmidt": nil,
			"e\u0301mile@": {emile}, "ÉMILE@example.org": {emile}, "name:maria": {anna}, "id:" + anna.ID: {anna}, anna.ID: {anna}, "id:maria": nil,
			"a": {anna}, "\u0301": nil,
		} {
			users, next, err := n.Users(t.Context(), cli, search, "", 5)
			noErr(t, err)
			if !slices.EqualFunc(users, want, func(a, b store.User) bool { return a.ID == b.ID }) || next != "" {
				t.Errorf("search %q: %v, next %q, want %v", search, users, next, want)
			}
		}
	})
}

func TestEnsureUser(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.node()
		shop, secret, err := n.CreateClient(t.Context(), cli, account.NewClient{Name: "shop", Capabilities: []string{store.Issue}})
		noErr(t, err)
		client, err := n.ClientCaller(t.Context(), shop.ID, secret, home)
		noErr(t, err)
		u, err := n.EnsureUser(t.Context(), client, "auth0|42")
		noErr(t, err)
		if u.ID != "auth0|42" || u.Name != "auth0|42" || u.PasswordHash != "" || len(u.Permissions) != 0 {
			t.Errorf("made %+v", u)
		}
		again, err := n.EnsureUser(t.Context(), client, "auth0|42")
		noErr(t, err)
		if again.CreatedAt != u.CreatedAt || len(n.audits(wire.ActionUserCreate)) != 1 {
			t.Error("made twice")
		}
		if e := n.audits(wire.ActionUserCreate)[0]; e.Actor.ID != "shop" || e.TargetID != u.ID {
			t.Errorf("the audit says %+v", e)
		}

		// An id that is the name of another user is not told apart from it.
		n.add("bob")
		for _, id := range []string{"bob", "BOB", "b0b", "AUTH0|42"} {
			_, err = n.EnsureUser(t.Context(), client, id)
			is(t, id, err, account.ErrNameTaken)
			_, err = n.store.User(t.Context(), id)
			is(t, id, err, store.ErrNotFound)
		}

		for _, id := range []string{"", ".", "..", "me", "a/b", "ä", strings.Repeat("x", 129)} {
			_, err := n.EnsureUser(t.Context(), client, id)
			invalid(t, fmt.Sprintf("%q", id), err, "id")
		}
		for who, c := range map[string]authz.Caller{
			"another client":   {Client: &store.Client{Capabilities: []string{store.Revoke, store.Follow, store.Introspect}}},
			"a deleted client": {Client: &store.Client{Capabilities: []string{store.Issue}, Deleted: true}},
			"an administrator": n.as(n.add("root", store.AdministerSystem)),
			"nobody":           {},
		} {
			_, err := n.EnsureUser(t.Context(), c, "new")
			forbidden(t, who, err, store.Issue)
		}
	})
}

func TestEnsureUserAtOnce(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		nodes := []*node{w.node(), w.node()}
		errs := make(chan error)
		for i := range 16 {
			go func() {
				u, err := nodes[i%2].EnsureUser(t.Context(), cli, "the-one")
				if err == nil && u.ID != "the-one" {
					err = errors.New("another user")
				}
				errs <- err
			}()
		}
		for range 16 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		if count, err := nodes[0].store.CountUsers(t.Context()); err != nil || count != 1 {
			t.Errorf("%d users, %v", count, err)
		}
	})
}

func TestBootstrap(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		nodes := []*node{w.node(), w.node()}
		_, err := nodes[0].Bootstrap(t.Context(), "short", nil)
		invalid(t, "a short password", err, "password")

		type result struct {
			made     bool
			password string
			err      error
		}
		results := make(chan result)
		for _, n := range nodes {
			go func() {
				var r result
				r.made, r.err = n.Bootstrap(context.WithoutCancel(t.Context()), "", func(generated string) (string, error) {
					r.password = generated
					return "", nil
				})
				if !r.made {
					r.password = "" // of no use
				}
				results <- r
			}()
		}
		password := ""
		for range nodes {
			r := <-results
			noErr(t, r.err)
			if r.made != (r.password != "") || r.made && password != "" {
				t.Errorf("made %v, password of %d bytes, and there was %d bytes before", r.made, len(r.password), len(password))
			}
			password += r.password
		}
		u, _, err := nodes[0].Authenticate(t.Context(), "ADMIN", password, home)
		noErr(t, err)
		if !u.Has(store.AdministerSystem) {
			t.Errorf("the first account holds %q", u.Permissions)
		}
		nodes[0].noSecrets(password)
		made, err := nodes[1].Bootstrap(t.Context(), good, nil)
		if made || err != nil {
			t.Errorf("a second time: made %v, %v", made, err)
		}
		is(t, "the password of the second time", nodes[0].signIn("admin", good, home.Address), account.ErrBadCredentials)
	})
}

func TestBootstrapWithPassword(t *testing.T) {
	n := sqlite(t).node()
	full := errors.New("the disk is full")
	made, err := n.Bootstrap(t.Context(), "", func(string) (string, error) { return "", full })
	if is(t, "a password that cannot be kept", err, full); made {
		t.Fatal("there is an account whose password is lost")
	}
	made, err = n.Bootstrap(t.Context(), good, nil)
	if !made || err != nil {
		t.Fatalf("made %v, %v", made, err)
	}
	noErr(t, n.signIn("admin", good, home.Address))
}
