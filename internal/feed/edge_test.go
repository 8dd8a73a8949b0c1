package feed_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"example.com/curfew/internal/await"
	"example.com/curfew/internal/feed"
	"example.com/curfew/internal/store/migrated"
	"example.com/curfew/internal/upstream"
	"example.com/curfew/revocation"
	"example.com/curfew/token"
)

// However many hops there are, no lease outlives that of the node, and a cut at the
// root ends all answers within it.
func TestChainOfEdges(t *testing.T) {
	const lease = 2 * time.Second
	w := newWorld(t, migrated.SQLite(t))
	n := w.node(feed.Config{Name: "node", Lease: lease})
	p := newProxy(t, serve(t, n))
	first, firstURL := edge(t, "first", p.url)
	second, secondURL := edge(t, "second", firstURL)
	f := follow(t, upstream.Config{}, secondURL)
	ann := w.sign("ann")
	expect(t, f.Validator(), ann, nil)

	// The same answers at each hop: issuer, audiences, settings, keys.
	for _, up := range []source{n, first, second} {
		a := ask(t, up, feed.Query{Follower: "looks", FollowerName: "looks"})
		if a.Issuer != issuer || len(a.Audience) != 2 || a.Settings == nil || a.Settings.SessionTimeoutSeconds != 1200 || len(a.Keys) == 0 || a.LeaseMS <= 0 || a.LeaseMS > lease.Milliseconds() {
			t.Errorf("%+v", a)
		}
	}
	// Three leases have to go by: no event ends them.
	for end := time.Now().Add(3 * lease); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		own := n.Status().LeaseLeft
		// Read after the node's: a lease that is renewed meanwhile is longer.
		if one, two := first.Status(), second.Status(); one.LeaseLeft > lease || two.LeaseLeft > lease || own > lease {
			t.Fatalf("leases of %v, %v and %v are left; none is longer than %v", own, one.LeaseLeft, two.LeaseLeft, lease)
		}
		if !f.Trusted(time.Now()) {
			t.Fatal("a follower behind two edges lost its lease, though nothing is wrong")
		}
	}
	eventually(t, "all behind the first edge are counted", func() bool { return n.Status().Followers >= 3 })

	p.set(blackHole)
	cut := time.Now()
	r := w.revoke(revocation.User("ann"))
	n.Applied(r...)
	eventually(t, "none trusts a view without a root", func() bool {
		began := time.Now()
		_, err := f.Validator().Validate(t.Context(), ann)
		if err == nil && began.Sub(cut) > lease {
			t.Fatalf("accepted %v after the cut at the root", began.Sub(cut))
		}
		if err != nil && !errors.Is(err, token.ErrUnavailable) {
			t.Fatal(err)
		}
		trusted := f.Trusted(began) || second.Trusted(began) || first.Trusted(began)
		if trusted && began.Sub(cut) > lease {
			t.Fatalf("a view is trusted %v after the cut at the root", began.Sub(cut))
		}
		return err != nil && !trusted
	})
	if _, err := second.Changes(t.Context(), feed.Query{Follower: "f", Wait: time.Second}); !errors.Is(err, token.ErrUnavailable) {
		t.Errorf("Changes = %v, want %v", err, token.ErrUnavailable)
	}
	p.set(pass)
	eventually(t, "healed", func() bool {
		_, err := f.Validator().Validate(t.Context(), ann)
		if err == nil {
			t.Fatal("healed, it accepts what was revoked meanwhile")
		}
		return errors.Is(err, token.ErrRevoked)
	})
}

// An edge passes on what it is asked for: the store's clock as read afresh, and
// what a partial cache has forgotten.
func TestEdgeAsksUpstream(t *testing.T) {
	w := newWorld(t, migrated.Postgres(t))
	n := (&world{tb: t, Store: openStore(t, w.url)}).node(feed.Config{Name: "node"})
	for _, u := range []string{"a", "b", "c", "d", "e", "f"} {
		w.revoke(revocation.User(u))
	}
	e, url := edge(t, "edge", serve(t, n))
	f := follow(t, upstream.Config{CacheSize: 2}, url)
	clock, err := w.Clock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range []string{"a", "b", "c", "d", "e", "f"} {
		expect(t, f.Validator(), w.mint(u, clock-1_000_000), token.ErrRevoked)
		expect(t, f.Validator(), w.mint(u, clock), nil)
	}
	if f.Cache().Stats().Lookups == 0 {
		t.Error("nothing was looked up")
	}
	// A token that is newer than everything the chain has seen.
	newer := w.revoke(revocation.Session(newSID()))[0].Epoch
	expect(t, f.Validator(), w.mint("ann", newer), nil)
	if f.Epoch() < newer || e.Epoch() < newer {
		t.Errorf("follower at %d, edge at %d; the token knows %d", f.Epoch(), e.Epoch(), newer)
	}
	// A position above the store's clock is refused by the edge as by the node.
	if _, err := e.Changes(t.Context(), feed.Query{Follower: "x", After: newer + 1_000_000_000, Wait: time.Second}); !errors.Is(err, feed.ErrStartOver) {
		t.Errorf("Changes = %v, want %v", err, feed.ErrStartOver)
	}
}

// When a node shuts down, its followers move to another without a gap.
func TestFollowersMove(t *testing.T) {
	const lease = 3 * time.Second
	w := newWorld(t, migrated.Postgres(t))
	stays := (&world{tb: t, Store: openStore(t, w.url)}).node(feed.Config{Name: "stays", Lease: lease})
	leaves := (&world{tb: t, Store: openStore(t, w.url)}).node(feed.Config{Name: "leaves", Lease: lease})
	f := follow(t, upstream.Config{}, serve(t, leaves), serve(t, stays))
	ann := w.sign("ann")
	expect(t, f.Validator(), ann, nil)
	leaves.Drain()
	eventually(t, "the follower has moved", func() bool {
		expect(t, f.Validator(), ann, nil)
		return stays.Status().Followers == 1
	})
	if err := leaves.Close(); err != nil {
		t.Fatal(err)
	}
	closed := time.Now()
	eventually(t, "every lease of the node that has left has ended", func() bool {
		expect(t, f.Validator(), ann, nil)
		return time.Since(closed) > lease
	})
	r := w.revoke(revocation.User("ann"))
	stays.Applied(r...)
	e, err := stays.Enforcement(t.Context(), r[0].Epoch, time.Now(), await.Limit)
	if err != nil || !e.EffectiveEverywhere || e.Confirmed != 2 {
		t.Errorf("%+v, %v", e, err)
	}
	for _, l := range e.Lapsed { // within the margin of its lease
		if !strings.HasPrefix(l.Name, "leaves (stopped, started ") {
			t.Errorf("%+v: lapsed %q, want at most the node that left", e, l.Name)
		}
	}
	expect(t, f.Validator(), ann, token.ErrRevoked)
}

// An edge answers for its followers: a silent follower keeps the edge waiting.
func TestEdgeWaitsForItsFollowers(t *testing.T) {
	w := newWorld(t, migrated.SQLite(t))
	const lease = time.Minute // the silent follower keeps it for the whole test
	n := w.node(feed.Config{Name: "node", Lease: lease})
	e, _ := edge(t, "edge", serve(t, n))
	silent := feed.Query{Follower: "silent", FollowerName: "silent"}
	a := ask(t, e, silent)
	silent.After, silent.Confirmed = revocation.Epoch(a.Epoch), revocation.Epoch(a.Epoch)
	ask(t, e, silent) // it has confirmed, and now goes silent
	r := w.revoke(revocation.User("ann"))
	committed := time.Now()
	n.Applied(r...)
	if got := mustEnforce(t, n, r[0].Epoch, committed, 500*time.Millisecond); got.EffectiveEverywhere || len(got.Waiting) != 1 || got.Waiting[0] != "edge" {
		t.Errorf("%+v, want to wait for the edge", got)
	}
	if s := e.Status(); s.Followers != 1 || len(s.Waiting) != 1 || s.Waiting[0] != "silent" {
		t.Errorf("the edge says %+v", s)
	}
	// When it confirms, the edge says so at once, though its question is held.
	silent.Confirmed = r[0].Epoch
	ask(t, e, silent)
	began := time.Now()
	// Not at the end of the question, a third of a lease later.
	if got := mustEnforce(t, n, r[0].Epoch, committed, await.Limit); !got.EffectiveEverywhere || time.Since(began) > lease/4 {
		t.Errorf("%+v after %v", got, time.Since(began))
	}
}
