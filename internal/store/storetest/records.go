package storetest

import (
	"fmt"
	"testing"
	"time"

	"example.com/curfew/internal/store"
	"example.com/curfew/settings"
)

var clientCases = []testCase{
	{"clients are written, replaced and deleted", func(t *testing.T, open Open) {
		s := open(t)
		put := func(c store.Client) {
			t.Helper()
			update(t, s, func(tx store.Tx) error { return tx.PutClient(t.Context(), c) })
		}
		list := func(want ...store.Client) {
			t.Helper()
			got, err := s.Clients(t.Context())
			noErr(t, err)
			same(t, "clients", got, append([]store.Client{}, want...))
		}
		list()
		billing := store.Client{
			ID: "c1", Name: "billing", Capabilities: []string{store.Follow, store.Introspect},
			SecretHash: "h1", OldSecretHash: "h0", OldSecretUntil: 5, CreatedAt: 3, Epoch: 9,
		}
		audit := store.Client{ID: "c2", Name: "Audit"}
		put(billing)
		put(audit)
		list(audit, billing) // by name, byte by byte
		got, err := s.Client(t.Context(), "c1")
		noErr(t, err)
		same(t, "client", got, billing)

		billing.Name, billing.SecretHash, billing.Capabilities, billing.Epoch = "accounting", "h2", nil, 10
		put(billing)
		list(audit, billing)

		billing.Deleted, billing.Epoch = true, 11
		put(billing)
		list(audit)
		for _, id := range []string{"c1", "C2", "", "Audit"} {
			_, err = s.Client(t.Context(), id)
			is(t, err, store.ErrNotFound)
		}
	}},
}

var settingsCases = []testCase{
	{"settings and installation are one row each", func(t *testing.T, open Open) {
		s := open(t)
		_, err := s.Settings(t.Context())
		is(t, err, store.ErrNotFound)
		_, err = s.Installation(t.Context())
		is(t, err, store.ErrNotFound)
		for _, want := range []store.Settings{
			{InForce: settings.InForce{Settings: settings.Default(), Epoch: 1}, LongestMaximum: 2},
			{
				InForce: settings.InForce{
					Settings: settings.Settings{SessionTimeout: time.Second, MaximumSessionDuration: 400 * 24 * time.Hour},
					Epoch:    3, IdleFloor: 4, IdleFloorEpoch: 5, MaximumFloor: 6, MaximumFloorEpoch: 7,
				},
				LongestMaximum: 8,
			},
		} {
			update(t, s, func(tx store.Tx) error { return tx.PutSettings(t.Context(), want) })
			got, err := s.Settings(t.Context())
			noErr(t, err)
			same(t, "settings", got, want)
		}
		for _, want := range []store.Installation{
			{Issuer: "https://a.example", Audience: []string{"https://a.example"}, Epoch: 1},
			{Issuer: "b", Audience: []string{"x, y", `"`, ""}, Epoch: 2},
			{Issuer: "c", Audience: []string{"c"}, Former: []store.FormerIssuer{{Issuer: `"b"`, Until: 3}, {Issuer: "https://a.example", Until: 4}}, Epoch: 5},
			{Issuer: "d", Audience: []string{"c"}, Epoch: 6},
		} {
			update(t, s, func(tx store.Tx) error { return tx.PutInstallation(t.Context(), want) })
			got, err := s.Installation(t.Context())
			noErr(t, err)
			same(t, "installation", got, want)
		}
	}},
}

var keyCases = []testCase{
	{"keys come the oldest first, and are replaced", func(t *testing.T, open Open) {
		s := open(t)
		keys := []store.Key{
			{ID: "z", Algorithm: "ES256", State: store.KeyRetired, PublicJWK: `{"kty":"EC"}`, CreatedAt: 1, ActivatedAt: 2, RetiringAt: 3, RetireAt: 4, RetiredAt: 5, Epoch: 6},
			{ID: "b", Algorithm: "EdDSA", State: store.KeyActive, Sealed: "sealed", CreatedAt: 2},
			{ID: "c", CreatedAt: 2},
			{ID: "a", CreatedAt: 3},
		}
		update(t, s, func(tx store.Tx) error {
			for i := range keys {
				if err := tx.PutKey(t.Context(), keys[len(keys)-1-i]); err != nil {
					return err
				}
			}
			return nil
		})
		got, err := s.Keys(t.Context())
		noErr(t, err)
		same(t, "keys", got, keys)
		keys[1] = store.Key{ID: "b", Algorithm: "EdDSA", State: store.KeyRetiring, CreatedAt: 2, RetiringAt: 9, RetireAt: 10, Epoch: 11}
		update(t, s, func(tx store.Tx) error { return tx.PutKey(t.Context(), keys[1]) })
		got, err = s.Keys(t.Context())
		noErr(t, err)
		same(t, "keys, one replaced", got, keys)
	}},
}

var nodeCases = []testCase{
	{"nodes are written, replaced and removed", func(t *testing.T, open Open) {
		s := open(t)
		list := func(want ...store.Node) {
			t.Helper()
			got, err := s.Nodes(t.Context())
			noErr(t, err)
			same(t, "nodes", got, append([]store.Node{}, want...))
		}
		put := func(n store.Node, wake bool) {
			t.Helper()
			update(t, s, func(tx store.Tx) error { return tx.PutNode(t.Context(), n, wake) })
		}
		list()
		one := store.Node{
			ID: "n1", Name: "host:8420", Version: "v1", StartedAt: 2, Beat: 1, LeaseMS: 15_000,
			ViewEpoch: 5, Confirmed: 4, Followers: 3, Asks: 7, Waiting: []string{"follower a", `follower "b"`},
		}
		two := store.Node{ID: "n2", StartedAt: 1}
		put(one, false)
		put(two, true)
		list(two, one)
		one.Beat, one.ViewEpoch, one.Confirmed, one.Waiting, one.Left = 2, 6, 6, nil, true
		put(one, true)
		list(two, one)
		for range 2 { // a missing one is no error
			update(t, s, func(tx store.Tx) error { return tx.DeleteNode(t.Context(), "n2") })
			list(one)
		}
	}},
}

var textCases = []testCase{
	{"whatever text is written is read again, byte by byte", func(t *testing.T, open Open) {
		s := open(t)
		for i, text := range []string{
			"ünïcödé", "日本語", "🦀👩‍👩‍👧", "e\u0301 is not \u00e9", "\u202Ereversed", "a\r\nb\tc\x1b[31m", "'; DROP TABLE users; --", `\`, `\0`, "%s %d ? $1 :name @x",
			" leading and trailing ", `{"json":["\u0000"]}`, "\x7f\x01", "\ufeff", "\uFFFD", longText,
		} {
			id := fmt.Sprint("id-", i)
			key := text
			if len(key) > 1024 {
				key = key[:1024]
			}
			u := store.User{ID: id, Name: text, NameKey: key, Email: key, Permissions: []string{text}, PasswordHash: text}
			sess := store.Session{ID: id, UserID: key, Device: text, Address: text}
			entry := store.Audit{
				Actor:  store.Actor{Kind: text, ID: text, Name: text, Address: text, RequestID: text},
				Action: text, TargetKind: text, TargetID: text, TargetName: text, Reason: text, Detail: text,
			}
			update(t, s, func(tx store.Tx) error {
				noErr(t, tx.InsertUser(t.Context(), u))
				noErr(t, tx.InsertSession(t.Context(), sess))
				return tx.AppendAudit(t.Context(), entry)
			})
			gotUser, err := s.UserByName(t.Context(), key)
			noErr(t, err)
			same(t, "user", gotUser, u)
			gotSession, err := s.Session(t.Context(), id)
			noErr(t, err)
			same(t, "session", gotSession, sess)
			for _, f := range []store.AuditFilter{{Actor: text}, {Target: text}, {Person: text}, {Action: text}} {
				entries, err := s.Audits(t.Context(), f, 10)
				noErr(t, err)
				if len(entries) == 1 {
					entry.ID = entries[0].ID
				}
				same(t, "audit", entries, []store.Audit{entry})
			}
		}
	}},
	{"invalid text is made valid, and found by the same bytes", func(t *testing.T, open Open) {
		s := open(t)
		for bad, want := range map[string]string{
			"a\x00b":       "a\uFFFDb",
			"\xff\xfe1":    "\uFFFD1",
			"cut \xe2\x82": "cut \uFFFD",
		} {
			update(t, s, func(tx store.Tx) error {
				return tx.InsertUser(t.Context(), store.User{ID: bad, NameKey: bad, Name: bad, Permissions: []string{bad}})
			})
			u, err := s.UserByName(t.Context(), bad)
			noErr(t, err)
			same(t, "user", u, store.User{ID: want, NameKey: want, Name: want, Permissions: []string{want}})
		}
	}},
	{"the extremes of numbers", func(t *testing.T, open Open) {
		s := open(t)
		for i, n := range []int64{0, 1, -1, 1<<63 - 1, -1 << 63, 1<<53 + 1} {
			want := store.Session{ID: fmt.Sprint(i), BeganAt: n, LastSeenAt: n, ExpiresAt: n, EndedAt: n}
			update(t, s, func(tx store.Tx) error { return tx.InsertSession(t.Context(), want) })
			got, err := s.Session(t.Context(), want.ID)
			noErr(t, err)
			same(t, "session", got, want)
		}
	}},
}

// longText is 10 kB that do not compress, so that no index takes them.
var longText = func() string {
	b := make([]byte, 10_000)
	x := uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(' ' + x>>24%94)
	}
	return string(b)
}()
