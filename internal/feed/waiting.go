package feed

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"example.com/curfew/internal/replica"
	"example.com/curfew/revocation"
)

// Waiter is a follower whose poll is pending until there is something to deliver.
type Waiter interface {
	// Deliver sends the answer. It is called once and must not block, because other
	// answers are sent after it.
	Deliver(Answer, error)
	// Release allows the follower's next poll to be read, after all pending polls of
	// the same round have been answered. An answered follower polls again at once.
	// If ten thousand did so while others still waited, the last would wait twice
	// as long.
	Release()
	// Gone reports whether the follower has disconnected.
	Gone() bool
}

// pendingPoll is a poll without an answer. The hub's lock guards the fields that change.
type pendingPoll struct {
	Waiter
	q         Query
	confirmed revocation.Epoch
	began     time.Time
	history   int  // of the hub, at the start of the poll
	paused    bool // it has waited for overduePause

	at    int // its index in the hub's waiting; -1 if it is not there
	timer *time.Timer
}

// Changes answers a follower (contract, section 6): at once if there is something
// newer than its position, otherwise when a change comes, and after a third of the
// lease at the latest. Registering the follower, choosing its epoch and granting
// its lease are one step.
//
// Errors wrap [ErrStartOver] or [ErrLimited]; or [token.ErrUnavailable] if the own
// lease has run out or the hub is closing; or are those of ctx or of the credential.
func (h *hub) Changes(ctx context.Context, q Query) (Answer, error) {
	w := &waiter{done: make(chan struct{})}
	a, p, err := h.submit(ctx, q, w)
	if p == nil {
		return a, err
	}
	select {
	case <-w.done:
		return w.answer, w.err
	case <-ctx.Done():
		h.cancel(p)
		return Answer{}, ctx.Err()
	}
}

// Submit is Changes for a follower without a waiting goroutine: if pending is true,
// the answer is delivered to w later.
func (h *hub) Submit(ctx context.Context, q Query, w Waiter) (a Answer, pending bool, err error) {
	a, p, err := h.submit(ctx, q, w)
	return a, p != nil, err
}

// submit answers a follower, or holds its poll and returns it: then the answer is
// delivered to w.
func (h *hub) submit(ctx context.Context, q Query, w Waiter) (Answer, *pendingPoll, error) {
	p := &pendingPoll{Waiter: w, q: q, began: h.now(), at: -1}
	fresh := q.Wait <= 0
	if at := h.viewEpoch(); fresh || q.After > at || q.Confirmed > at {
		// The view may be behind, so the store is read before the follower
		// learns that the store lost something.
		if err := h.catchUp(ctx); err != nil && (fresh || q.After > at) {
			return Answer{}, nil, replica.Unavailable(err)
		}
	}
	var err error
	if p.confirmed, p.history, err = h.recordAck(&p.q); err != nil {
		return Answer{}, nil, err
	}
	a, waits, err := h.answerChecked(ctx, p, fresh)
	if err == nil && waits {
		return Answer{}, p, nil
	}
	return a, nil, err
}

// answerChecked is answer for a client that may have changed since it was
// authenticated. It then checks its credential again first.
func (h *hub) answerChecked(ctx context.Context, p *pendingPoll, must bool) (a Answer, waits bool, err error) {
	for {
		if a, waits, err = h.answer(p, must); !errors.Is(err, errRecheck) {
			return a, waits, err
		}
		clients := h.ClientsEpoch() // as before the check
		if err := p.checkCredential(ctx); err != nil {
			return Answer{}, false, err
		}
		p.q.ClientsEpoch = clients
	}
}

func (p *pendingPoll) checkCredential(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, questionTime)
	defer cancel()
	return p.q.Credential.Check(ctx)
}

// holdLocked holds a poll for at most d. A follower has one pending poll: an
// earlier one, on a connection that it has abandoned, is released. An exception is
// a poll that only pauses, because it may be a separate request of the follower.
// The error wraps ErrLimited.
func (h *hub) holdLocked(p *pendingPoll, d time.Duration) error {
	named := p.q.Follower != "" && !p.paused
	if named {
		if before := h.byFollower[p.q.key()]; before != nil && h.removeLocked(before) {
			before.timer.Stop()
			h.running.Go(func() { // ends at once
				before.Deliver(Answer{}, replica.Unavailable(errAgain))
				before.Release()
			})
		}
	}
	u := h.followed.usageOf(p.q.Client)
	if u.polls >= h.followed.limits.polls {
		h.refused++
		return fmt.Errorf("%w: %d polls of client %q are pending, which is the limit; try again later, or create another client", ErrLimited, u.polls, p.q.Client)
	}
	u.polls++
	if named {
		h.byFollower[p.q.key()] = p
	}
	p.at = len(h.waiting)
	h.waiting = append(h.waiting, p)
	p.timer = time.AfterFunc(d, func() { h.expire(p) })
	return nil
}

// dropGone releases pending polls of disconnected followers. It checks a quarter of
// them each time, so a dropped connection keeps its file descriptor for a few
// seconds.
func (h *hub) dropGone() {
	h.mu.Lock()
	n := min(len(h.waiting), max(minChecked, len(h.waiting)/4))
	some := make([]*pendingPoll, n)
	for i := range some {
		some[i] = h.waiting[(h.checked+i)%len(h.waiting)]
	}
	h.checked += n
	h.mu.Unlock()
	var gone []*pendingPoll
	for _, p := range some {
		if p.Gone() {
			gone = append(gone, p)
		}
	}
	h.mu.Lock()
	gone = slices.DeleteFunc(gone, func(p *pendingPoll) bool { return !h.removeLocked(p) })
	h.checking = false
	h.mu.Unlock()
	for _, p := range gone {
		p.timer.Stop()
		p.Deliver(Answer{}, replica.Unavailable(errGone))
		p.Release()
	}
}

// minChecked is the minimum number of pending polls that dropGone checks, if there
// are as many.
const minChecked = 256

// removeLocked removes a poll, and reports whether it was pending.
func (h *hub) removeLocked(p *pendingPoll) bool {
	if p.at < 0 {
		return false
	}
	last := h.waiting[len(h.waiting)-1]
	h.waiting[p.at], last.at = last, p.at
	h.waiting[len(h.waiting)-1] = nil
	h.waiting = h.waiting[:len(h.waiting)-1]
	p.at = -1
	h.releaseLocked(p)
	if key := p.q.key(); h.byFollower[key] == p {
		delete(h.byFollower, key)
	}
	return true
}

func (h *hub) releaseLocked(p *pendingPoll) {
	u := h.followed.usageOf(p.q.Client)
	u.polls--
	h.followed.release(p.q.Client, u)
}

// cancel removes the poll of a disconnected follower.
func (h *hub) cancel(p *pendingPoll) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.removeLocked(p)
	p.timer.Stop()
}

// expire answers a poll at the end of its maximum wait.
func (h *hub) expire(p *pendingPoll) {
	h.mu.Lock()
	was := h.removeLocked(p)
	if was {
		h.running.Add(1)
	}
	h.mu.Unlock()
	if was {
		defer h.running.Done()
		h.deliver([]*pendingPoll{p})
	}
}

// wakeLocked starts the delivery to all pending polls.
func (h *hub) wakeLocked() {
	if len(h.waiting) == 0 {
		return
	}
	woken := h.waiting
	h.waiting = nil
	clear(h.byFollower)
	for _, p := range woken {
		p.at = -1
		h.releaseLocked(p)
	}
	h.running.Go(func() { h.deliver(woken) }) // ends when all answers are sent
}

// stalled is the time without a sent answer after which another goroutine joins the
// delivery, so that a follower that does not read cannot delay the others.
const stalled = 20 * time.Millisecond

// deliver answers polls, and then releases their followers.
func (h *hub) deliver(polls []*pendingPoll) {
	var next, done atomic.Int64
	var delivering sync.WaitGroup
	over := make(chan struct{})
	more := func(n int) {
		for range n {
			delivering.Go(func() { // ends when all polls are taken
				for {
					i := int(next.Add(1)) - 1
					if i >= len(polls) {
						return
					}
					h.deliverOne(polls[i])
					if done.Add(1) == int64(len(polls)) {
						close(over)
					}
				}
			})
		}
	}
	workers := min(runtime.GOMAXPROCS(0), (len(polls)-1)/32+1)
	more(workers)
	tick := time.NewTicker(stalled)
	defer tick.Stop()
	for before := int64(0); before < int64(len(polls)); {
		select {
		case <-over:
			before = int64(len(polls))
		case <-tick.C:
			now := done.Load()
			if now == before && workers < len(polls) {
				more(workers)
				workers *= 2
			}
			before = now
		}
	}
	delivering.Wait()
	for _, p := range polls {
		p.Release()
	}
}

// deliverOne answers one poll. An error there does not prevent the answers to others.
func (h *hub) deliverOne(p *pendingPoll) {
	p.timer.Stop()
	defer func() {
		if cause := recover(); cause != nil {
			p.Deliver(Answer{}, fmt.Errorf("feed: panic: %v", cause))
		}
	}()
	if p.Gone() {
		p.Deliver(Answer{}, replica.Unavailable(errGone)) // it holds no lease for this answer
		return
	}
	p.paused = true // it has waited already
	a, _, err := h.answerChecked(context.Background(), p, true)
	p.Deliver(a, err)
}

// waiter is a goroutine that waits for its answer.
type waiter struct {
	done   chan struct{} // closed when answer and err are set
	answer Answer
	err    error
}

func (w *waiter) Deliver(a Answer, err error) {
	w.answer, w.err = a, err
	close(w.done)
}

func (w *waiter) Release() {}

func (w *waiter) Gone() bool { return false } // its context reports that
