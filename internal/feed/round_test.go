package feed

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"example.com/curfew/revocation"
)

// All who wait for a change are told before any of them is heard again; one who
// cannot be told holds the others up for a moment only, and one who has gone not
// at all.
func TestToldBeforeAnyIsHeardAgain(t *testing.T) {
	for _, test := range []struct {
		name  string
		stuck int           // of ten, how many are not told
		gone  int           // and how many do not wait any more
		want  time.Duration // for the others
	}{
		{"all are told within 90 ms", 0, 0, 90 * time.Millisecond},
		{"one is stuck", 1, 0, mostPatience},
		{"one has gone", 0, 1, 90 * time.Millisecond},
		{"all but one are gone", 0, 9, 90 * time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := hubAt(10)
			ctx, cancel := context.WithCancel(t.Context())
			heard := make(chan time.Duration, 10)
			var changed time.Time
			for i := range 10 {
				q := Query{Follower: fmt.Sprint(i), After: 10, Wait: time.Minute}
				switch {
				case i < test.gone:
					go func() { _, _ = h.changes(ctx, q) }()
					continue
				case i < test.stuck:
					go func() { _, _ = h.changes(t.Context(), q) }()
					continue
				}
				go func() {
					a, err := h.changes(t.Context(), q)
					if err != nil {
						t.Error(err)
					}
					time.Sleep(time.Duration(i) * 10 * time.Millisecond) // it is being sent
					a.Sent(t.Context())
					heard <- time.Since(changed)
				}()
			}
			synctest.Wait()
			cancel()
			synctest.Wait()
			changed = time.Now()
			h.publish(update{epoch: 11, revocations: []revocation.Revocation{{Scope: revocation.User("ann"), Epoch: 11}}})
			for range 10 - test.stuck - test.gone {
				if took := <-heard; took != test.want {
					t.Errorf("%s: heard again after %v, want %v", test.name, took, test.want)
				}
			}
		})
	}
}

// Whoever was answered for another reason than a change waits for nobody.
func TestAnsweredWithoutAChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := hubAt(10)
		go func() { _, _ = h.changes(t.Context(), Query{Follower: "waits", After: 10, Wait: 4 * time.Second}) }()
		synctest.Wait()
		for _, q := range []Query{
			{Follower: "behind", After: 9, Wait: time.Minute},
			{Follower: "asks", After: 10},
			{Follower: "waited", After: 10, Wait: time.Second},
		} {
			a := h.mustAnswer(t, q)
			began := time.Now()
			a.Sent(t.Context())
			if took := time.Since(began); took != 0 {
				t.Errorf("%s is held up for %v", q.Follower, took)
			}
		}
	})
}
