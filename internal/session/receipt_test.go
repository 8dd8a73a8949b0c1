package session_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/await"
	"example.com/curfew/internal/feed"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/store/migrated"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
	"example.com/curfew/settings"
)

// receiptAt returns the receipt of an epoch as a node reports it.
func (n *node) receiptAt(epoch revocation.Epoch) session.Receipt {
	n.testDatabase.t.Helper()
	r, err := n.sessions.Receipt(context.Background(), cli, epoch, 0)
	if err != nil {
		n.testDatabase.t.Fatal(err)
	}
	return r
}

// latest returns the receipt with the highest epoch.
func (n *node) latest() store.Receipt {
	n.testDatabase.t.Helper()
	rs, err := n.store.Receipts(context.Background(), store.ReceiptFilter{}, 1)
	if err != nil || len(rs) == 0 {
		n.testDatabase.t.Fatalf("%d receipts, %v", len(rs), err)
	}
	return rs[0]
}

// A receipt is closed once, and every node reports the same from then on.
func TestReceiptDoesNotChange(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		a := w.start(0, 0)
		a.mustBegin("ann", false)
		a.mustBegin("ann", true)
		a.mustBegin("bob", false)
		r, err := a.sessions.RevokeUser(t.Context(), cli, "ann", "lost device", false, await.Limit)
		if err != nil {
			t.Fatal(err)
		}
		if !r.Closed() || r.ClosedBy != store.ByConfirmation || r.Validators != 1 || r.Confirmed != 1 || len(r.Lapsed) != 0 ||
			r.ClosedAt < r.CommittedAt || !r.Enforcement.EffectiveEverywhere {
			t.Errorf("not closed by the confirmation of the one node: %+v", r)
		}
		if r.Scope != "user" || r.UserID != "ann" || r.UserName != "ann" || r.Sessions != 2 || r.Users != 1 || r.Reason != "lost device" ||
			r.Actor.Kind != store.ActorCLI || r.Actor.Name != "test" {
			t.Errorf("the receipt says %+v", r.Receipt)
		}
		b := w.start(0, time.Hour) // it would count itself, by a clock that is off
		for _, n := range []*node{a, b} {
			if got := n.receiptAt(r.Epoch); !reflect.DeepEqual(got.Receipt, r.Receipt) || !reflect.DeepEqual(got.Enforcement, r.Enforcement) {
				t.Errorf("%s: %+v\nwant %+v", n.feed.Status().Name, got, r)
			}
		}
		a.restart()
		if got := a.receiptAt(r.Epoch); !reflect.DeepEqual(got.Receipt, r.Receipt) {
			t.Errorf("after a restart: %+v\nwant %+v", got, r)
		}
	})
}

// Everything that ends sessions before their time has a receipt, with what ended.
func TestReceiptsOfAllKinds(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.start(0, 0)
		ctx := t.Context()
		var ann session.Issued
		sessions := func() { // two of ann's, one of bob's that is remembered
			ann = n.mustBegin("ann", false)
			n.mustBegin("ann", false)
			n.mustBegin("bob", true)
		}
		sessions()
		change := func(id string, change account.UserChange, reason string) error {
			_, _, err := n.accounts.ChangeUser(ctx, cli, id, change, reason)
			return err
		}
		if err := change("ann", account.UserChange{Groups: &[]string{"ops"}}, ""); err != nil {
			t.Fatal(err)
		}
		yes, no, password := true, false, "a long enough password of ann"
		caller := func() authz.Caller {
			c, err := n.accounts.UserCaller(ctx, &ann.Session, authz.Origin{})
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		many := func(what session.Many) error {
			_, err := n.sessions.RevokeMany(ctx, cli, what, 0)
			return err
		}
		for _, tt := range []struct {
			name, scope, id, user, reason string
			sessions, users               int64
			do                            func() error
		}{
			{"one session", "session", "", "ann", "why", 1, 1, func() error {
				_, err := n.sessions.RevokeSession(ctx, cli, "ann", ann.Session.ID, "why")
				return err
			}},
			{"the same session again", "session", "", "ann", "why", 0, 0, func() error {
				_, err := n.sessions.RevokeSession(ctx, cli, "ann", ann.Session.ID, "why")
				return err
			}},
			{"a user", "user", "ann", "ann", "why", 2, 1, func() error {
				_, err := n.sessions.RevokeUser(ctx, cli, "ann", "why", false, 0)
				return err
			}},
			{"all but the own session", "user", "ann", "ann", "why", 1, 1, func() error {
				_, err := n.sessions.RevokeUser(ctx, caller(), "ann", "why", true, 0)
				return err
			}},
			{"some users", "users", "", "", "why", 3, 2, func() error {
				return many(session.Many{Scope: session.ScopeUsers, Users: []string{"ann", "bob"}, Reason: "why"})
			}},
			{"remember me", "remembered", "", "", "why", 1, 1, func() error { return many(session.Many{Scope: "remembered", Reason: "why"}) }},
			{"everyone", "everyone", "", "", "why", 3, 2, func() error { return many(session.Many{Scope: "everyone", Reason: "why"}) }},
			{"a left group", "user", "ann", "ann", "left a group", 2, 1, func() error { return change("ann", account.UserChange{Groups: &[]string{}}, "") }},
			{"a new password", "user", "ann", "ann", "password changed", 2, 1, func() error { return change("ann", account.UserChange{Password: &password}, "") }},
			{"a disabled account", "user", "ann", "ann", "offboarding", 2, 1, func() error { return change("ann", account.UserChange{Disabled: &yes}, "offboarding") }},
			{"shorter settings", "settings", "", "", "authentication settings changed", 2, 1, func() error {
				to := settings.Default()
				to.SessionTimeout = time.Second
				to.MaximumSessionDuration -= time.Second
				time.Sleep(2 * time.Second) // the sessions have been idle for longer than the new timeout
				_, _, err := n.sessions.ChangeSettings(ctx, cli, to, session.AnyTag)
				return err
			}},
			{"remember me switched off", "remembered", "", "", "authentication settings changed", 1, 1, func() error {
				to := settings.Default()
				to.RememberMeEnabled = false
				_, _, err := n.sessions.ChangeSettings(ctx, cli, to, session.AnyTag)
				return err
			}},
			{"a retired key", "key", "", "", "leaked", 3, 2, func() error {
				_, err := n.ring.Retire(ctx, cli, ann.Session.KeyID, "leaked")
				return err
			}},
		} {
			t.Run(tt.name, func(t *testing.T) {
				if tt.name != "the same session again" {
					if err := change("ann", account.UserChange{Disabled: &no}, ""); err != nil {
						t.Fatal(err)
					}
					_, _, err := n.sessions.ChangeSettings(ctx, cli, settings.Default(), session.AnyTag)
					if err != nil {
						t.Fatal(err)
					}
					if err := many(session.Many{Scope: "everyone"}); err != nil {
						t.Fatal(err)
					}
					sessions()
				}
				before := n.latest().Epoch
				if err := tt.do(); err != nil {
					t.Fatal(err)
				}
				got := n.latest()
				id := tt.id
				switch tt.scope {
				case "session":
					id = ann.Session.ID
				case "key":
					id = ann.Session.KeyID
				}
				if got.Epoch <= before || got.Scope != tt.scope || got.ScopeID != id || got.UserID != tt.user || got.UserName != tt.user ||
					got.Reason != tt.reason || got.Sessions != tt.sessions || got.Users != tt.users {
					t.Errorf("the receipt says %+v", got)
				}
			})
		}
	})
}

// What ends no session before its time has no receipt, and can be looked at all the
// same.
func TestSignOutHasNoStoredReceipt(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.start(0, 0)
		ann := n.mustBegin("ann", false)
		if err := n.sessions.SignOut(t.Context(), &ann.Session, authz.Origin{Device: "a browser"}); err != nil {
			t.Fatal(err)
		}
		if rs, err := n.store.Receipts(t.Context(), store.ReceiptFilter{}, 1); err != nil || len(rs) > 0 {
			t.Errorf("%+v, %v", rs, err)
		}
		entries, err := n.store.Audits(t.Context(), store.AuditFilter{Target: "ann", Action: wire.ActionSignOut}, 2)
		if err != nil || len(entries) != 1 {
			t.Fatalf("%+v, %v", entries, err)
		}
		r := n.receiptAt(entries[0].Epoch)
		if r.Scope != "session" || r.ScopeID != ann.Session.ID || r.UserID != "ann" || !r.Enforcement.EffectiveEverywhere || r.Closed() {
			t.Errorf("%+v", r)
		}
	})
}

// Receipts close without a caller that looks at them, also those that another process
// has written.
func TestReceiptsCloseByThemselves(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.start(0, 0)
		ctx, stop := context.WithCancel(t.Context())
		closed := make(chan error, 1)
		go func() { closed <- n.sessions.CloseReceipts(ctx) }() // ends with stop
		defer func() {
			stop()
			if err := <-closed; err != nil {
				t.Error(err)
			}
		}()
		n.mustBegin("ann", false)
		// As a command writes it that has ended since.
		yes := true
		if _, _, err := n.accounts.ChangeUser(t.Context(), cli, "ann", account.UserChange{Disabled: &yes}, ""); err != nil {
			t.Fatal(err)
		}
		await.Until(t, "the receipt is closed", func() bool { return n.latest().ClosedAt != 0 })
		if r := n.latest(); r.ClosedBy != store.ByConfirmation || r.Validators != 1 || r.Confirmed != 1 {
			t.Errorf("%+v", r)
		}
	})
}

// unreadable is a view that can't read the other nodes while err is set.
type unreadable struct {
	session.View
	err error
}

func (u *unreadable) Enforcement(ctx context.Context, epoch revocation.Epoch, committed time.Time, wait time.Duration) (feed.Enforcement, error) {
	if u.err != nil {
		return feed.Enforcement{Validators: 1, Confirmed: 1, Unreadable: true}, u.err
	}
	return u.View.Enforcement(ctx, epoch, committed, wait)
}

// While the other nodes can't be read, the receipt says so and stays open.
func TestReceiptWhileNodesAreUnreadable(t *testing.T) {
	w := newTestDatabase(t, migrated.SQLite(t))
	var view *unreadable
	n := w.startWith(0, 0, func(c *session.Config) {
		view = &unreadable{View: c.View, err: errors.New("no route to the database")}
		c.View = view
	})
	n.mustBegin("ann", false)
	r, err := n.sessions.RevokeUser(t.Context(), cli, "ann", "", false, 0)
	if err != nil || r.Closed() || r.Enforcement.EffectiveEverywhere || !r.Enforcement.Unreadable {
		t.Errorf("%+v, %v", r, err)
	}
	view.err = nil
	if r := n.receiptAt(r.Epoch); !r.Closed() || r.Enforcement.Unreadable {
		t.Errorf("once they can be read: %+v", r)
	}
}

// Receipts are listed newest first, by user, actor and time.
func TestReceiptsAreListed(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.start(0, 0)
		for _, name := range []string{"ann", "bob"} {
			n.mustBegin(name, false)
		}
		var made []revocation.Epoch
		for i, what := range []session.Many{
			{Scope: session.ScopeUsers, Users: []string{"ann"}}, {Scope: session.ScopeUsers, Users: []string{"ann", "bob"}}, {Scope: "everyone"},
		} {
			what.Reason = fmt.Sprint("reason ", i)
			r, err := n.sessions.RevokeMany(t.Context(), cli, what, 0)
			if err != nil {
				t.Fatal(err)
			}
			made = append(made, r.Epoch)
		}
		for _, tt := range []struct {
			name string
			f    store.ReceiptFilter
			want []revocation.Epoch
		}{
			{"all", store.ReceiptFilter{}, []revocation.Epoch{made[2], made[1], made[0]}},
			{"of ann", store.ReceiptFilter{User: "ann"}, []revocation.Epoch{made[1], made[0]}},
			{"of bob", store.ReceiptFilter{User: "bob"}, []revocation.Epoch{made[1]}},
			{"by the command line", store.ReceiptFilter{By: "test"}, []revocation.Epoch{made[2], made[1], made[0]}},
			{"by ann", store.ReceiptFilter{By: "ann"}, nil},
			{"by reason", store.ReceiptFilter{Text: "REASON 1"}, []revocation.Epoch{made[1]}},
			{"the page after the newest", store.ReceiptFilter{Before: made[2]}, []revocation.Epoch{made[1], made[0]}},
		} {
			got, err := n.sessions.Receipts(t.Context(), cli, tt.f, 10)
			var epochs []revocation.Epoch
			for _, r := range got {
				epochs = append(epochs, r.Epoch)
				if !r.Closed() {
					t.Errorf("%s: %d is open", tt.name, r.Epoch)
				}
			}
			if err != nil || !slices.Equal(epochs, tt.want) {
				t.Errorf("%s: %v, %v, want %v", tt.name, epochs, err, tt.want)
			}
		}
	})
}
