// Package await waits in tests for events that send no signal: something in another
// process, or in a counter. It asks until the event has happened. Where there is a
// signal, a channel for example, a test waits for that.
package await

import "time"

// Limit is how long Until waits. It ends what hangs, and is no statement about how
// long something may take: a busy machine takes many times as long as an idle one.
const Limit = 5 * time.Minute

// TB is what Until uses of a test.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
}

// Until waits until holds returns true. It fails the test with the name of the event
// if that takes longer than Limit.
func Until(t TB, event string, holds func() bool) {
	t.Helper()
	if !Holds(Limit, holds) {
		t.Fatalf("%s: has not happened within %v", event, Limit)
	}
}

// Holds waits until holds returns true, and reports whether it did within limit. It
// calls holds at least once.
func Holds(limit time.Duration, holds func() bool) bool {
	const shortest, longest = time.Millisecond, 20 * time.Millisecond
	began := time.Now()
	for pause := shortest; !holds(); pause = min(2*pause, longest) {
		if time.Since(began) >= limit {
			return false
		}
		time.Sleep(pause) // there is no signal: that is what this package is for
	}
	return true
}
