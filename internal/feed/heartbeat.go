package feed

import (
	"context"
	"sync"
	"time"

	"example.com/curfew/internal/store"
)

// heartbeat writes the node's row, one write at a time, so that the row never goes back
// to an earlier state.
type heartbeat struct {
	mu  sync.Mutex
	row store.Node // as last written

	// Only the reading goroutine uses the fields below.
	last, attempt time.Time // the last successful heartbeat, and the last attempt
	stuck         bool      // the disk refuses writes
}

// due returns the time of the next heartbeat: at a quarter of the lease, so that
// one succeeds within every third. After a failure it is repeated soon.
func (h *heartbeat) due(lease time.Duration) time.Time {
	due := h.last.Add(lease / 4)
	if again := h.attempt.Add(min(pollEvery, lease/20)); h.attempt.After(h.last) && again.After(due) {
		return again
	}
	return due
}

func (h *heartbeat) tried(at time.Time) { h.attempt = at }
func (h *heartbeat) done(at time.Time)  { h.last = at }

// writeRow stores the progress of this node and its followers. wake is set if
// another node waits for it.
func (n *Node) writeRow(ctx context.Context, wake bool) error {
	n.heartbeat.mu.Lock()
	defer n.heartbeat.mu.Unlock()
	row := n.heartbeat.row
	row.Beat++
	epoch, t := n.summary()
	row.ViewEpoch, row.Confirmed = epoch, t.enforced
	row.Followers, row.Waiting, row.Lapsed = t.followers, t.waiting, t.lapsed
	row.Asks = max(row.Asks, n.peers.asking())
	if err := n.putRow(ctx, row, wake); err != nil {
		return err
	}
	n.heartbeat.row = row
	return nil
}

func (n *Node) putRow(ctx context.Context, row store.Node, wake bool) error {
	ctx, cancel := context.WithTimeout(ctx, questionTime)
	defer cancel()
	return n.store.Update(ctx, func(tx store.Tx) error { return tx.PutNode(ctx, row, wake) })
}

// written returns the row as last written.
func (n *Node) written() store.Node {
	n.heartbeat.mu.Lock()
	defer n.heartbeat.mu.Unlock()
	return n.heartbeat.row
}

// unregister removes the row if nothing depends on it. Otherwise it marks the row as
// leaving: it counts for nothing when the granted leases have run out, and another node
// deletes it.
func (n *Node) unregister() error {
	_, t := n.summary()
	left := t.until.Sub(n.now())
	if left <= 0 {
		return n.deleteRow()
	}
	n.heartbeat.mu.Lock()
	defer n.heartbeat.mu.Unlock()
	row := n.heartbeat.row
	row.Beat = -max(2, row.Beat+1) // -1 is what a row without a pruning is marked with
	row.LeaseMS = min(row.LeaseMS, left.Milliseconds()+1)
	row.Confirmed = min(row.Confirmed, t.enforced)
	return n.putRow(context.Background(), row, true)
}

func (n *Node) deleteRow() error { return n.deleteRows(n.id) }

func (n *Node) deleteRows(ids ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), questionTime)
	defer cancel()
	return n.store.Update(ctx, func(tx store.Tx) error {
		for _, id := range ids {
			if err := tx.DeleteNode(ctx, id); err != nil {
				return err
			}
		}
		return nil
	})
}
