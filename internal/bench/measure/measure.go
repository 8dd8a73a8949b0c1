// Package measure takes figures in interleaved rounds: whatever else a shared
// machine does falls on all that are compared, and a ratio is taken within one
// round, where both sides had the same neighbours.
package measure

import (
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Series is what one case measured, a figure for each round.
type Series struct {
	Name   string
	Values []float64
}

// Median returns the middle value, 0 of nothing.
func (s Series) Median() float64 { return quantile(s.Values, 0.5) }

// Min returns the least value.
func (s Series) Min() float64 { return quantile(s.Values, 0) }

// Max returns the greatest value.
func (s Series) Max() float64 { return quantile(s.Values, 1) }

func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[int(q*float64(len(sorted)-1)+0.5)]
}

// Over returns s divided by other, round by round.
func (s Series) Over(other Series) Series {
	return s.with(other, func(a, b float64) float64 { return a / b })
}

// Minus returns s less other, round by round.
func (s Series) Minus(other Series) Series {
	return s.with(other, func(a, b float64) float64 { return a - b })
}

func (s Series) with(other Series, f func(a, b float64) float64) Series {
	n := min(len(s.Values), len(other.Values))
	out := Series{Name: s.Name + " / " + other.Name, Values: make([]float64, n)}
	for i := range n {
		out.Values[i] = f(s.Values[i], other.Values[i])
	}
	return out
}

// Case is one of the things compared. Run takes its figure once.
type Case struct {
	Name string
	Run  func() (float64, error)
}

// Rounds runs every case once a round. The order is turned from round to round,
// so that none always comes after the same neighbour.
func Rounds(n int, progress func(round int), cases ...Case) ([]Series, error) {
	series := make([]Series, len(cases))
	for i, c := range cases {
		series[i].Name = c.Name
	}
	for round := range n {
		progress(round)
		for i := range cases {
			at := (i + round) % len(cases)
			figure, err := cases[at].Run()
			if err != nil {
				return nil, err
			}
			series[at].Values = append(series[at].Values, figure)
		}
	}
	return series, nil
}

// PerOp returns a Run for [Case] that reports nanoseconds of processor time an
// operation. f does n operations on the goroutine that calls it; how many fill
// about d is found out in the first call.
//
// It is the time that the thread has had a processor, not the time on the wall:
// on a machine whose other processes are busy, the second says more of them.
func PerOp(d time.Duration, f func(n int) error) func() (float64, error) {
	return perOp(ThreadTime, d, f)
}

// PerOpWall is PerOp by the clock on the wall, for what runs on several goroutines.
func PerOpWall(d time.Duration, f func(n int) error) func() (float64, error) {
	return perOp(wallTime, d, f)
}

func perOp(clock func(func() error) (time.Duration, error), d time.Duration, f func(n int) error) func() (float64, error) {
	n := 0
	return func() (float64, error) {
		if n == 0 {
			n = 1
			for {
				took, err := clock(func() error { return f(n) })
				if err != nil {
					return 0, err
				}
				if took > d/8 {
					n = max(1, int(float64(n)*float64(d)/float64(took)))
					break
				}
				n *= 4
			}
		}
		took, err := clock(func() error { return f(n) })
		return float64(took) / float64(n), err
	}
}

func wallTime(f func() error) (time.Duration, error) {
	began := time.Now()
	err := f()
	return time.Since(began), err
}

// ThreadTime returns the processor time that f takes on its own thread. The work of
// other goroutines does not count.
func ThreadTime(f func() error) (time.Duration, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, err := threadTime()
	if err != nil {
		return 0, err
	}
	if err := f(); err != nil {
		return 0, err
	}
	after, err := threadTime()
	return after - before, err
}

func threadTime() (time.Duration, error) {
	var t unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t)
	return time.Duration(t.Nano()), err
}
