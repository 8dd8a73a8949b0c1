package feed

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"time"

	"example.com/curfew/revocation"
)

// Waiter is a follower whose question is held until there is something to tell.
type Waiter interface {
	// Tell answers it, once. Others are told after it: it must not wait for anybody.
	Tell(Answer, error)
	// Resume says that all who waited with it have been told. Its next question is
	// not to be read before: a follower that was told asks again at once, and if ten
	// thousand did so while others still waited, the last would wait twice as long.
	Resume()
}

// held is a question that is held. What is not constant is guarded by the hub's
// lock.
type held struct {
	Waiter
	q         Query
	confirmed revocation.Epoch
	began     time.Time

	at      int // its index in the hub's waiting; -1: it is not there
	timer   *time.Timer
	expired bool // it has been held for as long as it may be
}

// ask answers a follower, or holds its question and returns it: then w is told.
func (h *hub) ask(ctx context.Context, q Query, w Waiter) (Answer, *held, error) {
	one := &held{Waiter: w, q: q, began: h.now(), at: -1, expired: q.Wait <= 0}
	if at := h.viewEpoch(); one.expired || q.After > at || q.Confirmed > at {
		// The view may lag, so the store is asked before anybody is told that it
		// lost something.
		if err := h.catchUp(ctx); err != nil && (one.expired || q.After > at) {
			return Answer{}, nil, unavailable(err)
		}
	}
	one.confirmed = h.hear(&one.q)
	a, waits, err := h.answer(one)
	if waits {
		return Answer{}, one, nil
	}
	return a, nil, err
}

// holdLocked holds a question for d at most, if it was not held before.
func (h *hub) holdLocked(one *held, d time.Duration) {
	one.at = len(h.waiting)
	h.waiting = append(h.waiting, one)
	if one.timer == nil {
		one.timer = time.AfterFunc(d, func() { h.expire(one) })
	}
}

// letGoLocked takes a question out, and reports whether it was held.
func (h *hub) letGoLocked(one *held) bool {
	if one.at < 0 {
		return false
	}
	last := h.waiting[len(h.waiting)-1]
	h.waiting[one.at], last.at = last, one.at
	h.waiting[len(h.waiting)-1] = nil
	h.waiting = h.waiting[:len(h.waiting)-1]
	one.at = -1
	return true
}

// cancel forgets a question, whoever asked it having gone.
func (h *hub) cancel(one *held) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.letGoLocked(one)
	one.timer.Stop()
}

// expire answers a question that has been held for as long as it may be.
func (h *hub) expire(one *held) {
	h.mu.Lock()
	one.expired = true
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

// wakeLocked has all who wait told.
func (h *hub) wakeLocked() {
	if len(h.waiting) == 0 {
		return
	}
	woken := h.waiting
	h.waiting = nil
	for _, one := range woken {
		one.at = -1
	}
	h.running.Go(func() { h.tell(woken) }) // ends when all are told
}

// tell answers questions, and then lets those who asked go on.
func (h *hub) tell(questions []*held) {
	each := max(32, (len(questions)-1)/runtime.GOMAXPROCS(0)+1)
	var telling sync.WaitGroup
	for some := range slices.Chunk(questions, each) {
		telling.Go(func() {
			for i, one := range some {
				a, waits, err := h.answer(one)
				if waits {
					some[i] = nil // there was nothing to tell after all
					continue
				}
				one.timer.Stop()
				one.Tell(a, err)
			}
		})
	}
	telling.Wait()
	for _, one := range questions {
		if one != nil {
			one.Resume()
		}
	}
}

// changes is ask for somebody who waits as long as it takes.
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
