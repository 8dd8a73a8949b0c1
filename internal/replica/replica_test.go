package replica

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/curfew/revocation"
	"example.com/curfew/token"
	"example.com/curfew/token/tokentest"
)

// answering returns a read function that answers every request with c.
func answering(c Changes) func(context.Context, revocation.Epoch, revocation.Epoch) (Changes, error) {
	return func(context.Context, revocation.Epoch, revocation.Epoch) (Changes, error) { return c, nil }
}

// mustUpdate updates the replica with one page.
func mustUpdate(t *testing.T, r *Replica, c Changes) {
	t.Helper()
	if _, err := r.Update(t.Context(), answering(c)); err != nil {
		t.Fatal(err)
	}
}

func leaseOf(length time.Duration) token.Lease {
	return token.Lease{Start: time.Now(), Length: length}
}

func newKeys(t *testing.T, id string) *Keys {
	t.Helper()
	k, err := tokentest.NewKey(token.ES256)
	if err != nil {
		t.Fatal(err)
	}
	public, err := token.NewKey(id, k.Public())
	if err != nil {
		t.Fatal(err)
	}
	set, err := token.NewKeySet(public)
	if err != nil {
		t.Fatal(err)
	}
	return &Keys{Set: set, JSON: []byte(`{"keys":[]}`), Epoch: 1}
}

// When answers arrive out of order, an older one reverts nothing.
func TestAnswersOutOfOrder(t *testing.T) {
	r := New(Config{KeepLog: true})
	defer r.Close()
	newer := Changes{
		Epoch: 2000, Lease: leaseOf(time.Minute), Keys: newKeys(t, "newer"), Clients: 1990,
		Revocations: []revocation.Revocation{{Scope: revocation.User("ann"), Epoch: 1900}},
	}
	older := Changes{
		Epoch: 1800, Lease: leaseOf(time.Second), Keys: newKeys(t, "older"), Clients: 1700,
		Revocations: []revocation.Revocation{{Scope: revocation.User("ann"), Epoch: 1700}, {Scope: revocation.User("bob"), Epoch: 1750}},
	}
	overtake := func(context.Context, revocation.Epoch, revocation.Epoch) (Changes, error) {
		mustUpdate(t, r, newer)
		return older, nil
	}
	if _, err := r.Update(t.Context(), overtake); err != nil {
		t.Fatal(err)
	}
	ann, _ := r.Cache().Known("ann", "", false)
	bob, _ := r.Cache().Known("bob", "", false)
	if r.Epoch() != 2000 || r.Keys().Current().Find("newer") == nil || r.Keys().Current().Find("older") != nil || ann != 1900 || bob != 1750 {
		t.Errorf("at %d, ann %d, bob %d, keys %v", r.Epoch(), ann, bob, r.Keys().Current().All())
	}
	s := r.State()
	if s.Clients != 1990 || s.Lease != newer.Lease || s.Log.Len() != 3 {
		t.Errorf("%+v with %d revocations, want clients and lease of the newer answer, and all revocations", s, s.Log.Len())
	}
	// An answer to a request of an earlier history grants nothing.
	forget := func(context.Context, revocation.Epoch, revocation.Epoch) (Changes, error) {
		return Changes{}, ErrStartOver
	}
	overtaken := func(context.Context, revocation.Epoch, revocation.Epoch) (Changes, error) {
		if startedOver, err := r.Update(t.Context(), forget); !startedOver || !errors.Is(err, ErrStartOver) {
			t.Errorf("Update = %v, %v; want it to start over", startedOver, err)
		}
		return newer, nil
	}
	if startedOver, err := r.Update(t.Context(), overtaken); startedOver || !errors.Is(err, ErrStartOver) || r.Trusted(time.Now()) {
		t.Errorf("Update = %v, %v, trusted: %v", startedOver, err, r.Trusted(time.Now()))
	}
	if history := r.Current().History; history != 1 {
		t.Errorf("history %d, want 1", history)
	}
}

// A replica that starts over is not trusted before it has read everything again, and
// keeps the revocations with higher epochs.
func TestStartsOver(t *testing.T) {
	var published []State
	r := New(Config{KeepLog: true, OnPublish: func(s State) { published = append(published, s) }})
	defer r.Close()
	mustUpdate(t, r, Changes{
		Epoch: 20, Lease: leaseOf(time.Minute), Clients: 15,
		Revocations: []revocation.Revocation{{Scope: revocation.User("ann"), Epoch: 19}},
	})
	restored := func(ctx context.Context, after, view revocation.Epoch) (Changes, error) {
		if after > 0 {
			return Changes{}, fmt.Errorf("410: %w", ErrStartOver)
		}
		if r.Trusted(time.Now()) || r.Current().Epoch != 0 || view != 0 {
			t.Errorf("trusted %v at %d, and %d may be acknowledged; want nothing until everything is read", r.Trusted(time.Now()), r.Current().Epoch, view)
		}
		return Changes{Epoch: 5, Lease: leaseOf(time.Minute), Revocations: []revocation.Revocation{{Scope: revocation.User("bob"), Epoch: 4}}}, nil
	}
	if startedOver, err := r.Update(t.Context(), restored); !startedOver || !errors.Is(err, ErrStartOver) {
		t.Fatalf("Update = %v, %v; want it to start over", startedOver, err)
	}
	if _, err := r.Update(t.Context(), restored); err != nil {
		t.Fatal(err)
	}
	s := r.State()
	if s.Epoch != 5 || s.History != 1 || s.Clients != 0 || s.Log.Len() != 1 || !r.Trusted(time.Now()) {
		t.Errorf("%+v with %d revocations, want the restored state alone", s, s.Log.Len())
	}
	if ann, _ := r.Cache().Known("ann", "", false); ann != 19 {
		t.Errorf("ann's revoked-before is %d, want 19 as before", ann)
	}
	if len(published) != 2 || published[0].Log.Len() != 1 || published[1].Log == published[0].Log {
		t.Errorf("published %+v, want two states with a log each", published)
	}
}

// Pages of one update become visible at once, with the last of them.
func TestPagesArePublishedTogether(t *testing.T) {
	r := New(Config{KeepLog: true})
	defer r.Close()
	pages := []Changes{
		{Epoch: 3, More: true, Lease: leaseOf(time.Minute), Revocations: []revocation.Revocation{{Scope: revocation.User("ann"), Epoch: 3}}},
		{Epoch: 9, Lease: leaseOf(time.Minute), Revocations: []revocation.Revocation{{Scope: revocation.User("bob"), Epoch: 7}}},
	}
	positions := []revocation.Epoch{0, 3}
	for _, base := range []revocation.Epoch{0, 9} { // from the beginning, and onwards
		next := 0
		_, err := r.Update(t.Context(), func(_ context.Context, after, view revocation.Epoch) (Changes, error) {
			if want := base + positions[next]; after != want && next > 0 || view != base || r.Epoch() != base {
				t.Errorf("page %d: after %d with the view at %d, want after %d and the view at %d", next, after, view, want, base)
			}
			c := pages[next]
			c.Epoch += base
			for i := range c.Revocations {
				c.Revocations[i].Epoch += base
			}
			next++
			return c, nil
		})
		if err != nil || r.Epoch() != base+9 || !r.Trusted(time.Now()) {
			t.Errorf("%v: the view is at %d, trusted: %v", err, r.Epoch(), r.Trusted(time.Now()))
		}
		r.Distrust()
	}
	if n := r.State().Log.Len(); n != 4 {
		t.Errorf("the log has %d revocations, want 4", n)
	}
}

// Repeated revocations of one user take the room of one.
func TestLogIsCompacted(t *testing.T) {
	r := New(Config{KeepLog: true})
	e := revocation.Epoch(3)
	mustUpdate(t, r, Changes{Epoch: e})
	for range 3 {
		var rs []revocation.Revocation
		for range PageSize {
			e++
			rs = append(rs, revocation.Revocation{Scope: revocation.User("ann"), Epoch: e})
		}
		mustUpdate(t, r, Changes{Epoch: e, Revocations: rs})
		r.running.Wait()
	}
	if n := r.State().Log.Len(); n > PageSize+2 {
		t.Errorf("%d entries for one user", n)
	}
	if page, more := r.State().Log.After(e - 1); page.Last() != e || page.Len() != 1 || more {
		t.Errorf("the page after %d ends at %d, more: %v; want %d", e-1, page.Last(), more, e)
	}
	r.Close()
}

// The first state has one entry for each scope, so its log is not compacted.
func TestFirstLogIsNotCompacted(t *testing.T) {
	for _, load := range []bool{false, true} {
		r := New(Config{KeepLog: true})
		all := Changes{Epoch: 2 * PageSize}
		for i := range 2 * PageSize {
			all.Revocations = append(all.Revocations, user(fmt.Sprint(i), revocation.Epoch(i+1)))
		}
		if load {
			if err := r.Load(all); err != nil {
				t.Fatal(err)
			}
			all.Revocations = nil
		}
		mustUpdate(t, r, all)
		if l := r.State().Log; l.Len() != 2*PageSize || l.due() || l.compacting {
			t.Errorf("loaded from a file: %v: %d entries, a compaction is due: %v, runs: %v", load, l.Len(), l.due(), l.compacting)
		}
		r.Close()
	}
}

// A change appended during a compaction is in the compacted log.
func TestAppendedDuringCompaction(t *testing.T) {
	for _, test := range []struct {
		name  string
		epoch revocation.Epoch
		want  int
	}{
		{"above the last entry", PageSize + 9, 2},
		{"below it, so that the compaction is void", 1, PageSize + 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := &Log{}
			for i := range PageSize + 2 {
				l.Append(user("ann", revocation.Epoch(i+2)))
			}
			from := l.clone()
			l.Append(user("bob", test.epoch))
			l.compact(from)
			got := all(t, l, 0)
			if len(got) != test.want || !contains(got, user("bob", test.epoch)) {
				t.Errorf("%d entries, with bob: %v; want %d with bob", len(got), contains(got, user("bob", test.epoch)), test.want)
			}
		})
	}
}

func contains(all []revocation.Revocation, r revocation.Revocation) bool {
	return slices.Contains(all, r)
}

// Callers share a round that begins after their calls. A caller during a round waits
// for the next one.
func TestCatchUpSharesRounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{})
		release := make(chan struct{})
		rounds := 0
		var early, late sync.WaitGroup
		catchUp := func() {
			if err := r.CatchUp(t.Context()); err != nil {
				t.Error(err)
			}
		}
		for range 10 {
			early.Go(catchUp)
		}
		synctest.Wait()
		stop := make(chan struct{})
		go func() {
			for {
				select {
				case <-r.Wanted():
				case <-stop:
					return
				}
				_ = r.Serve(func() error { rounds++; <-release; return nil })
			}
		}()
		synctest.Wait() // the first round runs for them
		for range 10 {
			late.Go(catchUp)
		}
		synctest.Wait()
		if rounds != 1 {
			t.Errorf("%d rounds, want 1", rounds)
		}
		release <- struct{}{}
		early.Wait()
		synctest.Wait()
		if rounds != 2 {
			t.Errorf("%d rounds, want one more for the later calls", rounds)
		}
		close(release)
		late.Wait()
		close(stop)
		synctest.Wait()
		r.Close()
	})
}

// A failure is returned to callers for a moment without another request, and to
// every caller that waits when the replica is closed.
func TestCatchUpFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{})
		broken := errors.New("broken")
		serve := func(err error) { <-r.Wanted(); _ = r.Serve(func() error { return err }) }
		go serve(broken)
		for range 2 { // the second is not served
			if err := r.CatchUp(t.Context()); !errors.Is(err, broken) || !errors.Is(err, token.ErrUnavailable) {
				t.Errorf("CatchUp = %v, want %v", err, broken)
			}
		}
		time.Sleep(failFast)
		go serve(nil)
		if err := r.CatchUp(t.Context()); err != nil || r.Failure() != nil {
			t.Errorf("CatchUp = %v, the last failure is %v; want nil", err, r.Failure())
		}
		began := time.Now()
		if err := r.CatchUp(t.Context()); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != catchUpTime {
			t.Errorf("not served: CatchUp = %v after %v, want %v", err, time.Since(began), catchUpTime)
		}
		ended := make(chan error)
		go func() { ended <- r.CatchUp(context.Background()) }()
		synctest.Wait()
		r.Close()
		if err := <-ended; !errors.Is(err, ErrClosed) {
			t.Errorf("CatchUp = %v, want %v", err, ErrClosed)
		}
		if err := r.CatchUp(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("closed: CatchUp = %v, want %v", err, ErrClosed)
		}
		if _, err := r.Update(t.Context(), answering(Changes{Epoch: 9, Lease: leaseOf(time.Minute)})); !errors.Is(err, ErrClosed) || r.Trusted(time.Now()) {
			t.Errorf("closed: Update = %v, trusted: %v", err, r.Trusted(time.Now()))
		}
	})
}
