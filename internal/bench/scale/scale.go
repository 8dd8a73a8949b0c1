// Package scale says by arithmetic and simulation how a revocation spreads through
// trees of servers, edges and validators that are larger than any machine at hand.
//
// What a node does is measured (see RESULTS.md) and put in as numbers; the network
// is assumed, and said to be. The rules are those of the change feed: a parent
// answers its children one after the other, each child asks again, and a child
// whose parent falls silent asks another one after its patience, or stops
// accepting when its lease ends.
package scale

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// Network is a one-way delay: log-normal, with half below Median and one in a
// hundred above P99.
type Network struct{ Median, P99 time.Duration }

func (n Network) draw(r *rand.Rand) time.Duration {
	const z99 = 2.326 // of the normal distribution
	spread := math.Log(float64(n.P99)/float64(n.Median)) / z99
	return time.Duration(float64(n.Median) * math.Exp(r.NormFloat64()*spread))
}

// Layer is one kind of node below another.
type Layer struct {
	Name    string
	Each    int           // how many hang on each node of the layer above
	Cost    time.Duration // of the parent's processors for one answer and the question after it
	Cores   int           // of the parent
	Apply   time.Duration // until the child has applied an answer
	Network Network
}

// Tree is servers and everything that hangs on them.
type Tree struct {
	Servers int     // that share a database
	Wake    Network // from the commit until another server has read it
	Lease   time.Duration
	Layers  []Layer
}

// Hold is how long a question without news is held.
func (t Tree) Hold() time.Duration { return t.Lease / 3 }

// Patience is how long a child waits for an answer before it asks another parent.
func (t Tree) Patience() time.Duration { return t.Lease/3 + max(time.Second, t.Lease/6) }

// Validators returns how many nodes the last layer has.
func (t Tree) Validators() int {
	n := t.Servers
	for _, l := range t.Layers {
		n *= l.Each
	}
	return n
}

// Spread is what one revocation does.
type Spread struct {
	Validators []time.Duration // when each enforces it, after the commit, ascending
	Confirmed  time.Duration   // when the answering server knows that all do
}

// At returns the time by which a share q of the validators enforces it.
func (s Spread) At(q float64) time.Duration {
	return s.Validators[int(q*float64(len(s.Validators)-1)+0.5)]
}

// Revoke simulates one revocation.
func (t Tree) Revoke(r *rand.Rand) Spread {
	var s Spread
	for i := range t.Servers {
		start := time.Duration(0)
		if i > 0 {
			start = t.Wake.draw(r)
		}
		// Others tell the answering server by a row, and wake it.
		confirmed := t.down(r, t.Layers, start, &s)
		if i > 0 {
			confirmed += t.Wake.draw(r)
		}
		s.Confirmed = max(s.Confirmed, confirmed)
	}
	slices.Sort(s.Validators)
	return s
}

// down lets a node that has the revocation at start tell its children, and
// returns when it has heard that everything below it enforces it.
func (t Tree) down(r *rand.Rand, layers []Layer, start time.Duration, s *Spread) time.Duration {
	if len(layers) == 0 {
		s.Validators = append(s.Validators, start)
		return start
	}
	l := layers[0]
	step := l.Cost / time.Duration(max(1, l.Cores))
	heard := make([]time.Duration, l.Each)
	sent := start
	for i := range heard {
		sent += step
		has := sent + l.Network.draw(r) + l.Apply
		heard[i] = t.down(r, layers[1:], has, s) + l.Network.draw(r)
	}
	// The questions that come back are confirmations, and wait for the answers
	// that still have to go out: both are in step.
	slices.Sort(heard)
	busy := sent
	for _, h := range heard {
		busy = max(busy, h)
	}
	return busy
}

// Loss is what the children of a parent see that falls silent at the very moment
// of a revocation: no reset, no error, just nothing.
type Loss struct {
	Enforced []time.Duration // when each child enforces the revocation, ascending
	Closed   int             // how many of them by answering 503, because the lease had ended
}

// Lose simulates it for the children of one parent. others says whether there is
// another parent to ask; network is the way to it.
func (t Tree) Lose(r *rand.Rand, children int, network Network, others bool) Loss {
	var l Loss
	for range children {
		age := time.Duration(r.Int64N(int64(t.Hold()))) // since the question that is under way was sent
		end := t.Lease - age
		if others {
			// A quarter of a second at most, drawn anew by each: no stampede.
			pause := 62*time.Millisecond + time.Duration(r.Int64N(int64(188*time.Millisecond)))
			switched := t.Patience() - age + pause + 2*network.draw(r)
			if switched < end {
				end = switched
			} else {
				l.Closed++
			}
		} else {
			l.Closed++
		}
		l.Enforced = append(l.Enforced, end)
	}
	slices.SortFunc(l.Enforced, cmp.Compare)
	return l
}

// Idle is what a parent with children does while nothing happens.
type Idle struct {
	PerSecond float64 // questions
	Cores     float64 // busy with them
	Bits      float64 // a second, both ways
}

// questionBytes is a question and its answer without news, headers and TCP
// included.
const questionBytes = 1100

// Idle returns what each parent of layer i does.
func (t Tree) Idle(i int) Idle {
	l := t.Layers[i]
	per := float64(l.Each) / t.Hold().Seconds()
	return Idle{PerSecond: per, Cores: per * l.Cost.Seconds(), Bits: per * questionBytes * 8}
}

// Burst is how long a parent of layer i needs for one revocation, and so how many
// a second it can pass on one by one before it begins to pass them on in batches.
func (t Tree) Burst(i int) (each time.Duration, perSecond float64) {
	l := t.Layers[i]
	each = l.Cost * time.Duration(l.Each) / time.Duration(max(1, l.Cores))
	return each, 1 / each.Seconds()
}
