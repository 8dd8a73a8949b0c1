// Command scale prints the tables of SCALE.md from measured costs and an assumed
// network.
//
//	scale -answer 30us -cores 4
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"example.com/curfew/internal/bench/scale"
)

// given is what the tables are calculated from.
type given struct {
	answer, apply time.Duration
	cores         int
	lease         time.Duration
	rounds        int
}

func main() {
	g, err := parse(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(2)
	}
	tables(os.Stdout, g)
}

func parse(args []string) (g given, err error) {
	flag := flag.NewFlagSet("scale", flag.ContinueOnError)
	flag.DurationVar(&g.answer, "answer", 70*time.Microsecond, "processor time of a node for one follower's answer and its next question (RESULTS.md)")
	flag.DurationVar(&g.apply, "apply", 300*time.Microsecond, "from an answer's arrival until a follower's validator refuses")
	flag.IntVar(&g.cores, "cores", 4, "processors of a server or an edge")
	flag.DurationVar(&g.lease, "lease", 15*time.Second, "the lease")
	flag.IntVar(&g.rounds, "rounds", 9, "revocations simulated for each tree")
	if err := flag.Parse(args); err != nil {
		return g, err
	}
	if g.answer <= 0 || g.cores < 1 || g.lease < 2*time.Second || g.rounds < 1 {
		return g, errors.New("every number must be above zero, and the lease at least 2s")
	}
	return g, nil
}

// The networks that are assumed: within a data centre, and across an ocean.
var (
	near = scale.Network{Median: 250 * time.Microsecond, P99: 2 * time.Millisecond}
	far  = scale.Network{Median: 60 * time.Millisecond, P99: 180 * time.Millisecond}
	wake = scale.Network{Median: 2 * time.Millisecond, P99: 8 * time.Millisecond} // NOTIFY, then a read
)

// shape is a tree as an operator would build it.
type shape struct {
	name string
	tree scale.Tree
}

func (g given) shapes() []shape {
	layer := func(name string, each int, n scale.Network) scale.Layer {
		return scale.Layer{Name: name, Each: each, Cost: g.answer, Cores: g.cores, Apply: g.apply, Network: n}
	}
	tree := func(servers int, layers ...scale.Layer) scale.Tree {
		return scale.Tree{Servers: servers, Wake: wake, Lease: g.lease, Layers: layers}
	}
	return []shape{
		{"1 server × 1 000", tree(1, layer("validators", 1000, near))},
		{"2 servers × 5 000", tree(2, layer("validators", 5000, near))},
		{"3 servers × 3 edges × 1 112", tree(3, layer("edges", 3, near), layer("validators", 1112, near))},
		{"3 servers × 10 edges × 3 334", tree(3, layer("edges", 10, far), layer("validators", 3334, near))},
		{"3 servers × 20 edges × 16 667", tree(3, layer("edges", 20, far), layer("validators", 16_667, near))},
		{"3 servers × 10 edges × 17 edges × 1 961", tree(3, layer("edges", 10, far), layer("edges", 17, near), layer("validators", 1961, near))},
	}
}

func tables(w io.Writer, g given) {
	fmt.Fprintf(w, "From `go run ./cmd/scale -answer %v -apply %v -cores %d -lease %v`:\n\n", g.answer, g.apply, g.cores, g.lease)
	fmt.Fprint(w, "| tree | validators | half enforce it | 99 % | the last | receipt says everywhere |\n|---|---|---|---|---|---|\n")
	for _, s := range g.shapes() {
		r := rand.New(rand.NewPCG(1, 2))
		var half, most, last, receipt []time.Duration
		for range g.rounds {
			one := s.tree.Revoke(r)
			half, most = append(half, one.At(0.5)), append(most, one.At(0.99))
			last, receipt = append(last, one.At(1)), append(receipt, one.Confirmed)
		}
		fmt.Fprintf(w, "| %s | %d | %s | %s | %s | %s |\n", s.name, s.tree.Validators(), median(half), median(most), median(last), median(receipt))
	}
	fmt.Fprint(w, "\n| tree | questions/s of each parent, idle | its processors busy | its network | one revocation keeps it busy for |\n|---|---|---|---|---|\n")
	for _, s := range g.shapes() {
		last := len(s.tree.Layers) - 1
		idle := s.tree.Idle(last)
		each, _ := s.tree.Burst(last)
		fmt.Fprintf(w, "| %s | %.0f | %.1f %% of one | %.1f Mbit/s | %s |\n", s.name, idle.PerSecond, 100*idle.Cores, idle.Bits/1e6, round(each))
	}
	fmt.Fprint(w, "\n| a parent falls silent as the revocation commits | its children enforce it: half | the last | of them closed (503) |\n|---|---|---|---|\n")
	for _, others := range []bool{true, false} {
		name := "there are other parents to ask"
		if !others {
			name = "there is none"
		}
		r := rand.New(rand.NewPCG(1, 2))
		l := scale.Tree{Lease: g.lease}.Lose(r, 10_000, near, others)
		fmt.Fprintf(w, "| %s | %s | %s | %d %% |\n", name, round(l.Enforced[len(l.Enforced)/2]), round(l.Enforced[len(l.Enforced)-1]), l.Closed/100)
	}
}

func median(d []time.Duration) string {
	slices.Sort(d)
	return round(d[len(d)/2])
}

func round(d time.Duration) string {
	switch {
	case d > time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d > 10*time.Millisecond:
		return fmt.Sprintf("%.0f ms", float64(d)/1e6)
	}
	return fmt.Sprintf("%.1f ms", float64(d)/1e6)
}
