package storetest

import (
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
)

var clockCases = []testCase{
	{"a new database is before everything", func(t *testing.T, open Open) {
		s := open(t)
		e, err := s.Clock(t.Context())
		noErr(t, err)
		same(t, "clock", e, revocation.Epoch(0))
		changes, err := s.ChangesAfter(t.Context(), 0, 100)
		noErr(t, err)
		same(t, "changes", changes, store.Changes{})
	}},
	{"it follows the time, and never stands still nor goes back", func(t *testing.T, open Open) {
		s := open(t)
		start := advance(t, s, noon)
		same(t, "first", start, revocation.Epoch(noon.UnixMicro()))
		for _, c := range []struct {
			now  time.Duration // from where the clock stands
			want revocation.Epoch
		}{
			{-time.Hour, 1}, {-time.Microsecond, 1}, {0, 1}, {time.Microsecond, 1}, {2 * time.Microsecond, 2},
			{time.Second, 1_000_000}, {time.Second - time.Nanosecond, 999_999}, {-100 * 365 * 24 * time.Hour, 1},
		} {
			before, err := s.Clock(t.Context())
			noErr(t, err)
			e := advance(t, s, before.Time().Add(c.now))
			same(t, fmt.Sprintf("advanced with %v", c.now), e-before, c.want)
			after, err := s.Clock(t.Context())
			noErr(t, err)
			same(t, "clock", after, e)
		}
	}},
	{"each advance of a transaction is one further", func(t *testing.T, open Open) {
		s := open(t)
		update(t, s, func(tx store.Tx) error {
			for i := range 3 {
				e, err := tx.Advance(t.Context(), noon)
				noErr(t, err)
				same(t, "epoch", e, revocation.Epoch(noon.UnixMicro()+int64(i)))
				seen, err := tx.Clock(t.Context())
				noErr(t, err)
				same(t, "as the transaction sees it", seen, e)
			}
			return nil
		})
	}},
	{"what was revoked is found by users and sessions", func(t *testing.T, open Open) {
		s := open(t)
		found := func(users, sessions []string) map[revocation.Scope]revocation.Epoch {
			rows, err := s.RevocationsOf(t.Context(), users, sessions)
			noErr(t, err)
			of := map[revocation.Scope]revocation.Epoch{}
			for _, r := range rows {
				of[r.Scope] = r.Epoch
			}
			same(t, "rows", len(rows), len(of))
			return of
		}
		same(t, "of a new database", found([]string{"ann"}, []string{"s1"}), map[revocation.Scope]revocation.Epoch{})
		want := map[revocation.Scope]revocation.Epoch{}
		for _, scope := range []revocation.Scope{
			revocation.User("ann"), revocation.User("bob"), revocation.Session("s1"), revocation.Session("s2"), revocation.Session("ann"),
		} {
			want[scope] = revoke(t, s, noon, scope)
		}
		without := func(scopes ...revocation.Scope) map[revocation.Scope]revocation.Epoch {
			left := maps.Clone(want)
			for _, scope := range scopes {
				delete(left, scope)
			}
			return left
		}
		same(t, "none", found(nil, nil), map[revocation.Scope]revocation.Epoch{})
		same(t, "users", found([]string{"bob", "ann", "cy"}, nil), without(revocation.Session("s1"), revocation.Session("s2"), revocation.Session("ann")))
		for _, scope := range []revocation.Scope{revocation.Everyone(), revocation.Remembered()} {
			want[scope] = revoke(t, s, noon, scope)
		}
		same(t, "everyone and remembered", found(nil, nil), map[revocation.Scope]revocation.Epoch{
			revocation.Everyone(): want[revocation.Everyone()], revocation.Remembered(): want[revocation.Remembered()],
		})
		same(t, "some", found([]string{"ann", "ann"}, []string{"s2"}), without(revocation.User("bob"), revocation.Session("s1"), revocation.Session("ann")))
		same(t, "all", found([]string{"ann", "bob", "Ann", ""}, []string{"s1", "s2", "ann", ""}), want)
	}},
	{"an advance that is rolled back has not been", func(t *testing.T, open Open) {
		s := open(t)
		e := advance(t, s, noon)
		stop := errors.New("stop")
		is(t, s.Update(t.Context(), func(tx store.Tx) error {
			_, err := tx.Advance(t.Context(), noon.Add(time.Hour))
			noErr(t, err)
			return stop
		}), stop)
		after, err := s.Clock(t.Context())
		noErr(t, err)
		same(t, "clock", after, e)
	}},
	{"revocations merge by the maximum", func(t *testing.T, open Open) {
		s := open(t)
		ann := revocation.User("ann")
		put := func(rs ...revocation.Revocation) {
			t.Helper()
			update(t, s, func(tx store.Tx) error {
				if _, err := tx.Advance(t.Context(), noon); err != nil {
					return err
				}
				return tx.PutRevocations(t.Context(), rs...)
			})
		}
		for _, c := range []struct {
			put  []revocation.Revocation
			want revocation.Epoch
		}{
			{at(10, ann), 10},
			{at(9, ann), 10},
			{at(10, ann), 10},
			{at(11, ann), 11},
			{append(at(12, ann), append(at(14, ann), at(13, ann)...)...), 14}, // one call, one scope, three times
			{append(at(1, ann), at(2, ann)...), 14},
			{nil, 14},
		} {
			put(c.put...)
			r, err := s.RevokedBefore(t.Context(), "ann", "")
			noErr(t, err)
			same(t, fmt.Sprint("revoked before, after ", c.put), r.User, c.want)
		}
	}},
	{"an invalid scope is refused", func(t *testing.T, open Open) {
		s := open(t)
		for _, scope := range []revocation.Scope{{}, {Kind: "user"}, {Kind: "everyone", ID: "x"}, {Kind: "users", ID: "x"}} {
			is(t, s.Update(t.Context(), func(tx store.Tx) error {
				return tx.PutRevocations(t.Context(), at(1, scope)...)
			}), store.ErrConflict)
		}
	}},
	{"revoked-before of a session, by scope", func(t *testing.T, open Open) {
		s := open(t)
		r, err := s.RevokedBefore(t.Context(), "ann", "s1")
		noErr(t, err)
		same(t, "of a new database", r, store.RevokedBefore{})
		// User and session with one id: scopes of different kinds do not mix.
		session := revoke(t, s, noon, revocation.Session("s1"), revocation.User("s2"))
		user := revoke(t, s, noon, revocation.User("ann"), revocation.Session("bob"))
		remembered := revoke(t, s, noon, revocation.Remembered())
		everyone := revoke(t, s, noon, revocation.Everyone())
		clock := advance(t, s, noon)
		for _, c := range []struct {
			user, session string
			want          store.RevokedBefore
		}{
			{"ann", "s1", store.RevokedBefore{User: user, Session: session}},
			{"ann", "s2", store.RevokedBefore{User: user}},
			{"bob", "s1", store.RevokedBefore{Session: session}},
			{"bob", "bob", store.RevokedBefore{Session: user}},
			{"Ann", "S1", store.RevokedBefore{}},
			{"", "", store.RevokedBefore{}},
		} {
			c.want.Clock, c.want.Everyone, c.want.Remembered = clock, everyone, remembered
			r, err := s.RevokedBefore(t.Context(), c.user, c.session)
			noErr(t, err)
			same(t, c.user+" "+c.session, r, c.want)
		}
		n, err := s.CountRevocations(t.Context())
		noErr(t, err)
		same(t, "revocations of users and sessions", n, int64(4))
	}},
}
