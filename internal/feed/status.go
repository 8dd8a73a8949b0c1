package feed

import (
	"time"

	"example.com/curfew/revocation"
)

// Status is how a node stands at one instant: for readiness, metrics and pages.
type Status struct {
	ID        string
	Name      string
	Epoch     revocation.Epoch // of the view
	Confirmed revocation.Epoch // the least of the view and of what live followers have confirmed
	Trusted   bool
	LeaseLeft time.Duration
	// Age is how long ago the question began on whose answer the view rests.
	Age time.Duration
	// Followers counts those with a live lease, with all behind them; Waiting
	// names those that have not confirmed Epoch, at most 20.
	// Overdue counts those that should have confirmed by now, and therefore get no
	// new lease.
	Followers, Overdue int64
	Waiting            []string
	Polls              Polls
	Cache              revocation.Stats
	LogLength          int         // revocations held for followers
	Error              error       // why the store could last not be asked; nil if it could
	Nodes              []NodeState // the other nodes
}

// Polls are the requests of followers.
type Polls struct {
	Pending int64 // that wait for a change
	Refused int64 // so far, since their client exceeded a limit
}

func (h *hub) polls() Polls {
	h.mu.Lock()
	defer h.mu.Unlock()
	return Polls{Pending: int64(len(h.waiting)), Refused: h.refused}
}

// NodeState is what is known of another node.
type NodeState struct {
	ID, Name, Version    string
	ViewEpoch, Confirmed revocation.Epoch
	Followers            int64
	Waiting              []string
	Dead                 bool // its row has stood still for a lease and the margin
}

// Status returns how the node stands now.
func (n *Node) Status() Status {
	now := n.now()
	epoch, t := n.hub.standing()
	s := Status{
		ID: n.id, Name: n.config.Name, Epoch: epoch, Confirmed: t.least,
		Trusted: n.Trusted(now), LeaseLeft: n.left(now), Age: max(0, n.hub.lease-n.left(now)),
		Followers: t.followers, Overdue: t.overdue, Waiting: t.waiting, Polls: n.hub.polls(),
		Cache: n.cache.Stats(), LogLength: n.hub.logLength(),
	}
	if f := n.failed.Load(); f != nil {
		s.Error = f.err
	}
	n.peers.mu.Lock()
	defer n.peers.mu.Unlock()
	for i := range n.peers.nodes {
		p := &n.peers.nodes[i]
		if p.Left {
			continue
		}
		s.Nodes = append(s.Nodes, NodeState{
			ID: p.ID, Name: p.Name, Version: p.Version, ViewEpoch: p.ViewEpoch, Confirmed: p.Confirmed,
			Followers: p.Followers, Waiting: p.Waiting, Dead: p.dead(now),
		})
	}
	return s
}

func (h *hub) logLength() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.log.Len()
}
