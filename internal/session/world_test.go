package session_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/await"
	"example.com/curfew/internal/feed"
	"example.com/curfew/internal/keyring"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/store/migrated"
	"example.com/curfew/internal/store/sqlstore"
	"example.com/curfew/settings"
	"example.com/curfew/token"
)

const issuer = "https://curfew.test"

// cheapHash is the memory in KiB for the hash of a password: nothing here depends on
// its cost.
const cheapHash = 64

// engines runs a test on each engine, on an empty database.
func engines(t *testing.T, test func(t *testing.T, w *testDatabase)) {
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		test(t, newTestDatabase(t, migrated.SQLite(t)))
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		test(t, newTestDatabase(t, migrated.Postgres(t)))
	})
}

// testDatabase is one database and the nodes that share it, each with a clock of its own.
type testDatabase struct {
	t     testing.TB
	url   string
	nodes []*node
}

// node is one server process: its own connections, view, services and clock.
type node struct {
	testDatabase *testDatabase
	store        store.Store
	feed         *feed.Node
	accounts     *account.Service
	ring         *keyring.Ring
	sessions     *session.Service
	validator    *token.Validator
	cacheSize    int
	off          time.Duration // what its clock is off by
	configure    func(*session.Config)
}

var cli = authz.Caller{Actor: store.Actor{Kind: store.ActorCLI, Name: "test"}, Trusted: true}

func newTestDatabase(t testing.TB, url string) *testDatabase {
	return &testDatabase{t: t, url: url}
}

// start adds a node with a cache of the size given (0 for the default) and a clock
// that is off by some time.
func (w *testDatabase) start(cacheSize int, off time.Duration) *node {
	w.t.Helper()
	return w.startWith(cacheSize, off, nil)
}

// startWith is start with sessions that are configured.
func (w *testDatabase) startWith(cacheSize int, off time.Duration, configure func(*session.Config)) *node {
	w.t.Helper()
	n := &node{testDatabase: w, cacheSize: cacheSize, off: off, configure: configure}
	n.open()
	w.nodes = append(w.nodes, n)
	w.t.Cleanup(n.close)
	return n
}

func (n *node) now() time.Time { return time.Now().Add(n.off) }

func (n *node) open() {
	t, ctx := n.testDatabase.t, context.Background()
	t.Helper()
	var err error
	if n.store, err = sqlstore.Open(ctx, sqlstore.Config{URL: n.testDatabase.url, Create: true, Budget: await.Limit}); err != nil {
		t.Fatal(err)
	}
	installation := store.Installation{Issuer: issuer, Audience: []string{issuer}}
	err = n.store.Update(ctx, func(tx store.Tx) error {
		epoch, err := tx.Advance(ctx, n.now())
		if err != nil {
			return err
		}
		if _, err := tx.Installation(ctx); !errors.Is(err, store.ErrNotFound) {
			return err
		}
		installation.Epoch = epoch
		if err := tx.PutInstallation(ctx, installation); err != nil {
			return err
		}
		in := settings.InForce{Settings: settings.Default(), Epoch: epoch}
		return tx.PutSettings(ctx, store.Settings{InForce: in, LongestMaximum: settings.Seconds(in.MaximumSessionDuration)})
	})
	if err != nil {
		t.Fatal(err)
	}
	n.ring, err = keyring.Open(ctx, keyring.Config{Store: n.store, KEK: make([]byte, 32), Now: n.now, Lead: 3 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.ring.Init(ctx, cli); err != nil {
		t.Fatal(err)
	}
	n.feed, err = feed.Open(ctx, feed.Config{
		Store: n.store, Now: n.now, Lease: 15 * time.Second, Name: fmt.Sprintf("node %d", len(n.testDatabase.nodes)),
		CacheSize: n.cacheSize, OnKeys: n.ring.Sync,
	})
	if err != nil {
		t.Fatal(err)
	}
	n.accounts, err = account.New(account.Config{Store: n.store, Now: n.now, Applied: n.feed.Applied, HashMemoryKiB: cheapHash})
	if err != nil {
		t.Fatal(err)
	}
	config := session.Config{
		Store: n.store, Accounts: n.accounts, Ring: n.ring, View: n.feed, Installation: installation,
		MinimumTimeout: time.Second, Now: n.now,
	}
	if n.configure != nil {
		n.configure(&config)
	}
	n.sessions = session.New(config)
	n.validator, err = token.NewValidator(token.Config{
		Issuer: issuer, Audience: issuer, Keys: n.feed.Keys(), Settings: n.feed.Settings(),
		Revocations: n.feed.Cache(), View: n.feed, Now: n.now,
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (n *node) close() {
	n.sessions.Close()
	if err := n.feed.Close(); err != nil {
		n.testDatabase.t.Error(err)
	}
	if err := n.store.Close(); err != nil {
		n.testDatabase.t.Error(err)
	}
}

// restart is a new process on the same database.
func (n *node) restart() {
	n.close()
	n.open()
}

// begin begins a session of a user without a password.
func (n *node) begin(user string, rememberMe bool) (session.Issued, error) {
	return n.sessions.Issue(context.Background(), cli, user, rememberMe, authz.Origin{Address: "192.0.2.1"})
}

func (n *node) mustBegin(user string, rememberMe bool) session.Issued {
	n.testDatabase.t.Helper()
	i, err := n.begin(user, rememberMe)
	if err != nil {
		n.testDatabase.t.Fatalf("beginning a session: %v", err)
	}
	return i
}

// check returns the reason for which the node refuses a token, "" if it does not.
func (n *node) check(raw string) token.Reason {
	_, err := n.validator.Validate(context.Background(), raw)
	return token.ReasonOf(err)
}
