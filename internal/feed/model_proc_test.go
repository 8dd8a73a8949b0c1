// The model is one goroutine a run: the race detector would only make it slow.
//go:build !race

package feed

import (
	"fmt"
	"slices"
)

// proc is a process: a node (has the store), a follower (asks servers), or an
// edge (asks servers, and is one).
type proc struct {
	*sim
	id      int
	name    string // for people, and for the clause oldName
	node    bool
	serves  bool
	dead    bool
	percent int // how fast its clock runs: 96 to 104

	// A node that is cut off sends nothing to the store; what was on its way to it
	// arrives so much later.
	cut bool
	lag int

	view    int
	history int
	known   epochs
	until   int // its own clock: when the lease is over
	length  int // of the leases that it grants, if it is a node

	// A node.
	beat int

	// A server. log is what it has read to the end, for others; it knows more as
	// soon as it has committed something itself, or has read a page of it.
	log       epochs
	followers map[string]*modelEntry
	held      []*request

	// A follower.
	servers []*proc
	at      int
	mute    bool // it never confirms
	slow    bool // it confirms what it had one answer earlier
	was     int
	asking  int // numbers its questions; an overtaken question is not waited for

	// A follower whose cache is partial: it holds few users and asks for others.
	partial bool
	holds   []int // users, the least recent first
	forgot  int
	high    int
	flights map[int]*flightModel
}

type flightModel struct{ detached bool }

type modelEntry struct {
	confirmed, until, end int
	behind                bool
	settled               int // when the leases that came with confirmed epochs are over
	grants                []modelGrant
}

// modelGrant is a lease that came with an epoch which is not confirmed.
type modelGrant struct{ epoch, until, due, dueBehind int }

func (e *modelEntry) confirm(epoch int, broken *clauses) {
	e.confirmed = max(e.confirmed, epoch)
	kept := e.grants[:0]
	for _, g := range e.grants {
		switch {
		case g.epoch > e.confirmed:
			kept = append(kept, g)
		case !broken.confirmedEndsAll:
			e.settled = max(e.settled, g.until)
		}
	}
	e.grants = kept
}

func (e *modelEntry) overdue(now int) bool {
	if len(e.grants) == 0 {
		return false
	}
	if e.behind {
		return now >= e.grants[0].dueBehind
	}
	return now >= e.grants[0].due
}

// enforced is up to where nothing that was revoked is accepted there.
func (e *modelEntry) enforced(now int, broken *clauses) int {
	if broken.newestLease && len(e.grants) > 0 {
		return e.grants[len(e.grants)-1].epoch
	}
	if now < e.settled {
		return e.confirmed
	}
	least := 1 << 60
	for _, g := range e.grants {
		if now < g.until {
			least = min(least, g.epoch)
		}
	}
	if least == 1<<60 {
		return e.confirmed
	}
	return max(e.confirmed, least)
}

type request struct {
	key              string
	after, confirmed int
	behind           bool
	fresh            bool
	arrived          int // by the server's clock
	reply            func(reply)
}

type reply struct {
	err, startOver bool
	epoch          int
	more           bool
	changes        []change
	held, lease    int
}

func (s *sim) newProc(kind string, servers []*proc) *proc {
	s.next++
	p := &proc{sim: s, id: s.next, name: fmt.Sprintf("%s %d", kind, s.next), percent: 96 + s.rng.IntN(9),
		servers: servers, followers: map[string]*modelEntry{}, flights: map[int]*flightModel{}}
	s.procs = append(s.procs, p)
	return p
}

// clock is the process's own.
func (p *proc) clock() int { return p.now * p.percent / 100 }

// later does something after some ticks of the process's own clock, if it lives.
func (p *proc) later(ticks int, do func()) {
	p.after(ticks*100/p.percent, func() {
		if !p.dead {
			do()
		}
	})
}

func (p *proc) trusted() bool { return !p.dead && p.clock() < p.until }

// knows returns what it knows of a user without asking.
func (p *proc) knows(u int) (epoch int, held bool) {
	if !p.partial {
		return p.known[u], true
	}
	if slices.Contains(p.holds, u) {
		return p.known[u], true
	}
	return 0, false
}

// apply merges a revocation into the known state.
func (p *proc) apply(c change) {
	p.high = max(p.high, c.epoch)
	if f := p.flights[c.user]; f != nil && !p.broken.lateLookUp {
		f.detached = true
		delete(p.flights, c.user)
	}
	epoch, held := p.knows(c.user)
	if p.partial && !held {
		if c.epoch <= p.forgot {
			return // a higher one may be what was forgotten
		}
		p.insert(c.user, c.epoch)
		return
	}
	if c.epoch > epoch || p.broken.lastWins {
		p.known[c.user] = c.epoch
	}
}

const partialRoom = 2

func (p *proc) insert(u, epoch int) {
	p.holds = append(p.holds, u)
	p.known[u] = epoch
	if len(p.holds) > partialRoom {
		p.forgot = max(p.forgot, p.known[p.holds[0]])
		p.holds = p.holds[1:]
	}
}

// A node.

func (s *sim) startNode() *proc {
	p := s.newProc("node", nil)
	p.node, p.serves = true, true
	p.length = fullLease - s.rng.IntN(2)*fullLease/3
	if p.broken.readBeforeEntry {
		p.read(func() { p.entered() })
	} else {
		p.entered()
	}
	return p
}

func (p *proc) entered() {
	p.beats()
	p.polls()
}

// least is what the process and all its live followers have.
func (p *proc) least() int { return p.leastOf(p.view) }

func (p *proc) leastOf(least int) int {
	for _, e := range p.followers {
		if p.clock() < e.until {
			least = min(least, e.enforced(p.clock(), &p.broken))
		}
	}
	return least
}

func (p *proc) row() modelRow {
	p.beat++
	return modelRow{id: p.id, beat: p.beat, lease: p.length, confirmed: p.least(), view: p.view, lapsed: !p.trusted()}
}

// beats writes the row, reads, and lets the lease run from when that began.
func (p *proc) beats() {
	began := p.clock()
	row := p.row()
	p.toStore(func() {
		p.store.rows[row.id] = row
		p.message(func() { // back
			if p.dead || p.clock() > began+p.length {
				return // it has given up on this one
			}
			give := func() {
				if p.broken.leaseFromBeatEnd {
					began = p.clock()
				}
				p.until = max(p.until, began+p.length)
				p.check(p)
			}
			if p.broken.readBeforeEntry {
				give()
			} else {
				p.read(give)
			}
		})
	})
	p.later(p.length/4, p.beats)
}

func (p *proc) toStore(do func()) {
	if !p.cut {
		p.message(do)
	}
}

func (p *proc) back(do func()) {
	if p.lag == 0 {
		p.message(do)
	} else {
		p.after(p.lag, do)
	}
}

func (p *proc) polls() {
	p.read(nil)
	p.later(fullLease/10, p.polls)
}

// wake is a notification: it may be late or lost.
func (p *proc) wake() {
	p.message(func() {
		if !p.dead {
			p.read(nil)
			p.message(func() { p.tell() })
		}
	})
}

// tell writes the row because another process may be waiting for it.
func (p *proc) tell() {
	if p.dead {
		return
	}
	row := p.row()
	p.toStore(func() { p.store.rows[row.id] = row })
}

// read reads the changes, page by page, and then publishes the view.
func (p *proc) read(done func()) {
	p.readFrom(p.view, nil, done)
}

func (p *proc) readFrom(after int, read []change, done func()) {
	p.toStore(func() {
		clock := p.store.clock
		changes, more := page(&p.store.revoked, after, 2, p.broken.splitEpoch)
		p.after(p.rng.IntN(10), func() { // the second statement
			if p.broken.clockAfterRows {
				clock = p.store.clock
			} else {
				changes, more = page(&p.store.revoked, after, 2, p.broken.splitEpoch)
			}
			p.back(func() {
				if p.dead {
					return
				}
				read = append(read, changes...)
				for _, c := range changes {
					p.apply(c)
				}
				if more {
					p.readFrom(changes[len(changes)-1].epoch, read, done)
					return
				}
				p.view = max(p.view, clock)
				p.keep(read)
				p.check(p)
				if done != nil {
					done()
				}
				p.publish()
			})
		})
	})
}

// A server.

// keep takes what a complete reading brought into the log.
func (p *proc) keep(read []change) {
	for _, c := range read {
		if c.epoch <= p.view || !p.broken.upperBound {
			p.log[c.user] = max(p.log[c.user], c.epoch)
		}
	}
}

// publish answers all that wait for something newer.
func (p *proc) publish() {
	held := p.held
	p.held = nil
	for _, r := range held {
		p.answer(r, false)
	}
}

// serve takes a question.
func (p *proc) serve(r *request) {
	if p.dead {
		return
	}
	r.arrived = p.clock()
	if r.confirmed > p.view && !p.broken.aboveClock {
		r.confirmed = 0
	}
	if e := p.followers[r.key]; e != nil {
		e.confirm(r.confirmed, &p.broken)
		e.behind = r.behind
	}
	switch {
	case r.after > p.view && !p.broken.noStartOver:
		p.ahead(r)
	case r.fresh:
		p.catchUp(func() { p.answer(r, true) })
	default:
		p.answer(r, false)
	}
}

// ahead deals with a position that the view has not reached: the store decides
// who lags.
func (p *proc) ahead(r *request) {
	p.catchUp(func() {
		p.answer(r, true)
	})
}

func (p *proc) catchUp(done func()) {
	if p.node {
		p.read(done)
		return
	}
	p.ask(true, done)
}

func (p *proc) answer(r *request, must bool) {
	if p.dead {
		return
	}
	left := p.until - p.clock()
	if p.node {
		left = min(left, p.length)
	}
	if left <= 0 {
		p.message(func() { r.reply(reply{err: true}) })
		return
	}
	if p.broken.grantAll {
		left = fullLease
	}
	if r.after > p.view && !p.broken.noStartOver { // it started over while it held the question
		p.message(func() { r.reply(reply{startOver: true}) })
		return
	}
	if r.after >= p.view && !must {
		p.held = append(p.held, r)
		p.later(left/3, func() { p.release(r) })
		return
	}
	a := reply{epoch: p.view}
	log := &p.log
	if p.broken.serveApplied {
		log = &p.known
	}
	a.changes, a.more = page(log, r.after, 2, p.broken.splitEpoch)
	if a.more {
		a.epoch = a.changes[len(a.changes)-1].epoch
	}
	if !a.more || p.broken.leaseWithMore {
		a.held, a.lease = p.clock()-r.arrived, left
		margin := slack
		if p.broken.noMargin {
			margin = 0
		}
		if e := p.followers[r.key]; e != nil && e.overdue(p.clock()) {
			a.lease = min(left, max(1, e.end-p.clock()))
			margin = min(margin, a.lease)
			p.overdue++
		}
		granted := p.clock()
		if p.broken.enterLate {
			p.later(20, func() { p.enter(r, a.epoch, granted, a.lease, margin) })
		} else {
			p.enter(r, a.epoch, granted, a.lease, margin)
		}
	}
	p.message(func() { r.reply(a) })
}

func (p *proc) release(r *request) {
	for i, h := range p.held {
		if h == r {
			p.held = append(p.held[:i], p.held[i+1:]...)
			p.answer(r, true)
			return
		}
	}
}

func (p *proc) enter(r *request, epoch, at, lease, margin int) {
	e := p.followers[r.key]
	if e == nil {
		e = &modelEntry{}
		p.followers[r.key] = e
	}
	e.confirm(r.confirmed, &p.broken)
	e.behind = r.behind
	until := at + lease + margin
	e.until, e.end = max(e.until, until), max(e.end, at+lease)
	if epoch <= e.confirmed {
		if !p.broken.confirmedEndsAll {
			e.settled = max(e.settled, until)
		}
		return
	}
	e.grants = append(e.grants, modelGrant{epoch: epoch, until: until, due: at + lease/3, dueBehind: e.end + 2*slack})
}

// A follower.

func (s *sim) startFollower(kind string, servers []*proc) *proc {
	p := s.newProc(kind, servers)
	p.at = s.rng.IntN(len(servers))
	p.serves = kind == "edge"
	p.partial = !p.serves && s.rng.IntN(3) == 0
	p.follows()
	if p.serves {
		p.reports()
	}
	return p
}

func (p *proc) key() string {
	if p.broken.oldName {
		return p.name
	}
	return fmt.Sprint(p.id)
}

// follows asks one question after the other.
func (p *proc) follows() {
	p.asking++
	asking := p.asking
	again := func(pause int) {
		if asking == p.asking {
			p.later(pause, p.follows)
		}
	}
	p.send(p.servers[p.at], p.view, nil, false, func(ok bool) {
		if ok {
			if p.mute || p.slow {
				again(30)
			} else {
				again(1)
			}
			return
		}
		p.at = (p.at + 1) % len(p.servers)
		again(20)
	})
	p.later(fullLease/2, func() { // it has gone silent
		if asking == p.asking {
			p.at = (p.at + 1) % len(p.servers)
			p.follows()
		}
	})
}

// ask catches up, if an answer comes.
func (p *proc) ask(fresh bool, done func()) {
	p.send(p.servers[p.rng.IntN(len(p.servers))], p.view, nil, fresh, func(ok bool) {
		if ok && done != nil {
			done()
		}
	})
}

// reports confirms upstream what followers have confirmed meanwhile.
func (p *proc) reports() {
	if len(p.followers) > 0 {
		p.ask(true, nil)
	}
	p.later(30+p.rng.IntN(100), p.reports)
}

// send asks from a position; what comes after more is asked of the same server,
// or else from the beginning: rows that moved on must come from one history.
func (p *proc) send(to *proc, position int, read []change, fresh bool, done func(ok bool)) {
	sent, history := p.clock(), p.history
	r := &request{key: p.key(), after: position, confirmed: p.view, fresh: fresh}
	if p.serves && !p.broken.edgeSpeaksForSelf {
		r.confirmed = p.least()
	}
	for _, e := range p.followers {
		r.behind = r.behind || p.clock() < e.until
	}
	switch {
	case p.mute:
		r.confirmed = 0
	case p.slow:
		r.confirmed, p.was = min(r.confirmed, p.was), r.confirmed
	}
	r.reply = func(a reply) {
		if p.dead {
			return
		}
		switch {
		case a.err:
			done(false)
		case a.startOver:
			if history == p.history {
				p.startOver()
			}
			done(false)
		default:
			read = append(read, a.changes...)
			p.take(a, read, sent, history, func() { p.send(to, a.epoch, read, fresh, done) }, func() { done(true) })
		}
	}
	p.message(func() { to.serve(r) })
}

// startOver forgets what was said in another history, but not what was revoked.
func (p *proc) startOver() {
	p.history++
	p.view, p.until, p.was, p.log = 0, 0, 0, epochs{}
	for _, e := range p.followers {
		if !p.broken.oldConfirmations {
			e.confirmed, e.settled, e.grants = 0, e.until, nil
		}
	}
}

func (p *proc) take(a reply, read []change, sent, history int, next, done func()) {
	for _, c := range a.changes {
		p.apply(c)
	}
	if history != p.history {
		done()
		return
	}
	if p.broken.leaseFromAnswer {
		sent = p.clock()
	}
	if a.more {
		if p.broken.confirmMore {
			p.view = max(p.view, a.epoch)
		}
		if p.broken.leaseWithMore {
			p.until = max(p.until, sent+a.lease)
		}
		p.check(p)
		next()
		return
	}
	p.view = max(p.view, a.epoch)
	p.keep(read)
	p.until = max(p.until, sent+min(a.held, p.clock()-sent)+a.lease)
	p.check(p)
	p.publish()
	done()
}

// validateAll checks an old session of every user, asking where the cache has
// forgotten.
func (p *proc) validateAll() {
	if !p.partial {
		return
	}
	for u := range users {
		p.validate(u)
	}
}

func (p *proc) validate(u int) {
	declared := p.declared[u] // by the time the check is made
	if _, held := p.knows(u); held || !p.trusted() || p.flights[u] != nil {
		return
	}
	f := &flightModel{}
	p.flights[u] = f
	p.lookUp(u, func(epoch, asOf int) {
		if p.flights[u] == f {
			delete(p.flights, u)
		}
		stale := f.detached || asOf < p.high
		if p.dead || stale && !p.broken.lateLookUp || !p.trusted() {
			return // no answer: unavailable
		}
		if known, held := p.knows(u); held {
			epoch = max(epoch, known)
			p.known[u] = epoch
		} else {
			p.insert(u, epoch)
		}
		if epoch < min(declared, p.declared[u]) { // less, if a backup has forgotten it meanwhile
			p.violation = fmt.Sprintf("at %d, %s accepts sessions of user %d from before %d: a look-up said %d as of %d", p.now, p.name, u, declared, epoch, asOf)
		}
		p.check(p)
	})
}

// lookUp asks a server, which asks the store: the clock, then the row.
func (p *proc) lookUp(u int, done func(epoch, asOf int)) {
	history := p.history
	p.message(func() {
		asOf := p.store.clock
		p.after(p.rng.IntN(10), func() {
			epoch := p.store.revoked[u]
			p.message(func() {
				if history == p.history {
					done(epoch, asOf)
				}
			})
		})
	})
}
