package measure

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

// Histogram counts durations in buckets that grow with the value: 32 for each
// doubling, so that a quantile is at most 3 % above the true value, from a
// nanosecond to hours. It is safe for concurrent use; the zero value is empty.
type Histogram struct {
	counts [buckets]atomic.Int64
	sum    atomic.Int64
	max    atomic.Int64
}

const (
	steps   = 32 // buckets in one doubling
	log2    = 5  // of steps
	buckets = (44 - log2) * steps
)

func bucket(d time.Duration) int {
	n := uint64(max(0, d))
	if n < 2*steps {
		return int(n)
	}
	shift := bits.Len64(n) - log2 - 1
	return min(buckets-1, shift*steps+int(n>>shift))
}

// upper returns the greatest duration that falls into bucket i.
func upper(i int) time.Duration {
	if i < 2*steps {
		return time.Duration(i)
	}
	shift := i/steps - 1
	return time.Duration(i%steps+steps+1)<<shift - 1
}

// Add counts one duration.
func (h *Histogram) Add(d time.Duration) {
	h.counts[bucket(d)].Add(1)
	h.sum.Add(int64(d))
	for {
		most := h.max.Load()
		if int64(d) <= most || h.max.CompareAndSwap(most, int64(d)) {
			return
		}
	}
}

// Count returns how many durations were counted.
func (h *Histogram) Count() int64 {
	var n int64
	for i := range h.counts {
		n += h.counts[i].Load()
	}
	return n
}

// Mean returns the mean, 0 of nothing.
func (h *Histogram) Mean() time.Duration {
	n := h.Count()
	if n == 0 {
		return 0
	}
	return time.Duration(h.sum.Load() / n)
}

// Max returns the longest duration.
func (h *Histogram) Max() time.Duration { return time.Duration(h.max.Load()) }

// Quantile returns the duration that a share q of all do not exceed, 0 of nothing.
func (h *Histogram) Quantile(q float64) time.Duration {
	rank := int64(math.Ceil(q * float64(h.Count())))
	var seen int64
	for i := range h.counts {
		if seen += h.counts[i].Load(); seen >= rank && seen > 0 {
			return min(upper(i), h.Max())
		}
	}
	return h.Max()
}
