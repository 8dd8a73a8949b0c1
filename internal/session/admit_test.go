package session_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/throttle"
	"example.com/curfew/internal/wire"
	"example.com/curfew/token"
)

// atOther is an attempt through the provider other.
func (n *node) atOther(name string, more ...map[string]any) session.ProviderSignIn {
	n.testDatabase.t.Helper()
	a := n.attempt(name, more...)
	a.Provider, a.Issuer = "other", "https://login.other.example"
	return a
}

// other is a second provider.
func other() store.Provider {
	p := corp()
	p.Name, p.Issuer = "other", "https://login.other.example"
	return p
}

func verifiedAddress(email string) map[string]any {
	return map[string]any{"email": email, "email_verified": true}
}

// everyUser returns all users, and fails if the name of one is the address of another.
func (n *node) everyUser() map[string]store.User {
	t := n.testDatabase.t
	t.Helper()
	users, _, err := n.store.Users(t.Context(), store.UserSearch{}, "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]store.User{}
	for _, u := range users {
		byName[u.NameKey] = u
	}
	for _, u := range users {
		if named, ok := byName[strings.ToLower(u.Email)]; ok && named.ID != u.ID {
			t.Errorf("the address %s of %s is the name of another user", u.Email, u.Name)
		}
	}
	return byName
}

// atOnce runs two calls at once, and returns their errors.
func atOnce(first, second func() error) (errs [2]error) {
	var running sync.WaitGroup
	begin := make(chan struct{})
	for i, call := range []func() error{first, second} {
		running.Go(func() {
			<-begin
			errs[i] = call()
		})
	}
	close(begin)
	running.Wait()
	return errs
}

func notAdmittedFor(err error, reason string) bool {
	refused := (*account.NotAdmitted)(nil)
	return errors.As(err, &refused) && refused.Reason == reason
}

// Two nodes decide sign-ins of the same instant one after the other: each user is linked
// to one account at most by address, an address is given to one user, and is the name of
// no other user.
func TestSignInsThroughProvidersAtOnce(t *testing.T) {
	const pairs = 16
	engines(t, func(t *testing.T, w *testDatabase) {
		n, m := w.start(0, 0), w.start(0, 0)
		p, q := corp(), other()
		p.LinkByEmail, q.LinkByEmail = true, true
		n.putProvider(&p)
		n.putProvider(&q)
		sign := func(on *node, a session.ProviderSignIn) func() error {
			return func() error { _, err := on.through(a); return err }
		}
		for i := range pairs {
			email := fmt.Sprintf("v%d@corp.example", i)
			victim := n.mailed(fmt.Sprintf("v%d", i), email)
			errs := atOnce(sign(n, n.attempt(fmt.Sprintf("gv%d", i), verifiedAddress(email))), sign(m, m.atOther(fmt.Sprintf("ev%d", i), verifiedAddress(email))))
			linked, err := n.store.Identities(t.Context(), victim.ID)
			if err != nil || len(linked) != 1 || errs[0] != nil && errs[1] != nil ||
				!notAdmittedFor(errs[0], account.NotAdmittedEmail) && !notAdmittedFor(errs[1], account.NotAdmittedEmail) {
				t.Errorf("%s is linked to %d accounts: %v", victim.Name, len(linked), errors.Join(errs[:]...))
			}
		}
		p.LinkByEmail, q.LinkByEmail = false, false
		n.putProvider(&p)
		n.putProvider(&q)
		for i := range pairs {
			email, good, evil := fmt.Sprintf("a%d@corp.example", i), fmt.Sprintf("ga%d", i), fmt.Sprintf("ea%d", i)
			errs := atOnce(sign(n, n.attempt(good, verifiedAddress(email))), sign(m, m.atOther(evil, verifiedAddress(email))))
			if users := n.everyUser(); errs != [2]error{} || (users[good].Email == email) == (users[evil].Email == email) {
				t.Errorf("%s is the address of %+v and of %+v: %v", email, users[good], users[evil], errors.Join(errs[:]...))
			}
		}
		for i := range pairs {
			email := fmt.Sprintf("n%d@corp.example", i)
			errs := atOnce(sign(n, n.attempt(fmt.Sprintf("gn%d", i), verifiedAddress(email))), sign(m, m.atOther(email)))
			if errs[0] != nil || errs[1] != nil && !notAdmittedFor(errs[1], account.NotAdmittedNameTaken) {
				t.Error(errors.Join(errs[:]...))
			}
		}
		for i := range pairs {
			email := fmt.Sprintf("l%d@corp.example", i)
			errs := atOnce(func() error {
				_, err := n.accounts.CreateUser(t.Context(), cli, account.UserChange{Name: ptr(fmt.Sprintf("gl%d", i)), Email: &email})
				return err
			}, sign(m, m.atOther(email)))
			if errs[0] != nil && errs[1] != nil {
				t.Error(errors.Join(errs[:]...))
			}
		}
		n.everyUser()
	})
}

// mailed creates a user with an email address.
func (n *node) mailed(name, email string) store.User {
	n.testDatabase.t.Helper()
	u, err := n.accounts.CreateUser(n.testDatabase.t.Context(), cli, account.UserChange{Name: &name, Email: &email})
	if err != nil {
		n.testDatabase.t.Fatal(err)
	}
	return u
}

// A provider that chooses a name which is the address of a user to come does not keep the
// owner of the address out: that user gets an account without the address.
func TestNameAtProviderIsAddressOfAnother(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.start(0, 0)
		p, q := corp(), other()
		n.putProvider(&p)
		n.putProvider(&q)
		n.mustThrough(n.atOther("boss@corp.example"))
		boss := n.mustThrough(n.attempt("boss", verifiedAddress("BOSS@corp.example")))
		if boss.User.Name != "boss" || boss.User.Email != "" || boss.Session.Email != "" {
			t.Errorf("signed in as %+v", boss.User)
		}
		n.mailed("helper", "helper@corp.example")
		if _, err := n.through(n.atOther("HELPER@corp.example")); !notAdmittedFor(err, account.NotAdmittedNameTaken) {
			t.Errorf("the address of a local user as the name: %v", err)
		}
		n.everyUser()
	})
}

// A user who has left the allowed groups, or the allowed domain, has no sessions from
// before once the provider says so.
func TestExcludedUserLosesSessions(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.start(0, 0)
		p := corp()
		p.GroupsClaim, p.AllowedGroups = "groups", []string{"staff"}
		n.putProvider(&p)
		in, out := map[string]any{"groups": []string{"staff"}}, map[string]any{"groups": []string{"alumni"}}
		ann, ben := n.mustThrough(n.attempt("ann", in)), n.mustThrough(n.attempt("ben", in))
		refused := func(reason string, a session.ProviderSignIn) {
			t.Helper()
			if _, err := n.through(a); !notAdmittedFor(err, reason) {
				t.Errorf("error %v, want the reason %s", err, reason)
			}
		}
		refused(account.NotAdmittedGroup, n.attempt("new", out))
		refused(account.NotAdmittedGroup, n.attempt("ann", out))
		refused(account.NotAdmittedGroup, n.attempt("ann", out)) // has no session any more
		if got := n.check(ann.Token); got != token.ErrRevoked {
			t.Errorf("the session of a user outside of the allowed groups is %q", got)
		}
		if got := n.check(ben.Token); got != "" {
			t.Errorf("the session of another user is %q", got)
		}
		receipts, err := n.store.Receipts(t.Context(), store.ReceiptFilter{User: ann.User.ID}, 10)
		if err != nil || len(receipts) != 1 || receipts[0].Sessions != 1 {
			t.Errorf("receipts %+v, %v", receipts, err)
		}
		entries, err := n.store.Audits(t.Context(), store.AuditFilter{Target: ann.User.ID, Action: wire.ActionRevokeUser}, 10)
		if err != nil || len(entries) != 1 || entries[0].Actor.Kind != store.ActorSystem {
			t.Errorf("entries %+v, %v", entries, err)
		}
		if again := n.mustThrough(n.attempt("ann", in)); n.check(again.Token) != "" {
			t.Errorf("back in the group, the session is %q", n.check(again.Token))
		}

		p.AllowedGroups, p.AllowedEmailDomains = nil, []string{"corp.example"}
		n.putProvider(&p)
		second := n.mustThrough(n.attempt("ben", verifiedAddress("ben@corp.example")))
		refused(account.NotAdmittedDomain, n.attempt("ben", verifiedAddress("ben@elsewhere.example")))
		if got := n.check(second.Token); got != token.ErrRevoked {
			t.Errorf("the session of a user outside of the allowed domains is %q", got)
		}
	})
}

// Each refusal of a linked account is found under its user.
func TestRefusalsAreFoundUnderThePerson(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.start(0, 0)
		p := corp()
		n.putProvider(&p)
		ann := n.mustThrough(n.attempt("ann")).User
		refusals := func() (found int) {
			t.Helper()
			entries, err := n.store.Audits(t.Context(), store.AuditFilter{Person: ann.ID, Action: wire.ActionSignInFailed}, 100)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				if e.TargetName != "ann" || e.TargetID != ann.ID {
					t.Errorf("the target is %s %q", e.TargetID, e.TargetName)
				}
			}
			return len(entries)
		}
		revoked := n.attempt("ann")
		if _, err := n.sessions.RevokeUser(t.Context(), cli, ann.ID, "", false, 0); err != nil {
			t.Fatal(err)
		}
		stale, noAuthTime, class, group := n.attempt("ann"), n.attempt("ann"), n.attempt("ann"), n.attempt("ann")
		stale.AuthTime = stale.Began.Add(-time.Hour)
		noAuthTime.AuthTime = time.Time{}
		for i, row := range []struct {
			what    string
			attempt *session.ProviderSignIn
			change  func(*store.Provider)
		}{
			{"revoked at the provider", &revoked, nil},
			{"an old authentication", &stale, nil},
			{"no time of the authentication", &noAuthTime, nil},
			{"another class", &class, func(p *store.Provider) { p.ACRValues = []string{"mfa"} }},
			{"in no allowed group", &group, func(p *store.Provider) {
				p.ACRValues, p.GroupsClaim, p.AllowedGroups = nil, "groups", []string{"staff"}
			}},
			{"the provider was changed", &group, func(*store.Provider) {}},
		} {
			if row.change != nil {
				row.change(&p)
				n.putProvider(&p)
				if i < 5 {
					*row.attempt = n.attempt("ann")
				}
			}
			if _, err := n.through(*row.attempt); err == nil {
				t.Errorf("%s: not refused", row.what)
			}
			if got := refusals(); got != i+1 {
				t.Errorf("%s: %d refusals are found under the user, want %d", row.what, got, i+1)
			}
		}
	})
}

// A refused account, or a network, can't fill the audit log, and keeps no other user out.
func TestRefusalsInTheAuditAreLimited(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		var limited []string
		n := w.startWith(0, 0, func(c *session.Config) {
			c.Limited = func(name string) { limited = append(limited, name) }
			c.Limits.RefusedSubject = throttle.Limit{Burst: 3, Every: time.Hour}
			c.Limits.RefusedNetwork = throttle.Limit{Burst: 5, Every: time.Hour}
		})
		p := corp()
		n.putProvider(&p)
		n.mailed("admin", "")
		mallory := map[string]any{"preferred_username": "admin"}
		for i, row := range []struct {
			subject string
			want    int // entries in all
		}{
			{"m1", 1}, {"m1", 2}, {"m1", 3}, {"m1", 3}, {"m1", 3}, {"m2", 4}, {"m3", 5}, {"m4", 5}, {"m2", 5},
		} {
			if _, err := n.through(n.attempt(row.subject, mallory)); !notAdmittedFor(err, account.NotAdmittedNameTaken) {
				t.Errorf("%d: %v", i, err)
			}
			entries, err := n.store.Audits(t.Context(), store.AuditFilter{Action: wire.ActionSignInFailed}, 100)
			if err != nil || len(entries) != row.want {
				t.Errorf("%d: %d refusals in the audit log, want %d: %v", i, len(entries), row.want, err)
			}
		}
		if want := []string{session.LimitRefusals, session.LimitRefusals, session.LimitRefusals, session.LimitRefusals}; !slices.Equal(limited, want) {
			t.Errorf("limited %q", limited)
		}
		n.mustThrough(n.attempt("ann"))
	})
}
