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

// The table that a reader finds says itself what was dropped from it, so that it
// does not matter when the reader looks at everyone's epoch.
func TestATableKnowsWhatItLacks(t *testing.T) {
	table := newTable(4)
	table.insert(KindUser, "a", 10)
	table.insert(KindUser, "b", 20)
	if same := table.without(9); same != table {
		t.Error("a copy, although nothing was to be dropped")
	}
	less := table.without(10)
	for id, want := range map[string]Epoch{"a": 10, "b": 20, "never": 10} {
		if got := less.get(KindUser, id); got != want {
			t.Errorf("%s: %d, want %d", id, got, want)
		}
	}
	for n := range 100 { // grow
		less = less.withRoom()
		less.insert(KindSession, fmt.Sprint(n), 30)
	}
	if got := less.get(KindUser, "a"); got != 10 {
		t.Errorf("after it has grown: %d, want 10", got)
	}
}

// A page of changes ends with everyone, which makes a partial cache complete. A
// reader who waited for the page to be applied must not hear "complete" without
// everyone.
func TestReadersOfAPartialCacheAreNotToldItIsCompleteTooEarly(t *testing.T) {
	until := time.Now().Add(500 * time.Millisecond)
	for epoch := Epoch(0); time.Now().Before(until) && !t.Failed(); {
		c := NewCache(CacheConfig{Capacity: 2})
		c.Apply(Revocation{User("victim"), epoch + 1})
		least := epoch + 1
		during(func() {
			var page []Revocation
			for n := range 3000 {
				epoch++
				page = append(page, Revocation{User(fmt.Sprint(n % 7)), epoch + 1})
			}
			epoch += 2
			c.Apply(append(page, Revocation{Everyone(), epoch})...)
		}, func() bool {
			if before, complete := c.Known("victim", "s", false); complete && before < least {
				t.Errorf("Known = %d and complete, but %d was applied before", before, least)
				return false
			}
			return true
		})
	}
}
