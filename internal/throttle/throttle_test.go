package throttle_test

import (
	"fmt"
	"testing"
	"time"

	"example.com/curfew/internal/throttle"
)

func TestThrottle(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	limited := throttle.New(throttle.Limit{Burst: 3, Every: 10 * time.Second})
	take := func(key string, want time.Duration, wantFirst bool) {
		t.Helper()
		if wait, first := limited.Take(key, now); wait != want || first != wantFirst {
			t.Errorf("%s: wait %v, first %v; want %v, %v", key, wait, first, want, wantFirst)
		}
	}
	for range 3 {
		if wait := limited.Check("ann", now); wait != 0 {
			t.Errorf("Check before the burst is used: %v", wait)
		}
		take("ann", 0, false)
	}
	if wait := limited.Check("ann", now); wait != 10*time.Second {
		t.Errorf("Check after it: %v", wait)
	}
	take("bob", 0, false)
	now = now.Add(9 * time.Second)
	take("ann", time.Second, true) // Check is no call that is refused
	now = now.Add(time.Second)
	take("ann", 0, false)
	take("ann", 10*time.Second, true)
	take("ann", 10*time.Second, false)
	now = now.Add(time.Hour) // the bucket holds no more than the burst
	for range 3 {
		take("ann", 0, false)
	}
	take("ann", 10*time.Second, true)

	off := throttle.New(throttle.Limit{Every: time.Hour})
	for range 100 {
		if wait, _ := off.Take("ann", now); wait != 0 {
			t.Fatalf("a limit that is off: %v", wait)
		}
	}
}

// However many keys come, the number of buckets is bounded, and the bucket used
// last is still there.
func TestThrottleIsBounded(t *testing.T) {
	now := time.Now()
	limited := throttle.New(throttle.Limit{Burst: 1, Every: time.Hour})
	for i := range 200_000 {
		limited.Take(fmt.Sprint(i), now)
	}
	if wait, _ := limited.Take("199999", now); wait == 0 {
		t.Error("the last key is forgotten")
	}
	if wait, _ := limited.Take("0", now); wait != 0 {
		t.Error("the first key is still held")
	}
}
