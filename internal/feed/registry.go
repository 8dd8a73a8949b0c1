package feed

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
)

// registry holds the followers with a lease from this hub. The hub's lock guards
// it.
type registry struct {
	limits  limits
	byKey   map[string]*entry
	list    []*entry // the same entries, for iteration
	clients map[string]*usage
	swept   time.Time // when lapsed entries were last dropped for space
	view    revocation.Epoch
	// lapses are the last maxNamed followers whose leases ran out unconfirmed.
	lapses []store.LapsedFollower
}

// limits are the limits of one client.
type limits struct {
	followers int   // live followers
	behind    int64 // sum of the followers that they report behind them
	polls     int   // pending polls
}

// defaultLimits leave room for 10 000 followers of one client that are replaced
// by 10 000 new ones within a lease.
var defaultLimits = limits{followers: 20_000, behind: 1_000_000, polls: 20_000}

// maxReported is the maximum number of followers that an edge reports to its own
// server, so that a client of the edge that exaggerates cannot use up the limit of
// the edge's client.
const maxReported = 100_000

// usage is the use of the limits by one client.
type usage struct {
	followers int
	behind    int64
	polls     int
}

const (
	// overdueLease is granted to an overdue follower without a running lease. It is
	// just enough to apply the answer: the next poll confirms it and gets a full
	// lease. Followers treat an answer without a lease as an error.
	overdueLease = time.Millisecond
	// overduePause is the delay of the answer to such a follower, so that a
	// follower that never confirms does not poll in a busy loop.
	overduePause = 250 * time.Millisecond
	// rememberFor is how long a follower that has left without confirming stays
	// registered as overdue.
	rememberFor = 5 * time.Minute
	// maxGrants is the maximum number of unconfirmed leases stored for a follower.
	// Further ones are merged, and a merged one is due when its first was. An edge
	// whose followers are silent has as many unconfirmed leases as there are changes
	// in a lease: the fewer are stored, the earlier it is overdue.
	maxGrants = 8
)

// entry is one follower process.
type entry struct {
	key, client, name string
	at                int // its index in list
	// confirmed never decreases: a revocation that is enforced stays enforced.
	confirmed revocation.Epoch
	behind    int64
	// until is when the last granted lease has run out, margin included, by this
	// process's monotonic clock. That clock stops while the machine sleeps, so a
	// follower counts as live too long, never too short. end is the same without
	// the margin.
	until, end time.Time
	// settled is when the leases that came with confirmed epochs have run out;
	// unconfirmed are the others, by epoch.
	settled     time.Time
	unconfirmed []grant
	lapsed      bool // its leases have run out; only its state is kept
	recorded    bool // recordLapse has seen it
}

// grant is a lease that came with an unconfirmed epoch.
type grant struct {
	epoch, last revocation.Epoch // of the answer; last is higher where grants were merged
	until       time.Time        // when the lease has run out, margin included
	// due is the time by which the follower must have confirmed. A follower with
	// followers behind it has until dueBehind, because it may have to wait for the
	// end of their leases.
	due, dueBehind time.Time
}

func (q *Query) key() string { return q.Client + "\x00" + q.Follower }

// usageOf returns the modifiable usage of a client.
func (r *registry) usageOf(client string) *usage {
	u := r.clients[client]
	if u == nil {
		if r.clients == nil {
			r.clients = map[string]*usage{}
		}
		u = &usage{}
		r.clients[client] = u
	}
	return u
}

// release removes a client without any usage.
func (r *registry) release(client string, u *usage) {
	if *u == (usage{}) {
		delete(r.clients, client)
	}
}

// admit returns an error that wraps ErrLimited if the query would exceed a limit of
// its client.
func (r *registry) admit(q *Query, now time.Time) error {
	err := r.exceeded(q)
	if err != nil && now.Sub(r.swept) >= tidyEvery {
		r.swept = now
		r.sweep(now, 0) // remove entries without a running lease
		err = r.exceeded(q)
	}
	return err
}

func (r *registry) exceeded(q *Query) error {
	var u usage
	if known := r.clients[q.Client]; known != nil {
		u = *known
	}
	e := r.byKey[q.key()]
	if e != nil {
		u.behind -= e.behind
	}
	switch {
	case q.Behind > r.limits.behind-u.behind:
		return fmt.Errorf("%w: behind=%d, and the other followers of client %q already report %d; the limit is %d for each client", ErrLimited, q.Behind, q.Client, u.behind, r.limits.behind)
	case q.Follower != "" && e == nil && u.followers >= r.limits.followers:
		return fmt.Errorf("%w: client %q has %d live followers, which is the limit; try again when their leases have ended, or create another client", ErrLimited, q.Client, u.followers)
	}
	return nil
}

// recordAck stores the acknowledgement of a follower with a lease, and reports
// whether it changed anything.
func (r *registry) recordAck(q *Query, confirmed revocation.Epoch) bool {
	e := r.byKey[q.key()]
	if e == nil {
		return false
	}
	changed := q.Behind != e.behind
	r.usageOf(e.client).behind += q.Behind - e.behind
	e.behind = q.Behind
	return e.confirm(confirmed) || changed
}

// confirm raises the confirmed epoch of the follower, and reports whether it rose.
func (e *entry) confirm(epoch revocation.Epoch) bool {
	if epoch <= e.confirmed {
		return false
	}
	e.confirmed = epoch
	n := 0
	for ; n < len(e.unconfirmed) && e.unconfirmed[n].last <= epoch; n++ {
		e.settled = later(e.settled, e.unconfirmed[n].until)
	}
	e.unconfirmed = append(e.unconfirmed[:0], e.unconfirmed[n:]...)
	if len(e.unconfirmed) > 0 {
		first := &e.unconfirmed[0]
		first.epoch = max(first.epoch, epoch)
	}
	return true
}

// overdue reports whether the follower should have confirmed something by now.
func (e *entry) overdue(now time.Time) bool {
	if e == nil || len(e.unconfirmed) == 0 {
		return false
	}
	if e.behind > 0 {
		return !now.Before(e.unconfirmed[0].dueBehind)
	}
	return !now.Before(e.unconfirmed[0].due)
}

// lease returns the lease that an answer may grant, where left is the maximum. An
// overdue follower gets only the rest of its earlier leases.
func (e *entry) lease(left time.Duration, now time.Time) time.Duration {
	if !e.overdue(now) {
		return left
	}
	return max(overdueLease, min(left, e.end.Sub(now).Truncate(time.Millisecond)))
}

// enter makes a follower live for the lease and margin of an answer at epoch. It
// reports whether the follower was not live before.
func (r *registry) enter(q *Query, epoch, confirmed revocation.Epoch, now time.Time, lease, margin time.Duration) bool {
	e := r.byKey[q.key()]
	entered := e == nil || !now.Before(e.until)
	u := r.usageOf(q.Client)
	if e == nil {
		e = &entry{key: q.key(), client: q.Client, name: q.FollowerName, at: len(r.list)}
		if e.name == "" {
			e.name = q.Follower
		}
		if r.byKey == nil {
			r.byKey = map[string]*entry{}
		}
		r.byKey[e.key] = e
		r.list = append(r.list, e)
		u.followers++
	}
	u.behind += q.Behind - e.behind
	e.behind, e.lapsed, e.recorded = q.Behind, false, false
	e.confirm(confirmed)
	end, until := now.Add(lease), now.Add(lease+margin)
	e.end, e.until = later(e.end, end), later(e.until, until)
	if epoch <= e.confirmed {
		e.settled = later(e.settled, until)
		return entered
	}
	next := grant{
		epoch: epoch, last: epoch, until: until,
		due: now.Add(lease / 3), dueBehind: e.end.Add(2*margin + pollEvery),
	}
	if n := len(e.unconfirmed); n > 0 && e.unconfirmed[n-1].last == epoch {
		e.unconfirmed[n-1].merge(next, now)
		return entered
	}
	if e.unconfirmed = append(e.unconfirmed, next); len(e.unconfirmed) > maxGrants {
		e.mergeClosest(now)
	}
	return entered
}

// merge adds a later grant, to the follower's disadvantage.
func (g *grant) merge(next grant, now time.Time) {
	if !now.Before(g.until) {
		g.epoch = next.epoch // the earlier leases have run out
	}
	g.last, g.until = next.last, later(g.until, next.until)
}

// mergeClosest merges the two neighbours that were granted within the shortest time,
// so that each merged grant spans a small part of a lease.
func (e *entry) mergeClosest(now time.Time) {
	g, at := e.unconfirmed, 0
	for i := 1; i+1 < len(g); i++ {
		if g[i+1].due.Sub(g[i].due) < g[at+1].due.Sub(g[at].due) {
			at = i
		}
	}
	g[at].merge(g[at+1], now)
	e.unconfirmed = slices.Delete(g, at+1, at+2)
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// enforced returns the epoch up to which the follower enforces every revocation:
// the epoch that it has confirmed. Once all leases with confirmed epochs have run
// out, it is the lowest epoch of the leases that still run.
func (e *entry) enforced(now time.Time) revocation.Epoch {
	if now.Before(e.settled) {
		return e.confirmed
	}
	for i := range e.unconfirmed {
		if g := &e.unconfirmed[i]; now.Before(g.until) {
			return max(e.confirmed, g.epoch)
		}
	}
	return e.confirmed
}

// sweep removes followers whose leases have run out, and reports whether there were
// any. Followers with unconfirmed leases are kept for the time remember, so that
// they cannot get a full lease by coming again.
func (r *registry) sweep(now time.Time, remember time.Duration) bool {
	swept := false
	for _, e := range slices.Backward(r.list) {
		if now.Before(e.until) {
			continue
		}
		r.recordLapse(e)
		u := r.usageOf(e.client)
		u.behind -= e.behind
		swept = swept || !e.lapsed
		e.behind, e.lapsed = 0, true
		if len(e.unconfirmed) > 0 && now.Before(e.until.Add(remember)) {
			continue
		}
		last := r.list[len(r.list)-1]
		r.list[e.at], last.at = last, e.at
		r.list[len(r.list)-1] = nil
		r.list = r.list[:len(r.list)-1]
		delete(r.byKey, e.key)
		u.followers--
		r.release(e.client, u)
	}
	return swept
}

// moveTo sets the epoch of the view. Followers whose leases had run out before count
// as lapsed for the epoch before.
func (r *registry) moveTo(epoch revocation.Epoch, now time.Time) {
	if epoch == r.view {
		return
	}
	for _, e := range r.list {
		if !now.Before(e.until) {
			r.recordLapse(e)
		}
	}
	r.view = epoch
}

// recordLapse stores a follower whose leases have run out, if it has not confirmed the
// view.
func (r *registry) recordLapse(e *entry) {
	if e.recorded {
		return
	}
	e.recorded = true
	if e.confirmed >= r.view {
		return
	}
	r.lapses = append(r.lapses, store.LapsedFollower{
		Name: e.name, Validators: 1 + e.behind, Confirmed: e.confirmed, View: r.view, At: e.until.UnixMicro(),
	})
	if len(r.lapses) > maxNamed {
		r.lapses = slices.Delete(r.lapses, 0, len(r.lapses)-maxNamed)
	}
}

// forget voids all confirmations: the store began another history.
func (r *registry) forget() {
	r.lapses = nil
	for _, e := range r.list {
		e.confirmed, e.settled, e.unconfirmed = 0, e.until, nil
	}
}

// maxNamed is the maximum number of waiting followers that are named.
const maxNamed = 20

// counts is the state of a registry for one epoch.
type counts struct {
	followers int64            // live followers, with all behind them
	confirmed int64            // how many of these enforce the epoch
	waiting   []string         // names of those that do not, at most maxNamed
	enforced  revocation.Epoch // the epoch that all live followers enforce
	until     time.Time        // when the last lease has run out
	overdue   int64            // live followers that should have confirmed by now
	lapsed    []store.LapsedFollower
}

// count counts the followers. high is the view's own epoch: no follower enforces
// more.
func (r *registry) count(epoch, high revocation.Epoch, now time.Time) counts {
	t := counts{enforced: high}
	for _, e := range r.list {
		if !now.Before(e.until) {
			r.recordLapse(e)
			continue
		}
		enforced := e.enforced(now)
		t.followers += 1 + e.behind
		t.enforced = min(t.enforced, enforced)
		if enforced >= epoch {
			t.confirmed += 1 + e.behind
		} else if len(t.waiting) < maxNamed {
			t.waiting = append(t.waiting, e.name)
		}
		if e.overdue(now) {
			t.overdue++
		}
		t.until = later(t.until, e.until)
	}
	t.lapsed = slices.Clone(r.lapses)
	return t
}

// byClient returns the state of the live followers of each client. lag returns for how
// long an epoch has been out of date.
func (r *registry) byClient(now time.Time, lag func(revocation.Epoch, time.Time) time.Duration) []ClientState {
	states := map[string]*ClientState{}
	confirmed := map[string]revocation.Epoch{}
	for _, e := range r.list {
		if !now.Before(e.until) {
			continue
		}
		s, left, enforced := states[e.client], max(0, e.end.Sub(now)), e.enforced(now)
		if s == nil {
			s = &ClientState{Client: e.client, LeaseLeft: left}
			states[e.client], confirmed[e.client] = s, enforced
		}
		s.Followers++
		if e.overdue(now) {
			s.Overdue++
		}
		s.LeaseLeft, confirmed[e.client] = min(s.LeaseLeft, left), min(confirmed[e.client], enforced)
	}
	out := make([]ClientState, 0, len(states))
	for _, client := range slices.Sorted(maps.Keys(states)) {
		states[client].Lag = lag(confirmed[client], now)
		out = append(out, *states[client])
	}
	return out
}
