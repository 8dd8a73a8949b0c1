package upstream

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

// Followers that a server sends away in one instant come to the next one soon, and
// not in one instant: a node that takes over from another must not get all of its
// followers at once.
func TestBackoffIsSpread(t *testing.T) {
	const followers = 50
	after := make([]time.Duration, 0, followers)
	for range followers {
		after = append(after, backoff(0, errors.New("503")))
	}
	slices.Sort(after)
	if first, last := after[0], after[followers-1]; first < firstBackoff/4 || last > firstBackoff {
		t.Errorf("they come after %v to %v, want %v to %v", first, last, firstBackoff/4, firstBackoff)
	}
	// By chance seven of them come within a tenth of the time.
	for i := range after {
		within, _ := slices.BinarySearch(after, after[i]+firstBackoff/10)
		if within-i > followers/2 {
			t.Fatalf("%d of %d come within %v: %v", within-i, followers, firstBackoff/10, after)
		}
	}
}

// The backoff grows while no server answers, up to a limit well below a lease. It
// is long if a retry cannot help soon.
func TestBackoffGrows(t *testing.T) {
	refused := fmt.Errorf("the answer: %w", ErrCredentials)
	for _, test := range []struct {
		failures int
		err      error
		most     time.Duration
	}{
		{0, errors.New("503"), firstBackoff}, {1, errors.New("503"), 2 * firstBackoff}, {2, errors.New("503"), 4 * firstBackoff},
		{3, errors.New("503"), maxBackoff}, {1000, errors.New("503"), maxBackoff}, {0, refused, refusedBackoff}, {1000, refused, refusedBackoff},
	} {
		var longest time.Duration
		for range 200 {
			got := backoff(test.failures, test.err)
			if got < test.most/4 || got > test.most {
				t.Fatalf("after %d failures (%v): %v, want %v to %v", test.failures, test.err, got, test.most/4, test.most)
			}
			longest = max(longest, got)
		}
		if longest < test.most/2 {
			t.Errorf("after %d failures (%v): never more than %v, of %v", test.failures, test.err, longest, test.most)
		}
	}
}
