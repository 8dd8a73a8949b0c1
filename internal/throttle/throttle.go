// Package throttle limits how often something is done, by key, in memory.
package throttle

import (
	"math"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"
)

// Limit is a token bucket: Burst at once, then one each Every.
type Limit struct {
	Burst int
	Every time.Duration
}

// maxKeys bounds the memory of a Throttle. The key that was used least recently
// is forgotten; it then has its whole burst again.
const maxKeys = 64 * 1024

// Throttle keeps one bucket for each key. It is safe for concurrent use.
type Throttle struct {
	limit Limit

	mu      sync.Mutex // guards buckets, and that one key has one bucket
	buckets *lru.Cache[string, *bucket]
}

type bucket struct {
	*rate.Limiter
	refusing bool // the last call was refused
}

// New returns a Throttle. A limit with a Burst of zero or less refuses nothing.
func New(limit Limit) *Throttle {
	buckets, err := lru.New[string, *bucket](maxKeys)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	return &Throttle{limit: limit, buckets: buckets}
}

// Take takes one token from the bucket of key at the instant now and returns 0.
// If there is none, it takes nothing and returns how long to wait for one; first
// then says that the call before was not refused.
func (t *Throttle) Take(key string, now time.Time) (wait time.Duration, first bool) {
	return t.take(key, now, 1)
}

// Check is Take that takes nothing.
func (t *Throttle) Check(key string, now time.Time) (wait time.Duration) {
	wait, _ = t.take(key, now, 0)
	return wait
}

func (t *Throttle) take(key string, now time.Time, n int) (wait time.Duration, first bool) {
	if t.limit.Burst <= 0 {
		return 0, false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	b, ok := t.buckets.Get(key)
	if !ok {
		if n == 0 {
			return 0, false // a full bucket needs no memory
		}
		b = &bucket{Limiter: rate.NewLimiter(rate.Every(t.limit.Every), t.limit.Burst)}
		t.buckets.Add(key, b)
	}
	if missing := 1 - b.TokensAt(now); missing > 0 {
		if n > 0 {
			first, b.refusing = !b.refusing, true
		}
		return max(1, time.Duration(math.Ceil(missing*float64(t.limit.Every)))), first
	}
	b.refusing = false
	b.AllowN(now, n)
	return 0, false
}
