package upstream

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"example.com/curfew/revocation"
	"example.com/curfew/token"
)

// watchAll watches a session of each user, with the grace given.
func watchAll(t *testing.T, b *bench, f *Follower, grace time.Duration, users ...string) map[string]*token.Watch {
	t.Helper()
	watches := map[string]*token.Watch{}
	for _, user := range users {
		w, err := f.Validator().Watch(context.Background(), b.sign(user), grace)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Context().Err(); err != nil {
			t.Fatal(err)
		}
		watches[user] = w
	}
	return watches
}

func wantCause(t *testing.T, what string, w *token.Watch, want error) {
	t.Helper()
	if err := w.Context().Err(); (err != nil) != (want != nil) {
		t.Errorf("%s: the context says %v, want the cause %v", what, err, want)
	} else if cause := context.Cause(w.Context()); want != nil && !errors.Is(cause, want) {
		t.Errorf("%s: the cause is %v, want %v", what, cause, want)
	}
}

// What a follower watches ends with the revocation that the feed brings, and before
// the follower confirms it.
func TestWatchFollowsTheFeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, closeAll := newBench(t)
		defer closeAll()
		f := b.open()
		defer closeFollower(t, f)
		watches := watchAll(t, b, f, 0, "ann", "ben")
		epoch := b.revoke(revocation.User("ann"))
		synctest.Wait()
		if f.Epoch() < epoch {
			t.Fatalf("the view is at %d, want at least %d", f.Epoch(), epoch)
		}
		wantCause(t, "revoked", watches["ann"], token.ErrRevoked)
		wantCause(t, "another user", watches["ben"], nil)
	})
}

// The lease lost, and regained within the grace of some: each ends when it should.
func TestWatchAndTheFollowersLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, closeAll := newBench(t)
		defer closeAll()
		f := b.open()
		defer closeFollower(t, f)
		strict := watchAll(t, b, f, 0, "ann")["ann"]
		lenient := watchAll(t, b, f, time.Minute, "ben")["ben"]
		b.instead(func(w http.ResponseWriter, _ *http.Request) bool {
			fail(w, http.StatusServiceUnavailable, "unavailable")
			return true
		})
		// A question that was under way may still bring a lease.
		for left := f.Status().LeaseLeft; left > time.Millisecond; left = f.Status().LeaseLeft {
			time.Sleep(left - time.Millisecond)
			synctest.Wait()
			wantCause(t, "before the lease ends", strict, nil)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		wantCause(t, "after the lease", strict, token.ErrUnavailable)
		wantCause(t, "within its grace", lenient, nil)
		b.instead(nil)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if !f.Trusted(time.Now()) {
			t.Fatal("the lease was not regained")
		}
		wantCause(t, "regained within its grace", lenient, nil)
	})
}

func TestCloseEndsWatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, closeAll := newBench(t)
		defer closeAll()
		f := b.open()
		w := watchAll(t, b, f, time.Hour, "ann")["ann"]
		closeFollower(t, f)
		wantCause(t, "closed", w, token.ErrUnavailable)
		// The bubble ends here: no goroutine of the follower or its validator is left.
	})
}
