package revocation

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// during runs read in two goroutines for as long as write takes.
func during(write func(), read func() bool) {
	var done atomic.Bool
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for !done.Load() && read() {
			}
		})
	}
	write()
	done.Store(true)
	readers.Wait()
}

// A reader that finds no entry must not take the epoch of another scope that is
// just being written where its own would stand.
func TestReadersNeverSeeAnotherScopesEpoch(t *testing.T) {
	until := time.Now().Add(500 * time.Millisecond)
	for time.Now().Before(until) && !t.Failed() {
		c := NewCache(CacheConfig{})
		during(func() {
			for n := range 2000 {
				c.Apply(Revocation{User(fmt.Sprint("revoked", n)), Epoch(n + 1)})
			}
		}, func() bool {
			if before, _ := c.Known("never revoked", "nor its session", true); before != 0 {
				t.Errorf("Known = %d for a user that was never revoked", before)
				return false
			}
			return true
		})
	}
}

// Revoking everyone lets the table drop what that outdates. A reader in between
// must see either.
func TestReadersSeeTheEntryOrWhatOutdatedIt(t *testing.T) {
	until := time.Now().Add(500 * time.Millisecond)
	for time.Now().Before(until) && !t.Failed() {
		const capacity = 4
		c := NewCache(CacheConfig{Capacity: capacity})
		var applied atomic.Int64
		during(func() {
			for epoch := Epoch(1); epoch < 500; {
				for n := range capacity {
					epoch++
					c.Apply(Revocation{User(fmt.Sprint(n)), epoch})
				}
				applied.Store(int64(epoch))
				epoch++
				c.Apply(Revocation{Everyone(), epoch}, Revocation{User(fmt.Sprint("another", epoch)), epoch + 1})
				epoch++
			}
		}, func() bool {
			least := Epoch(applied.Load())
			if before, complete := c.Known(fmt.Sprint(capacity-1), "s", false); complete && before < least {
				t.Errorf("Known = %d, but %d was applied before", before, least)
				return false
			}
			return true
		})
	}
}

// The same for a partial cache, which is complete again after everyone.
func TestReadersOfAPartialCacheAreNotToldItIsCompleteTooEarly(t *testing.T) {
	until := time.Now().Add(500 * time.Millisecond)
	for time.Now().Before(until) && !t.Failed() {
		c := NewCache(CacheConfig{Capacity: 2})
		var applied atomic.Int64
		during(func() {
			for epoch := Epoch(1); epoch < 500; {
				epoch++
				c.Apply(Revocation{User("victim"), epoch})
				applied.Store(int64(epoch))
				for n := range 4 {
					epoch++
					c.Apply(Revocation{User(fmt.Sprint(n)), epoch})
				}
				epoch++
				c.Apply(Revocation{Everyone(), epoch})
				epoch++
				c.Apply(Revocation{User(fmt.Sprint("later", epoch)), epoch})
			}
		}, func() bool {
			least := Epoch(applied.Load())
			if before, complete := c.Known("victim", "s", false); complete && before < least {
				t.Errorf("Known = %d and complete, but %d was applied before", before, least)
				return false
			}
			return true
		})
	}
}
