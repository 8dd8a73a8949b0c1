package storetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
	"example.com/curfew/settings"
)

var changesCases = []testCase{
	{"pages never split an epoch, whatever their size", pagesNeverSplit},
	{"ten thousand users at once are one page", func(t *testing.T, open Open) {
		s := open(t)
		var scopes []revocation.Scope
		for i := range 10_000 {
			scopes = append(scopes, revocation.User(fmt.Sprintf("user-%d", i)))
		}
		e := revoke(t, s, noon, scopes...)
		changes, err := s.ChangesAfter(t.Context(), 0, 100)
		noErr(t, err)
		same(t, "revocations", len(changes.Revocations), len(scopes))
		same(t, "more", changes.More, false)
		same(t, "epoch", changes.Epoch, e)
	}},
	{"a scope that is revoked again moves, and leaves nothing behind", func(t *testing.T, open Open) {
		s := open(t)
		first := revoke(t, s, noon, revocation.User("ann"), revocation.User("bob"))
		second := revoke(t, s, noon, revocation.User("ann"))
		changes, err := s.ChangesAfter(t.Context(), first, 100)
		noErr(t, err)
		same(t, "after the first", changes.Revocations, at(second, revocation.User("ann")))
		changes, err = s.ChangesAfter(t.Context(), 0, 100)
		noErr(t, err)
		same(t, "all", sorted(changes.Revocations), sorted(append(at(first, revocation.User("bob")), at(second, revocation.User("ann"))...)))
	}},
	{"the epoch is the clock's, not the highest row's", func(t *testing.T, open Open) {
		s := open(t)
		e := revoke(t, s, noon, revocation.User("ann"))
		clock := advance(t, s, noon)
		for _, after := range []revocation.Epoch{0, e - 1, e, clock} {
			changes, err := s.ChangesAfter(t.Context(), after, 100)
			noErr(t, err)
			same(t, "epoch", changes.Epoch, clock)
			same(t, "clock", changes.Clock, clock)
			same(t, fmt.Sprintf("has the revocation, after %d", after-e), len(changes.Revocations) == 1, after < e)
		}
	}},
	{"a position above the clock is told the clock", func(t *testing.T, open Open) {
		s := open(t)
		e := revoke(t, s, noon, revocation.User("ann"))
		changes, err := s.ChangesAfter(t.Context(), e+1000, 100)
		noErr(t, err)
		same(t, "changes", changes, store.Changes{Epoch: e, Clock: e})
	}},
	{"settings, keys and installation come when they are newer", newerOnly},
	{"the last change of a client comes always", func(t *testing.T, open Open) {
		s := open(t)
		want := revocation.Epoch(0)
		for i, put := range []func(store.Tx, revocation.Epoch) error{
			func(tx store.Tx, e revocation.Epoch) error {
				return tx.PutClient(t.Context(), store.Client{ID: "a", Name: "a", Epoch: e})
			},
			func(store.Tx, revocation.Epoch) error { return nil }, // another change
			func(tx store.Tx, e revocation.Epoch) error {
				return tx.PutClient(t.Context(), store.Client{ID: "b", Name: "b", Epoch: e})
			},
			func(tx store.Tx, e revocation.Epoch) error {
				return tx.PutClient(t.Context(), store.Client{ID: "a", Name: "a", Deleted: true, Epoch: e})
			},
		} {
			update(t, s, func(tx store.Tx) error {
				e, err := tx.Advance(t.Context(), noon)
				noErr(t, err)
				if i != 1 {
					want = e
				}
				return put(tx, e)
			})
			for _, after := range []revocation.Epoch{0, want - 1, want, want + 1000} {
				changes, err := s.ChangesAfter(t.Context(), after, 100)
				noErr(t, err)
				same(t, fmt.Sprintf("change %d: clients, after %d", i, after-want), changes.Clients, want)
			}
		}
	}},
}

func sorted(rs []revocation.Revocation) []revocation.Revocation {
	rs = slices.Clone(rs)
	slices.SortFunc(rs, func(a, b revocation.Revocation) int {
		return strings.Compare(a.Scope.String(), b.Scope.String())
	})
	return rs
}

func pagesNeverSplit(t *testing.T, open Open) {
	s := open(t)
	var want []revocation.Revocation
	for i, size := range []int{1, 2, 5, 1, 1, 3, 7, 1} {
		var scopes []revocation.Scope
		for k := range size {
			scopes = append(scopes, revocation.Session(fmt.Sprintf("session-%d-%d", i, k)))
		}
		want = append(want, at(revoke(t, s, noon, scopes...), scopes...)...)
	}
	clock := advance(t, s, noon)
	for limit := 1; limit <= len(want)+1; limit++ {
		var got []revocation.Revocation
		var after revocation.Epoch
		reached, err := follow(t.Context(), s, 0, limit, func(page store.Changes) {
			if page.More && len(page.Revocations) < limit {
				t.Fatalf("limit %d: a page of %d, and there is more", limit, len(page.Revocations))
			}
			same(t, "clock", page.Clock, clock)
			for _, r := range page.Revocations {
				if r.Epoch <= after || r.Epoch > page.Epoch {
					t.Fatalf("limit %d: the page from %d to %d has a row of %d", limit, after, page.Epoch, r.Epoch)
				}
			}
			after = page.Epoch
			got = append(got, page.Revocations...)
		})
		noErr(t, err)
		same(t, fmt.Sprintf("limit %d: all pages", limit), sorted(got), sorted(want))
		same(t, "position reached", reached, clock)
	}
}

func newerOnly(t *testing.T, open Open) {
	s := open(t)
	ctx := t.Context()
	installation := store.Installation{Issuer: "https://curfew.example", Audience: []string{"a", "b"}}
	inForce := store.Settings{InForce: settings.InForce{Settings: settings.Default()}, LongestMaximum: 1}
	one, two := store.Key{ID: "one", State: store.KeyActive, CreatedAt: 1}, store.Key{ID: "two", State: store.KeyNext, CreatedAt: 2}
	// Each change on its own, in this order.
	var epochs []revocation.Epoch
	for _, put := range []func(store.Tx, revocation.Epoch) error{
		func(tx store.Tx, e revocation.Epoch) error {
			installation.Epoch = e
			return tx.PutInstallation(ctx, installation)
		},
		func(tx store.Tx, e revocation.Epoch) error {
			one.Epoch = e
			return tx.PutKey(ctx, one)
		},
		func(tx store.Tx, e revocation.Epoch) error {
			inForce.Epoch = e
			return tx.PutSettings(ctx, inForce)
		},
		func(tx store.Tx, e revocation.Epoch) error {
			two.Epoch = e
			return tx.PutKey(ctx, two)
		},
	} {
		update(t, s, func(tx store.Tx) error {
			e, err := tx.Advance(ctx, noon)
			noErr(t, err)
			epochs = append(epochs, e)
			return put(tx, e)
		})
	}
	keys := []store.Key{one, two}
	clock := epochs[3]
	for _, c := range []struct {
		after revocation.Epoch
		want  store.Changes
	}{
		{0, store.Changes{Installation: &installation, Settings: &inForce, Keys: keys}},
		{epochs[0] - 1, store.Changes{Installation: &installation, Settings: &inForce, Keys: keys}},
		{epochs[0], store.Changes{Settings: &inForce, Keys: keys}},
		{epochs[1], store.Changes{Settings: &inForce, Keys: keys}},
		{epochs[2], store.Changes{Keys: keys}}, // all keys, though one is newer
		{epochs[3], store.Changes{}},
	} {
		c.want.Epoch, c.want.Clock = clock, clock
		changes, err := s.ChangesAfter(ctx, c.after, 100)
		noErr(t, err)
		same(t, fmt.Sprintf("changes after %d", c.after-epochs[0]), changes, c.want)
	}
}
