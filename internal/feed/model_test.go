// The model is one goroutine a run: the race detector would only make it slow.
//go:build !race

package feed

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
)

// A model of the protocol of the contract, section 6, with everything that can go
// wrong on the way: messages that are late or lost, processes that die and come
// again, clocks that run at different speeds, a store that is restored from a
// backup. It shares no code with the implementation, so that a mistake is not made
// twice. Time is in ticks.
//
// What must hold: once a receipt has said that a revocation holds everywhere, no
// process accepts the revoked session. See [sim.check].

// clauses are switches that break one clause of the protocol each.
type clauses struct {
	splitEpoch        bool // a page may end within an epoch
	leaseWithMore     bool // an answer with more grants a lease
	confirmMore       bool // a page with more is confirmed
	leaseFromAnswer   bool // a lease runs from the answer, not from the request
	enterLate         bool // a follower is entered after its answer was built
	grantAll          bool // a lease is granted whole, whatever the grantor has left
	leaseFromBeatEnd  bool // a node's lease runs from the end of the beat
	readBeforeEntry   bool // a node reads before it writes its row
	clockAfterRows    bool // the clock is read after the rows
	upperBound        bool // rows above the clock are left out
	serveApplied      bool // a server's pages have what it committed, before what came earlier
	trustOwnCommit    bool // a node's own commit counts before its view has it
	numberFirst       bool // an epoch is taken before the commit
	edgeSpeaksForSelf bool // an edge confirms what it enforces itself
	oldName           bool // a process that comes again bears its old name
	noMargin          bool // leases of others end without a margin
	freshReaderKnows  bool // a reader counts a row as dead that it has not watched
	lapsedIsConfirmed bool // a node that says its lease is over is not waited for
	nodesFirst        bool // the nodes are read before the commit
	aboveClock        bool // a confirmation above the clock counts
	noStartOver       bool // a position above the clock is answered as any other
	oldConfirmations  bool // who starts over keeps what followers confirmed before
	lateLookUp        bool // a look-up's answer is taken whatever came meanwhile
	lastWins          bool // the last value is kept, not the highest
	newestLease       bool // a follower counts as what it was given last, whatever lease from before still runs
	confirmedEndsAll  bool // a confirmation ends the leases that came with what it confirms
}

const (
	users     = 4
	fullLease = 1000
	slack     = 120 // the margin: clocks differ by up to 8 % here
	horizon   = 5000
)

type epochs [users]int

// sim is one run.
type sim struct {
	broken clauses
	rng    *rand.Rand
	now    int
	events queue
	store  modelStore
	procs  []*proc
	next   int // numbers processes

	// declared is, for each user, the epoch of the last revocation that was said
	// to hold everywhere.
	declared  epochs
	confirmed int // receipts that closed by confirmation
	bounded   int // receipts that closed by the bound
	overdue   int // answers to followers that did not confirm in time
	despite   int // receipts that closed by confirmation though a follower never confirms
	mute      bool
	quiet     int // nothing is revoked before: see scheduleRestore
	violation string
}

type event struct {
	at, order int
	do        func()
}

// queue is a binary heap by time, then by order of arrival.
type queue struct {
	list  []event
	count int
}

func (q *queue) less(i, j int) bool {
	a, b := &q.list[i], &q.list[j]
	return a.at < b.at || a.at == b.at && a.order < b.order
}

func (q *queue) push(at int, do func()) {
	q.count++
	q.list = append(q.list, event{at, q.count, do})
	for i := len(q.list) - 1; i > 0 && q.less(i, (i-1)/2); i = (i - 1) / 2 {
		q.list[i], q.list[(i-1)/2] = q.list[(i-1)/2], q.list[i]
	}
}

func (q *queue) pop() event {
	first := q.list[0]
	last := len(q.list) - 1
	q.list[0] = q.list[last]
	q.list[last] = event{}
	q.list = q.list[:last]
	for i := 0; ; {
		child := 2*i + 1
		if child >= last {
			return first
		}
		if child+1 < last && q.less(child+1, child) {
			child++
		}
		if !q.less(child, i) {
			return first
		}
		q.list[i], q.list[child] = q.list[child], q.list[i]
		i = child
	}
}

func (s *sim) after(ticks int, do func()) { s.events.push(s.now+max(1, ticks), do) }

// message carries something over the network: soon as a rule, sometimes so late
// that leases have run out meanwhile, sometimes never.
func (s *sim) message(do func()) {
	switch s.rng.IntN(100) {
	case 0, 1, 2:
	case 3, 4, 5:
		s.after(s.rng.IntN(2*fullLease), do)
	case 6, 7, 8, 9, 10, 11:
		s.after(s.rng.IntN(fullLease/4), do)
	default:
		s.after(s.rng.IntN(15), do)
	}
}

func (s *sim) run() {
	for len(s.events.list) > 0 && s.violation == "" {
		e := s.events.pop()
		if e.at > horizon {
			return
		}
		s.now = e.at
		e.do()
	}
}

// check is the invariant, for one process: a process that trusts its view knows
// everything that was declared to hold everywhere.
func (s *sim) check(p *proc) {
	if !p.trusted() {
		return
	}
	for u := range users {
		if known, held := p.knows(u); held && known < s.declared[u] {
			s.violation = fmt.Sprintf("at %d, %s accepts sessions of user %d from before %d, knowing %d; its view is at %d",
				s.now, p.name, u, s.declared[u], known, p.view)
		}
	}
}

func (s *sim) declare(epoch int, revoked []int) {
	for _, u := range revoked {
		s.declared[u] = max(s.declared[u], epoch)
	}
	for _, p := range s.procs {
		s.check(p)
		p.validateAll()
	}
}

// modelStore is the database: each method is one statement.
type modelStore struct {
	clock   int
	revoked epochs
	rows    map[int]modelRow
	backup  *modelStore
	// numbered is the last epoch taken, when it is taken before the commit.
	numbered int
}

type modelRow struct {
	id, beat, lease, confirmed, view int
	lapsed                           bool
}

func (m *modelStore) copied() *modelStore {
	c := *m
	c.rows = map[int]modelRow{}
	maps.Copy(c.rows, m.rows)
	c.backup = nil
	return &c
}

func (m *modelStore) nodes() []modelRow {
	rows := make([]modelRow, 0, len(m.rows))
	for _, r := range m.rows {
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(a, b modelRow) int { return a.id - b.id })
	return rows
}

// entry of the log: one user's last revocation.
type change struct{ user, epoch int }

// page returns what lies above after, ascending, about limit of it.
func page(of *epochs, after, limit int, split bool) (changes []change, more bool) {
	for u, e := range of {
		if e > after {
			changes = append(changes, change{u, e})
		}
	}
	slices.SortFunc(changes, func(a, b change) int { return (a.epoch-b.epoch)*users + a.user - b.user })
	if len(changes) <= limit {
		return changes, false
	}
	end := limit
	for !split && end < len(changes) && changes[end].epoch == changes[end-1].epoch {
		end++
	}
	return changes[:end], end < len(changes)
}
