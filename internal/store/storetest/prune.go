package storetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
)

const day = 24 * time.Hour

// prune prunes at an instant.
func prune(t testing.TB, s store.Store, now time.Time, upTo revocation.Epoch, sessions, audit int64) {
	t.Helper()
	update(t, s, func(tx store.Tx) error {
		if _, err := tx.Advance(t.Context(), now); err != nil {
			return err
		}
		return tx.Prune(t.Context(), upTo, sessions, audit)
	})
}

var pruneCases = []testCase{
	{"revocations of users and sessions up to an epoch", func(t *testing.T, open Open) {
		s := open(t)
		update(t, s, func(tx store.Tx) error {
			var rs []revocation.Revocation
			for _, e := range []revocation.Epoch{99, 100, 101} {
				rs = append(rs, at(e, revocation.User(fmt.Sprint(int64(e))), revocation.Session(fmt.Sprint(int64(e))))...)
			}
			return tx.PutRevocations(t.Context(), append(rs, append(at(50, revocation.Everyone()), at(60, revocation.Remembered())...)...)...)
		})
		prune(t, s, noon, 100, 0, 0)
		changes, err := s.ChangesAfter(t.Context(), 0, 100)
		noErr(t, err)
		same(t, "left", sorted(changes.Revocations), sorted(append(at(101, revocation.User("101"), revocation.Session("101")),
			append(at(50, revocation.Everyone()), at(60, revocation.Remembered())...)...)))
	}},
	{"sessions that ended or expired, and audit, before an instant", func(t *testing.T, open Open) {
		s := open(t)
		later := int64(1e6)
		insertSessions(t, s,
			store.Session{ID: "expired 999", ExpiresAt: 999}, store.Session{ID: "expired 1000", ExpiresAt: 1000}, store.Session{ID: "expired 1001", ExpiresAt: 1001},
			store.Session{ID: "ended 999", ExpiresAt: later, EndedAt: 999}, store.Session{ID: "ended 1000", ExpiresAt: later, EndedAt: 1000},
			store.Session{ID: "ended 1001", ExpiresAt: later, EndedAt: 1001}, store.Session{ID: "lives", ExpiresAt: later})
		for _, at := range []int64{499, 500, 501} {
			appendAudit(t, s, store.Audit{At: at})
		}
		prune(t, s, noon, 0, 1000, 500)
		for id, left := range map[string]bool{
			"expired 999": false, "expired 1000": true, "expired 1001": true,
			"ended 999": false, "ended 1000": true, "ended 1001": true, "lives": true,
		} {
			_, err := s.Session(t.Context(), id)
			same(t, id+" is left", err == nil, left)
		}
		entries, err := s.Audits(t.Context(), store.AuditFilter{}, 10)
		noErr(t, err)
		same(t, "entries left", len(entries), 2)
	}},
	{"failed sign-ins after a day", func(t *testing.T, open Open) {
		s := open(t)
		edge := noon.Add(-day).UnixMicro()
		for _, at := range []int64{edge - 1, edge, edge + 1} {
			update(t, s, func(tx store.Tx) error { return tx.AddFailure(t.Context(), at, "ann") })
		}
		prune(t, s, noon, 0, 0, 0)
		n, err := s.Failures(t.Context(), "ann", 0)
		noErr(t, err)
		same(t, "failures left", n, int64(2))
	}},
	{"streaks of failed sign-ins after 30 days without one", func(t *testing.T, open Open) {
		s := open(t)
		edge := noon.Add(-30 * day).UnixMicro()
		for i := range int64(3) {
			update(t, s, func(tx store.Tx) error { return tx.AddStreak(t.Context(), edge-1+i, fmt.Sprint("ann ", i)) })
		}
		prune(t, s, noon, 0, 0, 0)
		for i, want := range []int64{0, 1, 1} {
			key := fmt.Sprint("ann ", i)
			got, err := s.Streak(t.Context(), key)
			noErr(t, err)
			same(t, key, got.Count, want)
		}
	}},
	{"nodes that stand still for a week, never a moving node, however the clock leaps", func(t *testing.T, open Open) {
		s := open(t)
		beat := func(id string, n int64) {
			t.Helper()
			update(t, s, func(tx store.Tx) error { return tx.PutNode(t.Context(), store.Node{ID: id, Beat: n}, false) })
		}
		left := func(when string, want ...string) {
			t.Helper()
			nodes, err := s.Nodes(t.Context())
			noErr(t, err)
			got := []string{}
			for _, n := range nodes {
				got = append(got, n.ID)
			}
			slices.Sort(got)
			same(t, when, got, append([]string{}, want...))
		}
		advance(t, s, noon)
		beat("dead", 5)
		beat("leaving", -2)
		beat("lives", 5)
		prune(t, s, noon.Add(30*day), 0, 0, 0)
		left("never seen by a pruning before", "dead", "leaving", "lives")
		now := noon.Add(30 * day)
		beat("lives", 6)
		prune(t, s, now.Add(7*day-time.Hour), 0, 0, 0)
		left("within a week", "dead", "leaving", "lives")
		beat("lives", 7)
		prune(t, s, now.Add(8*day), 0, 0, 0)
		left("after a week", "lives")
		for i := range 3 { // the clock of the pruning node is far off
			beat("lives", int64(8+i))
			prune(t, s, now.Add(time.Duration(i+1)*100*day), 0, 0, 0)
			left("after a leap", "lives")
		}
	}},
}
