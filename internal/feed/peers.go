package feed

import (
	"context"
	"sync"
	"time"

	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
)

// peers are the nodes as this process has seen them in the store.
type peers struct {
	store store.NodeReader
	now   func() time.Time
	self  string // left out: a node knows better about itself
	reads *passes

	mu    sync.Mutex
	nodes []peer
	asks  revocation.Epoch // the highest epoch that a receipt here waits for
	// changed is closed when a row has.
	changed chan struct{}
}

// peer is a row, and when it was last seen to move, by this process's monotonic
// clock. A fresh reader counts from its first look.
type peer struct {
	store.Node
	moved time.Time
}

// dead reports whether the row has stood still so long that its node, and
// whoever that granted a lease to, has none any more.
func (p *peer) dead(now time.Time) bool {
	lease := time.Duration(p.LeaseMS) * time.Millisecond
	return p.Left || now.Sub(p.moved) > lease+Margin(lease)
}

func newPeers(s store.NodeReader, now func() time.Time, self string) *peers {
	return &peers{store: s, now: now, self: self, reads: newPasses(), changed: make(chan struct{})}
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

// see takes down the rows as they were read by now.
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
			n.moved = old.moved
		} else {
			changed = true
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

// live returns the nodes that may still have, or have granted, a lease; changed
// is closed when that may be outdated.
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

// ask asks the other nodes to say when they have the epoch. It reports whether
// they do not know of that yet.
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

// asked returns the highest epoch that the others ask for.
func (p *peers) asked() revocation.Epoch {
	p.mu.Lock()
	defer p.mu.Unlock()
	var e revocation.Epoch
	for _, n := range p.nodes {
		e = max(e, n.Asks)
	}
	return e
}

// watchPeers reads the nodes after every wake-up and once a second, and writes
// this node's row when another waits for it, or when followers have come or gone.
func (n *Node) watchPeers(ctx context.Context) {
	wake := n.store.Watch(ctx)
	moved, stop := n.hub.watch()
	defer stop()
	timer := time.NewTimer(pollEvery)
	defer timer.Stop()
	var lastWrite time.Time
	for {
		// A confirmation matters only while somebody waits for one, and a crowd of
		// them is looked at once.
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
		case <-n.peers.reads.kick:
		case <-heard:
			read = false
		case <-timer.C:
		}
		if ctx.Err() != nil {
			return
		}
		if read {
			p := n.peers.reads.begin()
			p.end(n.peers.read(ctx))
		}
		next := pollEvery
		if n.waitedFor() {
			next = pollEvery / 10 // a lease may run out meanwhile, which nobody announces
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
				_ = n.writeRow(ctx, urgent) // the next beat says what is wrong, and every wake-up tries again
			}
		}
		timer.Reset(next)
		if !read {
			time.Sleep(crowdPause)
		}
	}
}

const (
	rowPause   = 5 * time.Millisecond // between two writes that somebody waits for
	crowdPause = time.Millisecond     // between two looks at who has confirmed
)

// waitedFor reports whether another node waits for this one to confirm.
func (n *Node) waitedFor() bool { return n.written().Confirmed < n.peers.asked() }

// wantsRow reports whether the row should be written before the next beat, and
// whether somebody waits for that.
func (n *Node) wantsRow() (wanted, urgent bool) {
	row := n.written()
	epoch, t := n.hub.standing()
	switch {
	case row.Confirmed < n.peers.asked() && (t.least > row.Confirmed || epoch > row.ViewEpoch || len(t.waiting) != len(row.Waiting)):
		return true, true
	case row.Asks < n.peers.asking():
		return true, true
	}
	return t.followers != row.Followers, false
}
