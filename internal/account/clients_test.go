package account_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
)

func (n *node) isClient(id, secret string) error {
	_, err := n.ClientCaller(n.t.Context(), id, secret, home)
	return err
}

func TestClients(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.node()
		root := n.as(n.add("root", store.AdministerSystem))
		c, secret, err := n.CreateClient(t.Context(), root, account.NewClient{Name: "Billing Service", Capabilities: []string{store.Revoke, store.Follow, store.Revoke}})
		noErr(t, err)
		if c.Name != "Billing Service" || !slices.Equal(c.Capabilities, []string{store.Follow, store.Revoke}) || strings.Contains(c.SecretHash, secret) || len(secret) < 26 {
			t.Errorf("made %+v, secret of %d bytes", c, len(secret))
		}
		caller, err := n.ClientCaller(t.Context(), c.ID, secret, home)
		noErr(t, err)
		if want := (store.Actor{Kind: store.ActorClient, ID: c.ID, Name: c.Name, Address: home.Address, RequestID: home.RequestID}); caller.Actor != want {
			t.Errorf("actor %+v, want %+v", caller.Actor, want)
		}
		if !caller.Client.Can(store.Follow) || caller.Client.Can(store.Issue) || caller.Trusted || caller.Can(store.UserEdit) {
			t.Errorf("caller %+v", caller)
		}
		for what, tt := range map[string]struct{ id, secret string }{
			"wrong secret":           {c.ID, secret + "x"},
			"no secret":              {c.ID, ""},
			"other letter case":      {c.ID, strings.ToLower(secret)},
			"the hash of it":         {c.ID, c.SecretHash},
			"unknown id":             {"nobody", secret},
			"id in other letters":    {strings.ToUpper(c.ID), secret},
			"no id":                  {"", secret},
			"neither":                {"", ""},
			"an id that is not text": {"\x00\xff", secret},
		} {
			is(t, what, n.isClient(tt.id, tt.secret), authz.ErrBadClient)
		}

		e := n.audits(wire.ActionClientCreate)[0]
		if e.Actor != root.Actor || e.TargetKind != "client" || e.TargetID != c.ID || e.Epoch != c.Epoch || e.Epoch == 0 ||
			e.Detail != `{"capabilities":["follow","revoke"]}` {
			t.Errorf("the audit says %+v", e)
		}
		n.noSecrets(secret, c.SecretHash)
	})
}

// After a new secret the old one works for 24 hours, or until the next.
func TestClientSecrets(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.node()
		c, first, err := n.CreateClient(t.Context(), cli, account.NewClient{Name: "billing", Capabilities: []string{store.Follow}})
		noErr(t, err)
		_, second, err := n.NewSecret(t.Context(), cli, c.ID, false)
		noErr(t, err)
		noErr(t, n.isClient(c.ID, first))
		noErr(t, n.isClient(c.ID, second))
		w.pass(24*time.Hour - time.Microsecond)
		noErr(t, n.isClient(c.ID, first))
		w.pass(time.Microsecond)
		is(t, "after 24 hours", n.isClient(c.ID, first), authz.ErrBadClient)
		noErr(t, n.isClient(c.ID, second))

		_, third, err := n.NewSecret(t.Context(), cli, c.ID, false)
		noErr(t, err)
		_, fourth, err := n.NewSecret(t.Context(), cli, c.ID, false)
		noErr(t, err)
		is(t, "two secrets later", n.isClient(c.ID, second), authz.ErrBadClient)
		noErr(t, n.isClient(c.ID, third))
		noErr(t, n.isClient(c.ID, fourth))

		_, fifth, err := n.NewSecret(t.Context(), cli, c.ID, true)
		noErr(t, err)
		is(t, "an old secret, revoked", n.isClient(c.ID, fourth), authz.ErrBadClient)
		is(t, "an older one", n.isClient(c.ID, third), authz.ErrBadClient)
		noErr(t, n.isClient(c.ID, fifth))

		noErr(t, n.DeleteClient(t.Context(), cli, c.ID))
		for _, secret := range []string{third, fourth, fifth, ""} {
			is(t, "deleted", n.isClient(c.ID, secret), authz.ErrBadClient)
		}
		_, _, err = n.NewSecret(t.Context(), cli, c.ID, false)
		is(t, "a secret for a deleted client", err, store.ErrNotFound)
		is(t, "deleting again", n.DeleteClient(t.Context(), cli, c.ID), store.ErrNotFound)
		is(t, "deleting no client", n.DeleteClient(t.Context(), cli, ""), store.ErrNotFound)
		if all, err := n.Clients(t.Context(), cli); err != nil || len(all) != 0 {
			t.Errorf("%d clients, %v", len(all), err)
		}
		n.noSecrets(first, second, third, fourth, fifth)
	})
}

func TestWhoMayManageClients(t *testing.T) {
	n := sqlite(t).node()
	c, _, err := n.CreateClient(t.Context(), cli, account.NewClient{Name: "billing", Capabilities: store.Capabilities()})
	noErr(t, err)
	for who, caller := range map[string]authz.Caller{
		"nobody":     {},
		"a user":     n.as(n.add("user")),
		"an editor":  n.as(n.add("editor", store.UserEdit)),
		"the client": {Client: &c},
	} {
		_, err := n.Clients(t.Context(), caller)
		forbidden(t, who+" lists", err, store.AdministerSystem)
		_, _, err = n.CreateClient(t.Context(), caller, account.NewClient{Name: "x", Capabilities: []string{store.Follow}})
		forbidden(t, who+" creates", err, store.AdministerSystem)
		_, _, err = n.NewSecret(t.Context(), caller, c.ID, false)
		forbidden(t, who+" makes a secret", err, store.AdministerSystem)
		forbidden(t, who+" deletes", n.DeleteClient(t.Context(), caller, c.ID), store.AdministerSystem)
	}
	demoted := n.add("demoted", store.AdministerSystem)
	n.add("root", store.AdministerSystem)
	stale := n.as(demoted)
	noErr(t, n.change(cli, demoted.ID, account.UserChange{Permissions: &[]string{}}))
	_, _, err = n.CreateClient(t.Context(), stale, account.NewClient{Name: "x", Capabilities: []string{store.Follow}})
	forbidden(t, "an administrator no more", err, store.AdministerSystem)
}

func TestInvalidClients(t *testing.T) {
	n := sqlite(t).node()
	for _, tt := range []struct {
		what   string
		body   account.NewClient
		fields []string
	}{
		{"nothing", account.NewClient{}, []string{"name", "capabilities"}},
		{"no name", account.NewClient{Capabilities: []string{store.Follow}}, []string{"name"}},
		{"no capabilities", account.NewClient{Name: "x"}, []string{"capabilities"}},
		{"an unknown capability", account.NewClient{Name: "x", Capabilities: []string{store.Follow, "Follow"}}, []string{"capabilities"}},
		{"a permission", account.NewClient{Name: "x", Capabilities: []string{store.UserEdit}}, []string{"capabilities"}},
		{"a name with an escape", account.NewClient{Name: "x\x1b[0m", Capabilities: []string{store.Follow}}, []string{"name"}},
	} {
		_, _, err := n.CreateClient(t.Context(), cli, tt.body)
		invalid(t, tt.what, err, tt.fields...)
	}
}

// An id can stand in a path, a command line and a Basic credential.
func TestClientIDs(t *testing.T) {
	n := sqlite(t).node()
	seen := map[string]bool{}
	for i, name := range []string{"billing", "Billing", "me", ".", "..", "-rf", ".hidden", "a:b", "a/b", "Büro", "a b", "café 1", strings.Repeat("x", 128)} {
		c, secret, err := n.CreateClient(t.Context(), cli, account.NewClient{Name: name, Capabilities: []string{store.Follow}})
		noErr(t, err)
		what := fmt.Sprintf("%d: the id of %q is %q", i, name, c.ID)
		if c.ID == "" || c.ID == "me" || len(c.ID) > 80 || seen[c.ID] || strings.ContainsAny(c.ID, ":/ ") ||
			strings.HasPrefix(c.ID, "-") || strings.HasPrefix(c.ID, ".") {
			t.Error(what)
		}
		seen[c.ID] = true
		noErr(t, n.isClient(c.ID, secret))
	}
	if !seen["billing"] {
		t.Error("a name that would do for an id is not used")
	}
}
