package feed

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
)

func TestMargin(t *testing.T) {
	for _, test := range []struct{ lease, want time.Duration }{
		{0, time.Second}, {2 * time.Second, time.Second}, {15 * time.Second, time.Second},
		{15*time.Second + 15, time.Second + 1}, {time.Minute, 4 * time.Second}, {time.Hour, 4 * time.Minute},
	} {
		if got := Margin(test.lease); got != test.want {
			t.Errorf("Margin(%v) = %v, want %v", test.lease, got, test.want)
		}
	}
}

// A row counts until it has stood still for a lease and the margin, as this
// process has seen it: a fresh reader watches it that long.
func TestPeerIsDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeers(nil, time.Now, "self")
		row := store.Node{ID: "other", Name: "other", LeaseMS: 15_000, Beat: 5}
		self := store.Node{ID: "self", LeaseMS: 15_000}
		live := func(want int) {
			t.Helper()
			if nodes, _ := p.live(time.Now()); len(nodes) != want {
				t.Errorf("%d nodes are live, want %d", len(nodes), want)
			}
		}
		p.see([]store.Node{row, self}, time.Now())
		live(1)
		time.Sleep(testLease + testMargin)
		live(1)
		p.see([]store.Node{row}, time.Now())
		live(1)
		time.Sleep(time.Nanosecond)
		live(0)
		row.Beat++
		p.see([]store.Node{row}, time.Now())
		live(1)
		time.Sleep(testLease + testMargin)
		row.Beat-- // an older write that came late is a movement, too
		p.see([]store.Node{row}, time.Now())
		time.Sleep(testLease + testMargin)
		live(1)
		row.Left = true
		p.see([]store.Node{row}, time.Now())
		live(0)
		p.see(nil, time.Now())
		row.Left = false
		p.see([]store.Node{row}, time.Now())
		live(1)
	})
}

// The row of a leaving node counts like one that stands still, and is deleted when its
// lapsed followers are forgotten; the row of a node that died is not.
func TestLeavingPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeers(nil, time.Now, "self")
		leaving := store.Node{ID: "leaving", Name: "vm:8420", LeaseMS: 15_000, Beat: -5, StartedAt: time.Date(2026, 11, 29, 9, 58, 0, 0, time.UTC).UnixMicro()}
		dead := store.Node{ID: "dead", Name: "vm:8420", LeaseMS: 15_000, Beat: 5}
		step := func(pass time.Duration, live int, left ...string) {
			t.Helper()
			time.Sleep(pass)
			p.see([]store.Node{leaving, dead}, time.Now())
			if nodes, _ := p.live(time.Now()); len(nodes) != live {
				t.Errorf("%d nodes are live, want %d", len(nodes), live)
			}
			if got := p.left(store.Node{ID: "self", Name: "another", StartedAt: time.Now().UnixMicro(), Beat: 1}, time.Now()); !slices.Equal(got, left) {
				t.Errorf("to delete are %v, want %v", got, left)
			}
		}
		step(0, 2)
		step(testLease+testMargin, 2)
		step(1, 0)
		step(rememberFor-1, 0)
		step(1, 0, "leaving")
		nodes := []peer{{Node: leaving}, {Node: dead}}
		got := enforcement(10, nodes, summary{name: "vm:8420", lease: testLease, has: true}).Waiting
		if want := []string{"vm:8420 (stopped, started 09:58 UTC)", "vm:8420 (started 00:00 UTC)"}; !slices.Equal(got, want) {
			t.Errorf("waiting for %q, want %q", got, want)
		}
	})
}

// A node that was killed and started again takes the place of its old row: the row counts
// until its leases are over, asks for no attention and is deleted. The row of a node that
// ran at the same time under the same name stays, and so does that of an older process.
func TestReplacedPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := func(ago time.Duration) int64 { return time.Now().Add(-ago).UnixMicro() }
		own := store.Node{ID: "self", Name: "vm:8420", StartedAt: at(0), Beat: 1}
		killed := store.Node{ID: "killed", Name: "vm:8420", LeaseMS: 15_000, Beat: 7, StartedAt: at(time.Hour)}
		twin := store.Node{ID: "twin", Name: "vm:8420", LeaseMS: 15_000, Beat: 7, StartedAt: at(time.Hour)}
		other := store.Node{ID: "other", Name: "b:8420", LeaseMS: 15_000, Beat: 7, StartedAt: at(time.Hour)}
		later := store.Node{ID: "later", Name: "vm:8420", LeaseMS: 15_000, Beat: 7, StartedAt: at(-time.Second)}
		p := newPeers(nil, time.Now, "self")
		step := func(pass time.Duration, live int, replaced []string, left ...string) {
			t.Helper()
			time.Sleep(pass)
			now := time.Now()
			p.see([]store.Node{killed, twin, other, later}, now)
			if nodes, _ := p.live(now); len(nodes) != live {
				t.Errorf("%d nodes are live, want %d", len(nodes), live)
			}
			var got []string
			for i := range p.nodes {
				if p.replaced(&p.nodes[i], own, now) {
					got = append(got, p.nodes[i].ID)
				}
			}
			if !slices.Equal(got, replaced) {
				t.Errorf("replaced are %v, want %v", got, replaced)
			}
			if got := p.left(own, now); !slices.Equal(got, left) {
				t.Errorf("to delete are %v, want %v", got, left)
			}
		}
		step(0, 4, []string{"killed", "twin"}) // none has been seen to change
		twin.Beat++
		later.Beat++
		step(2*time.Second, 4, []string{"killed"})
		step(testLease+testMargin-2*time.Second, 4, []string{"killed"})
		step(1, 2, []string{"killed"}) // and other, which nothing has replaced, is over its lease
		step(rememberFor-1, 0, []string{"killed"})
		step(1, 0, []string{"killed"}, "killed")
	})
}

func TestEnforcementAddsUp(t *testing.T) {
	const e = 10
	self := summary{name: "self", lease: testLease, has: true}
	node := func(name string, view, confirmed revocation.Epoch, followers int64, waiting ...string) peer {
		return peer{Node: store.Node{ID: name, Name: name, LeaseMS: 15_000, ViewEpoch: view, Confirmed: confirmed, Followers: followers, Waiting: waiting}}
	}
	for _, test := range []struct {
		name  string
		own   summary
		nodes []peer
		want  Enforcement
	}{
		{"alone", self, nil, Enforcement{Validators: 1, Confirmed: 1, EffectiveEverywhere: true}},
		{"alone and behind", summary{name: "self", lease: testLease}, nil, Enforcement{Validators: 1, Waiting: []string{"self"}}},
		{"a command without nodes", summary{}, nil, Enforcement{EffectiveEverywhere: true}},
		{"a follower has not", summary{name: "self", lease: testLease, has: true, counts: counts{followers: 3, confirmed: 2, waiting: []string{"f"}}}, nil,
			Enforcement{Validators: 4, Confirmed: 3, Waiting: []string{"f"}}},
		{"another node has it", self, []peer{node("n", e, e, 4)}, Enforcement{Validators: 6, Confirmed: 6, EffectiveEverywhere: true}},
		{"another node has less", self, []peer{node("n", e-1, e-1, 4)}, Enforcement{Validators: 6, Confirmed: 1, Waiting: []string{"n"}}},
		{"its followers have less", self, []peer{node("n", e, e-1, 4, "x", "y")}, Enforcement{Validators: 6, Confirmed: 4, Waiting: []string{"x", "y"}}},
		{"it does not say which", self, []peer{node("n", e, e-1, 4)}, Enforcement{Validators: 6, Confirmed: 5, Waiting: []string{"n"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := enforcement(e, test.nodes, test.own)
			if got.Waiting == nil {
				t.Error("waiting is null")
			}
			if got.Validators != test.want.Validators || got.Confirmed != test.want.Confirmed || got.EffectiveEverywhere != test.want.EffectiveEverywhere || !slices.Equal(got.Waiting, test.want.Waiting) {
				t.Errorf("%+v, want %+v", got, test.want)
			}
		})
	}
}

// nodesOf is a store of nodes only.
type nodesOf struct {
	mu   sync.Mutex
	rows []store.Node
	err  error
}

func (n *nodesOf) Nodes(context.Context) ([]store.Node, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.rows, n.err
}

func (n *nodesOf) set(row store.Node) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.rows = []store.Node{row}
}

func TestEnforcementWaits(t *testing.T) {
	const e = 10
	self := func() summary { return summary{name: "self", lease: testLease, has: true} }
	bound := testLease + testMargin
	// begin waits at a time that the test chooses, with rows that change later.
	type step struct {
		after time.Duration
		row   store.Node
	}
	waiting := store.Node{ID: "n", Name: "n", LeaseMS: 15_000, Beat: 1, ViewEpoch: 9, Confirmed: 9}
	for _, test := range []struct {
		name       string
		row        store.Node
		err        error
		steps      []step
		wait       time.Duration
		took       time.Duration
		everywhere bool
		failed     bool
	}{
		{"no node to wait for", store.Node{ID: "n", LeaseMS: 15_000, Confirmed: e}, nil, nil, time.Minute, 0, true, false},
		{"no time to wait", waiting, nil, nil, 0, 0, false, false},
		{"time runs out", waiting, nil, []step{{5 * time.Second, store.Node{ID: "n", LeaseMS: 15_000, Beat: 2, ViewEpoch: 9, Confirmed: 9}}}, 10 * time.Second, 10 * time.Second, false, false},
		{"it confirms", waiting, nil, []step{{time.Second, store.Node{ID: "n", LeaseMS: 15_000, Beat: 2, ViewEpoch: e, Confirmed: e}}}, time.Minute, time.Second, true, false},
		{"it leaves", waiting, nil, []step{{time.Second, store.Node{ID: "n", LeaseMS: 15_000, Beat: 2, Left: true}}}, time.Minute, time.Second, true, false},
		{"it is dead", waiting, nil, nil, time.Minute, bound + time.Nanosecond, true, false},
		{"it moves and never confirms", waiting, nil, []step{{14 * time.Second, store.Node{ID: "n", LeaseMS: 15_000, Beat: 2, ViewEpoch: 9, Confirmed: 9}}}, time.Minute, bound + time.Nanosecond, true, false},
		{"its lease is longer", store.Node{ID: "n", Name: "n", LeaseMS: 30_000, Beat: 1}, nil, nil, time.Minute, 32*time.Second + time.Nanosecond, true, false},
		{"the nodes cannot be read", waiting, errors.New("broken"), nil, 0, 0, false, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rows := &nodesOf{rows: []store.Node{test.row}, err: test.err}
				p := newPeers(rows, time.Now, "self")
				began := time.Now()
				go func() {
					for _, s := range test.steps {
						time.Sleep(s.after)
						rows.set(s.row)
						p.see([]store.Node{s.row}, time.Now())
					}
				}()
				asked := 0
				ask := func(ctx context.Context) error { asked++; return p.read(ctx) }
				got, err := p.enforcement(t.Context(), e, began, test.wait, self, nil, ask, p.read)
				took := time.Since(began)
				if (err != nil) != test.failed || got.EffectiveEverywhere != test.everywhere {
					t.Fatalf("%+v, %v after %v", got, err, took)
				}
				if took < test.took || took > test.took+time.Millisecond {
					t.Errorf("it took %v, want %v", took, test.took)
				}
				if want := 0; test.wait == 0 && asked != want || asked > 1 {
					t.Errorf("asked %d times", asked)
				}
				if lease := time.Duration(test.row.LeaseMS) * time.Millisecond; err == nil && got.EffectiveBy.Sub(began) != lease+Margin(lease) {
					t.Errorf("effective by %v after the commit, want %v", got.EffectiveBy.Sub(began), lease+Margin(lease))
				}
			})
		})
	}
}

func TestHeart(t *testing.T) {
	start := time.Now()
	var h heartbeat
	if !h.due(testLease).Before(start) {
		t.Error("the first beat is not due at once")
	}
	h.tried(start)
	h.done(start)
	if got := h.due(testLease).Sub(start); got != testLease/4 {
		t.Errorf("the next beat is due after %v, want a quarter of the lease", got)
	}
	failed := start.Add(testLease / 4)
	h.tried(failed)
	if got := h.due(testLease).Sub(failed); got != 750*time.Millisecond {
		t.Errorf("a beat that failed is tried again after %v", got)
	}
}

func TestHistory(t *testing.T) {
	start := time.Now()
	var h history
	if _, ok := h.by(1); ok {
		t.Error("an empty history knows something")
	}
	h.add(10, start)
	h.add(20, start.Add(time.Second))
	for i := range 50 { // within one step
		h.add(revocation.Epoch(21+i), start.Add(time.Second+time.Duration(i)*time.Millisecond))
	}
	for _, test := range []struct {
		epoch revocation.Epoch
		after time.Duration
	}{{1, 0}, {10, 0}, {11, time.Second}, {20, time.Second}, {21, time.Second + 49*time.Millisecond}, {70, time.Second + 49*time.Millisecond}} {
		at, ok := h.by(test.epoch)
		if !ok || at.Sub(start) != test.after {
			t.Errorf("%d was there by %v, %v; want %v", test.epoch, at.Sub(start), ok, test.after)
		}
	}
	if _, ok := h.by(71); ok {
		t.Error("it knows the future")
	}
	for i := range 3 * historySize {
		h.add(revocation.Epoch(100+i), start.Add(time.Duration(i+20)*historyStep))
	}
	if len(h.seen) > historySize {
		t.Errorf("%d sightings", len(h.seen))
	}
	if at, ok := h.by(1); !ok || at.Before(start) {
		t.Error("what is forgotten is there by the earliest that is known")
	}
}
