package account_test

import (
	"testing"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/store"
)

// firstPassword returns the first password as a node sees it.
func (n *node) firstPassword(root store.User) *account.FirstPassword {
	n.t.Helper()
	first, err := n.FirstPassword(n.t.Context(), n.as(root))
	noErr(n.t, err)
	return first
}

// Every node knows that the first password is in use, before and after a restart, until
// it was changed by whatever way.
func TestFirstPassword(t *testing.T) {
	set := func(n *node, admin store.User) {
		p, err := n.PreparePassword(n.t.Context(), cli, admin.ID, account.NewPassword{New: "set by the command line"}, home)
		noErr(n.t, err)
		noErr(n.t, n.write(cli, admin.ID, p))
	}
	for name, tt := range map[string]struct {
		over   func(n *node, admin store.User) // puts an end to it
		undone func(n *node, admin store.User) // nil: it is for good
	}{
		"changed by its user": {over: func(n *node, admin store.User) {
			self := n.as(admin)
			p, err := n.PreparePassword(n.t.Context(), self, admin.ID, account.NewPassword{Current: ptr(good), New: "the next password"}, home)
			noErr(n.t, err)
			noErr(n.t, n.write(self, admin.ID, p))
		}},
		"set by the command line": {over: set},
		"changed with the account": {over: func(n *node, admin store.User) {
			noErr(n.t, n.change(cli, admin.ID, account.UserChange{Password: ptr("set with the account")}))
		}},
		"changed, and the user renamed": {over: func(n *node, admin store.User) {
			set(n, admin)
			noErr(n.t, n.change(cli, admin.ID, account.UserChange{Name: ptr("root")}))
			n.add("admin")
		}},
		"disabled": {
			over: func(n *node, admin store.User) {
				noErr(n.t, n.change(cli, admin.ID, account.UserChange{Disabled: ptr(true)}))
			},
			undone: func(n *node, admin store.User) {
				noErr(n.t, n.change(cli, admin.ID, account.UserChange{Disabled: ptr(false)}))
			},
		},
		"passwords switched off": {
			over: func(n *node, _ store.User) {
				p := n.addProvider("corp", corp())
				root, err := n.FindUser(n.t.Context(), "second")
				noErr(n.t, err)
				n.through(root, p)
				noErr(n.t, n.ChangeSignInMethods(n.t.Context(), cli, store.SignInMethods{}))
			},
			undone: func(n *node, _ store.User) {
				noErr(n.t, n.ChangeSignInMethods(n.t.Context(), cli, store.SignInMethods{Passwords: true}))
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			engines(t, func(t *testing.T, w *testDatabase) {
				nodes := []*node{w.with(sealing(t)), w.with(sealing(t))}
				n := nodes[0]
				made, err := n.Bootstrap(t.Context(), good, nil)
				if noErr(t, err); !made {
					t.Fatal("no account was made")
				}
				admin, err := n.FindUser(t.Context(), "admin")
				noErr(t, err)
				root := n.add("second", store.AdministerSystem)
				inUse := func(what string, want bool) {
					t.Helper()
					nodes := append(nodes, w.with(sealing(t))) // the last one has just started
					for i, n := range nodes {
						if first := n.firstPassword(root); (first != nil) != want || want && (first.User.ID != admin.ID || first.Generated || first.File != "") {
							t.Errorf("%s, node %d: %+v, want in use %v", what, i, first, want)
						}
					}
				}
				inUse("at first", true)
				noErr(t, n.signIn("admin", good, home.Address))
				noErr(t, n.change(cli, admin.ID, account.UserChange{Name: ptr("renamed")}))
				inUse("renamed", true)
				noErr(t, n.change(cli, admin.ID, account.UserChange{Name: ptr("admin")}))
				tt.over(nodes[1], admin)
				inUse(name, false)
				if tt.undone != nil {
					tt.undone(n, admin)
					inUse(name+", and undone", true)
				}
			})
		})
	}
}

// A hash of the same password with other parameters is no change. An account that another
// caller created under the name has no first password.
func TestFirstPasswordHashedAnew(t *testing.T) {
	w := sqlite(t)
	n := w.node()
	_, err := n.Bootstrap(t.Context(), "", func(string) (string, error) { return "vm:/data/curfew.db.admin-password", nil })
	noErr(t, err)
	admin, err := n.FindUser(t.Context(), "admin")
	noErr(t, err)
	check := func(what string) {
		t.Helper()
		if first := n.firstPassword(admin); first == nil || !first.Generated || first.File != "vm:/data/curfew.db.admin-password" {
			t.Errorf("%s: %+v", what, first)
		}
	}
	check("at first")
	w.exec(`UPDATE users SET password_hash = ? WHERE id = ?`, admin.PasswordHash+"=", admin.ID)
	check("hashed anew")

	other := sqlite(t).node()
	if first := other.firstPassword(other.add("admin", store.AdministerSystem)); first != nil {
		t.Errorf("made by an operator: %+v", first)
	}
	_, err = n.FirstPassword(t.Context(), n.as(n.add("ann", store.UserEdit)))
	forbidden(t, "not an administrator", err, store.AdministerSystem)
}
