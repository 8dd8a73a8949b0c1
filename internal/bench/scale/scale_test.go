package scale

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func random() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

var still = Network{Median: time.Millisecond, P99: time.Millisecond}

func TestNetworkQuantiles(t *testing.T) {
	n := Network{Median: 10 * time.Millisecond, P99: 50 * time.Millisecond}
	draws := make([]time.Duration, 100_000)
	r := random()
	for i := range draws {
		draws[i] = n.draw(r)
	}
	slices.Sort(draws)
	near := func(got, want time.Duration) bool { return got > want*9/10 && got < want*11/10 }
	if got := draws[len(draws)/2]; !near(got, n.Median) {
		t.Errorf("median %v", got)
	}
	if got := draws[len(draws)*99/100]; !near(got, n.P99) {
		t.Errorf("p99 %v", got)
	}
}

// With a network that does not vary, a flat tree can be calculated.
func TestRevokeByHand(t *testing.T) {
	tree := Tree{Servers: 1, Wake: still, Lease: 15 * time.Second, Layers: []Layer{
		{Each: 100, Cost: 20 * time.Microsecond, Cores: 2, Apply: time.Millisecond, Network: still},
	}}
	s := tree.Revoke(random())
	if len(s.Validators) != 100 || tree.Validators() != 100 {
		t.Fatalf("%d validators", len(s.Validators))
	}
	// The first after 10 µs of the parent, 1 ms of network, 1 ms of its own.
	if got, want := s.At(0), 2010*time.Microsecond; got != want {
		t.Errorf("the first at %v, want %v", got, want)
	}
	if got, want := s.At(1), 3*time.Millisecond; got != want {
		t.Errorf("the last at %v, want %v", got, want)
	}
	if got, want := s.Confirmed, 4*time.Millisecond; got != want {
		t.Errorf("confirmed at %v, want %v", got, want)
	}
}

func TestRevokeThroughEdges(t *testing.T) {
	edge := Layer{Each: 10, Cost: 20 * time.Microsecond, Cores: 2, Network: still}
	leaf := Layer{Each: 100, Cost: 20 * time.Microsecond, Cores: 2, Network: still}
	tree := Tree{Servers: 2, Wake: still, Lease: 15 * time.Second, Layers: []Layer{edge, leaf}}
	s := tree.Revoke(random())
	if len(s.Validators) != 2000 || tree.Validators() != 2000 {
		t.Fatalf("%d validators", len(s.Validators))
	}
	// The last: woken 1 ms, 10 × 10 µs, 1 ms, 100 × 10 µs, 1 ms.
	if got, want := s.At(1), 4100*time.Microsecond; got != want {
		t.Errorf("the last at %v, want %v", got, want)
	}
	// Back again 2 ms, and 1 ms to the server that was asked.
	if got, want := s.Confirmed, 7100*time.Microsecond; got != want {
		t.Errorf("confirmed at %v, want %v", got, want)
	}
}

func TestLossIsBoundedByTheLease(t *testing.T) {
	tree := Tree{Servers: 1, Lease: 15 * time.Second}
	alone := tree.Lose(random(), 10_000, still, false)
	if alone.Closed != 10_000 || alone.Enforced[0] < 10*time.Second || alone.Enforced[9999] > 15*time.Second {
		t.Errorf("without another parent: %d closed, %v to %v", alone.Closed, alone.Enforced[0], alone.Enforced[9999])
	}
	helped := tree.Lose(random(), 10_000, still, true)
	if helped.Closed != 0 || helped.Enforced[0] < 2500*time.Millisecond || helped.Enforced[9999] > 7800*time.Millisecond {
		t.Errorf("with another parent: %d closed, %v to %v", helped.Closed, helped.Enforced[0], helped.Enforced[9999])
	}
	// A way that takes longer than the lease is no way.
	far := tree.Lose(random(), 100, Network{Median: time.Minute, P99: time.Minute}, true)
	if far.Closed != 100 || far.Enforced[99] > 15*time.Second {
		t.Errorf("too far away: %d closed, %v", far.Closed, far.Enforced[99])
	}
}

func TestIdleAndBurst(t *testing.T) {
	tree := Tree{Servers: 1, Lease: 15 * time.Second, Layers: []Layer{{Each: 10_000, Cost: 25 * time.Microsecond, Cores: 2}}}
	if got := tree.Idle(0); got.PerSecond != 2000 || got.Cores < 0.0499 || got.Cores > 0.0501 {
		t.Errorf("%+v", got)
	}
	each, rate := tree.Burst(0)
	if each != 125*time.Millisecond || rate != 8 {
		t.Errorf("%v, %v a second", each, rate)
	}
}
