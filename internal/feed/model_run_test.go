// The model is one goroutine a run: the race detector would only make it slow. So
// `make test` runs it by itself, without.
//go:build !race

package feed

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// simulate runs one world, made from the seed.
func simulate(seed uint64, broken clauses) *sim {
	s := &sim{broken: broken, rng: rand.New(rand.NewPCG(seed, 1)), store: modelStore{clock: 1, rows: map[int]modelRow{}}}
	var nodes, edges []*proc
	for range 1 + s.rng.IntN(3) {
		nodes = append(nodes, s.startNode())
	}
	for range s.rng.IntN(3) {
		edges = append(edges, s.startFollower("edge", nodes))
	}
	servers := append(append([]*proc(nil), nodes...), edges...)
	for range 1 + s.rng.IntN(3) {
		s.startFollower("follower", servers)
	}
	if len(edges) > 0 {
		s.startFollower("follower", edges[:1])
	}
	switch s.rng.IntN(4) {
	case 0:
		s.startFollower("follower", servers).mute = true
		s.mute = true
	case 1:
		s.startFollower("follower", servers).slow = true
	}
	s.scheduleRevocations(nodes)
	s.scheduleDeaths(nodes, edges, servers)
	if len(nodes) > 1 && s.rng.IntN(3) == 0 {
		s.scheduleCut(nodes)
	}
	if s.rng.IntN(5) == 0 {
		s.scheduleRestore(nodes)
	}
	s.run()
	return s
}

func (s *sim) scheduleRevocations(nodes []*proc) {
	for i := range 2 + s.rng.IntN(4) {
		at := s.rng.IntN(horizon - fullLease)
		if i == 0 {
			at = 1 + s.rng.IntN(60) // while all processes start
		}
		burst := 1
		if s.rng.IntN(3) == 0 {
			burst = 3 + s.rng.IntN(5)
		}
		for range burst {
			at += s.rng.IntN(12)
			s.after(at, func() { s.revokeAt(s.alive(nodes)) })
		}
	}
}

// alive returns one of the nodes that live, or nil.
func (s *sim) alive(nodes []*proc) *proc {
	first := s.rng.IntN(len(nodes))
	for i := range nodes {
		if n := nodes[(first+i)%len(nodes)]; !n.dead {
			return n
		}
	}
	return nil
}

// scheduleDeaths kills processes and starts others in their place. What asks a
// server asks its successor: the slices are shared.
func (s *sim) scheduleDeaths(nodes, edges, servers []*proc) {
	replace := func(list []*proc, old, successor *proc) {
		for i, p := range list {
			if p == old {
				list[i] = successor
			}
		}
	}
	for range s.rng.IntN(4) {
		s.after(s.rng.IntN(horizon), func() {
			n := nodes[s.rng.IntN(len(nodes))]
			n.dead = true
			successor := s.startNode()
			replace(nodes, n, successor)
			replace(servers, n, successor)
		})
	}
	if len(edges) == 0 {
		return
	}
	for range s.rng.IntN(3) {
		s.after(s.rng.IntN(horizon), func() {
			e := edges[s.rng.IntN(len(edges))]
			e.dead = true
			successor := s.startFollower("edge", nodes)
			successor.name = e.name
			replace(servers, e, successor)
			replace(edges, e, successor)
		})
	}
}

// scheduleCut cuts a node off from the store, and has another revoke something.
func (s *sim) scheduleCut(nodes []*proc) {
	s.after(200+s.rng.IntN(horizon-2*fullLease), func() {
		n := nodes[0]
		n.cut, n.lag = true, s.rng.IntN(fullLease/2)
		s.after(fullLease+s.rng.IntN(fullLease), func() { n.cut, n.lag = false, 0 })
		s.after(s.rng.IntN(20), func() { s.revokeAt(s.alive(nodes[1:])) })
	})
}

// scheduleRestore puts a backup in place of the store while no node runs, by other
// means than `curfew restore`. Nothing is revoked until the leases from before are
// over: the backup does not know the nodes that granted them. And the clock does
// not get as far as it was (it had leapt, as hybrid clocks do): once it has, the
// two histories cannot be told apart, which is why `curfew restore` advances it and
// revokes everyone.
func (s *sim) scheduleRestore(nodes []*proc) {
	taken := 500 + s.rng.IntN(1500)
	restored := taken + 200 + s.rng.IntN(1000)
	s.after(taken, func() {
		s.store.backup = s.store.copied()
		s.store.clock += 1000
	})
	s.after(restored, func() {
		for _, n := range nodes {
			n.dead = true
		}
		s.store = *s.store.backup
		s.store.rows = map[int]modelRow{}
		s.store.clock++ // a server starts
		for u := range users {
			s.declared[u] = min(s.declared[u], s.store.revoked[u])
		}
		s.quiet = restored + fullLease + 2*slack
		for i := range nodes {
			dead := nodes[i]
			nodes[i] = s.startNode()
			for _, p := range s.procs {
				for j, server := range p.servers {
					if server == dead {
						p.servers[j] = nodes[i]
					}
				}
			}
		}
	})
}

// revokeAt revokes one or two users in one transaction, at a node, and asks for
// a receipt.
func (s *sim) revokeAt(n *proc) {
	if n == nil || s.now < s.quiet {
		return
	}
	revoked := []int{s.rng.IntN(users)}
	if u := s.rng.IntN(users); u != revoked[0] && s.rng.IntN(2) == 0 {
		revoked = append(revoked, u)
	}
	watch := n.watcher()
	if s.broken.nodesFirst {
		watch.see(s.store.nodes())
	}
	commit := func(epoch int) {
		s.store.clock = max(s.store.clock, epoch)
		for _, u := range revoked {
			s.store.revoked[u] = max(s.store.revoked[u], epoch)
		}
		for _, p := range s.procs {
			if p.node {
				p.wake()
			}
		}
		s.message(func() { // the commit returns
			if n.dead {
				return
			}
			for _, u := range revoked {
				n.apply(change{u, epoch})
			}
			n.enforce(watch, epoch, revoked, n.clock())
		})
	}
	s.message(func() {
		if !s.broken.numberFirst {
			commit(s.store.clock + 1)
			return
		}
		s.store.numbered = max(s.store.numbered, s.store.clock) + 1
		epoch := s.store.numbered
		s.after(s.rng.IntN(30), func() { commit(epoch) })
	})
}

// watcher is what a node knows of the others' rows.
type watcher struct {
	n    *proc
	rows map[int]modelRow
	at   map[int]int // when a row was last seen to move, by the node's clock
	read int
	own  int // the node's own row does not count
}

func (p *proc) watcher() *watcher {
	return &watcher{n: p, rows: map[int]modelRow{}, at: map[int]int{}, own: p.id}
}

func (w *watcher) see(rows []modelRow) {
	was := w.rows
	w.rows = map[int]modelRow{}
	for _, r := range rows {
		if old, seen := was[r.id]; !seen || old.beat != r.beat {
			w.at[r.id] = w.n.clock()
			if !seen && w.n.broken.freshReaderKnows {
				w.at[r.id] = w.n.clock() - r.lease
			}
		}
		w.rows[r.id] = r
	}
	w.read++
}

// enforce watches until every process has the epoch, or cannot accept any more.
func (p *proc) enforce(w *watcher, epoch int, revoked []int, committed int) {
	p.message(func() {
		rows := p.store.nodes()
		p.message(func() {
			if p.dead || p.now < p.quiet {
				return
			}
			if !p.broken.nodesFirst || w.read == 0 {
				w.see(rows)
			} else {
				for _, r := range rows { // no node that has entered since is looked at
					if _, known := w.rows[r.id]; !known {
						continue
					}
					if w.rows[r.id].beat != r.beat {
						w.at[r.id] = p.clock()
					}
					w.rows[r.id] = r
				}
			}
			margin := slack
			if p.broken.noMargin {
				margin = 0
			}
			everywhere := p.least() >= epoch
			if p.broken.trustOwnCommit {
				everywhere = p.leastOf(epoch) >= epoch
			}
			for id, r := range w.rows {
				if id == w.own {
					continue
				}
				gone := p.clock()-w.at[id] > r.lease+margin || p.broken.lapsedIsConfirmed && r.lapsed
				everywhere = everywhere && (r.confirmed >= epoch || gone)
			}
			switch {
			case everywhere:
				p.confirmedReceipts()
				p.declare(epoch, revoked)
			case p.clock() > committed+fullLease+margin:
				p.bounded++
				p.declare(epoch, revoked)
			default:
				p.later(15, func() { p.enforce(w, epoch, revoked, committed) })
			}
		})
	})
}

func (p *proc) confirmedReceipts() {
	p.sim.confirmed++
	if p.sim.mute {
		p.despite++
	}
}

// many runs a number of seeds on all processors; stop ends it early.
func many(runs uint64, broken clauses, stop func(seed uint64, s *sim) bool) {
	var next atomic.Uint64
	var done atomic.Bool
	var running sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		running.Go(func() {
			for !done.Load() {
				seed := next.Add(1)
				if seed > runs {
					return
				}
				if stop(seed, simulate(seed, broken)) {
					done.Store(true)
				}
			}
		})
	}
	running.Wait()
}

const runs = 10_000

func TestModelHolds(t *testing.T) {
	var confirmed, bounded, overdue, despite atomic.Int64
	many(runs, clauses{}, func(seed uint64, s *sim) bool {
		confirmed.Add(int64(s.confirmed))
		bounded.Add(int64(s.bounded))
		overdue.Add(int64(s.overdue))
		despite.Add(int64(s.despite))
		if s.violation != "" {
			t.Errorf("seed %d: %s", seed, s.violation)
		}
		return s.violation != ""
	})
	t.Logf("%d runs: %d receipts closed by confirmation, %d by the bound; with a follower that never confirms %d by confirmation; %d answers to followers that were overdue",
		runs, confirmed.Load(), bounded.Load(), despite.Load(), overdue.Load())
	if overdue.Load() < runs || despite.Load() < runs/20 {
		t.Errorf("followers that do not confirm have shown nothing: %d were overdue, %d receipts closed despite them", overdue.Load(), despite.Load())
	}
	if confirmed.Load() < runs || bounded.Load() < runs/20 {
		t.Errorf("too few receipts to have shown anything: %d by confirmation, %d by the bound", confirmed.Load(), bounded.Load())
	}
}

// Each clause is there for a reason: without it the model finds a session that
// is accepted after a receipt said everywhere.
func TestModelNeedsEveryClause(t *testing.T) {
	kind := reflect.TypeFor[clauses]()
	for i := range kind.NumField() {
		t.Run(kind.Field(i).Name, func(t *testing.T) {
			var broken clauses
			fields := reflect.ValueOf(&broken).Elem()
			reflect.NewAt(fields.Field(i).Type(), fields.Field(i).Addr().UnsafePointer()).Elem().SetBool(true)
			var found atomic.Pointer[string]
			many(runs, broken, func(seed uint64, s *sim) bool {
				if s.violation == "" {
					return false
				}
				text := fmt.Sprintf("seed %d: %s", seed, s.violation)
				found.CompareAndSwap(nil, &text)
				return true
			})
			if found.Load() == nil {
				t.Fatal("nothing goes wrong without this clause")
			}
			t.Log(*found.Load())
		})
	}
}
