package feed

import (
	"context"
	"fmt"
	"sync"
	"time"

	"example.com/curfew/internal/replica"
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

	mu         sync.Mutex
	view       replica.State
	followed   registry
	waiting    []*pendingPoll // for the view's epoch to move
	byFollower map[string]*pendingPoll
	tails      map[revocation.Epoch]*tail
	watchers   map[chan struct{}]struct{}
	tidied     time.Time
	checked    int // where the next check for dropped polls begins
	checking   bool
	refused    int64 // polls that exceeded a limit
	closed     bool
	running    sync.WaitGroup
}

func newHub(now func() time.Time, lease, margin time.Duration, catchUp func(context.Context) error) *hub {
	return &hub{
		now: now, lease: lease, margin: margin, catchUp: catchUp,
		view:       replica.State{Log: &replica.Log{}},
		followed:   registry{limits: defaultLimits},
		byFollower: map[string]*pendingPoll{}, tails: map[revocation.Epoch]*tail{}, watchers: map[chan struct{}]struct{}{},
	}
}

// publish sets the view. Keys, settings and the cache are already up to date. Calls
// do not overlap.
func (h *hub) publish(view replica.State) {
	h.mu.Lock()
	defer h.mu.Unlock()
	restored := view.History != h.view.History
	moved := view.Epoch != h.view.Epoch || restored
	h.followed.moveTo(view.Epoch, h.now())
	h.view = view
	if restored {
		h.followed.forget()
	}
	if moved {
		clear(h.tails)
		h.wakeLocked()
		h.notifyLocked()
	}
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
		h.notifyLocked()
	}
	if len(h.waiting) > 0 && !h.checking && !h.closed {
		h.checking = true
		h.running.Go(h.dropGone) // ends by itself; close waits
	}
}

// Drain ends all pending polls and grants no more leases, so that followers move to
// another node. Everything else continues until Close: pending requests can still
// be checked, committed and confirmed.
func (h *hub) Drain() {
	defer h.running.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return
	}
	h.closed = true
	h.view.Lease = token.Lease{}
	h.wakeLocked()
	h.notifyLocked()
}

// count returns whether the view has the epoch, and how many live followers have
// it. Both are read at once: a follower that is registered later is answered from
// that view.
func (h *hub) count(epoch revocation.Epoch) (bool, counts) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.view.Epoch >= epoch, h.followed.count(epoch, h.view.Epoch, h.now())
}

// summary returns the epoch of the view, and the counts of its followers at that
// epoch.
func (h *hub) summary() (revocation.Epoch, counts) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.view.Epoch, h.followed.count(h.view.Epoch, h.view.Epoch, h.now())
}

// ClientsEpoch returns the epoch of the last change of a client in the view; 0 if
// there has been none, or if an edge's server is of a version that does not report
// it.
func (h *hub) ClientsEpoch() revocation.Epoch {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.view.Clients
}

func (h *hub) viewEpoch() revocation.Epoch {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.view.Epoch
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

func (h *hub) notifyLocked() {
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
	if confirmed > h.view.Epoch {
		confirmed = 0
	}
	if h.followed.recordAck(q, confirmed) {
		h.notifyLocked()
	}
	return confirmed, h.view.History, nil
}

// answer answers at once if it can or must. Otherwise it holds the poll and reports
// that it waits.
func (h *hub) answer(p *pendingPoll, must bool) (a Answer, waits bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now, q := h.now(), &p.q
	left := min(h.lease, h.view.Lease.Left(now)).Truncate(time.Millisecond)
	switch {
	case h.closed:
		return Answer{}, false, replica.Unavailable(errClosed)
	case left <= 0:
		return Answer{}, false, replica.Unavailable(errNoLease)
	case q.Credential != nil && q.ClientsEpoch != h.view.Clients:
		return Answer{}, false, errRecheck
	case q.After > h.view.Epoch:
		return Answer{}, false, fmt.Errorf("%w: the clock is at %d, before the position %d", ErrStartOver, h.view.Epoch, q.After)
	case q.After > 0 && p.history != h.view.History:
		return Answer{}, false, fmt.Errorf("%w: the store has a new history", ErrStartOver)
	case q.After == h.view.Epoch && !must:
		return Answer{}, true, h.holdLocked(p, min(q.Wait, left/3))
	}
	page, more := h.view.Log.After(q.After)
	if more {
		// A row that has moved may be on a later page: no lease, and nothing is
		// confirmed.
		a = Answer{Epoch: page.Last(), More: true, tail: h.tailOf(q.After, page)}
		a.head = appendHead(make([]byte, 0, 128), a.Epoch, true, 0, 0, now)
		return a, false, nil
	}
	if q.Follower == "" {
		left = 0 // a client without a follower name, which cannot be counted
	} else if granted, waits, err := h.grantLocked(p, left, now); waits || err != nil {
		return Answer{}, waits, err
	} else {
		left = granted
	}
	a = Answer{Epoch: h.view.Epoch, Lease: left, tail: h.tails[q.After]}
	if a.tail == nil {
		a.tail = h.tailOf(q.After, page)
		if len(h.tails) < maxTails {
			h.tails[q.After] = a.tail
		}
	}
	a.head = appendHead(make([]byte, 0, 128), a.Epoch, false, max(0, now.Sub(p.began)), a.Lease, now)
	return a, false, nil
}

// grantLocked registers the follower with the lease of an answer at the view's
// epoch, and returns the lease. An overdue follower without a running lease waits
// for a moment first.
func (h *hub) grantLocked(p *pendingPoll, left time.Duration, now time.Time) (lease time.Duration, waits bool, err error) {
	if err := h.followed.admit(&p.q, now); err != nil {
		h.refused++
		return 0, false, err
	}
	confirmed := p.confirmed
	if p.history != h.view.History {
		confirmed = 0
	}
	lease, margin := left, h.marginOf(left)
	if e := h.followed.byKey[p.q.key()]; e.overdue(now) {
		if lease = e.lease(left, now); lease == overdueLease && !p.paused {
			p.paused = true
			return 0, true, h.holdLocked(p, overduePause)
		}
		margin = min(h.marginOf(lease), lease)
	}
	if h.followed.enter(&p.q, h.view.Epoch, confirmed, now, lease, margin) {
		h.notifyLocked()
	}
	return lease, false, nil
}

// maxTails is the maximum number of cached answers for other followers at the same
// position. Genuine followers are at few positions.
const maxTails = 64

func (h *hub) marginOf(lease time.Duration) time.Duration {
	if h.margin > 0 {
		return h.margin
	}
	return Margin(lease)
}

func (h *hub) tailOf(after revocation.Epoch, page replica.Page) *tail {
	return &tail{meta: h.view.AppendJSON(nil, after), encoded: sync.OnceValue(page.Encode)}
}
