package torture

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// mannWhitney returns by how many standard deviations the rank sum of a is off from
// what it would be if a and b came from one distribution.
func mannWhitney(a, b []time.Duration) float64 {
	type value struct {
		d   time.Duration
		ofA bool
	}
	var all []value
	for _, d := range a {
		all = append(all, value{d, true})
	}
	for _, d := range b {
		all = append(all, value{d, false})
	}
	slices.SortFunc(all, func(x, y value) int { return cmp.Compare(x.d, y.d) })
	var sum float64 // of the ranks of a; ties share theirs
	for i := 0; i < len(all); {
		j := i
		for j < len(all) && all[j].d == all[i].d {
			j++
		}
		for _, v := range all[i:j] {
			if v.ofA {
				sum += float64(i+j+1) / 2
			}
		}
		i = j
	}
	n, m := float64(len(a)), float64(len(b))
	u := sum - n*(n+1)/2
	return (u - n*m/2) / math.Sqrt(n*m*(n+m+1)/12)
}

// The statistic finds a difference that exists, and none where there is none.
func TestMannWhitney(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	sample := func(shift time.Duration) (d []time.Duration) {
		for range 150 {
			d = append(d, shift+time.Duration(random.NormFloat64()*float64(10*time.Millisecond)))
		}
		return d
	}
	if z := mannWhitney(sample(0), sample(0)); math.Abs(z) > 4 {
		t.Errorf("of one distribution: z = %.2f", z)
	}
	if z := mannWhitney(sample(10*time.Millisecond), sample(0)); z < 5 {
		t.Errorf("a deviation apart: z = %.2f", z)
	}
	if z := mannWhitney([]time.Duration{1, 1, 1}, []time.Duration{1, 1, 1}); z != 0 {
		t.Errorf("all the same: z = %.2f", z)
	}
	if z := mannWhitney([]time.Duration{4, 5, 6}, []time.Duration{1, 2, 3}); math.Abs(z-4.5/math.Sqrt(5.25)) > 1e-9 {
		t.Errorf("worked out by hand: z = %v", z)
	}
}
