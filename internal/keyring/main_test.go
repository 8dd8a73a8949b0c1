package keyring_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/await"
	"example.com/curfew/internal/keyring"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/store/migrated"
	"example.com/curfew/internal/store/sqlstore"
	"example.com/curfew/revocation"
	"example.com/curfew/settings"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	lead    = 16 * time.Second
	longest = 20 * 24 * time.Hour
)

var (
	start = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	kek   = []byte("0123456789abcdef0123456789ABCDEF")
	actor = store.Actor{Kind: store.ActorCLI, Name: "test", Address: "192.0.2.1", RequestID: "request-1"}
	// caller is the command line, which may do everything.
	caller = authz.Caller{Actor: actor, Trusted: true}
)

// testDatabase is one database, with settings, and a clock.
type testDatabase struct {
	t     testing.TB
	url   string
	clock atomic.Int64 // µs
}

func engines(t *testing.T, test func(t *testing.T, w *testDatabase)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { test(t, sqlite(t)) })
	t.Run("postgres", func(t *testing.T) { test(t, newTestDatabase(t, migrated.Postgres(t))) })
}

func sqlite(t testing.TB) *testDatabase {
	t.Helper()
	return newTestDatabase(t, migrated.SQLite(t))
}

func newTestDatabase(t testing.TB, url string) *testDatabase {
	t.Helper()
	w := &testDatabase{t: t, url: url}
	w.clock.Store(start.UnixMicro())
	s := w.open()
	setLongest(t, s, longest)
	return w
}

func setLongest(t testing.TB, s store.Store, maximum time.Duration) {
	t.Helper()
	err := s.Update(context.Background(), func(tx store.Tx) error {
		in := settings.InForce{Settings: settings.Default()}
		in.MaximumSessionDuration = maximum
		return tx.PutSettings(context.Background(), store.Settings{InForce: in, LongestMaximum: settings.Seconds(maximum)})
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (w *testDatabase) now() time.Time       { return time.UnixMicro(w.clock.Load()) }
func (w *testDatabase) pass(d time.Duration) { w.clock.Add(d.Microseconds()) }

func (w *testDatabase) open() store.Store {
	w.t.Helper()
	s, err := sqlstore.Open(context.Background(), sqlstore.Config{URL: w.url, Create: true, Budget: await.Limit})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := s.Close(); err != nil {
			w.t.Error(err)
		}
	})
	return s
}

// node is one process: its ring, its store, and the epochs that its view was told.
type node struct {
	*keyring.Ring
	t       testing.TB
	store   store.Store
	applied []revocation.Epoch
}

func (w *testDatabase) node() *node { return w.nodeOn(w.open()) }

func (w *testDatabase) nodeOn(s store.Store) *node {
	w.t.Helper()
	n := &node{t: w.t, store: s}
	var err error
	n.Ring, err = keyring.Open(context.Background(), keyring.Config{Store: s, KEK: kek, Lead: lead, Now: w.now,
		Applied: func(_ context.Context, e revocation.Epoch) error { n.applied = append(n.applied, e); return nil }})
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// installed returns a node on a database with its first keys.
func (w *testDatabase) installed() *node {
	w.t.Helper()
	n := w.node()
	noErr(w.t, n.Init(context.Background(), caller))
	return n
}

func (n *node) rows() []store.Key {
	n.t.Helper()
	rows, err := n.store.Keys(context.Background())
	noErr(n.t, err)
	return rows
}

func (n *node) in(state string) []store.Key {
	n.t.Helper()
	var out []store.Key
	for _, k := range n.rows() {
		if k.State == state {
			out = append(out, k)
		}
	}
	return out
}

// the returns the one key in a state.
func (n *node) the(state string) store.Key {
	n.t.Helper()
	keys := n.in(state)
	if len(keys) != 1 {
		n.t.Fatalf("%d keys are %s, want 1", len(keys), state)
	}
	return keys[0]
}

// signing returns the ID of the key that signs, "" if none does.
func (n *node) signing() string {
	n.t.Helper()
	k, err := n.Signing(context.Background())
	if errors.Is(err, keyring.ErrNoKey) {
		return ""
	}
	noErr(n.t, err)
	return k.ID()
}

func (n *node) maintain() {
	n.t.Helper()
	noErr(n.t, n.Maintain(context.Background()))
}

func (n *node) audits(action string) []store.Audit {
	n.t.Helper()
	entries, err := n.store.Audits(context.Background(), store.AuditFilter{Action: action}, 100)
	noErr(n.t, err)
	return entries
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	noErr(t, err)
	return k
}

func pkcs8(t testing.TB, private crypto.PrivateKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(private)
	noErr(t, err)
	return block("PRIVATE KEY", der)
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func noErr(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// is fails unless err wraps want and says what.
func is(t testing.TB, what string, err, want error, says ...string) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: error %v, want an error that wraps %q", what, err, want)
	}
	for _, text := range says {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %q does not say %q", what, err, text)
		}
	}
}
