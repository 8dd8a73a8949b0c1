package measure

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestRoundsAreInterleaved(t *testing.T) {
	var order []string
	figure := 0.0
	named := func(name string) Case {
		return Case{Name: name, Run: func() (float64, error) {
			order = append(order, name)
			figure++
			return figure, nil
		}}
	}
	series, err := Rounds(2, func(int) {}, named("a"), named("b"), named("c"))
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"a", "b", "c", "b", "c", "a"}; !slices.Equal(order, want) {
		t.Errorf("order %v, want %v", order, want)
	}
	if want := []float64{1, 6}; series[0].Name != "a" || !slices.Equal(series[0].Values, want) {
		t.Errorf("%v, want a %v", series[0], want)
	}
	broken := errors.New("broken")
	if _, err := Rounds(1, func(int) {}, Case{Run: func() (float64, error) { return 0, broken }}); !errors.Is(err, broken) {
		t.Errorf("a case that fails: %v", err)
	}
}

func TestRatiosAreTakenWithinARound(t *testing.T) {
	a := Series{Values: []float64{10, 200, 30}}
	b := Series{Values: []float64{5, 100, 15}}
	r := a.Over(b)
	if r.Min() != 2 || r.Median() != 2 || r.Max() != 2 {
		t.Errorf("%v", r)
	}
	if d := a.Minus(b); d.Min() != 5 || d.Median() != 15 || d.Max() != 100 {
		t.Errorf("%v", d)
	}
}

func TestPerOpWall(t *testing.T) {
	run := PerOpWall(20*time.Millisecond, func(n int) error {
		time.Sleep(time.Duration(n) * time.Millisecond) // the work that is measured
		return nil
	})
	figure, err := run()
	if err != nil || figure < 1e6 || figure > 1e7 {
		t.Errorf("%v ns, %v; want somewhat more than a million", figure, err)
	}
}

// Processor time passes in work and not in sleep.
func TestThreadTime(t *testing.T) {
	asleep, err := ThreadTime(func() error { time.Sleep(50 * time.Millisecond); return nil }) // the work that is measured
	if err != nil || asleep > 10*time.Millisecond {
		t.Errorf("50 ms of sleep are %v, %v", asleep, err)
	}
	busy, err := ThreadTime(func() error {
		for began := time.Now(); time.Since(began) < 50*time.Millisecond; {
		}
		return nil
	})
	if err != nil || busy <= asleep || busy > 51*time.Millisecond {
		t.Errorf("50 ms of work are %v, %v", busy, err)
	}
	broken := errors.New("broken")
	if _, err := ThreadTime(func() error { return broken }); !errors.Is(err, broken) {
		t.Errorf("an error: %v", err)
	}
	n := 0
	run := PerOp(5*time.Millisecond, func(k int) error {
		n += k
		for began := time.Now(); time.Since(began) < time.Duration(k)*10*time.Microsecond; {
		}
		return nil
	})
	figure, err := run()
	if err != nil || figure <= 0 || figure > 11_000 || n < 100 {
		t.Errorf("%v ns an operation, %v, %d operations", figure, err, n)
	}
}

func TestHistogramAgainstSorting(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var h Histogram
	values := make([]time.Duration, 10_001)
	for i := range values {
		values[i] = time.Duration(math.Exp(random.Float64() * 29))
		h.Add(values[i])
	}
	slices.Sort(values)
	for _, q := range []float64{0, 0.01, 0.5, 0.99, 0.999, 1} {
		exact := values[min(len(values)-1, int(math.Ceil(q*float64(len(values))))-min(1, int(q*1e9)))]
		got := h.Quantile(q)
		if got < exact || float64(got) > float64(exact)*1.04+1 {
			t.Errorf("quantile %v is %v, want %v or up to 4 %% more", q, got, exact)
		}
	}
	if h.Count() != int64(len(values)) || h.Max() != values[len(values)-1] {
		t.Errorf("count %d, max %v", h.Count(), h.Max())
	}
}

func TestHistogramBucketsCoverEveryValue(t *testing.T) {
	last := -1
	for _, d := range []time.Duration{0, 1, 63, 64, 65, 127, 128, 129, time.Microsecond, time.Second, time.Hour, 1 << 60} {
		i := bucket(d)
		if i < last {
			t.Errorf("%v falls below a smaller value", d)
		}
		last = i
		if i < buckets-1 && (upper(i) < d || i > 0 && upper(i-1) >= d) {
			t.Errorf("%v falls into bucket %d, from above %v to %v", d, i, upper(i-1), upper(i))
		}
	}
	if (&Histogram{}).Quantile(0.5) != 0 {
		t.Error("an empty histogram has a median")
	}
}

func TestZipf(t *testing.T) {
	const n, count = 1000, 200_000
	seen := make([]int, n)
	for _, k := range Zipf(n, count, 0.99, 1) {
		seen[k]++
	}
	slices.Sort(seen)
	slices.Reverse(seen)
	harmonic := 0.0
	for k := range n {
		harmonic += math.Pow(float64(k+1), -0.99)
	}
	for _, rank := range []int{0, 1, 9} {
		want := count * math.Pow(float64(rank+1), -0.99) / harmonic
		if got := float64(seen[rank]); math.Abs(got-want) > want/10 {
			t.Errorf("rank %d came %v times, want about %.0f", rank, got, want)
		}
	}
}
