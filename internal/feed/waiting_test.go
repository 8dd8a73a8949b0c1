package feed

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/curfew/revocation"
	"example.com/curfew/token"
)

// crowd is followers that write down in which order they are told and resumed.
type crowd struct {
	mu      sync.Mutex
	told    map[string]Answer
	errs    map[string]error
	resumed map[string]int
	early   int // resumed while another had not been told
	size    int
}

func newCrowd(size int) *crowd {
	return &crowd{told: map[string]Answer{}, errs: map[string]error{}, resumed: map[string]int{}, size: size}
}

type member struct {
	*crowd
	name string
}

func (m member) Tell(a Answer, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, again := m.told[m.name]; again {
		m.early++ // twice is as wrong
	}
	m.told[m.name], m.errs[m.name] = a, err
}

func (m member) Resume() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.resumed[m.name]++
	if len(m.told) < m.size {
		m.early++
	}
}

// join holds the questions of the whole crowd.
func (c *crowd) join(t *testing.T, h *hub, q Query) {
	t.Helper()
	for i := range c.size {
		q.Follower = fmt.Sprint(i)
		if a, one, err := h.ask(t.Context(), q, member{c, q.Follower}); one == nil || err != nil {
			t.Fatalf("%s was answered at once: %+v, %v", q.Follower, a, err)
		}
	}
}

func (c *crowd) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.told)
}

// all fails the test unless everybody was told, once and before any was resumed.
func (c *crowd) all(t *testing.T, epoch revocation.Epoch, want error) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.told) != c.size || len(c.resumed) != c.size || c.early > 0 {
		t.Fatalf("of %d, %d were told and %d resumed; %d too early", c.size, len(c.told), len(c.resumed), c.early)
	}
	for name, a := range c.told {
		if err := c.errs[name]; !errors.Is(err, want) || a.Epoch != epoch || c.resumed[name] != 1 {
			t.Fatalf("%s was told %+v, %v", name, a, err)
		}
	}
}

func newer(h *hub, epoch revocation.Epoch) {
	h.publish(update{epoch: epoch, revocations: []revocation.Revocation{{Scope: revocation.User("ann"), Epoch: epoch}}})
}

// All who wait for a change are told before any of them is heard again.
func TestToldBeforeAnyIsHeardAgain(t *testing.T) {
	for _, size := range []int{1, 31, 32, 33, 500} {
		synctest.Test(t, func(t *testing.T) {
			h, c := hubAt(10), newCrowd(size)
			c.join(t, h, Query{After: 10, Wait: time.Minute})
			newer(h, 11)
			synctest.Wait()
			c.all(t, 11, nil)
			if n := len(h.tails); n != 1 {
				t.Errorf("%d answers were encoded, want 1", n)
			}
			h.close()
		})
	}
}

// A question is held no longer than it may be: less than that it is held, and a
// change that comes with the end of the time is told once.
func TestHeldForAsLongAsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, c := hubAt(10), newCrowd(40)
		c.join(t, h, Query{After: 10, Wait: 3 * time.Second})
		time.Sleep(3*time.Second - 1)
		synctest.Wait()
		if c.count() > 0 {
			t.Fatal("told too early")
		}
		newer(h, 11) // as the time ends
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		c.all(t, 11, nil)

		alone := newCrowd(1)
		alone.join(t, h, Query{After: 11, Wait: time.Second})
		time.Sleep(time.Second)
		synctest.Wait()
		alone.all(t, 11, nil)
		h.close()
	})
}

// When the hub closes, all are told so; nobody is told after.
func TestClosedWhileHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, c := hubAt(10), newCrowd(100)
		c.join(t, h, Query{After: 10, Wait: time.Minute})
		h.close()
		c.all(t, 0, token.ErrUnavailable)
		time.Sleep(time.Minute) // timers that run on would tell again
	})
}

// Whoever has gone is not told, and the others are; it does not matter in which
// order they go.
func TestGoneWhileHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := hubAt(10)
		const size = 20
		var cancels []context.CancelFunc
		ended := make(chan error, size)
		for i := range size {
			ctx, cancel := context.WithCancel(t.Context())
			cancels = append(cancels, cancel)
			go func() {
				_, err := h.changes(ctx, Query{Follower: fmt.Sprint(i), After: 10, Wait: time.Minute})
				ended <- err
			}()
			synctest.Wait()
		}
		for _, i := range []int{0, 19, 7, 8, 3} {
			cancels[i]()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("%d: %v", i, err)
			}
		}
		if len(h.waiting) != size-5 {
			t.Errorf("%d are held, want %d", len(h.waiting), size-5)
		}
		for i, one := range h.waiting {
			if one.at != i {
				t.Errorf("at %d stands one that believes to stand at %d", i, one.at)
			}
		}
		newer(h, 11)
		for range size - 5 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
		for _, cancel := range cancels {
			cancel()
		}
		h.close()
	})
}

// A view that moved without anything to tell: who waits goes on waiting, and no
// longer than from the beginning.
func TestHeldOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, c := hubAt(10), newCrowd(1)
		c.join(t, h, Query{After: 10, Wait: 3 * time.Second})
		time.Sleep(2 * time.Second)
		// The same epoch in another history: nothing is newer than what they have.
		h.publish(update{startOver: true, epoch: 10, lease: token.Lease{Start: time.Now(), Length: testLease}})
		synctest.Wait()
		if c.count() > 0 {
			t.Fatal("told of nothing")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		c.all(t, 10, nil)
		h.close()
	})
}
