package session_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/await"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/store/migrated"
	"example.com/curfew/revocation"
	"example.com/curfew/settings"
	"example.com/curfew/token"
)

const password = "correct horse battery"

// caller begins a session of a user, who is made with the permissions given, and
// returns it as a caller.
func (n *node) caller(name string, permissions ...string) authz.Caller {
	t := n.testDatabase.t
	t.Helper()
	given := password
	u, err := n.accounts.CreateUser(t.Context(), cli, account.UserChange{Name: &name, Password: &given, Permissions: &permissions})
	if err != nil {
		t.Fatal(err)
	}
	return n.again(u.ID)
}

// again begins another session of a user, and returns it as a caller.
func (n *node) again(id string) authz.Caller {
	t := n.testDatabase.t
	t.Helper()
	sess := n.mustBegin(id, false).Session
	c, err := n.accounts.UserCaller(t.Context(), &sess, authz.Origin{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// client makes a client and returns it as a caller.
func (n *node) client(name string) authz.Caller {
	t := n.testDatabase.t
	t.Helper()
	made, secret, err := n.accounts.CreateClient(t.Context(), cli, account.NewClient{Name: name, Capabilities: store.Capabilities()})
	if err != nil {
		t.Fatal(err)
	}
	c, err := n.accounts.ClientCaller(t.Context(), made.ID, secret, authz.Origin{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// whileHeld runs queue while another transaction holds the clock, so that the
// revoking calls which it submits wait for one commit; it waits for the first to be
// taken, and for the others to be queued. finish is the end of that transaction.
func (n *node) whileHeld(first func(), queue []func(), finish func(tx store.Tx) error) {
	t := n.testDatabase.t
	t.Helper()
	err := n.store.Update(t.Context(), func(tx store.Tx) error {
		if _, err := tx.Advance(t.Context(), n.now()); err != nil {
			return err
		}
		first()
		for i, submit := range append([]func(){func() {}}, queue...) {
			submit()
			await.Until(t, fmt.Sprintf("%d calls are queued behind one", i), func() bool {
				queued, committing := n.sessions.Queued()
				return committing && queued == i
			})
		}
		return finish(tx)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Calls that share a transaction are decided each for itself, also by what the
// calls before it in the transaction revoke. A call that is refused writes nothing,
// and the others continue.
func TestBatchDecidesEachCall(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.start(0, 0)
		ctx := t.Context()
		ann, ben := n.caller("ann", store.AdministerSystem), n.caller("ben", store.AdministerSystem)
		editor := n.caller("editor", store.UserEdit)
		shop, bank := n.client("shop"), n.client("bank")
		var targets []string
		for _, id := range []string{"t0", "t1", "t2", "t3", "t4", "t5"} {
			u, err := n.accounts.EnsureUser(ctx, cli, id)
			if err != nil {
				t.Fatal(err)
			}
			targets = append(targets, u.ID)
		}
		victim := n.mustBegin("t5", false)
		revokeUser := func(c authz.Caller, id string) func() error {
			return func() error { _, err := n.sessions.RevokeUser(ctx, c, id, "", false, 0); return err }
		}
		forbidden := errors.New("forbidden")
		calls := []struct {
			what string
			do   func() error
			want error
		}{
			{"ann revokes a user", revokeUser(ann, targets[1]), nil},
			{"ben revokes ann", revokeUser(ben, ann.User.ID), nil},
			{"ann, who was revoked by the call before", revokeUser(ann, targets[2]), token.ErrRevoked},
			{"ann revokes everyone", func() error {
				_, err := n.sessions.RevokeMany(ctx, ann, session.Many{Scope: "everyone"}, 0)
				return err
			}, token.ErrRevoked},
			{"an unknown user", revokeUser(ben, "nobody"), store.ErrNotFound},
			{"ben revokes a user", revokeUser(ben, targets[3]), nil},
			{"the editor, who was demoted meanwhile", revokeUser(editor, targets[2]), forbidden},
			{"ben signs out", func() error { return n.sessions.SignOut(ctx, ben.Session, authz.Origin{}) }, nil},
			{"ben, who has signed out", revokeUser(ben, targets[2]), token.ErrRevoked},
			{"a client, which was deleted meanwhile", func() error { return n.sessions.RevokeFor(ctx, shop, []string{targets[2]}, "") }, authz.ErrBadClient},
			{"the same, with a token", func() error { return n.sessions.EndToken(ctx, shop, &victim.Session) }, authz.ErrBadClient},
			{"a client", func() error { return n.sessions.RevokeFor(ctx, bank, []string{targets[4]}, "") }, nil},
		}
		before, err := n.store.Audits(ctx, store.AuditFilter{Scoped: true}, 100)
		if err != nil {
			t.Fatal(err)
		}
		results := make([]chan error, len(calls))
		var submit []func()
		for i, c := range calls {
			results[i] = make(chan error, 1)
			submit = append(submit, func() { go func() { results[i] <- c.do() }() }) // ends with its call, whose result is waited for
		}
		first := make(chan error, 1)
		n.whileHeld(func() { go func() { first <- revokeUser(cli, targets[0])() }() }, submit, func(tx store.Tx) error {
			u, err := tx.User(ctx, editor.User.ID)
			u.Permissions = nil
			return errors.Join(err, tx.UpdateUser(ctx, u), tx.PutClient(ctx, store.Client{ID: "shop", Deleted: true}))
		})
		if err := <-first; err != nil {
			t.Fatal(err)
		}
		for i, c := range calls {
			err := <-results[i]
			f := (*authz.ErrForbidden)(nil)
			if c.want == forbidden && !errors.As(err, &f) || c.want != forbidden && !errors.Is(err, c.want) {
				t.Errorf("%s: error %v, want %v", c.what, err, c.want)
			}
		}
		entries, err := n.store.Audits(ctx, store.AuditFilter{Scoped: true}, 100)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		var epochs []revocation.Epoch
		for _, e := range slices.Backward(entries[:len(entries)-len(before)]) {
			if e.Scope == revocation.KindSession {
				got = append(got, session.EntrySession(e))
			} else {
				got = append(got, e.TargetID)
			}
			epochs = append(epochs, e.Epoch)
		}
		want := []string{targets[0], targets[1], ann.User.ID, targets[3], ben.Session.ID, targets[4]}
		if !slices.Equal(got, want) {
			t.Fatalf("revoked %q, want %q", got, want)
		}
		for i := 2; i < len(epochs); i++ {
			if epochs[i] != epochs[1]+revocation.Epoch(i-1) {
				t.Errorf("the epochs of one transaction are %v", epochs[1:])
			}
		}
		revoked, err := n.store.RevocationsOf(ctx, []string{targets[2], "t5"}, []string{victim.Session.ID})
		if err != nil || len(revoked) != 0 {
			t.Errorf("revoked by calls that were refused: %v, %v", revoked, err)
		}
	})
}

// What a caller began before it ended is refused at the commit, by every method that
// writes, and leaves nothing.
func TestEndedCallersWriteNothing(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.start(0, 0)
		ctx := t.Context()
		target := n.caller("target")
		spare := n.mustBegin(target.User.ID, false)
		longer := settings.Default()
		longer.SessionTimeout *= 2
		byUser := map[string]func(c authz.Caller) error{
			"ChangeSettings": func(c authz.Caller) error {
				_, _, err := n.sessions.ChangeSettings(ctx, c, longer, session.AnyTag)
				return err
			},
			"ChangePassword, own": func(c authz.Caller) error {
				current := password
				_, err := n.sessions.ChangePassword(ctx, c, c.User.ID, account.NewPassword{Current: &current, New: "another password"}, authz.Origin{})
				return err
			},
			"ChangePassword": func(c authz.Caller) error {
				_, err := n.sessions.ChangePassword(ctx, c, target.User.ID, account.NewPassword{New: "another password"}, authz.Origin{})
				return err
			},
			"RevokeUser, keep_current": func(c authz.Caller) error {
				_, err := n.sessions.RevokeUser(ctx, c, c.User.ID, "", true, 0)
				return err
			},
			"RevokeUser": func(c authz.Caller) error {
				_, err := n.sessions.RevokeUser(ctx, c, target.User.ID, "", false, 0)
				return err
			},
			"RevokeSession": func(c authz.Caller) error {
				_, err := n.sessions.RevokeSession(ctx, c, target.User.ID, spare.Session.ID, "")
				return err
			},
			"RevokeMany": func(c authz.Caller) error {
				_, err := n.sessions.RevokeMany(ctx, c, session.Many{Scope: "users", Users: []string{target.User.ID}}, 0)
				return err
			},
			"Refresh": func(c authz.Caller) error { _, err := n.sessions.Refresh(ctx, c.Session); return err },
			"CreateUser": func(c authz.Caller) error {
				name := "new"
				_, err := n.accounts.CreateUser(ctx, c, account.UserChange{Name: &name})
				return err
			},
			"ChangeUser": func(c authz.Caller) error {
				no := false
				_, _, err := n.accounts.ChangeUser(ctx, c, target.User.ID, account.UserChange{Disabled: &no}, "")
				return err
			},
			"CreateClient": func(c authz.Caller) error {
				_, _, err := n.accounts.CreateClient(ctx, c, account.NewClient{Name: "new", Capabilities: store.Capabilities()})
				return err
			},
			"Rotate": func(c authz.Caller) error { _, _, err := n.ring.Rotate(ctx, c, "", ""); return err },
		}
		byClient := map[string]func(c authz.Caller) error{
			"Issue": func(c authz.Caller) error {
				_, err := n.sessions.Issue(ctx, c, target.User.ID, false, authz.Origin{})
				return err
			},
			"Issue, new": func(c authz.Caller) error {
				_, err := n.sessions.Issue(ctx, c, "new", false, authz.Origin{})
				return err
			},
			"RevokeFor": func(c authz.Caller) error { return n.sessions.RevokeFor(ctx, c, []string{target.User.ID}, "") },
			"EndToken":  func(c authz.Caller) error { return n.sessions.EndToken(ctx, c, &spare.Session) },
		}
		refused := func(what string, c authz.Caller, do func(authz.Caller) error, want error) {
			t.Helper()
			before := n.snapshot()
			if err := do(c); !errors.Is(err, want) {
				t.Errorf("%s: error %v, want %v", what, err, want)
			}
			if after := n.snapshot(); after != before {
				t.Errorf("%s: the store had %+v, and has %+v", what, before, after)
			}
		}
		revoked, disabled := n.caller("revoked", store.AdministerSystem), n.caller("disabled", store.AdministerSystem)
		gone := n.client("gone")
		yes := true
		if _, err := n.sessions.RevokeUser(ctx, cli, revoked.User.ID, "", false, 0); err != nil {
			t.Fatal(err)
		}
		if _, _, err := n.accounts.ChangeUser(ctx, cli, disabled.User.ID, account.UserChange{Disabled: &yes}, ""); err != nil {
			t.Fatal(err)
		}
		if err := n.accounts.DeleteClient(ctx, cli, gone.Client.ID); err != nil {
			t.Fatal(err)
		}
		for what, do := range byUser {
			refused(what+", revoked", revoked, do, token.ErrRevoked)
			if what != "ChangePassword, own" { // a disabled user has no password that is right
				refused(what+", disabled", disabled, do, token.ErrRevoked)
			}
		}
		for what, do := range byClient {
			refused(what, gone, do, authz.ErrBadClient)
		}
	})
}

// snapshot is what a write changes.
type snapshot struct {
	clock  revocation.Epoch
	audit  int64
	users  int64
	live   store.Counts
	epochs int64
}

func (n *node) snapshot() (s snapshot) {
	t, ctx := n.testDatabase.t, context.Background()
	t.Helper()
	entries, err := n.store.Audits(ctx, store.AuditFilter{}, 1)
	if err == nil && len(entries) > 0 {
		s.audit = entries[0].ID
	}
	errs := []error{err}
	note := func(err error) { errs = append(errs, err) }
	s.clock, err = n.store.Clock(ctx)
	note(err)
	s.users, err = n.store.CountUsers(ctx)
	note(err)
	s.epochs, err = n.store.CountRevocations(ctx)
	note(err)
	s.live, err = n.sessions.CountLive(ctx, cli, "", "")
	note(err)
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	return s
}

// A token that keep_current or a change of one's own password has replaced ends its
// session, whose newer token goes with it. A session that is over writes nothing.
func TestReplacedTokenEndsItsSession(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.start(0, 0)
		ctx := t.Context()
		shop := n.client("shop")
		current := password
		replace := map[string]func(c authz.Caller) (session.Receipt, error){
			"keep_current": func(c authz.Caller) (session.Receipt, error) {
				return n.sessions.RevokeUser(ctx, c, c.User.ID, "", true, 0)
			},
			"password": func(c authz.Caller) (session.Receipt, error) {
				return n.sessions.ChangePassword(ctx, c, c.User.ID, account.NewPassword{Current: &current, New: password + " 2"}, authz.Origin{})
			},
		}
		end := map[string]func(sess *token.Session) error{
			"signs out": func(sess *token.Session) error { return n.sessions.SignOut(ctx, sess, authz.Origin{}) },
			"RFC 7009":  func(sess *token.Session) error { return n.sessions.EndToken(ctx, shop, sess) },
		}
		for how, replace := range replace {
			for by, end := range end {
				what := how + ", " + by
				c := n.caller(what)
				kept, err := replace(c)
				if err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				if got := n.check(kept.Issued.Token); got != "" {
					t.Fatalf("%s: the newer token is refused: %s", what, got)
				}
				if err := end(c.Session); err != nil {
					t.Errorf("%s: %v", what, err)
				}
				if got := n.check(kept.Issued.Token); got != token.ErrRevoked {
					t.Errorf("%s: the newer token: %q, want %q", what, got, token.ErrRevoked)
				}
				before := n.snapshot()
				if err := end(c.Session); err != nil {
					t.Errorf("%s, once more: %v", what, err)
				}
				if after := n.snapshot(); after != before {
					t.Errorf("%s, once more: the store had %+v, and has %+v", what, before, after)
				}
			}
		}
	})
}

// interrupted is a store that does something else between two readings of a sign-in.
type interrupted struct {
	store.Store
	afterUser, beforeSettings func()
	first                     revocation.Epoch // the clock as it was read first
}

func (s *interrupted) Clock(ctx context.Context) (revocation.Epoch, error) {
	e, err := s.Store.Clock(ctx)
	if s.first == 0 {
		s.first = e
	}
	return e, err
}

func (s *interrupted) UserByName(ctx context.Context, key string) (store.User, error) {
	u, err := s.Store.UserByName(ctx, key)
	if f := s.afterUser; f != nil {
		s.afterUser = nil
		f()
	}
	return u, err
}

func (s *interrupted) Settings(ctx context.Context) (store.Settings, error) {
	if f := s.beforeSettings; f != nil {
		s.beforeSettings = nil
		f()
	}
	return s.Store.Settings(ctx)
}

// A user is disabled while signing in: after the account was read and before the
// password is checked, or between the check and the beginning of the session. The
// session carries the epoch that was read before everything else, and is over.
func TestDisabledWhileSigningIn(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.start(0, 0)
		for _, when := range []string{"before the check", "after the check"} {
			u := n.caller(when).User
			s := &interrupted{Store: n.store}
			disable := func() {
				yes := true
				if _, _, err := n.accounts.ChangeUser(t.Context(), cli, u.ID, account.UserChange{Disabled: &yes}, ""); err != nil {
					t.Error(err)
				}
			}
			if when == "before the check" {
				s.afterUser = disable
			} else {
				s.beforeSettings = disable
			}
			accounts, err := account.New(account.Config{Store: s, Now: n.now, Applied: n.feed.Applied, HashMemoryKiB: cheapHash})
			if err != nil {
				t.Fatal(err)
			}
			sessions := session.New(session.Config{
				Store: s, Accounts: accounts, Ring: n.ring, View: n.feed, Now: n.now,
				Installation: store.Installation{Issuer: issuer, Audience: []string{issuer}},
			})
			issued, err := sessions.SignIn(t.Context(), when, password, false, authz.Origin{Address: "192.0.2.1"})
			sessions.Close()
			if err != nil {
				t.Fatalf("disabled %s: %v", when, err)
			}
			if issued.Session.Epoch != s.first || s.afterUser != nil || s.beforeSettings != nil {
				t.Errorf("disabled %s: the session has epoch %d, the first reading was %d", when, issued.Session.Epoch, s.first)
			}
			if got := n.check(issued.Token); got != token.ErrRevoked {
				t.Errorf("disabled %s: the session is %q, want %q", when, got, token.ErrRevoked)
			}
		}
	})
}

// BenchmarkRevoke measures revoking calls of administrators that come at the same
// time, which share transactions.
func BenchmarkRevoke(b *testing.B) {
	for engine, database := range map[string]func() string{
		"sqlite":   func() string { return migrated.SQLite(b) },
		"postgres": func() string { return migrated.Postgres(b) },
	} {
		b.Run(engine, func(b *testing.B) {
			n := newTestDatabase(b, database()).start(0, 0)
			admin := n.caller("admin", store.AdministerSystem)
			const users = 64
			for i := range users {
				if _, err := n.accounts.EnsureUser(b.Context(), cli, fmt.Sprint("user-", i)); err != nil {
					b.Fatal(err)
				}
			}
			for who, c := range map[string]authz.Caller{"administrator": admin, "command line": cli} {
				b.Run(who, func(b *testing.B) {
					b.SetParallelism(users)
					b.RunParallel(func(pb *testing.PB) {
						for i := 0; pb.Next(); i++ {
							if _, err := n.sessions.RevokeUser(b.Context(), c, fmt.Sprint("user-", i%users), "", false, 0); err != nil {
								b.Error(err)
							}
						}
					})
				})
			}
		})
	}
}
