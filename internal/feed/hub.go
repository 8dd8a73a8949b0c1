package feed

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"example.com/curfew/internal/changelog"
	"example.com/curfew/revocation"
	"example.com/curfew/token"
)

// hub answers followers from the view of a node or of an edge. One lock guards
// everything, so that registering a follower, choosing the epoch of its answer and
// granting its lease are one step. A later count of the live followers therefore
// includes the follower, unless it was answered from a newer view.
type hub struct {
	now    func() time.Time
	lease  time.Duration // the maximum lease to grant
	margin time.Duration // zero: as Margin returns for each lease
	// catchUp brings the view up to the store's clock as read after the call.
	catchUp func(context.Context) error

	mu       sync.Mutex
	epoch    revocation.Epoch // of the view
	trusted  token.Lease      // the lease of the view itself
	shared   shared
	log      *changelog.Log // everything up to epoch, and later revocations that arrived with it
	everyone revocation.Epoch
	followed registry
	history  int     // how often the store has begun another history
	waiting  []*held // for epoch to move
	heldBy   map[string]*held
	tails    map[revocation.Epoch]*tail
	watchers map[chan struct{}]struct{}
	tidied   time.Time
	checked  int // where the next check for dropped polls begins
	checking bool
	refused  int64 // polls that exceeded a limit
	closed   bool

	compacting bool
	running    sync.WaitGroup
}

func newHub(now func() time.Time, lease, margin time.Duration, catchUp func(context.Context) error) *hub {
	return &hub{
		now: now, lease: lease, margin: margin, catchUp: catchUp,
		log:      &changelog.Log{},
		followed: registry{limits: defaultLimits},
		heldBy:   map[string]*held{}, tails: map[revocation.Epoch]*tail{}, watchers: map[chan struct{}]struct{}{},
	}
}

// update is a change of the view.
type update struct {
	startOver   bool // the store began another history: confirmations are void
	epoch       revocation.Epoch
	lease       token.Lease // the zero Lease leaves it as it is
	shared      *shared     // nil leaves it as it is
	everyone    revocation.Epoch
	log         *changelog.Log          // everything from the beginning, if not nil
	revocations []revocation.Revocation // otherwise the new revocations
}

// startLog marks the revocations that follow as the complete list.
func (u *update) startLog() { u.log = &changelog.Log{} }

// take adds revocations.
func (u *update) take(revocations []revocation.Revocation) {
	for i := range revocations {
		if r := &revocations[i]; r.Scope.Kind == revocation.KindEveryone {
			u.everyone = max(u.everyone, r.Epoch)
		}
	}
	if u.log != nil {
		u.log.Append(revocations...)
		return
	}
	u.revocations = append(u.revocations, revocations...)
}

// publish updates the view. Keys, settings and the cache are already up to date.
// Calls do not overlap.
func (h *hub) publish(u update) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if u.startOver {
		h.history++
		h.everyone = 0
		h.followed.forget()
	}
	if u.log != nil {
		u.log.Settled() // the source has one entry for each scope
		h.log = u.log
	}
	h.everyone = max(h.everyone, u.everyone)
	h.log.Append(u.revocations...)
	if u.lease != (token.Lease{}) {
		h.trusted = u.lease
	}
	if u.shared != nil {
		h.shared = *u.shared
	}
	if u.epoch != h.epoch || u.startOver {
		h.epoch = u.epoch
		clear(h.tails)
		h.wakeLocked()
		h.tellLocked()
	}
}

// tidy removes followers whose leases have run out, and compacts the log when it is
// due.
func (h *hub) tidy() {
	h.tidyFollowers()
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.log.Due() || h.compacting || h.closed {
		return
	}
	h.compacting = true
	from, log, everyone := h.log, h.log.Clone(), h.everyone
	h.running.Go(func() { h.compact(from, log, everyone) }) // ends by itself; close waits
}

// compact removes from the log the entries that no longer affect a decision. It
// works on a copy, because a million entries take a while.
func (h *hub) compact(from, log *changelog.Log, everyone revocation.Epoch) {
	last := log.Last()
	smaller := log.Compacted(everyone)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.compacting = false
	if h.log != from || from.Merged() != log.Merged() {
		return // the log was replaced; next time
	}
	for more := true; more; {
		var since changelog.Page
		since, more = from.After(last)
		smaller.Append(slices.Collect(since.All())...)
		last = max(last, since.Last())
	}
	h.log = smaller
}

// tidyEvery is the minimum time between two walks over all followers.
const tidyEvery = time.Second

func (h *hub) tidyFollowers() {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.now()
	if now.Sub(h.tidied) < tidyEvery {
		return
	}
	h.tidied = now
	if h.followed.sweep(now, rememberFor) {
		h.tellLocked()
	}
	if len(h.waiting) > 0 && !h.checking && !h.closed {
		h.checking = true
		h.running.Go(h.dropGone) // ends by itself; close waits
	}
}

// close ends every pending poll and grants no more leases.
func (h *hub) close() {
	defer h.running.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return
	}
	h.closed = true
	h.trusted = token.Lease{}
	h.wakeLocked()
	h.tellLocked()
}

// count returns whether the view has the epoch, and how many live followers have
// it. Both are read at once: a follower that is registered later is answered from
// that view.
func (h *hub) count(epoch revocation.Epoch) (bool, tally) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.epoch >= epoch, h.followed.tally(epoch, h.epoch, h.now())
}

// standing returns the epoch of the view, and the tally of its followers at that
// epoch.
func (h *hub) standing() (revocation.Epoch, tally) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.epoch, h.followed.tally(h.epoch, h.epoch, h.now())
}

// clientsEpoch returns the epoch of the last change of a client in the view.
func (h *hub) clientsEpoch() revocation.Epoch {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.shared.clients
}

func (h *hub) viewEpoch() revocation.Epoch {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.epoch
}

// watch returns a channel that receives a value soon after the answer of count
// may have changed. Call stop after use.
func (h *hub) watch() (moved <-chan struct{}, stop func()) {
	c := make(chan struct{}, 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.watchers[c] = struct{}{}
	return c, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.watchers, c)
	}
}

func (h *hub) tellLocked() {
	for c := range h.watchers {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// recordAck stores the follower's acknowledgement, ignoring one above the clock,
// and returns it with the current history number. The error wraps ErrLimited.
func (h *hub) recordAck(q *Query) (confirmed revocation.Epoch, history int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.followed.admit(q, h.now()); err != nil {
		h.refused++
		return 0, 0, err
	}
	confirmed = q.Confirmed
	if confirmed > h.epoch {
		confirmed = 0
	}
	if h.followed.recordAck(q, confirmed) {
		h.tellLocked()
	}
	return confirmed, h.history, nil
}

// answer answers at once if it can or must. Otherwise it holds the poll and reports
// that it waits.
func (h *hub) answer(one *held, must bool) (a Answer, waits bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now, q := h.now(), &one.q
	left := min(h.lease, h.trusted.Left(now)).Truncate(time.Millisecond)
	switch {
	case h.closed:
		return Answer{}, false, unavailable(errClosed)
	case left <= 0:
		return Answer{}, false, unavailable(errNoLease)
	case q.Credential != nil && q.ClientsEpoch != h.shared.clients:
		return Answer{}, false, errRecheck
	case q.After > h.epoch:
		return Answer{}, false, fmt.Errorf("%w: the clock is at %d, before the position %d", ErrStartOver, h.epoch, q.After)
	case q.After > 0 && one.history != h.history:
		return Answer{}, false, fmt.Errorf("%w: the store has a new history", ErrStartOver)
	case q.After == h.epoch && !must:
		return Answer{}, true, h.holdLocked(one, min(q.Wait, left/3))
	}
	page, more := h.log.After(q.After)
	if more {
		// A row that has moved may be on a later page: no lease, and nothing is
		// confirmed.
		a = Answer{Epoch: page.Last(), More: true, tail: h.tailOf(q.After, page)}
		a.head = appendHead(make([]byte, 0, 128), a.Epoch, true, 0, 0, now)
		return a, false, nil
	}
	if q.Follower == "" {
		left = 0 // a client without a follower name, which cannot be counted
	} else if granted, waits, err := h.grantLocked(one, left, now); waits || err != nil {
		return Answer{}, waits, err
	} else {
		left = granted
	}
	a = Answer{Epoch: h.epoch, Lease: left, tail: h.tails[q.After]}
	if a.tail == nil {
		a.tail = h.tailOf(q.After, page)
		if len(h.tails) < mostTails {
			h.tails[q.After] = a.tail
		}
	}
	a.head = appendHead(make([]byte, 0, 128), a.Epoch, false, max(0, now.Sub(one.began)), a.Lease, now)
	return a, false, nil
}

// grantLocked registers the follower with the lease of an answer at the view's
// epoch, and returns the lease. An overdue follower without a running lease waits
// for a moment first.
func (h *hub) grantLocked(one *held, left time.Duration, now time.Time) (lease time.Duration, waits bool, err error) {
	if err := h.followed.admit(&one.q, now); err != nil {
		h.refused++
		return 0, false, err
	}
	confirmed := one.confirmed
	if one.history != h.history {
		confirmed = 0
	}
	lease, margin := left, h.marginOf(left)
	if e := h.followed.byKey[one.q.key()]; e.overdue(now) {
		if lease = e.lease(left, now); lease == minLease && !one.paused {
			one.paused = true
			return 0, true, h.holdLocked(one, overduePause)
		}
		margin = min(h.marginOf(lease), lease)
	}
	if h.followed.enter(&one.q, h.epoch, confirmed, now, lease, margin) {
		h.tellLocked()
	}
	return lease, false, nil
}

// mostTails is the maximum number of cached answers for other followers at the same
// position. Genuine followers are at few positions.
const mostTails = 64

func (h *hub) marginOf(lease time.Duration) time.Duration {
	if h.margin > 0 {
		return h.margin
	}
	return Margin(lease)
}

func (h *hub) tailOf(after revocation.Epoch, page changelog.Page) *tail {
	return &tail{meta: h.shared.appendMeta(nil, after), encoded: sync.OnceValue(page.Encode)}
}
