package account_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/await"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/store/migrated"
	"example.com/curfew/internal/store/sqlstore"
	"example.com/curfew/revocation"
	"example.com/curfew/settings"
	"example.com/curfew/token"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const good = "correct horse battery"

// cheap is the memory of a hash in KiB, for tests in which the hash is not attacked.
const cheap = 64

var (
	cli   = authz.Caller{Actor: store.Actor{Kind: store.ActorCLI, Name: "test"}, Trusted: true}
	home  = authz.Origin{Address: "192.0.2.1", RequestID: "request-1"}
	start = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
)

// testDatabase is one database and a clock that its nodes share.
type testDatabase struct {
	t     testing.TB
	url   string
	clock atomic.Int64 // µs
}

// engines runs a test on each engine, on an empty database.
func engines(t *testing.T, test func(t *testing.T, w *testDatabase)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { test(t, newTestDatabase(t, migrated.SQLite(t))) })
	t.Run("postgres", func(t *testing.T) { test(t, newTestDatabase(t, migrated.Postgres(t))) })
}

func sqlite(t *testing.T) *testDatabase {
	t.Helper()
	return newTestDatabase(t, migrated.SQLite(t))
}

func newTestDatabase(t testing.TB, url string) *testDatabase {
	w := &testDatabase{t: t, url: url}
	w.clock.Store(start.UnixMicro())
	return w
}

// exec writes past everything, as an earlier release would.
func (w *testDatabase) exec(statement string, args ...any) {
	w.t.Helper()
	driver, source, numbered := "sqlite", strings.TrimPrefix(w.url, "sqlite:"), false
	if strings.HasPrefix(w.url, "postgres") {
		driver, source, numbered = "postgres", w.url, true
	}
	for i := 1; numbered && strings.Contains(statement, "?"); i++ {
		statement = strings.Replace(statement, "?", fmt.Sprint("$", i), 1)
	}
	db, err := sql.Open(driver, source)
	noErr(w.t, err)
	defer db.Close()
	_, err = db.ExecContext(w.t.Context(), statement, args...)
	noErr(w.t, err)
}

func (w *testDatabase) now() time.Time              { return time.UnixMicro(w.clock.Load()) }
func (w *testDatabase) pass(d time.Duration)        { w.clock.Add(d.Microseconds()) }
func (w *testDatabase) store() store.Store          { return open(w.t, w.url) }
func (w *testDatabase) node() *node                 { return w.nodeWith(w.store(), account.Config{}) }
func (w *testDatabase) with(c account.Config) *node { return w.nodeWith(w.store(), c) }

func open(t testing.TB, url string) store.Store {
	t.Helper()
	s, err := sqlstore.Open(t.Context(), sqlstore.Config{URL: url, Create: true, Budget: await.Limit})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// node is one process: its service, its store, and what its cache was told.
type node struct {
	*account.Service
	t       testing.TB
	store   store.Store
	now     func() time.Time
	applied []revocation.Revocation
}

func (w *testDatabase) nodeWith(s store.Store, c account.Config) *node {
	w.t.Helper()
	n := &node{t: w.t, store: s, now: w.now}
	c.Store, c.Now = s, w.now
	if c.HashMemoryKiB == 0 {
		c.HashMemoryKiB = cheap
	}
	c.Applied = func(r ...revocation.Revocation) { n.applied = append(n.applied, r...) }
	var err error
	if n.Service, err = account.New(c); err != nil {
		w.t.Fatal(err)
	}
	return n
}

// add makes a user with the password good.
func (n *node) add(name string, permissions ...string) store.User {
	n.t.Helper()
	password := good
	u, err := n.CreateUser(n.t.Context(), cli, account.UserChange{Name: &name, Password: &password, Permissions: &permissions})
	if err != nil {
		n.t.Fatalf("adding %q: %v", name, err)
	}
	return u
}

// session begins a session of a user, as a sign-in does, with what it takes to be
// decided: settings and a key.
func (n *node) session(u store.User) *token.Session {
	n.t.Helper()
	ctx, now := n.t.Context(), n.now()
	sess := token.Session{Subject: u.ID, ID: token.NewSessionID(), IssuedAt: token.UnixTime(now.Unix()), KeyID: "key"}
	noErr(n.t, n.store.Update(ctx, func(tx store.Tx) (err error) {
		in := store.Settings{InForce: settings.InForce{Settings: settings.Settings{
			SessionTimeout: settings.MaxDuration, MaximumSessionDuration: settings.MaxDuration,
		}}}
		sess = sess.Refreshed(now, in.Settings)
		if sess.Epoch, err = tx.Clock(ctx); err != nil {
			return err
		}
		return errors.Join(
			tx.PutSettings(ctx, in),
			tx.PutKey(ctx, store.Key{ID: sess.KeyID, State: store.KeyActive}),
			tx.InsertSession(ctx, store.Session{ID: sess.ID, UserID: u.ID, Epoch: sess.Epoch, KeyID: sess.KeyID, BegunBy: store.ActorUser}))
	}))
	return &sess
}

// as returns the user as a caller, read from the store.
func (n *node) as(u store.User) authz.Caller {
	n.t.Helper()
	u, err := n.store.User(n.t.Context(), u.ID)
	if err != nil {
		n.t.Fatal(err)
	}
	return authz.Caller{
		Actor:   store.Actor{Kind: store.ActorUser, ID: u.ID, Name: u.Name, Address: "192.0.2.9", RequestID: "request-9"},
		User:    &u,
		Session: n.session(u),
	}
}

func (n *node) signIn(name, password, address string) error {
	_, _, err := n.Authenticate(n.t.Context(), name, password, authz.Origin{Address: address})
	return err
}

// places waits until so many places of the hash queue are taken.
func (n *node) places(want int) {
	n.t.Helper()
	n.until("places of the queue", n.Places, want)
}

// waiters waits until so many attempts wait for their turn.
func (n *node) waiters(want int) {
	n.t.Helper()
	n.until("attempts in line", n.Waiters, want)
}

func (n *node) until(what string, count func() int, want int) {
	n.t.Helper()
	await.Until(n.t, fmt.Sprintf("%d %s", want, what), func() bool { return count() == want })
}

func (n *node) audits(action string) []store.Audit {
	n.t.Helper()
	entries, err := n.store.Audits(n.t.Context(), store.AuditFilter{Action: action}, 100)
	if err != nil {
		n.t.Fatal(err)
	}
	return entries
}

// noSecrets fails if anything that was written down holds one of the texts.
func (n *node) noSecrets(secrets ...string) {
	n.t.Helper()
	for _, e := range n.audits("") {
		for _, secret := range append(secrets, "$argon2") {
			if strings.Contains(strings.Join([]string{e.TargetID, e.TargetName, e.Reason, e.Detail, e.Actor.Name}, "\n"), secret) {
				n.t.Errorf("the audit entry %s holds a secret", e.Action)
			}
		}
	}
}

// is fails unless err wraps want.
func is(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: error %v, want an error that wraps %q", what, err, want)
	}
}

func noErr(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func limited(t testing.TB, what string, err error) {
	t.Helper()
	var l *account.RateLimited
	if !errors.As(err, &l) {
		t.Fatalf("%s: error %v, want *RateLimited", what, err)
	}
	if l.RetryAfter <= 0 || l.RetryAfter > time.Minute {
		t.Fatalf("%s: RetryAfter %v", what, l.RetryAfter)
	}
}

func forbidden(t testing.TB, what string, err error, permission string) {
	t.Helper()
	var f *authz.ErrForbidden
	if !errors.As(err, &f) || f.Permission != permission {
		t.Fatalf("%s: error %v, want *ErrForbidden that takes %s", what, err, permission)
	}
}

// invalid fails unless err is about exactly the fields given.
func invalid(t testing.TB, what string, err error, fields ...string) {
	t.Helper()
	var i *account.Invalid
	if !errors.As(err, &i) {
		t.Fatalf("%s: error %v, want *Invalid", what, err)
	}
	var got []string
	for _, f := range i.Fields {
		got = append(got, f.Field)
	}
	if strings.Join(got, " ") != strings.Join(fields, " ") {
		t.Fatalf("%s: about %q, want %q", what, got, fields)
	}
}

func ctxWithin(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func ptr[T any](v T) *T { return &v }
