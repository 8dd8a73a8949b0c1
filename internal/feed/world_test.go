package feed_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"example.com/curfew/internal/await"
	"example.com/curfew/internal/feed"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/store/migrated"
	"example.com/curfew/internal/store/sqlstore"
	"example.com/curfew/revocation"
	"example.com/curfew/settings"
	"example.com/curfew/token"
	"example.com/curfew/token/jwks"
)

const (
	issuer   = "https://curfew.example"
	audience = "billing"
)

// world is a database with an installation, a signing key and helpers that revoke
// in it.
type world struct {
	tb  testing.TB
	url string
	store.Store
	key *token.SigningKey
}

// engines runs a test on both engines.
func engines(t *testing.T, test func(t *testing.T, url string)) {
	t.Run("sqlite", func(t *testing.T) { test(t, migrated.SQLite(t)) })
	t.Run("postgres", func(t *testing.T) { test(t, migrated.Postgres(t)) })
}

func newWorld(tb testing.TB, url string) *world {
	tb.Helper()
	w := &world{tb: tb, url: url, Store: openStore(tb, url)}
	w.key = newKey(tb, "first")
	w.update(func(tx store.Tx, e revocation.Epoch) error {
		return errors.Join(
			tx.PutInstallation(tb.Context(), store.Installation{Issuer: issuer, Audience: []string{audience, "mail"}, Epoch: e}),
			tx.PutSettings(tb.Context(), store.Settings{InForce: settings.InForce{Settings: settings.Default(), Epoch: e}, LongestMaximum: settings.Seconds(settings.DefaultMaximumSessionDuration)}),
			tx.PutKey(tb.Context(), keyRow(tb, w.key, store.KeyActive, e)),
		)
	})
	return w
}

func openStore(tb testing.TB, url string) store.Store {
	tb.Helper()
	s, err := sqlstore.Open(tb.Context(), sqlstore.Config{URL: url, Create: true})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

func newKey(tb testing.TB, id string) *token.SigningKey {
	tb.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	k, err := token.NewSigningKey(id, private)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

func keyRow(tb testing.TB, k *token.SigningKey, state string, e revocation.Epoch) store.Key {
	tb.Helper()
	set, err := jwks.Marshal(&k.Key)
	if err != nil {
		tb.Fatal(err)
	}
	var doc struct{ Keys []json.RawMessage }
	if err := json.Unmarshal(set, &doc); err != nil {
		tb.Fatal(err)
	}
	return store.Key{ID: k.ID(), Algorithm: k.Algorithm(), State: state, PublicJWK: string(doc.Keys[0]), Sealed: "x", CreatedAt: 1, Epoch: e}
}

func (w *world) update(change func(store.Tx, revocation.Epoch) error) revocation.Epoch {
	w.tb.Helper()
	var epoch revocation.Epoch
	err := w.Update(context.Background(), func(tx store.Tx) (err error) {
		if epoch, err = tx.Advance(context.Background(), time.Now()); err != nil {
			return err
		}
		return change(tx, epoch)
	})
	if err != nil {
		w.tb.Fatal(err)
	}
	return epoch
}

// revoke revokes scopes in one transaction, with one epoch.
func (w *world) revoke(scopes ...revocation.Scope) []revocation.Revocation {
	w.tb.Helper()
	var rs []revocation.Revocation
	w.update(func(tx store.Tx, e revocation.Epoch) error {
		rs = nil
		for _, s := range scopes {
			rs = append(rs, revocation.Revocation{Scope: s, Epoch: e})
		}
		return tx.PutRevocations(context.Background(), rs...)
	})
	return rs
}

// sign signs a user in.
func (w *world) sign(user string) string {
	w.tb.Helper()
	clock, err := w.Clock(context.Background())
	if err != nil {
		w.tb.Fatal(err)
	}
	return w.mint(user, clock)
}

func (w *world) mint(user string, epoch revocation.Epoch) string {
	w.tb.Helper()
	now := time.Now().Unix()
	raw, err := token.Mint(w.key, token.Session{
		Issuer: issuer, Audience: []string{audience, "mail"}, Subject: user, ID: newSID(),
		IssuedAt: token.UnixTime(now), LastRefresh: token.UnixTime(now), ExpiresAt: token.UnixTime(now + 1200), Epoch: epoch,
	})
	if err != nil {
		w.tb.Fatal(err)
	}
	return raw
}

func newSID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	return base64.RawURLEncoding.EncodeToString(b)
}

// node opens a node on the world's store.
func (w *world) node(config feed.Config) *feed.Node {
	w.tb.Helper()
	if config.Store == nil {
		config.Store = w.Store
	}
	n, err := feed.Open(w.tb.Context(), config)
	if err != nil {
		w.tb.Fatal(err)
	}
	w.tb.Cleanup(func() {
		if err := n.Close(); err != nil {
			w.tb.Error(err)
		}
	})
	return n
}

func validator(tb testing.TB, n *feed.Node) *token.Validator {
	tb.Helper()
	v, err := n.Validator(audience, nil, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

// expect fails unless validating raw gives the reason; nil for a good token.
func expect(tb testing.TB, v *token.Validator, raw string, want error) {
	tb.Helper()
	_, err := v.Validate(context.Background(), raw)
	if !errors.Is(err, want) || (want == nil) != (err == nil) {
		tb.Fatalf("Validate: %v, want %v", err, want)
	}
}

// eventually waits for something that happens by itself.
func eventually(tb testing.TB, what string, happened func() bool) {
	tb.Helper()
	await.Until(tb, what, happened)
}

// slowness is how many times as long as promised something may take in a test,
// where the processors are shared with other tests.
const slowness = 10
