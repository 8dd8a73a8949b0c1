package session_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/store/migrated"
	"example.com/curfew/internal/wire"
	"example.com/curfew/token"
)

const goodPassword = "correct horse battery"

// person makes a user with a password.
func (n *node) person(name string, permissions ...string) store.User {
	n.testDatabase.t.Helper()
	password := goodPassword
	u, err := n.accounts.CreateUser(context.Background(), cli, account.UserChange{Name: &name, Password: &password, Permissions: &permissions})
	if err != nil {
		n.testDatabase.t.Fatal(err)
	}
	return u
}

// as signs a user in and returns them as the caller.
func (n *node) as(u store.User) authz.Caller {
	n.testDatabase.t.Helper()
	issued, err := n.sessions.SignIn(context.Background(), u.Name, goodPassword, false, authz.Origin{Address: "192.0.2.1"})
	if err != nil {
		n.testDatabase.t.Fatal(err)
	}
	c, err := n.accounts.UserCaller(context.Background(), &issued.Session, authz.Origin{Address: "192.0.2.1"})
	if err != nil {
		n.testDatabase.t.Fatal(err)
	}
	return c
}

// When a user has as many sessions as may be, the oldest ends as another begins:
// whether by a password or by a client, on every node, in the list and in the audit.
func TestSessionsOfAUserAreBounded(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		three := func(c *session.Config) { c.MaxSessions = 3 }
		a, b := w.startWith(0, 0, three), w.startWith(0, 0, three)
		u := a.person("ann")
		begin := map[string]func() session.Issued{
			"password": func() session.Issued {
				i, err := a.sessions.SignIn(t.Context(), "ann", goodPassword, true, authz.Origin{})
				if err != nil {
					t.Fatal(err)
				}
				return i
			},
			"client": func() session.Issued { return b.mustBegin(u.ID, true) },
		}
		other := a.mustBegin("bob", false)
		var all []session.Issued
		for i, how := range []string{"password", "client", "password", "password", "client", "client", "password"} {
			before, err := a.store.Clock(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, begin[how]())
			after, err := a.store.Clock(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if (after > before) != (i >= 3) {
				t.Errorf("session %d: the clock went from %d to %d", i, before, after)
			}
			for _, n := range []*node{a, b} {
				if err := n.feed.CatchUp(t.Context()); err != nil {
					t.Fatal(err)
				}
				for k, one := range all {
					want := token.Reason("")
					if k <= i-3 {
						want = token.ErrRevoked
					}
					if got := n.check(one.Token); got != want {
						t.Errorf("after session %d: session %d is %q, want %q", i, k, got, want)
					}
				}
			}
			list, err := b.sessions.List(t.Context(), cli, u.ID)
			if err != nil || len(list) != min(i+1, 3) {
				t.Errorf("after session %d: %d are listed, %v", i, len(list), err)
			}
		}
		if got := a.check(other.Token); got != "" {
			t.Errorf("another user's session is %q", got)
		}
		entries, err := a.store.Audits(t.Context(), store.AuditFilter{Action: wire.ActionRevokeSession}, 100)
		if err != nil || len(entries) != 4 {
			t.Fatalf("%d entries in the audit, %v; want 4", len(entries), err)
		}
		for i, e := range entries { // the newest first
			if session.EntrySession(e) != all[3-i].Session.ID || e.TargetID != all[3-i].User.ID || e.Epoch == 0 || !strings.Contains(e.Reason, "at most 3 sessions") {
				t.Errorf("entry %d: %+v", i, e)
			}
			row, err := a.store.Session(t.Context(), session.EntrySession(e))
			if err != nil || row.EndedAt == 0 {
				t.Errorf("the row has no end: %+v, %v", row, err)
			}
		}
	})
}

// Sessions that begin at one time count each other.
func TestBoundHoldsAtOnce(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		two := func(c *session.Config) { c.MaxSessions = 2 }
		nodes := []*node{w.startWith(0, 0, two), w.startWith(0, 0, two)}
		u := nodes[0].person("ann")
		var running sync.WaitGroup
		for i := range 8 {
			running.Go(func() {
				var err error
				if n := nodes[i%2]; i%4 < 2 {
					_, err = n.begin(u.ID, false)
				} else {
					_, err = n.sessions.SignIn(t.Context(), "ann", goodPassword, false, authz.Origin{})
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		running.Wait()
		list, err := nodes[0].sessions.List(t.Context(), cli, u.ID)
		if err != nil || len(list) != 2 {
			t.Errorf("%d sessions are live, %v; want 2", len(list), err)
		}
	})
}

// The default is a hundred; a negative number is no bound.
func TestBoundByDefault(t *testing.T) {
	for most, want := range map[int]int{0: 100, -1: 101} {
		w := newTestDatabase(t, migrated.SQLite(t))
		n := w.startWith(0, 0, func(c *session.Config) { c.MaxSessions = most })
		for range 101 {
			n.mustBegin("ann", false)
		}
		list, err := n.sessions.List(t.Context(), cli, "ann")
		if err != nil || len(list) != want {
			t.Errorf("MaxSessions %d: %d sessions are live, %v; want %d", most, len(list), err, want)
		}
	}
}

// A sign-in during which its user is revoked ends no session that began after the
// revocation.
func TestOverBeforeItBeganEndsNoOther(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		three := func(c *session.Config) { c.MaxSessions = 3 }
		n := w.startWith(0, 0, three)
		u := n.person("ann")
		var later []session.Issued
		s := &interrupted{Store: n.store, beforeSettings: func() {
			if _, err := n.sessions.RevokeUser(t.Context(), cli, u.ID, "left", false, 0); err != nil {
				t.Error(err)
			}
			for range 3 {
				later = append(later, n.mustBegin(u.ID, false))
			}
		}}
		accounts, err := account.New(account.Config{Store: s, Now: n.now, Applied: n.feed.Applied, HashMemoryKiB: cheapHash})
		if err != nil {
			t.Fatal(err)
		}
		sessions := session.New(session.Config{
			Store: s, Accounts: accounts, Ring: n.ring, View: n.feed, Now: n.now, MaxSessions: 3,
			Installation: store.Installation{Issuer: issuer, Audience: []string{issuer}},
		})
		issued, err := sessions.SignIn(t.Context(), "ann", goodPassword, false, authz.Origin{Address: "192.0.2.1"})
		sessions.Close()
		if err != nil || len(later) != 3 {
			t.Fatalf("%d sessions have begun meanwhile, and the sign-in: %v", len(later), err)
		}
		if got := n.check(issued.Token); got != token.ErrRevoked {
			t.Errorf("the session that was revoked before it began is %q, want %q", got, token.ErrRevoked)
		}
		for i, one := range later {
			if got := n.check(one.Token); got != "" {
				t.Errorf("session %d, which began after the revocation, is %q", i, got)
			}
		}
	})
}
