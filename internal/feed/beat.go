package feed

import (
	"context"
	"slices"
	"sync"
	"time"

	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
)

// heart writes the node's row: one write at a time, so that the row never says
// less than it did before.
type heart struct {
	mu  sync.Mutex
	row store.Node // as last written

	// What follows belongs to the goroutine that reads.
	last, attempt time.Time // the last beat that was done, and that was tried
	stuck         bool      // the disk takes no writes
}

// due is when the next beat is to begin: at a quarter of the lease, so that one
// is done within every third. One that failed is tried again soon.
func (h *heart) due(lease time.Duration) time.Time {
	due := h.last.Add(lease / 4)
	if again := h.attempt.Add(min(pollEvery, lease/20)); h.attempt.After(h.last) && again.After(due) {
		return again
	}
	return due
}

func (h *heart) tried(at time.Time) { h.attempt = at }
func (h *heart) done(at time.Time)  { h.last = at }

// writeRow says in the store how far this node and its followers have come. wake
// is for when somebody waits for it.
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

// sayGoodbye removes the row if nothing rests on it any more. Otherwise the row
// stands still, and counts for nothing once the leases that were granted have run
// out.
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

// history says by when an epoch was in the view, for receipts of which nobody
// remembers the commit.
type history struct {
	mu   sync.Mutex
	seen []sighting // ascending in both
}

type sighting struct {
	epoch revocation.Epoch
	at    time.Time
}

const (
	historyStep = 100 * time.Millisecond // sightings closer than that become one
	historySize = 4096
)

func (h *history) add(epoch revocation.Epoch, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	// The last but one tells how long the last has been collecting; it takes the
	// later instant, which errs on the late side.
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

// by returns an instant at which the epoch was in the view, the earliest known.
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
