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
	// Tell sends the answer. It is called once and must not block, because other
	// answers are sent after it.
	Tell(Answer, error)
	// Resume allows the follower's next poll to be read, after all pending polls of
	// the same round have been answered. An answered follower polls again at once.
	// If ten thousand did so while others still waited, the last would wait twice
	// as long.
	Resume()
	// Gone reports whether the follower has disconnected.
	Gone() bool
}

// held is a pending poll. The hub's lock guards the fields that change.
type held struct {
	Waiter
	q         Query
	confirmed revocation.Epoch
	began     time.Time
	history   int  // of the hub, at the start of the poll
	paused    bool // it has waited for overduePause

	at    int // its index in the hub's waiting; -1 if it is not there
	timer *time.Timer
}

// ask answers a follower, or holds its poll and returns it: then the answer is
// delivered to w.
func (h *hub) ask(ctx context.Context, q Query, w Waiter) (Answer, *held, error) {
	one := &held{Waiter: w, q: q, began: h.now(), at: -1}
	fresh := q.Wait <= 0
	if at := h.viewEpoch(); fresh || q.After > at || q.Confirmed > at {
		// The view may be behind, so the store is read before a follower is told
		// that the store lost something.
		if err := h.catchUp(ctx); err != nil && (fresh || q.After > at) {
			return Answer{}, nil, replica.Unavailable(err)
		}
	}
	var err error
	if one.confirmed, one.history, err = h.recordAck(&one.q); err != nil {
		return Answer{}, nil, err
	}
	a, waits, err := h.answerChecked(ctx, one, fresh)
	if err == nil && waits {
		return Answer{}, one, nil
	}
	return a, nil, err
}

// answerChecked is answer for a client that may have changed since it was
// authenticated. It then checks its credential again first.
func (h *hub) answerChecked(ctx context.Context, one *held, must bool) (a Answer, waits bool, err error) {
	for {
		if a, waits, err = h.answer(one, must); !errors.Is(err, errRecheck) {
			return a, waits, err
		}
		clients := h.clientsEpoch() // as before the check
		if err := one.checkCredential(ctx); err != nil {
			return Answer{}, false, err
		}
		one.q.ClientsEpoch = clients
	}
}

func (one *held) checkCredential(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, questionTime)
	defer cancel()
	return one.q.Credential.Check(ctx)
}

// holdLocked holds a poll for at most d. A follower has one pending poll: an
// earlier one, on a connection that it has abandoned, is released. An exception is
// a poll that only pauses, because it may be a separate request of the follower.
// The error wraps ErrLimited.
func (h *hub) holdLocked(one *held, d time.Duration) error {
	named := one.q.Follower != "" && !one.paused
	if named {
		if before := h.heldBy[one.q.key()]; before != nil && h.letGoLocked(before) {
			before.timer.Stop()
			h.running.Go(func() { // ends at once
				before.Tell(Answer{}, replica.Unavailable(errAgain))
				before.Resume()
			})
		}
	}
	u := h.followed.usageOf(one.q.Client)
	if u.held >= h.followed.limits.held {
		h.refused++
		return fmt.Errorf("%w: %d polls of client %q are pending, which is the limit; try again later, or create another client", ErrLimited, u.held, one.q.Client)
	}
	u.held++
	if named {
		h.heldBy[one.q.key()] = one
	}
	one.at = len(h.waiting)
	h.waiting = append(h.waiting, one)
	one.timer = time.AfterFunc(d, func() { h.expire(one) })
	return nil
}

// dropGone releases pending polls of disconnected followers. It checks a quarter of
// them each time, so a dropped connection keeps its file descriptor for a few
// seconds.
func (h *hub) dropGone() {
	h.mu.Lock()
	n := min(len(h.waiting), max(minChecked, len(h.waiting)/4))
	some := make([]*held, n)
	for i := range some {
		some[i] = h.waiting[(h.checked+i)%len(h.waiting)]
	}
	h.checked += n
	h.mu.Unlock()
	var gone []*held
	for _, one := range some {
		if one.Gone() {
			gone = append(gone, one)
		}
	}
	h.mu.Lock()
	gone = slices.DeleteFunc(gone, func(one *held) bool { return !h.letGoLocked(one) })
	h.checking = false
	h.mu.Unlock()
	for _, one := range gone {
		one.timer.Stop()
		one.Tell(Answer{}, replica.Unavailable(errGone))
		one.Resume()
	}
}

// minChecked is the minimum number of pending polls that dropGone checks, if there
// are as many.
const minChecked = 256

// letGoLocked removes a poll, and reports whether it was pending.
func (h *hub) letGoLocked(one *held) bool {
	if one.at < 0 {
		return false
	}
	last := h.waiting[len(h.waiting)-1]
	h.waiting[one.at], last.at = last, one.at
	h.waiting[len(h.waiting)-1] = nil
	h.waiting = h.waiting[:len(h.waiting)-1]
	one.at = -1
	h.releaseLocked(one)
	if key := one.q.key(); h.heldBy[key] == one {
		delete(h.heldBy, key)
	}
	return true
}

func (h *hub) releaseLocked(one *held) {
	u := h.followed.usageOf(one.q.Client)
	u.held--
	h.followed.release(one.q.Client, u)
}

// cancel removes the poll of a disconnected follower.
func (h *hub) cancel(one *held) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.letGoLocked(one)
	one.timer.Stop()
}

// expire answers a poll at the end of its maximum wait.
func (h *hub) expire(one *held) {
	h.mu.Lock()
	was := h.letGoLocked(one)
	if was {
		h.running.Add(1)
	}
	h.mu.Unlock()
	if was {
		defer h.running.Done()
		h.tell([]*held{one})
	}
}

// wakeLocked starts the delivery to all pending polls.
func (h *hub) wakeLocked() {
	if len(h.waiting) == 0 {
		return
	}
	woken := h.waiting
	h.waiting = nil
	clear(h.heldBy)
	for _, one := range woken {
		one.at = -1
		h.releaseLocked(one)
	}
	h.running.Go(func() { h.tell(woken) }) // ends when all answers are sent
}

// stalled is the time without a sent answer after which another goroutine joins the
// delivery, so that a follower that does not read cannot delay the others.
const stalled = 20 * time.Millisecond

// tell answers polls, and then resumes their followers.
func (h *hub) tell(questions []*held) {
	var next, done atomic.Int64
	var telling sync.WaitGroup
	over := make(chan struct{})
	more := func(n int) {
		for range n {
			telling.Go(func() { // ends when all questions are taken
				for {
					i := int(next.Add(1)) - 1
					if i >= len(questions) {
						return
					}
					h.tellOne(questions[i])
					if done.Add(1) == int64(len(questions)) {
						close(over)
					}
				}
			})
		}
	}
	tellers := min(runtime.GOMAXPROCS(0), (len(questions)-1)/32+1)
	more(tellers)
	tick := time.NewTicker(stalled)
	defer tick.Stop()
	for told := int64(0); told < int64(len(questions)); {
		select {
		case <-over:
			told = int64(len(questions))
		case <-tick.C:
			now := done.Load()
			if now == told && tellers < len(questions) {
				more(tellers)
				tellers *= 2
			}
			told = now
		}
	}
	telling.Wait()
	for _, one := range questions {
		one.Resume()
	}
}

// tellOne answers one poll. An error there does not prevent the answers to others.
func (h *hub) tellOne(one *held) {
	one.timer.Stop()
	defer func() {
		if cause := recover(); cause != nil {
			one.Tell(Answer{}, fmt.Errorf("feed: panic: %v", cause))
		}
	}()
	if one.Gone() {
		one.Tell(Answer{}, replica.Unavailable(errGone)) // it holds no lease for this answer
		return
	}
	one.paused = true // it has waited already
	a, _, err := h.answerChecked(context.Background(), one, true)
	one.Tell(a, err)
}

// changes is ask for a caller that waits for the answer.
func (h *hub) changes(ctx context.Context, q Query) (Answer, error) {
	w := &patient{told: make(chan struct{})}
	a, one, err := h.ask(ctx, q, w)
	if one == nil {
		return a, err
	}
	select {
	case <-w.told:
		return w.answer, w.err
	case <-ctx.Done():
		h.cancel(one)
		return Answer{}, ctx.Err()
	}
}

// patient is a goroutine that waits for its answer.
type patient struct {
	told   chan struct{} // closed when answer and err are set
	answer Answer
	err    error
}

func (p *patient) Tell(a Answer, err error) {
	p.answer, p.err = a, err
	close(p.told)
}

func (p *patient) Resume() {}

func (p *patient) Gone() bool { return false } // its context reports that
