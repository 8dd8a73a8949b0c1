package feed

import (
	"time"

	"example.com/curfew/revocation"
)

// Status is the state of a node at one instant, for readiness, metrics and pages.
type Status struct {
	ID        string
	Name      string
	Epoch     revocation.Epoch // of the view
	Confirmed revocation.Epoch // the minimum of the view and of the epochs confirmed by live followers
	Trusted   bool
	LeaseLeft time.Duration
	// Age is the time since the start of the last successful read of the store.
	Age time.Duration
	// Followers is the number of followers with a live lease, with all behind them.
	// Waiting names those that have not confirmed Epoch, at most 20. Overdue is the
	// number of those that should have confirmed by now and therefore get no new
	// lease.
	Followers, Overdue int64
	Waiting            []string
	Polls              Polls
	Cache              revocation.Stats
	LogLength          int         // revocations held for followers
	Error              error       // the last error of the store; nil if the last read succeeded
	Nodes              []NodeState // the other nodes
	Clients            []ClientState
}

// ClientState is the state of the live followers of one service client.
type ClientState struct {
	Client    string // id
	Followers int64  // without those behind them
	Overdue   int64
	// LeaseLeft is the shortest lease that is left, and Lag the longest time for which
	// a follower has not confirmed a revocation of this view.
	LeaseLeft, Lag time.Duration
}

// Polls are the requests of followers.
type Polls struct {
	Pending int64 // waiting for a change
	Refused int64 // refused so far, because their client exceeded a limit
}

// status returns the part of the status that the hub knows.
func (h *hub) status() Status {
	h.mu.Lock()
	defer h.mu.Unlock()
	epoch := h.view.Epoch
	now := h.now()
	t := h.followed.count(epoch, epoch, now)
	return Status{
		Clients: h.followed.byClient(now, h.lagLocked),
		Epoch:   epoch, Confirmed: t.enforced, Followers: t.followers, Overdue: t.overdue, Waiting: t.waiting,
		Polls: Polls{Pending: int64(len(h.waiting)), Refused: h.refused}, LogLength: h.view.Log.Len(),
	}
}

// lagLocked returns the age of the oldest revocation of the view that is above an
// epoch; zero if there is none.
func (h *hub) lagLocked(confirmed revocation.Epoch, now time.Time) time.Duration {
	if h.view.Log == nil {
		return 0 // nothing is complete yet
	}
	page, _ := h.view.Log.After(confirmed)
	for oldest := range page.All() {
		if oldest.Epoch <= h.view.Epoch {
			return max(0, now.Sub(oldest.Epoch.Time()))
		}
		break
	}
	return 0
}

// NodeState is the known state of another node.
type NodeState struct {
	ID, Name, Version    string
	ViewEpoch, Confirmed revocation.Epoch
	Followers            int64
	Waiting              []string
	Started              time.Time
	Dead                 bool // its row has not changed for a lease and the margin
	// Leaving means that the node has ended, and that leases which it granted have not.
	// It has ended as well if another process has taken its place, as after a crash.
	Leaving bool
	// LeaseLeft is the remaining lease if its row does not change again. Lag is the time
	// for which it has not confirmed a revocation of this view.
	LeaseLeft, Lag time.Duration
}

// Status returns the current state of the node.
func (n *Node) Status() Status {
	s, now := n.status(), n.now()
	s.ID, s.Name = n.id, n.config.Name
	s.Trusted, s.LeaseLeft, s.Cache, s.Error = n.Trusted(now), n.LeaseLeft(now), n.Cache().Stats(), n.Failure()
	s.Age = max(0, n.lease-s.LeaseLeft)
	own := n.written()
	n.peers.mu.Lock()
	for i := range n.peers.nodes {
		p := &n.peers.nodes[i]
		ended := p.Leaving() || n.peers.replaced(p, own, now)
		if p.Left || ended && p.dead(now) {
			continue
		}
		left := p.moved.Add(time.Duration(p.LeaseMS) * time.Millisecond).Sub(now)
		s.Nodes = append(s.Nodes, NodeState{
			ID: p.ID, Name: p.Name, Version: p.Version, ViewEpoch: p.ViewEpoch, Confirmed: p.Confirmed,
			Followers: p.Followers, Waiting: p.Waiting, Dead: p.dead(now), Leaving: ended, Started: time.UnixMicro(p.StartedAt),
			LeaseLeft: max(0, left),
		})
	}
	n.peers.mu.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range s.Nodes {
		s.Nodes[i].Lag = n.lagLocked(s.Nodes[i].Confirmed, now)
	}
	return s
}
