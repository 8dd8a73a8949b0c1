package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
	"example.com/curfew/settings"
)

var transactionCases = []testCase{
	{"what fails has not happened", func(t *testing.T, open Open) {
		s := open(t)
		stop := errors.New("stop")
		err := s.Update(t.Context(), func(tx store.Tx) error {
			writeEverything(t, tx, 0)
			return fmt.Errorf("wrapped: %w", stop)
		})
		is(t, err, stop)
		same(t, "the very error", err.Error(), "wrapped: stop")
		empty(t, s)
	}},
	{"what panics has not happened, and the panic goes on", func(t *testing.T, open Open) {
		s := open(t)
		func() {
			defer func() { same(t, "panic", recover(), any("stop")) }()
			_ = s.Update(t.Context(), func(tx store.Tx) error {
				writeEverything(t, tx, 0)
				panic("stop")
			})
		}()
		empty(t, s)
		advance(t, s, noon)
	}},
	{"a transaction sees its own writes", func(t *testing.T, open Open) {
		s := open(t)
		update(t, s, func(tx store.Tx) error {
			writeEverything(t, tx, 0)
			full(t, tx, 1)
			return nil
		})
		full(t, s, 1)
	}},
	{"what was acknowledged is there when the database is opened again", func(t *testing.T, open Open) {
		for i := range 3 {
			s := open(t)
			update(t, s, func(tx store.Tx) error {
				writeEverything(t, tx, i)
				return nil
			})
			noErr(t, s.Close())
			s = open(t)
			full(t, s, i+1)
			noErr(t, s.Close())
		}
	}},
	{"a conflict does not end the transaction", func(t *testing.T, open Open) {
		s := open(t)
		ann := store.User{ID: "ann", NameKey: "ann"}
		update(t, s, func(tx store.Tx) error {
			noErr(t, tx.InsertUser(t.Context(), ann))
			is(t, tx.InsertUser(t.Context(), ann), store.ErrConflict)
			noErr(t, tx.InsertUser(t.Context(), store.User{ID: "bob", NameKey: "bob"}))
			is(t, tx.UpdateUser(t.Context(), store.User{ID: "bob", NameKey: "ann"}), store.ErrConflict)
			is(t, tx.UpdateUser(t.Context(), store.User{ID: "cay", NameKey: "cay"}), store.ErrNotFound)
			row := store.Session{ID: "s1", UserID: "ann"}
			noErr(t, tx.InsertSession(t.Context(), row))
			is(t, tx.InsertSession(t.Context(), row), store.ErrConflict)
			_, err := tx.Client(t.Context(), "none")
			is(t, err, store.ErrNotFound)
			return nil
		})
		n, err := s.CountUsers(t.Context())
		noErr(t, err)
		same(t, "users", n, int64(2))
	}},
	{"a context that has ended is an answer at once", func(t *testing.T, open Open) {
		s := open(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := s.Clock(ctx)
		is(t, err, store.ErrUnavailable)
		is(t, err, context.Canceled)
		err = s.Update(ctx, func(tx store.Tx) error {
			_, err := tx.Advance(ctx, noon)
			return err
		})
		is(t, err, store.ErrUnavailable)
		is(t, err, context.Canceled)
		e, err := s.Clock(t.Context())
		noErr(t, err)
		same(t, "clock", e, revocation.Epoch(0))
	}},
	{"a context that ends within a transaction ends it", func(t *testing.T, open Open) {
		s := open(t)
		ctx, cancel := context.WithCancel(t.Context())
		err := s.Update(ctx, func(tx store.Tx) error {
			_, err := tx.Advance(t.Context(), noon)
			noErr(t, err)
			cancel()
			_, err = tx.Advance(t.Context(), noon)
			return err
		})
		is(t, err, store.ErrUnavailable)
		advance(t, s, noon) // nothing is held any more
		e, err := s.Clock(t.Context())
		noErr(t, err)
		same(t, "clock", e, revocation.Epoch(noon.UnixMicro()))
	}},
	{"a store that is closed is unavailable", func(t *testing.T, open Open) {
		s := open(t)
		noErr(t, s.Close())
		_, err := s.Clock(t.Context())
		is(t, err, store.ErrUnavailable)
		is(t, s.Update(t.Context(), func(store.Tx) error { return nil }), store.ErrUnavailable)
		select {
		case _, ok := <-s.Watch(t.Context()):
			same(t, "watching goes on", ok, false)
		case <-time.After(5 * time.Second):
			t.Error("watching neither wakes nor ends")
		}
	}},
}

// writeEverything calls every method that writes rows; i tells calls apart.
func writeEverything(t testing.TB, tx store.Tx, i int) {
	t.Helper()
	ctx := t.Context()
	e, err := tx.Advance(ctx, noon)
	noErr(t, err)
	id := fmt.Sprint("id-", i)
	noErr(t, errors.Join(
		tx.PutRevocations(ctx, at(e, revocation.User(id))...),
		tx.InsertUser(ctx, store.User{ID: id, NameKey: id, Permissions: []string{store.AdministerSystem}}),
		tx.AddFailure(ctx, 1, "key"),
		tx.PutClient(ctx, store.Client{ID: id, Epoch: e}),
		tx.InsertSession(ctx, store.Session{ID: id, UserID: id}),
		tx.PutSettings(ctx, store.Settings{InForce: settings.InForce{Settings: settings.Default(), Epoch: e}}),
		tx.PutInstallation(ctx, store.Installation{Issuer: "issuer", Epoch: e}),
		tx.PutKey(ctx, store.Key{ID: id, Epoch: e}),
		tx.AppendAudit(ctx, store.Audit{Action: "action"}),
		tx.PutNode(ctx, store.Node{ID: id}, false),
	))
}

// empty fails unless nothing was ever written.
func empty(t testing.TB, s store.Store) {
	t.Helper()
	full(t, s, 0)
	changes, err := s.ChangesAfter(t.Context(), 0, 10)
	noErr(t, err)
	same(t, "changes", changes, store.Changes{})
}

// full fails unless what writeEverything writes is there, n times.
func full(t testing.TB, r store.Reader, n int) {
	t.Helper()
	ctx := t.Context()
	var counts []int64
	add := func(n int64, err error) {
		t.Helper()
		noErr(t, err)
		counts = append(counts, n)
	}
	add(r.CountRevocations(ctx))
	add(r.CountUsers(ctx))
	add(r.CountAdministrators(ctx))
	add(r.Failures(ctx, "key", 0))
	clients, err := r.Clients(ctx)
	add(int64(len(clients)), err)
	keys, err := r.Keys(ctx)
	add(int64(len(keys)), err)
	audit, err := r.Audits(ctx, store.AuditFilter{}, 100)
	add(int64(len(audit)), err)
	nodes, err := r.Nodes(ctx)
	add(int64(len(nodes)), err)
	same(t, "revocations, users, administrators, failures, clients, keys, audit, nodes", counts,
		[]int64{int64(n), int64(n), int64(n), int64(n), int64(n), int64(n), int64(n), int64(n)})
	want := error(nil)
	if n == 0 {
		want = store.ErrNotFound
	}
	_, err = r.Settings(ctx)
	is(t, err, want)
	_, err = r.Installation(ctx)
	is(t, err, want)
	_, err = r.Session(ctx, fmt.Sprint("id-", max(n-1, 0)))
	is(t, err, want)
}
