package uses

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var errTest = errors.New("test")

// receiver gets batches.
type receiver struct {
	mu      sync.Mutex
	err     error
	again   bool
	batches [][]Use
	at      []time.Time
}

func (r *receiver) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

func (r *receiver) send(_ context.Context, batch []Use) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.batches, r.at = append(r.batches, slices.Clone(batch)), append(r.at, time.Now())
	return r.err
}

// got returns the batches, and when they arrived.
func (r *receiver) got() ([][]Use, []time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.batches), slices.Clone(r.at)
}

// run runs the set until the returned function is called.
func (r *receiver) run(s *Set, batch int) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		s.Run(ctx, Sender{Batch: batch, Every: 10 * time.Second, Timeout: time.Second, Send: r.send, Again: func(error) bool { return r.again }})
	})
	return func() { cancel(); running.Wait() }
}

func counts(t *testing.T, s *Set, sent, dropped int64) {
	t.Helper()
	if gotSent, gotDropped := s.Counts(); gotSent != sent || gotDropped != dropped {
		t.Errorf("%d sent, %d dropped; want %d and %d", gotSent, gotDropped, sent, dropped)
	}
}

func TestSetCoalesces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := NewSet(), &receiver{}
		defer r.run(s, 100)()
		now := time.Now()
		s.Add("", Use{"a", now}, Use{"b", now})
		s.Add("", Use{"a", now.Add(time.Second)}, Use{"b", now.Add(-time.Second)})
		time.Sleep(time.Minute)
		batches, _ := r.got()
		if len(batches) != 1 || len(batches[0]) != 2 {
			t.Fatalf("batches %v, want one with two sessions", batches)
		}
		want := map[string]time.Time{"a": now.Add(time.Second), "b": now}
		for _, u := range batches[0] {
			if !u.At.Equal(want[u.Session]) {
				t.Errorf("%s was used at %v, want %v", u.Session, u.At, want[u.Session])
			}
		}
		counts(t, s, 2, 0)
	})
}

// The first use after a pause is sent within a second. Others wait for each other.
func TestSetPacesItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := NewSet(), &receiver{}
		defer r.run(s, 100)()
		time.Sleep(time.Hour)
		began := time.Now()
		for i := range 100 {
			s.Add("", Use{fmt.Sprint(i), time.Now()})
			time.Sleep(time.Second)
		}
		_, at := r.got()
		if at[0].Sub(began) > time.Second {
			t.Errorf("the first use was sent after %v", at[0].Sub(began))
		}
		if len(at) < 9 || len(at) > 11 {
			t.Errorf("%d flushes in 100 seconds, want one in ten", len(at))
		}
	})
}

func TestSetSplitsBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for n, want := range map[int]int{9: 1, 10: 1, 11: 2} {
			s, r := NewSet(), &receiver{}
			stop := r.run(s, 10)
			for i := range n {
				s.Add("", Use{fmt.Sprint(i), time.Now()})
			}
			time.Sleep(2 * time.Second)
			if batches, _ := r.got(); len(batches) != want {
				t.Errorf("%d uses: %d batches, want %d", n, len(batches), want)
			}
			counts(t, s, int64(n), 0)
			stop()
		}
	})
}

// A source fills its own share, and nothing of others.
func TestSetIsBounded(t *testing.T) {
	s := NewSet()
	now := time.Now()
	for i := range maxPending + 1 {
		s.Add("loud", Use{fmt.Sprint("loud", i), now})
	}
	counts(t, s, 0, 1)
	s.Add("loud", Use{"loud0", now.Add(1)}) // it is known
	s.Add("quiet", Use{"quiet", now})
	s.Add("", Use{"own", now})
	counts(t, s, 0, 1)
	if len(s.pending) != maxPending+2 || s.count["loud"] != maxPending {
		t.Errorf("%d pending, %d of the loud source", len(s.pending), s.count["loud"])
	}
	taken := 0
	for batch, _ := s.take(1000); len(batch) > 0; batch, _ = s.take(1000) {
		taken += len(batch)
	}
	if taken != maxPending+2 || len(s.pending) != 0 || len(s.count) != 0 {
		t.Errorf("%d taken; %d pending and %d counts are left", taken, len(s.pending), len(s.count))
	}
	s.Add("loud", Use{"loud again", now})
	counts(t, s, 0, 1)
}

func TestSetAfterAFailure(t *testing.T) {
	for _, again := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			s, r := NewSet(), &receiver{again: again, err: errTest}
			defer r.run(s, 2)()
			for i := range 4 {
				s.Add("client", Use{fmt.Sprint(i), time.Now()})
			}
			time.Sleep(2 * time.Second)
			if batches, _ := r.got(); len(batches) != 1 {
				t.Fatalf("%d batches in the failing flush, want 1", len(batches))
			}
			r.fail(nil)
			time.Sleep(20 * time.Second)
			if again {
				counts(t, s, 4, 0)
			} else {
				counts(t, s, 2, 2)
			}
			synctest.Wait()
			if len(s.pending) != 0 || len(s.count) != 0 {
				t.Errorf("pending %v, counts %v", s.pending, s.count)
			}
		})
	}
}

// When Run ends, everything is sent once more; a receiver that hangs delays the end
// by a second at most.
func TestSetAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := NewSet(), &receiver{}
		stop := r.run(s, 2)
		for i := range 5 {
			s.Add("", Use{fmt.Sprint(i), time.Now()})
		}
		stop()
		counts(t, s, 5, 0)
	})
	synctest.Test(t, func(t *testing.T) {
		s := NewSet()
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() {
			s.Run(ctx, Sender{Batch: 2, Every: time.Second, Timeout: time.Hour, Again: func(error) bool { return false }, Send: func(ctx context.Context, _ []Use) error {
				<-ctx.Done()
				return ctx.Err()
			}})
		})
		s.Add("", Use{"a", time.Now()})
		time.Sleep(time.Minute) // it hangs
		began := time.Now()
		cancel()
		running.Wait()
		if took := time.Since(began); took != lastFlush {
			t.Errorf("the end took %v, want %v", took, lastFlush)
		}
	})
}

func TestNilSet(t *testing.T) {
	var s *Set
	s.Add("", Use{"a", time.Now()})
}
