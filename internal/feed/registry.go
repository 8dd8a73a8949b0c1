package feed

import (
	"time"

	"example.com/curfew/revocation"
)

// registry knows the followers that hold a lease from here. The hub's lock
// guards it.
type registry struct {
	byKey map[string]*entry
	list  []*entry // the same, for walking
}

// entry is one process that follows.
type entry struct {
	key, name string
	at        int // its index in list
	// confirmed never falls: what is enforced there stays enforced.
	confirmed revocation.Epoch
	behind    int64
	// until is when the last lease that was granted has run out, margin included,
	// by this process's monotonic clock: that stops while the machine sleeps,
	// which makes a follower live too long rather than too short.
	until time.Time
}

func (q *Query) key() string { return q.FollowerName + "\x00" + q.Follower }

// hear takes down what a follower that holds a lease says of itself, and reports
// whether that changed anything.
func (r *registry) hear(q *Query, confirmed revocation.Epoch) bool {
	e := r.byKey[q.key()]
	if e == nil {
		return false
	}
	changed := confirmed > e.confirmed || q.Behind != e.behind
	e.confirmed = max(e.confirmed, confirmed)
	e.behind = q.Behind
	return changed
}

// enter makes a follower live until the instant given at least. It reports
// whether it was not before.
func (r *registry) enter(q *Query, confirmed revocation.Epoch, until time.Time) bool {
	e := r.byKey[q.key()]
	entered := e == nil
	if entered {
		e = &entry{key: q.key(), name: q.FollowerName, at: len(r.list)}
		if e.name == "" {
			e.name = q.Follower
		}
		if r.byKey == nil {
			r.byKey = map[string]*entry{}
		}
		r.byKey[e.key] = e
		r.list = append(r.list, e)
	}
	e.confirmed = max(e.confirmed, confirmed)
	e.behind = q.Behind
	if until.After(e.until) {
		e.until = until
	}
	return entered
}

// sweep forgets those whose leases have run out, and reports whether there were any.
func (r *registry) sweep(now time.Time) bool {
	swept := false
	for i := len(r.list) - 1; i >= 0; i-- {
		e := r.list[i]
		if now.Before(e.until) {
			continue
		}
		last := r.list[len(r.list)-1]
		r.list[e.at], last.at = last, e.at
		r.list[len(r.list)-1] = nil
		r.list = r.list[:len(r.list)-1]
		delete(r.byKey, e.key)
		swept = true
	}
	return swept
}

// forget makes all confirmations worthless: the store began another history.
func (r *registry) forget() {
	for _, e := range r.list {
		e.confirmed = 0
	}
}

// mostNamed is how many waiting followers are named at most.
const mostNamed = 20

// tally is what a registry says about one epoch.
type tally struct {
	followers int64            // live ones, with all behind them
	confirmed int64            // of these, how many have the epoch
	waiting   []string         // names of those that have not, at most mostNamed
	least     revocation.Epoch // the least that any live one has confirmed
	until     time.Time        // when the last lease has run out
}

// tally counts. high is the view's own epoch: nobody has confirmed more.
func (r *registry) tally(epoch, high revocation.Epoch, now time.Time) tally {
	t := tally{least: high}
	for _, e := range r.list {
		if !now.Before(e.until) {
			continue
		}
		t.followers += 1 + e.behind
		t.least = min(t.least, e.confirmed)
		if e.confirmed >= epoch {
			t.confirmed += 1 + e.behind
		} else if len(t.waiting) < mostNamed {
			t.waiting = append(t.waiting, e.name)
		}
		if e.until.After(t.until) {
			t.until = e.until
		}
	}
	return t
}
