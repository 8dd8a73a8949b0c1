package feed

import (
	"context"
	"slices"
	"sync"
	"time"

	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
)

// heart writes the node's row, one write at a time, so that the row never goes back
// to an earlier state.
type heart struct {
	mu  sync.Mutex
	row store.Node // as last written

	// Only the reading goroutine uses the fields below.
	last, attempt time.Time // the last successful heartbeat, and the last attempt
	stuck         bool      // the disk refuses writes
}

// due returns the time of the next heartbeat: at a quarter of the lease, so that
// one succeeds within every third. After a failure it is repeated soon.
func (h *heart) due(lease time.Duration) time.Time {
	due := h.last.Add(lease / 4)
	if again := h.attempt.Add(min(pollEvery, lease/20)); h.attempt.After(h.last) && again.After(due) {
		return again
	}
	return due
}

func (h *heart) tried(at time.Time) { h.attempt = at }
func (h *heart) done(at time.Time)  { h.last = at }

// writeRow stores the progress of this node and its followers. wake is set if
// another node waits for it.
func (n *Node) writeRow(ctx context.Context, wake bool) error {
	n.beats.mu.Lock()
	defer n.beats.mu.Unlock()
	row := n.beats.row
	row.Beat++
	epoch, t := n.hub.standing()
	row.ViewEpoch, row.Confirmed = epoch, t.least
	row.Followers, row.Waiting = t.followers, t.waiting
	row.Asks = max(row.Asks, n.peers.asking())
	if err := n.putRow(ctx, row, wake); err != nil {
		return err
	}
	n.beats.row = row
	return nil
}

func (n *Node) putRow(ctx context.Context, row store.Node, wake bool) error {
	ctx, cancel := context.WithTimeout(ctx, questionTime)
	defer cancel()
	return n.store.Update(ctx, func(tx store.Tx) error { return tx.PutNode(ctx, row, wake) })
}

// written returns the row as last written.
func (n *Node) written() store.Node {
	n.beats.mu.Lock()
	defer n.beats.mu.Unlock()
	return n.beats.row
}

// sayGoodbye removes the row if nothing depends on it. Otherwise the row stops
// changing, and counts for nothing when the granted leases have run out.
func (n *Node) sayGoodbye() error {
	_, t := n.hub.standing()
	left := t.until.Sub(n.now())
	if left <= 0 {
		return n.forgetRow()
	}
	n.beats.mu.Lock()
	defer n.beats.mu.Unlock()
	row := n.beats.row
	row.Beat++
	row.LeaseMS = min(row.LeaseMS, left.Milliseconds()+1)
	row.Confirmed = min(row.Confirmed, t.least)
	return n.putRow(context.Background(), row, true)
}

func (n *Node) forgetRow() error {
	ctx, cancel := context.WithTimeout(context.Background(), questionTime)
	defer cancel()
	return n.store.Update(ctx, func(tx store.Tx) error { return tx.DeleteNode(ctx, n.id) })
}

// history records when epochs entered the view, for receipts whose commit time is
// not known.
type history struct {
	mu   sync.Mutex
	seen []sighting // ascending in both
}

type sighting struct {
	epoch revocation.Epoch
	at    time.Time
}

const (
	historyStep = 100 * time.Millisecond // closer sightings are merged
	historySize = 4096
)

func (h *history) add(epoch revocation.Epoch, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	// The entry before the last shows how long the last has been collecting. A
	// merge takes the later instant, so an error is on the late side.
	if n := len(h.seen); n > 1 && at.Sub(h.seen[n-2].at) < historyStep {
		h.seen[n-1] = sighting{epoch, at}
		return
	}
	if len(h.seen) == historySize {
		h.seen = slices.Delete(h.seen, 0, historySize/2)
	}
	h.seen = append(h.seen, sighting{epoch, at})
}

func (h *history) clear() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen = nil
}

// by returns the earliest known instant at which the epoch was in the view.
func (h *history) by(epoch revocation.Epoch) (time.Time, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.seen {
		if s.epoch >= epoch {
			return s.at, true
		}
	}
	return time.Time{}, false
}
