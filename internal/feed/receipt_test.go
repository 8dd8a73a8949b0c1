package feed_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/curfew/internal/await"
	"example.com/curfew/internal/feed"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/store/migrated"
	"example.com/curfew/internal/upstream"
	"example.com/curfew/revocation"
	"example.com/curfew/token"
)

// Two nodes, two edges, five followers behind them, and one revocation with a
// receipt that is held until all have confirmed.
func TestEffectiveEverywhere(t *testing.T) {
	w := newWorld(t, migrated.Postgres(t))
	var nodes []*feed.Node
	var nodeURLs, edgeURLs []string
	for i := range 2 {
		other := &world{tb: t, Store: openStore(t, w.url)}
		n := other.node(feed.Config{Name: fmt.Sprintf("node-%d", i)})
		nodes, nodeURLs = append(nodes, n), append(nodeURLs, serve(t, n))
	}
	for i := range 2 {
		_, url := edge(t, fmt.Sprintf("edge-%d", i), nodeURLs[i])
		edgeURLs = append(edgeURLs, url)
	}
	var validators []*token.Validator
	for i, url := range []string{nodeURLs[0], nodeURLs[1], edgeURLs[0], edgeURLs[1], edgeURLs[1]} {
		validators = append(validators, follow(t, upstream.Config{ClientID: fmt.Sprintf("client-%d", i)}, url).Validator())
	}
	for round := range 10 {
		ann := w.sign("ann")
		for _, v := range validators {
			expect(t, v, ann, nil)
		}
		r := w.revoke(revocation.User("ann"))
		committed := time.Now()
		nodes[0].Applied(r...)
		e, err := nodes[0].Enforcement(t.Context(), r[0].Epoch, committed, await.Limit)
		took := time.Since(committed)
		if err != nil || !e.EffectiveEverywhere || len(e.Waiting) != 0 {
			t.Fatalf("round %d: %+v, %v after %v; want effective everywhere", round, e, err, took)
		}
		for i, v := range validators {
			if _, err := v.Validate(t.Context(), ann); !errors.Is(err, token.ErrRevoked) {
				t.Fatalf("validator %d: %v after a receipt that said everywhere", i, err)
			}
		}
		// All have confirmed: no lease of 15 s was waited for.
		if took > 10*time.Second {
			t.Errorf("it took %v", took)
		}
		// Followers that have just come are counted once their node's row says so.
		if round == 0 {
			eventually(t, "9 validators are counted", func() bool {
				e, err := nodes[0].Enforcement(t.Context(), r[0].Epoch, committed, 0)
				return err == nil && e.Validators == 9 && e.Confirmed == 9 && e.EffectiveEverywhere
			})
		}
		if bound := e.EffectiveBy.Sub(committed); bound < 15*time.Second || bound > 17*time.Second {
			t.Errorf("effective by %v after the commit, want a lease and the margin", bound)
		}
		t.Logf("%d validators confirmed after %v", e.Validators, took)
	}
	// A process without a view may ask, too.
	r := w.revoke(revocation.Everyone())
	e, err := feed.Observe(t.Context(), w.Store, r[0].Epoch, time.Now(), await.Limit, nil)
	if err != nil || !e.EffectiveEverywhere || e.Validators != 9 {
		t.Errorf("from a command: %+v, %v", e, err)
	}
	if rows, err := w.Nodes(t.Context()); err != nil || len(rows) != 2 {
		t.Errorf("%d rows of nodes, %v; want 2: the command has removed its own", len(rows), err)
	}
}

// A follower that has gone silent is named, and the receipt closes by the bound.
func TestReceiptNamesWhoIsSilent(t *testing.T) {
	w := newWorld(t, migrated.SQLite(t))
	const lease = 2 * time.Second
	n := w.node(feed.Config{Name: "node", Lease: lease})
	asked := time.Now()
	granted := ask(t, n, feed.Query{Follower: "f", FollowerName: "silent"})
	r := w.revoke(revocation.User("ann"))
	committed := time.Now()
	n.Applied(r...)
	e, err := n.Enforcement(t.Context(), r[0].Epoch, committed, 100*time.Millisecond)
	if err != nil || e.EffectiveEverywhere || e.Validators != 2 || e.Confirmed != 1 || !slices.Equal(e.Waiting, []string{"silent"}) {
		t.Fatalf("%+v, %v; want to wait for silent alone", e, err)
	}
	e, err = n.Enforcement(t.Context(), r[0].Epoch, committed, await.Limit)
	took := time.Since(committed)
	if err != nil || !e.EffectiveEverywhere || len(e.Waiting) != 0 || e.Validators != 2 || e.Confirmed != 1 || e.ClosedBy() != store.ByLease || !lapsed(e, "silent") {
		t.Fatalf("%+v, %v; want it closed by the lease of silent", e, err)
	}
	if most := lease + feed.Margin(lease); took > slowness*most || e.EffectiveBy.Sub(committed) > most {
		t.Errorf("closed after %v, promised by %v; the bound is %v", took, e.EffectiveBy.Sub(committed), most)
	}
	if ran := time.Since(asked).Milliseconds(); ran < granted.LeaseMS {
		t.Errorf("closed %d ms after the follower asked for its lease of %d ms", ran, granted.LeaseMS)
	}
}

// lapsed reports whether exactly the validators named have lapsed.
func lapsed(e feed.Enforcement, names ...string) bool {
	return slices.EqualFunc(e.Lapsed, names, func(l store.Lapse, name string) bool { return l.Name == name && l.At > 0 })
}

// A follower whose leases run out is named also by a node that it did not follow, and
// whenever it is asked. Revocations before and after its leases are not concerned.
func TestLapsedFollowersOfOtherNodes(t *testing.T) {
	w := newWorld(t, migrated.Postgres(t))
	const lease = 2 * time.Second
	n := w.node(feed.Config{Name: "asked", Lease: lease})
	other := (&world{tb: t, Store: openStore(t, w.url)}).node(feed.Config{Name: "followed", Lease: lease})
	before := w.revoke(revocation.User("ann"))[0].Epoch
	if err := other.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	at := other.Epoch()
	ask(t, other, feed.Query{Follower: "f", FollowerName: "silent"})
	if _, err := other.Changes(t.Context(), feed.Query{Follower: "f", FollowerName: "silent", After: at, Confirmed: at, Wait: time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	r := w.revoke(revocation.User("ann"))
	committed := time.Now()
	n.Applied(r...)
	enforcement := func(epoch revocation.Epoch, wait time.Duration) feed.Enforcement {
		t.Helper()
		e, err := n.Enforcement(t.Context(), epoch, committed, wait)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	if e := enforcement(r[0].Epoch, await.Limit); !e.EffectiveEverywhere || e.Validators != 3 || e.Confirmed != 2 || !lapsed(e, "silent") {
		t.Errorf("%+v; want it closed by the lease of silent", e)
	}
	if e := enforcement(r[0].Epoch, 0); !e.EffectiveEverywhere || e.Validators != 3 || !lapsed(e, "silent") {
		t.Errorf("asked again: %+v", e)
	}
	later := w.revoke(revocation.User("ann"))
	committed = time.Now()
	n.Applied(later...)
	for what, epoch := range map[string]revocation.Epoch{"before": before, "after": later[0].Epoch} {
		if e := enforcement(epoch, await.Limit); !e.EffectiveEverywhere || e.Validators != 2 || !lapsed(e) {
			t.Errorf("a revocation %s: %+v", what, e)
		}
	}
}

// A receipt of a revocation whose commit time is not known counts from the time at
// which the view had it, not from the request.
func TestReceiptOfAnEarlierCommit(t *testing.T) {
	const lease = time.Minute
	w := newWorld(t, migrated.SQLite(t))
	n := w.node(feed.Config{Name: "node", Lease: lease})
	r := w.revoke(revocation.User("ann"))
	if err := n.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	had := time.Now()
	time.Sleep(10 * time.Millisecond) // so that the request is later than any rounding
	if e, err := n.Enforcement(t.Context(), r[0].Epoch, time.Time{}, 0); err != nil || e.EffectiveBy.After(had.Add(lease+feed.Margin(lease))) {
		t.Errorf("%+v, %v; want it effective %v after %v at the latest", e, err, lease+feed.Margin(lease), had)
	}
}

// A node that dies delays a receipt by its lease; a node that leaves does not delay it.
func TestReceiptAndNodesThatGo(t *testing.T) {
	w := newWorld(t, migrated.Postgres(t))
	const lease = 2 * time.Second
	n := w.node(feed.Config{Name: "stays", Lease: lease})

	leaves := (&world{tb: t, Store: openStore(t, w.url)}).node(feed.Config{Name: "leaves", Lease: lease})
	if err := leaves.Close(); err != nil {
		t.Fatal(err)
	}
	r := w.revoke(revocation.User("ann"))
	n.Applied(r...)
	e, err := n.Enforcement(t.Context(), r[0].Epoch, time.Now(), 0)
	if err != nil || !e.EffectiveEverywhere || e.Validators != 1 {
		t.Fatalf("after a node has left: %+v, %v", e, err)
	}

	// A node that leaves while its follower still has a lease is waited for as long.
	hasFollower := (&world{tb: t, Store: openStore(t, w.url)}).node(feed.Config{Name: "has a follower", Lease: lease})
	granted := time.Now()
	ask(t, hasFollower, feed.Query{Follower: "f", FollowerName: "left alone"})
	if err := hasFollower.Close(); err != nil {
		t.Fatal(err)
	}
	r = w.revoke(revocation.User("ann"))
	n.Applied(r...)
	e, err = n.Enforcement(t.Context(), r[0].Epoch, time.Now(), await.Limit)
	if since := time.Since(granted); err != nil || !e.EffectiveEverywhere || since < lease || since > slowness*(lease+feed.Margin(lease)) {
		t.Errorf("%+v, %v, %v after the lease was granted", e, err, since)
	}

	dies := openStore(t, w.url)
	dead, err := feed.Open(t.Context(), feed.Config{Store: dies, Name: "dies", Lease: lease})
	if err != nil {
		t.Fatal(err)
	}
	if err := dies.Close(); err != nil { // from now on it cannot say anything
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dead.Close() })
	r = w.revoke(revocation.User("ann"))
	committed := time.Now()
	n.Applied(r...)
	e, err = n.Enforcement(t.Context(), r[0].Epoch, committed, 50*time.Millisecond)
	if err != nil || e.EffectiveEverywhere || !slices.Equal(e.Waiting, []string{"dies"}) {
		t.Fatalf("after a node has died: %+v, %v; want to wait for it", e, err)
	}
	e, err = n.Enforcement(t.Context(), r[0].Epoch, committed, await.Limit)
	if !lapsed(e, "dies") || e.Validators != 2 || e.Confirmed != 1 {
		t.Errorf("%+v; want it closed by the lease of the node that died", e)
	}
	if took := time.Since(committed); err != nil || !e.EffectiveEverywhere || took > slowness*(lease+feed.Margin(lease)) || took < lease {
		t.Errorf("%+v, %v after %v", e, err, took)
	}
	if dead.Trusted(time.Now()) {
		t.Error("the receipt closed while the dead node still trusts its view")
	}
}

// A caller that looks at a receipt again and again, and never waits, sees the other
// nodes' confirmations at once, and not with their next heartbeats.
func TestReceiptThatIsPolled(t *testing.T) {
	w := newWorld(t, migrated.Postgres(t))
	var nodes []*feed.Node
	for i := range 2 {
		other := &world{tb: t, Store: openStore(t, w.url)}
		nodes = append(nodes, other.node(feed.Config{Name: fmt.Sprintf("node-%d", i), Lease: time.Hour})) // a heartbeat every 15 minutes
	}
	for range 3 {
		r := w.revoke(revocation.User("ann"))
		nodes[0].Applied(r...)
		if !await.Holds(await.Limit, func() bool {
			e, err := nodes[0].Enforcement(t.Context(), r[0].Epoch, time.Time{}, 0)
			return err == nil && e.EffectiveEverywhere && e.Confirmed == 2
		}) {
			t.Fatal("the other node has not confirmed")
		}
	}
}

// A node that stops while a follower has a lease, and starts again under the same name,
// leaves a row that counts until the lease is over and is never taken for a node that
// does not report. Releases that do not know the mark read a row that stands still.
func TestRestartWhileAFollowerHasALease(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		const lease = 2 * time.Second
		w := newWorld(t, url)
		first := w.node(feed.Config{Name: "vm:8420", Lease: lease})
		ask(t, first, feed.Query{Follower: "f", FollowerName: "shop"})
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		rows, err := w.Nodes(t.Context())
		if err != nil || len(rows) != 1 || !rows[0].Leaving() || rows[0].Left || rows[0].LeaseMS > lease.Milliseconds() {
			t.Fatalf("after the stop: %+v, %v", rows, err)
		}
		again := w.node(feed.Config{Name: "vm:8420", Lease: lease})
		r := w.revoke(revocation.User("ann"))
		again.Applied(r...)
		e, err := again.Enforcement(t.Context(), r[0].Epoch, time.Now(), 0)
		if err != nil || e.Validators < 2 || len(e.Waiting) != 1 || !strings.HasPrefix(e.Waiting[0], "vm:8420 (stopped, started ") {
			t.Errorf("a receipt while the lease may last: %+v, %v", e, err)
		}
		eventually(t, "the row counts for nothing", func() bool {
			nodes := again.Status().Nodes
			for _, n := range nodes {
				if n.Dead || !n.Leaving {
					t.Fatalf("the status has %+v", n)
				}
			}
			return len(nodes) == 0
		})
		e, err = again.Enforcement(t.Context(), r[0].Epoch, time.Now(), 0)
		if err != nil || !e.EffectiveEverywhere {
			t.Errorf("a receipt after the lease: %+v, %v", e, err)
		}
	})
}
