package storetest

import (
	"context"
	"testing"
	"time"

	"example.com/curfew/internal/await"
	"example.com/curfew/internal/store"
)

// woken waits for a watcher to be woken. The promise is 250 ms for what another
// process commits.
func woken(t testing.TB, what string, watch <-chan struct{}) {
	t.Helper()
	select {
	case _, ok := <-watch:
		if !ok {
			t.Fatalf("%s: watching has ended", what)
		}
	case <-time.After(await.Limit):
		t.Fatalf("%s: not woken", what)
	}
}

// quiet takes the wake-ups that a watcher has got until now. Watchers may be woken
// for nothing, in particular when watching begins.
func quiet(watch <-chan struct{}) {
	for {
		select {
		case <-watch:
		case <-time.After(400 * time.Millisecond):
			return
		}
	}
}

var watchCases = []testCase{
	{"a commit wakes every watcher, here and elsewhere", func(t *testing.T, open Open) {
		s, other := open(t), open(t)
		here, hereToo, there := s.Watch(t.Context()), s.Watch(t.Context()), other.Watch(t.Context())
		for range 3 {
			quiet(here)
			quiet(hereToo)
			quiet(there)
			advance(t, s, noon)
			// Its own at once, without the way through the database.
			if len(here) == 0 || len(hereToo) == 0 {
				t.Error("the watchers here are not woken when the commit has returned")
			}
			woken(t, "here", here)
			woken(t, "here, the other", hereToo)
			woken(t, "there", there)
		}
	}},
	{"a node that asks for it wakes the others", func(t *testing.T, open Open) {
		s, other := open(t), open(t)
		here, there := s.Watch(t.Context()), other.Watch(t.Context())
		quiet(here)
		quiet(there)
		update(t, s, func(tx store.Tx) error { return tx.PutNode(t.Context(), store.Node{ID: "n"}, true) })
		woken(t, "here", here)
		woken(t, "there", there)
	}},
	{"who was woken reads what was committed", func(t *testing.T, open Open) {
		s, other := open(t), open(t)
		there := other.Watch(t.Context())
		quiet(there)
		e := advance(t, s, noon)
		for {
			woken(t, "there", there)
			got, err := other.Clock(t.Context())
			noErr(t, err)
			if got == e {
				return
			}
		}
	}},
	{"watching ends with its context, and with the store", func(t *testing.T, open Open) {
		s := open(t)
		ctx, cancel := context.WithCancel(t.Context())
		first, second := s.Watch(ctx), s.Watch(t.Context())
		cancel()
		ended(t, first)
		quiet(second)
		advance(t, s, noon)
		woken(t, "the other", second)
		noErr(t, s.Close())
		ended(t, second)
		ended(t, s.Watch(ctx))
	}},
}

func ended(t testing.TB, watch <-chan struct{}) {
	t.Helper()
	timeout := time.After(await.Limit)
	for {
		select {
		case _, ok := <-watch:
			if !ok {
				return
			}
		case <-timeout:
			t.Fatal("watching does not end")
		}
	}
}
