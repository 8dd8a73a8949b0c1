package feed

import (
	"context"
	"sync"
	"time"

	"example.com/curfew/internal/replica"
	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
)

// peers are the nodes as this process has read them from the store.
type peers struct {
	store store.NodeReader
	now   func() time.Time
	self  string // excluded: this node has its own state
	reads *replica.Coalescer

	mu    sync.Mutex
	nodes []peer
	asks  revocation.Epoch // the highest epoch that a receipt here waits for
	// changed is closed when a row changes.
	changed chan struct{}
}

// peer is a row, and when it was last seen to change, by this process's monotonic
// clock. A new reader counts from its first read.
type peer struct {
	store.Node
	moved time.Time
	// moving means that this process has seen it change: before that, moved is the
	// time of the first read.
	moving bool
}

// replacedBy reports whether another process has taken the place of the node, as after a
// crash: it has the same name, started later, and this process has not seen the node's
// row change since then. Two nodes of one name that run at the same time replace none.
func (p *peer) replacedBy(other store.Node) bool {
	return p.Name != "" && p.Name == other.Name && p.StartedAt < other.StartedAt && !other.Left && !other.Leaving() &&
		(!p.moving || p.moved.UnixMicro() <= other.StartedAt)
}

// leaseEnd returns when the leases of the node, and those that it granted, have run
// out if its row does not change again.
func (p *peer) leaseEnd() time.Time {
	lease := time.Duration(p.LeaseMS) * time.Millisecond
	return p.moved.Add(lease + Margin(lease))
}

// dead reports whether the row has not changed for so long that neither its node
// nor any follower of the node can still have a lease.
func (p *peer) dead(now time.Time) bool {
	return p.Left || now.After(p.leaseEnd())
}

// label returns the name of the node. A name that several rows have, as after a restart,
// comes with the start of the process.
func (p *peer) label(several bool) string {
	started := "started " + time.UnixMicro(p.StartedAt).UTC().Format("15:04") + " UTC"
	switch {
	case p.Leaving():
		return p.Name + " (stopped, " + started + ")"
	case several:
		return p.Name + " (" + started + ")"
	}
	return p.Name
}

func newPeers(s store.NodeReader, now func() time.Time, self string) *peers {
	return &peers{store: s, now: now, self: self, reads: replica.NewCoalescer(), changed: make(chan struct{})}
}

// read reads the rows.
func (p *peers) read(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, questionTime)
	defer cancel()
	rows, err := p.store.Nodes(ctx)
	if err != nil {
		return err
	}
	p.see(rows, p.now())
	return nil
}

// see stores the rows that were read at now.
func (p *peers) see(rows []store.Node, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	known := make(map[string]peer, len(p.nodes))
	for _, n := range p.nodes {
		known[n.ID] = n
	}
	changed := false
	nodes := make([]peer, 0, len(rows))
	for _, row := range rows {
		if row.ID == p.self {
			continue
		}
		old, seen := known[row.ID]
		n := peer{Node: row, moved: now}
		if seen && old.Beat == row.Beat {
			n.moved, n.moving = old.moved, old.moving
		} else {
			changed, n.moving = true, seen
		}
		nodes = append(nodes, n)
	}
	changed = changed || len(nodes) != len(p.nodes)
	p.nodes = nodes
	if changed {
		close(p.changed)
		p.changed = make(chan struct{})
	}
}

// live returns the nodes that may still have a lease, or have granted one. changed
// is closed when the result may be outdated.
func (p *peers) live(now time.Time) (nodes []peer, changed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range p.nodes {
		if !n.dead(now) {
			nodes = append(nodes, n)
		}
	}
	return nodes, p.changed
}

// lapsed returns the nodes that had a lease when epoch was committed, and whose
// leases ran out before they confirmed it.
func (p *peers) lapsed(now time.Time, epoch revocation.Epoch, committed time.Time) []lapse {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []lapse
	for i := range p.nodes {
		n := &p.nodes[i]
		if end := n.leaseEnd(); n.dead(now) && !n.Left && n.Confirmed < epoch && end.After(committed) {
			out = append(out, lapse{store.Lapse{Name: n.label(false), At: end.UnixMicro()}, 1 + n.Followers})
		}
	}
	return out
}

// replaced reports whether own or another node that runs has taken the place of n. The
// caller holds the lock.
func (p *peers) replaced(n *peer, own store.Node, now time.Time) bool {
	if n.replacedBy(own) {
		return true
	}
	for i := range p.nodes {
		if other := &p.nodes[i]; n.replacedBy(other.Node) && !other.dead(now) {
			return true
		}
	}
	return false
}

// left returns the ids of the rows that no receipt can count any more, of leaving nodes
// and of those whose place own has taken. A row stays for as long as a lapsed follower is
// remembered, so that receipts of its last leases name it.
func (p *peers) left(own store.Node, now time.Time) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var ids []string
	for i := range p.nodes {
		if n := &p.nodes[i]; (n.Leaving() || n.replacedBy(own)) && now.After(n.leaseEnd().Add(rememberFor)) {
			ids = append(ids, n.ID)
		}
	}
	return ids
}

// ask requests that the other nodes report when they have the epoch. It returns
// true if they do not know of the request yet.
func (p *peers) ask(epoch revocation.Epoch) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	more := epoch > p.asks
	p.asks = max(p.asks, epoch)
	return more
}

func (p *peers) asking() revocation.Epoch {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asks
}

// asked returns the highest epoch that the other nodes request.
func (p *peers) asked() revocation.Epoch {
	p.mu.Lock()
	defer p.mu.Unlock()
	var e revocation.Epoch
	for _, n := range p.nodes {
		e = max(e, n.Asks)
	}
	return e
}

// watchPeers reads the nodes after every wake-up and once a second. It writes this
// node's row when another node waits for it, or when followers have come or gone.
func (n *Node) watchPeers(ctx context.Context) {
	wake := n.store.Watch(ctx)
	moved, stop := n.watch()
	defer stop()
	timer := time.NewTimer(pollEvery)
	defer timer.Stop()
	var lastWrite, lastDelete time.Time
	for {
		// A confirmation only matters while a receipt waits for one, and many
		// confirmations are handled at once.
		heard := moved
		if !n.waitedFor() {
			heard = nil
		}
		read := true
		select {
		case <-ctx.Done():
			return
		case _, open := <-wake:
			if !open {
				wake = nil
			}
		case <-n.peers.reads.Wanted():
		case <-heard:
			read = false
		case <-timer.C:
		}
		if ctx.Err() != nil {
			return
		}
		if read {
			round := n.peers.reads.Begin()
			round.End(n.peers.read(ctx))
		}
		if ids, now := n.peers.left(n.written(), n.now()), n.now(); len(ids) > 0 && now.Sub(lastDelete) >= n.lease {
			lastDelete = now
			_ = n.deleteRows(ids...) // tried again after a lease; the rows count for nothing
		}
		next := pollEvery
		if n.waitedFor() {
			next = pollEvery / 10 // a lease may run out, which sends no event
		}
		if wanted, urgent := n.wantsRow(); wanted {
			pause := pollEvery
			if urgent {
				pause = rowPause
			}
			if pause -= n.now().Sub(lastWrite); pause > 0 {
				next = min(next, pause)
			} else {
				lastWrite = n.now()
				_ = n.writeRow(ctx, urgent) // the next heartbeat reports the error, and every wake-up retries
			}
		}
		timer.Reset(next)
		if !read {
			time.Sleep(crowdPause)
		}
	}
}

const (
	rowPause   = 5 * time.Millisecond // between two writes for a waiting receipt
	crowdPause = time.Millisecond     // between two checks of the confirmations
)

// waitedFor reports whether another node waits for this one to confirm.
func (n *Node) waitedFor() bool { return n.written().Confirmed < n.peers.asked() }

// wantsRow reports whether the row should be written before the next heartbeat, and
// whether another node waits for it.
func (n *Node) wantsRow() (wanted, urgent bool) {
	row := n.written()
	epoch, t := n.summary()
	switch {
	case row.Confirmed < n.peers.asked() && (t.enforced > row.Confirmed || epoch > row.ViewEpoch || len(t.waiting) != len(row.Waiting)):
		return true, true
	case row.Asks < n.peers.asking():
		return true, true
	}
	return t.followers != row.Followers, false
}
