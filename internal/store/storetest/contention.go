package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/curfew/internal/await"
	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
)

var contentionCases = []testCase{
	{"no change is ever missed by who reads on from the last epoch", nothingMissed},
	{"no update of a locked row is lost", func(t *testing.T, open Open) {
		s, other := open(t), open(t)
		update(t, s, func(tx store.Tx) error {
			return tx.InsertUser(t.Context(), store.User{ID: "ann", NameKey: "ann", Email: "0"})
		})
		const goroutines, each = 6, 10
		together(t, goroutines, func(i int) error {
			on := []store.Store{s, other}[i%2]
			for range each {
				if err := on.Update(t.Context(), func(tx store.Tx) error {
					u, err := tx.LockUser(t.Context(), "ann")
					if err != nil {
						return err
					}
					n, err := strconv.Atoi(u.Email)
					if err != nil {
						return err
					}
					u.Email = strconv.Itoa(n + 1)
					return tx.UpdateUser(t.Context(), u)
				}); err != nil {
					return err
				}
			}
			return nil
		})
		u, err := s.User(t.Context(), "ann")
		noErr(t, err)
		same(t, "count", u.Email, strconv.Itoa(goroutines*each))
	}},
	{"of several that add one name, one does", func(t *testing.T, open Open) {
		s := open(t)
		var added, refused atomic.Int64
		together(t, 6, func(i int) error {
			err := s.Update(t.Context(), func(tx store.Tx) error {
				return tx.InsertUser(t.Context(), store.User{ID: fmt.Sprint("user-", i), NameKey: "ann"})
			})
			switch {
			case err == nil:
				added.Add(1)
			case errors.Is(err, store.ErrConflict):
				refused.Add(1)
			default:
				return err
			}
			return nil
		})
		same(t, "added, refused", []int64{added.Load(), refused.Load()}, []int64{1, 5})
	}},
	{"of several that lock the names and then look, one finds nothing", func(t *testing.T, open Open) {
		stores := []store.Store{open(t), open(t)}
		var first atomic.Int64
		together(t, 6, func(i int) error {
			found := false
			err := stores[i%2].Update(t.Context(), func(tx store.Tx) error {
				if err := errors.Join(tx.HoldClock(t.Context()), tx.LockNames(t.Context())); err != nil {
					return err
				}
				others, err := tx.UsersByEmail(t.Context(), "ann@example.com")
				found = len(others) > 0
				return errors.Join(err, tx.InsertUser(t.Context(), store.User{ID: fmt.Sprint("user-", i), NameKey: fmt.Sprint("ann ", i), Email: "ann@example.com"}))
			})
			if err == nil && !found {
				first.Add(1)
			}
			return err
		})
		same(t, "transactions that found no user", first.Load(), int64(1))
	}},
	{"two that lock each other out both get through", func(t *testing.T, open Open) {
		s := open(t)
		update(t, s, func(tx store.Tx) error {
			return errors.Join(
				tx.InsertUser(t.Context(), store.User{ID: "ann", NameKey: "ann"}),
				tx.InsertUser(t.Context(), store.User{ID: "bob", NameKey: "bob"}))
		})
		var met sync.WaitGroup
		met.Add(2)
		order := [][]string{{"ann", "bob"}, {"bob", "ann"}}
		together(t, 2, func(i int) error {
			first := true
			return s.Update(t.Context(), func(tx store.Tx) error {
				for k, id := range order[i] {
					u, err := tx.LockUser(t.Context(), id)
					if err != nil {
						return err
					}
					u.Email += strconv.Itoa(i)
					if err := tx.UpdateUser(t.Context(), u); err != nil {
						return err
					}
					if k == 0 && first { // with one writer at a time, the other never comes
						first = false
						met.Done()
						waitFor(&met, 200*time.Millisecond)
					}
				}
				return nil
			})
		})
		for _, id := range order[0] {
			u, err := s.User(t.Context(), id)
			noErr(t, err)
			same(t, "writes to "+id, len(u.Email), 2)
		}
	}},
	{"while the clock is held nothing is revoked", func(t *testing.T, open Open) {
		s, other := open(t), open(t)
		before := revoke(t, s, noon, revocation.User("ann"))
		var released atomic.Bool
		advanced := make(chan struct{})
		var revoking sync.WaitGroup
		update(t, s, func(tx store.Tx) error {
			noErr(t, tx.HoldClock(t.Context()))
			revoking.Go(func() {
				update(t, other, func(tx store.Tx) error {
					e, err := tx.Advance(t.Context(), noon)
					if !released.Load() {
						t.Error("the clock was advanced while it was held")
					}
					close(advanced)
					return errors.Join(err, tx.PutRevocations(t.Context(), at(e, revocation.User("ann"))...))
				})
			})
			select { // the waiting transaction is given the time to do what it must not
			case <-advanced:
			case <-time.After(200 * time.Millisecond):
			}
			clock, err := tx.Clock(t.Context())
			noErr(t, err)
			same(t, "the clock that is held", clock, before)
			if e, err := tx.Advance(t.Context(), noon); err == nil {
				t.Errorf("the transaction that holds the clock has advanced it to %d", e)
			}
			released.Store(true)
			return nil
		})
		revoking.Wait()
	}},
	{"a transaction that holds the clock sees earlier revocations", func(t *testing.T, open Open) {
		s, other := open(t), open(t)
		var holding sync.WaitGroup
		var e revocation.Epoch
		update(t, s, func(tx store.Tx) (err error) {
			if e, err = tx.Advance(t.Context(), noon); err != nil {
				return err
			}
			asked := make(chan struct{})
			holding.Go(func() {
				update(t, other, func(tx store.Tx) error {
					close(asked)
					noErr(t, tx.HoldClock(t.Context()))
					rows, err := tx.RevocationsOf(t.Context(), []string{"ann"}, nil)
					noErr(t, err)
					same(t, "revocations", rows, at(e, revocation.User("ann")))
					return nil
				})
			})
			if s.Engine() == "postgres" { // with one writer at a time, the other has not begun
				<-asked
			}
			return tx.PutRevocations(t.Context(), at(e, revocation.User("ann"))...)
		})
		holding.Wait()
	}},
	{"those that hold the clock keep no revocation out", func(t *testing.T, open Open) {
		s, other := open(t), open(t)
		var revoked atomic.Bool
		var held atomic.Int64
		met := make(chan struct{})
		together(t, 6, func(i int) error {
			if i == 0 {
				<-met
				revoke(t, other, noon, revocation.User("ann"))
				revoked.Store(true)
				return nil
			}
			for !revoked.Load() {
				if err := s.Update(t.Context(), func(tx store.Tx) error {
					if err := tx.HoldClock(t.Context()); err != nil {
						return err
					}
					if held.Add(1) == 10 {
						close(met)
					}
					_, err := tx.Clock(t.Context())
					return err
				}); err != nil {
					return err
				}
			}
			return nil
		})
	}},
	{"readers do not wait for a writer, and do not see uncommitted changes", func(t *testing.T, open Open) {
		s := open(t)
		before := revoke(t, s, noon, revocation.User("ann"))
		update(t, s, func(tx store.Tx) error {
			e, err := tx.Advance(t.Context(), noon)
			noErr(t, err)
			noErr(t, tx.PutRevocations(t.Context(), at(e, revocation.User("ann"))...))
			ctx, cancel := context.WithTimeout(t.Context(), await.Limit)
			defer cancel()
			for range 5 {
				r, err := s.RevokedBefore(ctx, "ann", "")
				noErr(t, err)
				same(t, "as others see it", r, store.RevokedBefore{Clock: before, User: before})
			}
			own, err := tx.RevokedBefore(t.Context(), "ann", "")
			noErr(t, err)
			same(t, "as the transaction sees it", own, store.RevokedBefore{Clock: e, User: e})
			return nil
		})
	}},
}

// together runs goroutines, none of which may fail.
func together(t *testing.T, n int, run func(i int) error) {
	t.Helper()
	var running sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		running.Go(func() { errs[i] = run(i) })
	}
	running.Wait()
	noErr(t, errors.Join(errs...))
}

// waitFor waits for a group, or d.
func waitFor(group *sync.WaitGroup, d time.Duration) {
	done := make(chan struct{})
	go func() {
		group.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(d):
	}
}

// nothingMissed has writers whose clocks disagree commit changes, each some time
// after it got its epoch, while a reader asks for what came after the last epoch
// it was given. If an epoch could be handed out and committed later than a
// higher one, the reader would have gone past it.
func nothingMissed(t *testing.T, open Open) {
	const writers, each = 6, 30
	stores := []store.Store{open(t), open(t)}
	reader := open(t)
	var mu sync.Mutex
	committed := map[revocation.Revocation]bool{}

	done := make(chan error, 1)
	go func() {
		var running sync.WaitGroup
		errs := make([]error, writers)
		for w := range writers {
			running.Go(func() {
				random := rand.New(rand.NewPCG(1, uint64(w)))
				for k := range each {
					scopes := []revocation.Scope{revocation.User(fmt.Sprintf("%d-%d", w, k)), revocation.Session(fmt.Sprintf("%d-%d", w, k))}
					var epoch revocation.Epoch
					err := stores[w%2].Update(t.Context(), func(tx store.Tx) (err error) {
						skew := time.Duration(random.Int64N(int64(time.Minute)))
						if epoch, err = tx.Advance(t.Context(), noon.Add(skew)); err != nil {
							return err
						}
						// The commit comes some time after the epoch was given:
						// this is under test.
						time.Sleep(time.Duration(random.Int64N(int64(2 * time.Millisecond))))
						return tx.PutRevocations(t.Context(), at(epoch, scopes...)...)
					})
					if err != nil {
						errs[w] = err
						return
					}
					mu.Lock()
					for _, r := range at(epoch, scopes...) {
						committed[r] = true
					}
					mu.Unlock()
				}
			})
		}
		running.Wait()
		done <- errors.Join(errs...)
	}()

	seen := map[revocation.Revocation]bool{}
	var after revocation.Epoch
	for over := false; !over; {
		select {
		case err := <-done:
			noErr(t, err)
			over = true // and once more, for the last of them
		default:
		}
		var err error
		after, err = follow(t.Context(), reader, after, 3, func(page store.Changes) {
			if page.Epoch < after {
				t.Errorf("the epoch went back from %d to %d", after, page.Epoch)
			}
			for _, r := range page.Revocations {
				seen[r] = true
			}
			after = page.Epoch
		})
		noErr(t, err)
	}
	for r := range committed {
		if !seen[r] {
			t.Errorf("%v at %d was never seen", r.Scope, r.Epoch)
		}
	}
	same(t, "changes", len(seen), 2*writers*each)
}
