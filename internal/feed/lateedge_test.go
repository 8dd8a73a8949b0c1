package feed

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"example.com/curfew/internal/replica"
	"example.com/curfew/revocation"
	"example.com/curfew/token"
)

// An edge confirms as late as the last of its followers. Whatever they do, it keeps
// its own lease, and the others behind it keep theirs.
func TestEdgeKeepsItsLeaseWhateverItsFollowersDo(t *testing.T) {
	for name, follow := range map[string]struct {
		every   time.Duration // how often the follower polls; 0: once
		changes time.Duration // how often the view changes
		name    func(poll int) string
	}{
		"falls silent":                       {0, time.Second, func(int) string { return "f" }},
		"never confirms":                     {200 * time.Millisecond, time.Second, func(int) string { return "f" }},
		"comes under new names":              {200 * time.Millisecond, time.Second, func(i int) string { return fmt.Sprint(i / 10) }},
		"is new with every poll":             {time.Second, time.Second, func(i int) string { return fmt.Sprint(i) }},
		"is new, and there are many changes": {time.Second, 100 * time.Millisecond, func(i int) string { return fmt.Sprint(i) }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server, edge := hubAt(10), newHub(time.Now, MaxLease, 0, func(context.Context) error { return nil })
				ctx, stop := context.WithCancel(t.Context())
				copied := replica.New(replica.Config{KeepLog: true, OnPublish: edge.publish})
				ask := func(wait time.Duration) {
					_, err := copied.Update(ctx, func(ctx context.Context, after, view revocation.Epoch) (replica.Changes, error) {
						_, tl := edge.summary()
						sent := time.Now()
						a, err := server.Changes(ctx, Query{Client: "edge", Follower: "edge", After: after, Confirmed: min(view, tl.enforced), Behind: tl.followers, Wait: wait})
						return replica.Changes{Epoch: a.Epoch, Lease: token.Lease{Start: sent, Length: time.Since(sent) + a.Lease}}, err
					})
					if err != nil && ctx.Err() == nil {
						t.Error(err)
					}
				}
				ask(0)
				done := make(chan struct{}, 3)
				start := func(loop func()) { go func() { loop(); done <- struct{}{} }() }
				start(func() { // what the edge follows with
					for ctx.Err() == nil {
						ask(testLease / 3)
						time.Sleep(time.Millisecond)
					}
				})
				start(func() { // what it reports with
					for told := revocation.Epoch(0); ctx.Err() == nil; time.Sleep(pollEvery / 2) {
						edge.tidyFollowers()
						if _, tl := edge.summary(); tl.enforced > told {
							told = tl.enforced
							ask(0)
						}
					}
				})
				start(func() { // the follower behind it
					for i := 0; ctx.Err() == nil; i++ {
						if follow.every > 0 || i == 0 {
							_, _ = edge.Changes(ctx, Query{Client: "hostile", Follower: follow.name(i), After: edge.viewEpoch()})
						}
						time.Sleep(max(follow.every, pollEvery))
					}
				})
				least := testLease
				for at := time.Duration(0); at < 20*testLease; at += 100 * time.Millisecond {
					if at%follow.changes == 0 {
						server.renew(revocation.Epoch(20 + at/follow.changes))
						server.tidyFollowers()
					}
					time.Sleep(100 * time.Millisecond)
					edge.mu.Lock()
					least = min(least, edge.view.Lease.Left(time.Now()))
					edge.mu.Unlock()
				}
				if least < testLease/3 {
					t.Errorf("the edge had as little as %v left of its lease", least)
				}
				if _, tl := server.summary(); tl.enforced < revocation.Epoch(20+18*testLease/follow.changes) {
					t.Errorf("what is enforced behind the edge has come no further than %d", tl.enforced)
				}
				stop()
				for range cap(done) {
					<-done
				}
				server.Drain()
				edge.Drain()
				copied.Close()
			})
		})
	}
}
