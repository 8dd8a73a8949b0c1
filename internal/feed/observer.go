package feed

import (
	"context"
	"crypto/rand"
	"sync"
	"time"

	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
)

// observer waits for the nodes without being one. It has a row only to send a request.
// The row says that it has left, so that no other process waits for it.
type observer struct {
	store store.Store
	now   func() time.Time
	peers *peers
	row   store.Node
	wrote bool
}

func newObserver(s store.Store, now func() time.Time) *observer {
	if now == nil {
		now = time.Now
	}
	id := rand.Text()
	return &observer{store: s, now: now, peers: newPeers(s, now, id),
		row: store.Node{ID: id, Name: "a command", StartedAt: now().UnixMicro(), Left: true}}
}

func (a *observer) enforcement(ctx context.Context, epoch revocation.Epoch, committed time.Time, wait time.Duration) (Enforcement, error) {
	if committed.IsZero() {
		committed = a.now()
	}
	watching, stop := context.WithCancel(ctx)
	wake := a.store.Watch(watching)
	var forwarding sync.WaitGroup
	defer forwarding.Wait()
	defer stop()
	forwarding.Go(func() { // ends with watching
		for {
			select {
			case <-watching.Done():
				return
			case _, open := <-wake:
				if !open {
					return
				}
				_ = a.peers.read(watching) // the loop repeats the read
			}
		}
	})
	ask := func(ctx context.Context) error {
		a.row.Beat++
		a.row.Asks, a.wrote = epoch, true
		return a.store.Update(ctx, func(tx store.Tx) error { return tx.PutNode(ctx, a.row, true) })
	}
	return a.peers.enforcement(ctx, epoch, committed, wait, func() summary { return summary{} }, nil, ask, a.peers.read)
}

func (a *observer) close() {
	if !a.wrote {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), questionTime)
	defer cancel()
	// A row that remains counts for nothing, and is pruned later.
	_ = a.store.Update(ctx, func(tx store.Tx) error { return tx.DeleteNode(ctx, a.row.ID) })
}
