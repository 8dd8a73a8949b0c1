package account

import (
	"slices"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// recent caches the results of sign-ins on this node, so that most refused attempts
// cost neither the store nor the hash queue anything. The store decides: missing
// entries are looked up there. Each node has its own cache.
type recent struct {
	mu       sync.Mutex
	failures *lru.Cache[string, []int64]    // by failure key: µs, in order; no more than its limit
	origins  *lru.Cache[string, remembered] // by account and origin
}

type remembered struct {
	route route
	until time.Time
}

const (
	maxRecent = 16 * 1024 // entries of each
	// knownFor and unknownFor are how long the cache keeps that an account has, or
	// has not, signed in from an origin before.
	knownFor   = 10 * time.Minute
	unknownFor = 10 * time.Second
)

func newRecent() *recent {
	failures, err := lru.New[string, []int64](maxRecent)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	origins, err := lru.New[string, remembered](maxRecent)
	if err != nil {
		panic(err)
	}
	return &recent{failures: failures, origins: origins}
}

// failed records a failure at an instant under each limit.
func (r *recent) failed(limits []limit, at int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range limits {
		before, _ := r.failures.Get(l.key)
		before = append(slices.Clip(before), at)
		r.failures.Add(l.key, before[max(0, int64(len(before))-l.most):])
	}
}

// wait returns how long no attempt may be made under the limits, and the limit that
// requires it; 0 if one may be made, as far as the cache knows.
func (r *recent) wait(limits []limit, now time.Time) (longest time.Duration, by limit) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range limits {
		at, _ := r.failures.Get(l.key)
		if int64(len(at)) < l.most {
			continue
		}
		first := time.UnixMicro(at[int64(len(at))-l.most])
		if left := first.Add(window).Sub(now); left > longest {
			longest, by = left, l
		}
	}
	return longest, by
}

// route returns the cached route of an origin.
func (r *recent) route(key string, now time.Time) (route, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known, ok := r.origins.Get(key)
	return known.route, ok && now.Before(known.until)
}

func (r *recent) remember(key string, to route, now time.Time) {
	lasts := knownFor
	if to.unknown {
		lasts = unknownFor
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.origins.Add(key, remembered{to, now.Add(lasts)})
}

// forget removes the cached route of an origin.
func (r *recent) forget(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.origins.Remove(key)
}
