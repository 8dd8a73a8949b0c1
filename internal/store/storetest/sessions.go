package storetest

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"testing"

	"example.com/curfew/internal/store"
)

func insertSessions(t testing.TB, s store.Store, rows ...store.Session) {
	t.Helper()
	for some := range slices.Chunk(rows, 200) {
		update(t, s, func(tx store.Tx) error {
			for _, row := range some {
				if err := tx.InsertSession(t.Context(), row); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

var sessionCases = []testCase{
	{"a session is read as it was written", func(t *testing.T, open Open) {
		s := open(t)
		want := store.Session{
			ID: "s1", UserID: "ann", RememberMe: true, Epoch: 1, KeyID: "k1", Device: "Firefox on Linux", Address: "2001:db8::1",
			BeganAt: 2, LastSeenAt: 3, LastUsedAt: 8, ExpiresAt: 4, EndedAt: 5, BegunBy: store.ActorClient,
			AuthenticatedAt: 6, ACR: "urn:example:mfa", SessionExpiry: 7,
		}
		insertSessions(t, s, want)
		got, err := s.Session(t.Context(), "s1")
		noErr(t, err)
		same(t, "session", got, want)
		_, err = s.Session(t.Context(), "S1")
		is(t, err, store.ErrNotFound)
		is(t, s.Update(t.Context(), func(tx store.Tx) error {
			return tx.InsertSession(t.Context(), store.Session{ID: "s1"})
		}), store.ErrConflict)
	}},
	{"sessions are found by their ids", func(t *testing.T, open Open) {
		s := open(t)
		insertSessions(t, s, store.Session{ID: "s1", UserID: "ann", BegunBy: store.ActorUser}, store.Session{ID: "s2", UserID: "bob"}, store.Session{ID: "s3"})
		for _, ids := range [][]string{nil, {"S1"}, {"s1"}, {"s2", "s1", "gone", "s1"}} {
			got, err := s.SessionsNamed(t.Context(), ids)
			noErr(t, err)
			var want []store.Session
			for _, row := range []store.Session{{ID: "s1", UserID: "ann", BegunBy: store.ActorUser}, {ID: "s2", UserID: "bob"}} {
				if slices.Contains(ids, row.ID) {
					want = append(want, row)
				}
			}
			slices.SortFunc(got, func(a, b store.Session) int { return cmp.Compare(a.ID, b.ID) })
			same(t, fmt.Sprintf("%q", ids), got, want)
		}
	}},
	{"refreshes may come in any order", func(t *testing.T, open Open) {
		s := open(t)
		insertSessions(t, s, store.Session{ID: "s1", KeyID: "k0", LastSeenAt: 100, LastUsedAt: 104, ExpiresAt: 200}, store.Session{ID: "s2"})
		for _, c := range []struct {
			seen, expires int64
			key           string
			want          store.Session
		}{
			{99, 199, "k1", store.Session{KeyID: "k0", LastSeenAt: 100, LastUsedAt: 104, ExpiresAt: 200}},
			{100, 200, "k1", store.Session{KeyID: "k1", LastSeenAt: 100, LastUsedAt: 104, ExpiresAt: 200}},
			{101, 201, "k2", store.Session{KeyID: "k2", LastSeenAt: 101, LastUsedAt: 104, ExpiresAt: 201}},
			{110, 150, "k3", store.Session{KeyID: "k3", LastSeenAt: 110, LastUsedAt: 110, ExpiresAt: 201}}, // the settings were shortened
			{105, 205, "k2", store.Session{KeyID: "k3", LastSeenAt: 110, LastUsedAt: 110, ExpiresAt: 205}}, // and this token lives longer
		} {
			update(t, s, func(tx store.Tx) error { return tx.RefreshSession(t.Context(), "s1", c.seen, c.expires, c.key) })
			got, err := s.Session(t.Context(), "s1")
			noErr(t, err)
			c.want.ID = "s1"
			same(t, fmt.Sprint("refreshed at ", c.seen), got, c.want)
		}
		got, err := s.Session(t.Context(), "s2")
		noErr(t, err)
		same(t, "another", got, store.Session{ID: "s2"})
	}},
	{"a later authentication replaces an earlier one", func(t *testing.T, open Open) {
		s := open(t)
		insertSessions(t, s, store.Session{ID: "s1", SessionExpiry: 500}, store.Session{ID: "s2", AuthenticatedAt: 7, ACR: "pwd"})
		for _, c := range []struct {
			at   int64
			acr  string
			want store.Session
		}{
			{100, "pwd", store.Session{AuthenticatedAt: 100, ACR: "pwd"}},
			{99, "mfa", store.Session{AuthenticatedAt: 100, ACR: "pwd"}},
			{100, "mfa", store.Session{AuthenticatedAt: 100, ACR: "mfa"}},
			{101, "", store.Session{AuthenticatedAt: 101}},
		} {
			update(t, s, func(tx store.Tx) error { return tx.AuthenticateSession(t.Context(), "s1", c.at, c.acr) })
			got, err := s.Session(t.Context(), "s1")
			noErr(t, err)
			c.want.ID, c.want.SessionExpiry = "s1", 500
			same(t, fmt.Sprint("authenticated at ", c.at), got, c.want)
		}
		got, err := s.Session(t.Context(), "s2")
		noErr(t, err)
		same(t, "another", got, store.Session{ID: "s2", AuthenticatedAt: 7, ACR: "pwd"})
		update(t, s, func(tx store.Tx) error { return tx.AuthenticateSession(t.Context(), "s3", 1, "") }) // pruned
	}},
	{"a use is recorded once in a window, and never moves back", func(t *testing.T, open Open) {
		s := open(t)
		rows := []store.Session{
			{ID: "before", UserID: "ann", Epoch: 1, KeyID: "k", BeganAt: 1, LastSeenAt: 2, LastUsedAt: 299, ExpiresAt: 3},
			{ID: "at", UserID: "ann", LastUsedAt: 300}, {ID: "after", UserID: "ann", LastUsedAt: 301},
			{ID: "later", UserID: "ann", LastUsedAt: 1000}, {ID: "ended", UserID: "ann", LastUsedAt: 1, EndedAt: 2},
			{ID: "earlier release", UserID: "ann"}, {ID: "not used", UserID: "ann", LastUsedAt: 1},
		}
		insertSessions(t, s, rows...)
		use := func(at, since int64) {
			t.Helper()
			uses := []store.Use{{Session: "no such session", At: at, Since: since}}
			for _, row := range rows {
				if row.ID != "not used" {
					uses = append(uses, store.Use{Session: row.ID, At: at, Since: since})
				}
			}
			noErr(t, s.RecordUses(t.Context(), uses))
		}
		noErr(t, s.RecordUses(t.Context(), nil))
		clock, err := s.Clock(t.Context())
		noErr(t, err)
		use(400, 300)
		rows[0].LastUsedAt, rows[5].LastUsedAt = 400, 400
		use(450, 300) // in the same window
		for _, want := range rows {
			got, err := s.Session(t.Context(), want.ID)
			noErr(t, err)
			same(t, want.ID, got, want)
		}
		use(700, 600) // in the next
		for _, id := range []string{"before", "at", "after", "earlier release"} {
			got, err := s.Session(t.Context(), id)
			noErr(t, err)
			same(t, id, got.LastUsedAt, int64(700))
		}
		now, err := s.Clock(t.Context())
		noErr(t, err)
		same(t, "the epoch clock", now, clock)
	}},
	{"many uses are recorded by many nodes at once", func(t *testing.T, open Open) {
		s := open(t)
		var rows []store.Session
		var uses []store.Use
		for i := range 500 {
			id := fmt.Sprintf("s%03d", i)
			rows = append(rows, store.Session{ID: id, UserID: "ann"})
			uses = append(uses, store.Use{Session: id, At: 100, Since: 1})
		}
		insertSessions(t, s, rows...)
		backwards := slices.Clone(uses)
		slices.Reverse(backwards)
		var nodes sync.WaitGroup
		for i := range 8 {
			nodes.Go(func() {
				batch := uses
				if i%2 == 1 {
					batch = backwards
				}
				if err := s.RecordUses(t.Context(), batch); err != nil {
					t.Error(err)
				}
			})
		}
		nodes.Wait()
		for _, row := range rows {
			got, err := s.Session(t.Context(), row.ID)
			noErr(t, err)
			same(t, row.ID, got.LastUsedAt, int64(100))
		}
	}},
	{"a session ends once, and moves", func(t *testing.T, open Open) {
		s := open(t)
		insertSessions(t, s, store.Session{ID: "s1"}, store.Session{ID: "s2"})
		for _, at := range []int64{10, 20} {
			update(t, s, func(tx store.Tx) error { return tx.EndSession(t.Context(), "s1", at) })
		}
		update(t, s, func(tx store.Tx) error { return tx.MoveSession(t.Context(), "s2", 7) })
		for _, want := range []store.Session{{ID: "s1", EndedAt: 10}, {ID: "s2", Epoch: 7}} {
			got, err := s.Session(t.Context(), want.ID)
			noErr(t, err)
			same(t, "session", got, want)
		}
		// A missing session is no error: it may have been pruned.
		update(t, s, func(tx store.Tx) error {
			noErr(t, tx.EndSession(t.Context(), "s3", 1))
			noErr(t, tx.MoveSession(t.Context(), "s3", 1))
			return tx.RefreshSession(t.Context(), "s3", 1, 1, "")
		})
		_, err := s.Session(t.Context(), "s3")
		is(t, err, store.ErrNotFound)
	}},
	{"an address is known from the sessions that began there", func(t *testing.T, open Open) {
		s := open(t)
		insertSessions(t, s,
			store.Session{ID: "s1", UserID: "ann", Address: "10.0.0.1", BeganAt: 1000},
			store.Session{ID: "s2", UserID: "ann", Address: "10.0.0.2", BeganAt: 3000, EndedAt: 1},
			store.Session{ID: "s3", UserID: "bob", Address: "10.0.0.3", BeganAt: 3000},
			store.Session{ID: "s4", UserID: "cay", Address: "2001:db8:0:1::1", BeganAt: 1000},
			store.Session{ID: "s5", UserID: "dan", BeganAt: 1000})
		for _, c := range []struct {
			user, address string
			since         int64
			want          bool
		}{
			{"ann", "10.0.0.1", 999, true}, {"ann", "10.0.0.1", 1000, true}, {"ann", "10.0.0.1", 1001, false},
			{"ann", "10.0.0.2", 1001, true}, {"ann", "10.0.0.3", 0, false}, {"bob", "10.0.0.3", 0, true}, {"bob", "", 0, false},
			{"ann", "::ffff:10.0.0.1", 1000, true}, {"ann", "10.0.0.11", 0, false}, {"dan", "", 0, true},
			// An address of IPv6 changes by the day; its /64 does not.
			{"cay", "2001:db8:0:1::1", 1000, true}, {"cay", "2001:db8:0:1:ffff:ffff:ffff:ffff", 1000, true}, {"cay", "2001:db8:0:1::2", 1001, false},
			{"cay", "2001:db8:0:2::1", 0, false}, {"cay", "2001:db8::1:0:0:0:1", 1000, true},
		} {
			got, err := s.KnownAddress(t.Context(), c.user, c.address, c.since)
			noErr(t, err)
			same(t, fmt.Sprintf("%s at %s since %d", c.user, c.address, c.since), got, c.want)
		}
	}},
}
