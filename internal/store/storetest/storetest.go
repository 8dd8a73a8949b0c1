// Package storetest is the promise of package store as a test suite. Every
// engine passes all of it.
package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
)

// Open opens one database: a store of its own at every call, as another process
// would have. The store ends with the test.
type Open func(t *testing.T) store.Store

type testCase struct {
	name string
	run  func(t *testing.T, open Open)
}

// Run tries a store. database makes a new, empty database, which the case that
// it is for has to itself.
func Run(t *testing.T, database func(t *testing.T) Open) {
	for _, group := range []struct {
		name  string
		cases []testCase
	}{
		{"Clock", clockCases},
		{"Changes", changesCases},
		{"Contention", contentionCases},
		{"Transactions", transactionCases},
		{"Users", userCases},
		{"Search", searchCases},
		{"Failures", failureCases},
		{"Clients", clientCases},
		{"Settings", settingsCases},
		{"Keys", keyCases},
		{"Sessions", sessionCases},
		{"Live", liveCases},
		{"Audit", auditCases},
		{"Receipts", receiptCases},
		{"Nodes", nodeCases},
		{"Providers", providerCases},
		{"Prune", pruneCases},
		{"Text", textCases},
		{"Watch", watchCases},
	} {
		t.Run(group.name, func(t *testing.T) {
			t.Parallel() // the cases wait more than they work
			for _, c := range group.cases {
				t.Run(c.name, func(t *testing.T) { c.run(t, database(t)) })
			}
		})
	}
}

// noon is a date for tests in which no time passes.
var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func noErr(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// is fails unless err wraps want.
func is(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want an error that wraps %q", err, want)
	}
}

func same(t testing.TB, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", what, diff)
	}
}

// update runs write, which must succeed.
func update(t testing.TB, s store.Store, write func(tx store.Tx) error) {
	t.Helper()
	noErr(t, s.Update(t.Context(), write))
}

// advance advances the clock in a transaction of its own.
func advance(t testing.TB, s store.Store, now time.Time) (e revocation.Epoch) {
	t.Helper()
	update(t, s, func(tx store.Tx) (err error) {
		e, err = tx.Advance(t.Context(), now)
		return err
	})
	return e
}

// revoke puts revocations, all with the same new epoch, as one call does.
func revoke(t testing.TB, s store.Store, now time.Time, scopes ...revocation.Scope) (e revocation.Epoch) {
	t.Helper()
	update(t, s, func(tx store.Tx) (err error) {
		if e, err = tx.Advance(t.Context(), now); err != nil {
			return err
		}
		return tx.PutRevocations(t.Context(), at(e, scopes...)...)
	})
	return e
}

func at(e revocation.Epoch, scopes ...revocation.Scope) []revocation.Revocation {
	var rs []revocation.Revocation
	for _, s := range scopes {
		rs = append(rs, revocation.Revocation{Scope: s, Epoch: e})
	}
	return rs
}

// follow reads all pages after a position, and returns the position reached.
func follow(ctx context.Context, s store.Store, after revocation.Epoch, limit int, page func(store.Changes)) (revocation.Epoch, error) {
	for {
		changes, err := s.ChangesAfter(ctx, after, limit)
		if err != nil {
			return after, err
		}
		page(changes)
		after = changes.Epoch
		if !changes.More {
			return after, nil
		}
	}
}
