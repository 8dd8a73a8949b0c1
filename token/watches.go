package token

import (
	"container/heap"
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"example.com/curfew/revocation"
	"example.com/curfew/settings"
)

const (
	// watchInterval is the maximum time between two checks of the lease, and of
	// settings, keys and issuers whose sources do not report changes.
	watchInterval = 100 * time.Millisecond
	// clockInterval is the maximum time between two checks if the view says when
	// its lease ends and all sources report their changes. A check then finds only a
	// wall clock that was set and a lease that was withdrawn.
	clockInterval = time.Second

	// endBatch is the number of contexts that end before the handlers that wait for
	// them get the processor. It is below 61: every 61st time the Go scheduler
	// prefers goroutines that have yielded to those that were woken.
	endBatch = 32
	// maxYield is the maximum time for which a caller lets handlers run before it
	// ends the other contexts at once.
	maxYield = 250 * time.Millisecond
)

// watches are the sessions that a validator watches. An index finds the watches
// that a revocation ends; a heap orders the watches by their end in time. One
// goroutine serves all watches. It runs only while there are any.
type watches struct {
	v     *Validator
	count atomic.Int64 // len(ends), to be read without the lock

	mu         sync.Mutex
	ends       endHeap // every watch, the earliest end first
	users      map[string]*Watch
	sessions   map[string]*Watch
	remembered *Watch
	inForce    *settings.InForce // the settings from which the ends were computed
	keys       *KeySet           // the keys with which the watches were last checked
	issuers    *IssuerSet        // the same of the issuers
	distrusted time.Time         // when the view lost its trust; zero if it is trusted
	planned    time.Time         // when the goroutine checks next; zero while it is checking
	looking    bool              // the goroutine runs
	lease      leased            // the view; nil if anything needs a check every watchInterval
	closed     bool
	cancels    []func() // end the subscriptions

	wake    chan struct{}
	running sync.WaitGroup
}

// The indexes in which a watch is linked.
const (
	byUser = iota
	bySession
	byRemembered
	indexes
)

// link is the place of a watch in a doubly linked list of one index.
type link struct{ previous, next *Watch }

func (ws *watches) init(v *Validator) {
	ws.v, ws.wake = v, make(chan struct{}, 1)
	ws.users, ws.sessions = map[string]*Watch{}, map[string]*Watch{}
	ws.current()
}

// current reads the state with which watches are checked.
func (ws *watches) current() {
	ws.inForce, ws.keys, ws.issuers = ws.v.config.Settings.Current(), ws.v.config.Keys.Current(), ws.v.issuers.Current()
}

func (ws *watches) moment(now time.Time) *moment {
	return &moment{now: now, seconds: UnixTime(now.Unix()), in: ws.inForce, keys: ws.keys, issuers: ws.issuers}
}

// endOf returns the second at which time alone ends the session.
func (ws *watches) endOf(s *Session) UnixTime {
	return min(s.endsAt(ws.inForce), ws.issuers.Until(s.Issuer))
}

// observer is a source that reports its changes. Other sources are checked every
// watchInterval.
type observer interface {
	Subscribe(f func()) (cancel func())
}

// leased is a [View] that says how long its lease lasts. Other views are checked
// every watchInterval.
type leased interface {
	LeaseLeft(now time.Time) time.Duration
}

func (ws *watches) subscribeLocked() {
	if ws.cancels != nil {
		return
	}
	ws.cancels = append(ws.cancels, ws.v.config.Revocations.Subscribe(ws.revoke))
	ws.lease, _ = ws.v.config.View.(leased)
	for _, source := range []any{ws.v.config.Settings, ws.v.config.Keys, ws.v.issuers} {
		if o, ok := source.(observer); ok {
			ws.cancels = append(ws.cancels, o.Subscribe(func() { ws.review() }))
		} else {
			ws.lease = nil // the source needs a check every watchInterval
		}
	}
}

// add registers a watch. A non-nil error is the cause with which the context ends
// at once.
func (ws *watches) add(w *Watch) error {
	e := w.latest.Load()
	ws.mu.Lock()
	switch {
	case w.state == ended:
		defer ws.mu.Unlock()
		return w.cause
	case ws.closed:
		defer ws.mu.Unlock()
		w.state, w.cause = ended, errClosed
		return w.cause
	}
	ws.subscribeLocked()
	if len(ws.ends) == 0 { // changes were not tracked without a watch
		ws.current()
	}
	w.state = watched
	w.end = ws.endOf(&e.session)
	heap.Push(&ws.ends, w)
	ws.count.Store(int64(len(ws.ends)))
	ws.link(w)
	ws.planLocked(w.end)
	if w.parent.Done() != nil {
		w.detach = context.AfterFunc(w.parent, w.Stop)
	}
	ws.mu.Unlock()
	// Revocations applied before are in the cache; later ones find the watch.
	ws.recheck(w, e)
	return nil
}

// planLocked makes the goroutine check at end at the latest.
func (ws *watches) planLocked(end UnixTime) {
	if !ws.looking {
		ws.looking = true
		ws.running.Go(ws.run) // ends when there are no watches, or with close
		return
	}
	if !ws.planned.IsZero() && end.Time().Before(ws.planned) {
		select {
		case ws.wake <- struct{}{}:
		default:
		}
	}
}

// recheck ends a watch whose token is no longer valid by local knowledge. Only a
// partial cache may need to ask its source.
func (ws *watches) recheck(w *Watch, e *entry) {
	var at moment
	at.readClock(ws.v)
	at.readState(ws.v)
	err := ws.v.walk(beginRules, e, &at)
	if err == nil {
		return
	}
	if !isQuestion(err) {
		ws.end(w, err)
		return
	}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.closed || w.state == ended {
		return
	}
	ws.running.Go(func() { // ends with the look-up, which is bounded in time, or with the watch
		if _, err := ws.v.decide(w.ctx, e); err != nil {
			ws.end(w, err)
		}
	})
}

// renew replaces the token of a watch unless it has a newer one.
func (ws *watches) renew(w *Watch, e *entry) error {
	ws.mu.Lock()
	now, next := &w.latest.Load().session, &e.session
	switch {
	case next.ID != now.ID || next.Subject != now.Subject || next.RememberMe != now.RememberMe || next.SessionExpiry != now.SessionExpiry:
		ws.mu.Unlock()
		return ErrOtherSession
	case w.state == ended:
		defer ws.mu.Unlock()
		return w.cause
	case next.Epoch < now.Epoch || next.LastRefresh < now.LastRefresh:
		ws.mu.Unlock()
		return nil
	}
	w.latest.Store(e)
	if w.state == watched {
		w.end = ws.endOf(next)
		heap.Fix(&ws.ends, w.place)
		ws.planLocked(w.end)
	}
	ws.mu.Unlock()
	if w.begun.Load() {
		ws.recheck(w, e)
	}
	return nil
}

// end ends a watch unless it has ended.
func (ws *watches) end(w *Watch, cause error) {
	ws.mu.Lock()
	cancel := ws.endLocked(w, cause)
	ws.mu.Unlock()
	if cancel != nil {
		cancel(cause)
	}
}

// endLocked removes a watch. The caller calls the result, if not nil, without the
// lock.
func (ws *watches) endLocked(w *Watch, cause error) context.CancelCauseFunc {
	was := w.state
	if was == ended {
		return nil
	}
	w.state, w.cause = ended, cause
	if was == notWatched {
		return nil // begin ends the context
	}
	heap.Remove(&ws.ends, w.place)
	ws.count.Store(int64(len(ws.ends)))
	ws.unlink(w)
	if w.detach != nil {
		w.detach()
	}
	return w.cancel
}

// ending is a watch that was removed and whose context must still end.
type ending struct {
	w     *Watch
	cause error
}

// endings end without the lock of the watches: see finish.
type endings []ending

// sweepLocked removes those of the watches for which over returns a cause, and adds
// them to the endings.
func (ws *watches) sweepLocked(to *endings, among func(yield func(*Watch) bool), over func(*Watch) error) {
	first := len(*to)
	for w := range among {
		if cause := over(w); cause != nil {
			*to = append(*to, ending{w, cause})
		}
	}
	for _, e := range (*to)[first:] {
		ws.endLocked(e.w, e.cause)
	}
}

// finish ends the contexts. It lets the handlers that wait for them run in between.
// Most streams have therefore closed when it returns, and a receipt that waits for
// it finds them closed.
func (es endings) finish() {
	if len(es) == 0 {
		return
	}
	began := time.Now()
	for i, e := range es {
		e.w.cancel(e.cause)
		if (i+1)%endBatch == 0 && time.Since(began) < maxYield {
			runtime.Gosched()
		}
	}
	runtime.Gosched()
}

// all yields every watch.
func (ws *watches) all(yield func(*Watch) bool) {
	for _, w := range ws.ends {
		if !yield(w) {
			return
		}
	}
}

// chain yields the watches of one list.
func chain(first *Watch, index int) func(yield func(*Watch) bool) {
	return func(yield func(*Watch) bool) {
		for w := first; w != nil; w = w.links[index].next {
			if !yield(w) {
				return
			}
		}
	}
}

// revoke ends the watches that the revocations end. The cache calls it when it has
// applied them.
func (ws *watches) revoke(revocations []revocation.Revocation) {
	if ws.count.Load() == 0 {
		return
	}
	var over endings
	ws.mu.Lock()
	for _, r := range revocations {
		among := ws.scopeLocked(r.Scope)
		if among == nil {
			continue
		}
		ws.sweepLocked(&over, among, func(w *Watch) error {
			if w.latest.Load().session.Epoch < r.Epoch {
				return revokedError(r.Epoch)
			}
			return nil
		})
	}
	ws.mu.Unlock()
	over.finish()
}

// scopeLocked returns the watches that a scope covers; nil if there are none.
func (ws *watches) scopeLocked(s revocation.Scope) func(yield func(*Watch) bool) {
	var first *Watch
	index := byUser
	switch s.Kind {
	case revocation.KindEveryone:
		return ws.all
	case revocation.KindRemembered:
		first, index = ws.remembered, byRemembered
	case revocation.KindUser:
		first = ws.users[s.ID]
	case revocation.KindSession:
		first, index = ws.sessions[s.ID], bySession
	}
	if first == nil {
		return nil
	}
	return chain(first, index)
}

// review ends the watches that the current settings, keys and issuers no longer
// allow, if any of them has changed.
func (ws *watches) review() {
	if ws.count.Load() == 0 {
		return // the next watch uses the state at that time: see add
	}
	now := ws.v.now()
	var over endings
	ws.mu.Lock()
	ws.reviewLocked(&over, now)
	ws.mu.Unlock()
	over.finish()
}

func (ws *watches) reviewLocked(to *endings, now time.Time) {
	in, keys, issuers := ws.inForce, ws.keys, ws.issuers
	if ws.current(); in == ws.inForce && keys == ws.keys && issuers == ws.issuers {
		return
	}
	ws.sweepLocked(to, ws.all, func(w *Watch) error {
		e := w.latest.Load()
		w.end = ws.endOf(&e.session)
		return ws.v.walk(reviewRules, e, ws.moment(now))
	})
	heap.Init(&ws.ends)
	if len(ws.ends) > 0 {
		ws.planLocked(ws.ends[0].end)
	}
}

// run checks the watches as time passes.
func (ws *watches) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ws.wake:
		}
		wait, more := ws.look()
		if !more {
			return
		}
		timer.Reset(wait)
	}
}

// look ends the watches that have ended by time or by the lease. It returns the
// time until the next check; more is false if no watch is left and the goroutine
// ends.
func (ws *watches) look() (wait time.Duration, more bool) {
	now := ws.v.now()
	var over endings
	defer func() { over.finish() }()
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.planned = time.Time{}
	if len(ws.ends) == 0 || ws.closed {
		ws.looking = false
		return 0, false
	}
	ws.reviewLocked(&over, now)
	ws.sweepLocked(&over, ws.dueLocked(now), func(w *Watch) error {
		return ws.v.walk(reviewRules, w.latest.Load(), ws.moment(now))
	})
	if ws.v.config.View.Trusted(now) {
		ws.distrusted = time.Time{}
	} else {
		if ws.distrusted.IsZero() {
			ws.distrusted = now
		}
		ws.sweepLocked(&over, ws.all, func(w *Watch) error {
			if now.Sub(ws.distrusted) >= w.grace {
				return errLeaseOver
			}
			return nil
		})
	}
	wait = watchInterval
	if ws.lease != nil && ws.distrusted.IsZero() {
		if left := ws.lease.LeaseLeft(now); left > 0 {
			wait = min(clockInterval, left)
		}
	}
	if len(ws.ends) > 0 {
		wait = max(0, min(wait, ws.ends[0].end.Time().Sub(now)))
	}
	if wait == 0 {
		wait = watchInterval // its end has come but the rules accept it: the wall clock was set back
	}
	ws.planned = now.Add(wait)
	return wait, true
}

// dueLocked yields the watches whose end has come.
func (ws *watches) dueLocked(now time.Time) func(yield func(*Watch) bool) {
	seconds := UnixTime(now.Unix())
	var within func(i int, yield func(*Watch) bool) bool
	within = func(i int, yield func(*Watch) bool) bool {
		if i >= len(ws.ends) || ws.ends[i].end > seconds {
			return true
		}
		return yield(ws.ends[i]) && within(2*i+1, yield) && within(2*i+2, yield)
	}
	return func(yield func(*Watch) bool) { within(0, yield) }
}

// close ends every watch and the goroutine. Later watches end at once.
func (ws *watches) close() {
	ws.mu.Lock()
	ws.closed = true
	var over endings
	ws.sweepLocked(&over, ws.all, func(*Watch) error { return errClosed })
	cancels := ws.cancels
	ws.cancels = nil
	select {
	case ws.wake <- struct{}{}:
	default:
	}
	ws.mu.Unlock()
	over.finish()
	for _, cancel := range cancels {
		cancel()
	}
	ws.running.Wait()
}

func (ws *watches) link(w *Watch) {
	s := &w.latest.Load().session
	push(ws.users, s.Subject, w, byUser)
	push(ws.sessions, s.ID, w, bySession)
	if s.RememberMe {
		if first := ws.remembered; first != nil {
			first.links[byRemembered].previous = w
			w.links[byRemembered].next = first
		}
		ws.remembered = w
	}
}

func push(index map[string]*Watch, key string, w *Watch, i int) {
	if first := index[key]; first != nil {
		first.links[i].previous = w
		w.links[i].next = first
	}
	index[key] = w
}

func (ws *watches) unlink(w *Watch) {
	s := &w.latest.Load().session
	remove(ws.users, s.Subject, w, byUser)
	remove(ws.sessions, s.ID, w, bySession)
	if first := w.cut(byRemembered); ws.remembered == w {
		ws.remembered = first
	}
}

func remove(index map[string]*Watch, key string, w *Watch, i int) {
	next := w.cut(i)
	switch {
	case index[key] != w:
	case next == nil:
		delete(index, key)
	default:
		index[key] = next
	}
}

// cut removes the watch from a list and returns its successor.
func (w *Watch) cut(i int) (next *Watch) {
	l := &w.links[i]
	next = l.next
	if l.previous != nil {
		l.previous.links[i].next = l.next
	}
	if l.next != nil {
		l.next.links[i].previous = l.previous
	}
	*l = link{}
	return next
}

// endHeap is a heap of watches by their end (container/heap).
type endHeap []*Watch

func (h endHeap) Len() int           { return len(h) }
func (h endHeap) Less(i, j int) bool { return h[i].end < h[j].end }

func (h endHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

// Push is called by container/heap.
func (h *endHeap) Push(x any) {
	w, ok := x.(*Watch)
	if !ok {
		panic(fmt.Sprintf("token: a %T in the heap of watches", x))
	}
	w.place = len(*h)
	*h = append(*h, w)
}

// Pop is called by container/heap.
func (h *endHeap) Pop() any {
	old := *h
	w := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return w
}
