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

func (m member) Deliver(a Answer, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, again := m.told[m.name]; again {
		m.early++ // twice is as wrong
	}
	m.told[m.name], m.errs[m.name] = a, err
}

func (m member) Gone() bool { return false }

func (m member) Release() {
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
		if a, one, err := h.submit(t.Context(), q, member{c, q.Follower}); one == nil || err != nil {
			t.Fatalf("%s was answered at once: %+v, %v", q.Follower, a, err)
		}
	}
}

func (c *crowd) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.told)
}

// all fails the test unless all polls were answered, once and before any was released.
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

func (h *hub) holding() (all, named int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.waiting), len(h.byFollower)
}

func newer(h *hub, epoch revocation.Epoch) {
	h.advance(epoch, revocation.Revocation{Scope: revocation.User("ann"), Epoch: epoch})
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
			h.Drain()
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
		h.Drain()
	})
}

// When the hub closes, all polls are told so; none is answered afterwards.
func TestClosedWhileHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, c := hubAt(10), newCrowd(100)
		c.join(t, h, Query{After: 10, Wait: time.Minute})
		h.Drain()
		c.all(t, 0, token.ErrUnavailable)
		time.Sleep(time.Minute) // timers that run on would tell again
	})
}

// A poll whose client has gone is not answered, and the others are, in whatever
// order the clients go.
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
				_, err := h.Changes(ctx, Query{Follower: fmt.Sprint(i), After: 10, Wait: time.Minute})
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
		h.Drain()
	})
}

// A poll that waits in a history that has ended starts over, however far the next
// history has come when it is answered.
func TestHeldIntoAnotherHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, next := range []revocation.Epoch{7, 10, 12} {
			h, c := hubAt(10), newCrowd(1)
			c.join(t, h, Query{After: 10, Confirmed: 10, Wait: 3 * time.Second})
			h.restore(7)
			h.advance(next)
			synctest.Wait()
			c.all(t, 0, ErrStartOver)
			if _, counted := h.summary(); counted.followers != 0 {
				t.Errorf("at %d it counts: %+v", next, counted)
			}
			h.Drain()
		}
	})
}

// odd is a follower that misbehaves.
type odd struct {
	member
	stuck  time.Duration // it does not read for so long
	gone   bool          // it is not there any more
	panics bool          // a mistake of ours
}

func (o odd) Gone() bool { return o.gone }

func (o odd) Deliver(a Answer, err error) {
	time.Sleep(o.stuck) // in a bubble
	if o.panics && err == nil {
		panic("oops")
	}
	o.member.Deliver(a, err)
}

// However many clients do not read, a client that reads is answered soon.
func TestStuckFollowersHoldUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, c := hubAt(10), newCrowd(301)
		for i := range c.size {
			q := Query{After: 10, Wait: 5 * time.Second, Follower: fmt.Sprint(i)}
			w := odd{member: member{c, q.Follower}, stuck: time.Second}
			if i == c.size-1 {
				w.stuck = 0
			}
			if _, one, _ := h.submit(t.Context(), q, w); one == nil {
				t.Fatal("answered at once")
			}
		}
		newer(h, 11)
		time.Sleep(10 * stalled)
		synctest.Wait()
		if n := c.count(); n != 1 {
			t.Errorf("%d have been told, want the one who reads", n)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		c.all(t, 11, nil)
		h.Drain()
	})
}

// A client that has gone gets no lease, and a panic with one poll does not affect
// the others.
func TestGoneAndMistaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, c := hubAt(10), newCrowd(3)
		for i, w := range []odd{{}, {gone: true}, {panics: true}} {
			q := Query{After: 10, Wait: time.Second, Follower: fmt.Sprint(i)}
			w.member = member{c, q.Follower}
			if _, one, _ := h.submit(t.Context(), q, w); one == nil {
				t.Fatal("answered at once")
			}
		}
		newer(h, 11)
		synctest.Wait()
		if c.count() != 3 || c.errs["0"] != nil || !errors.Is(c.errs["1"], errGone) || c.errs["2"] == nil {
			t.Errorf("told: %v", c.errs)
		}
		if _, counted := h.summary(); counted.followers != 2 {
			t.Errorf("%d followers hold a lease, want 2: it is unknown how much of an answer was sent", counted.followers)
		}
		h.Drain()
	})
}

// A follower asks one question at a time: the one before is let go, without a lease.
func TestAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := hubAt(10)
		old, fresh, nameless := newCrowd(1), newCrowd(1), newCrowd(1)
		q := Query{After: 10, Wait: time.Second, Follower: "f"}
		for _, c := range []*crowd{old, fresh} {
			if _, one, _ := h.submit(t.Context(), q, member{c, "f"}); one == nil {
				t.Fatal("answered at once")
			}
			synctest.Wait()
		}
		q.Follower = ""
		for range 2 {
			if _, one, _ := h.submit(t.Context(), q, member{nameless, "x"}); one == nil {
				t.Fatal("answered at once")
			}
		}
		old.all(t, 0, errAgain)
		if all, named := h.holding(); all != 3 || named != 1 || fresh.count() != 0 {
			t.Errorf("%d are held, %d by name", all, named)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		fresh.all(t, 10, nil)
		if all, named := h.holding(); all+named != 0 {
			t.Errorf("%d are held still, %d by name", all, named)
		}
		h.Drain()
	})
}
