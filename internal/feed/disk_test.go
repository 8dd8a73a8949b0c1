package feed_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"example.com/curfew/internal/await"
	"example.com/curfew/internal/feed"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/store/migrated"
	"example.com/curfew/internal/upstream"
	"example.com/curfew/revocation"
	"example.com/curfew/token"
)

// unwritable is a store that this process cannot write to; others may.
type unwritable struct {
	store.Store
	why atomic.Pointer[error]
}

func (s *unwritable) Update(ctx context.Context, write func(store.Tx) error) error {
	if why := s.why.Load(); why != nil {
		return *why
	}
	return s.Store.Update(ctx, write)
}

func (s *unwritable) fail(why error) { s.why.Store(&why) }

// While the disk takes no writes, a server goes on checking, for longer than its
// lease, and so do its followers. What a command revokes beside it is heard of as
// soon as usual, and the command says "everywhere" only once it is.
func TestDiskThatTakesNoWrites(t *testing.T) {
	const lease = 2 * time.Second
	full := fmt.Errorf("commit: %w: %w", store.ErrUnavailable, store.ErrDisk)
	w := newWorld(t, migrated.SQLite(t))
	s := &unwritable{Store: w.Store}
	n := w.node(feed.Config{Store: s, Name: "node", Lease: lease})
	f := follow(t, upstream.Config{}, serve(t, n))
	here, there := validator(t, n), f.Validator()
	ann, bob := w.sign("ann"), w.sign("bob")
	s.fail(full)
	// Two leases have to go by: no event ends them.
	for began := time.Now(); time.Since(began) < 2*lease; time.Sleep(20 * time.Millisecond) {
		expect(t, here, ann, nil)
		expect(t, there, ann, nil)
	}
	if st := n.Status(); st.Error != nil || !st.Trusted {
		t.Errorf("status: %+v", st)
	}

	command := &world{tb: t, url: w.url, Store: openStore(t, w.url), key: w.key}
	r := command.revoke(revocation.User("bob"))[0]
	committed := time.Now()
	said, err := feed.Observe(t.Context(), command.Store, r.Epoch, committed, 0, nil)
	if err != nil || said.EffectiveEverywhere {
		t.Errorf("a command that does not wait: %+v, %v", said, err)
	}
	eventually(t, "the revocation is heard of", func() bool {
		_, err := here.Validate(t.Context(), bob)
		_, too := there.Validate(t.Context(), bob)
		return errors.Is(err, token.ErrRevoked) && errors.Is(too, token.ErrRevoked)
	})
	said, err = feed.Observe(t.Context(), command.Store, r.Epoch, committed, await.Limit, nil)
	if err != nil || !said.EffectiveEverywhere {
		t.Errorf("a command that waits: %+v, %v", said, err)
	}
	if after := time.Since(committed); after < lease {
		t.Errorf("a command says everywhere %v after its commit, and the server has not confirmed it", after)
	}

	s.why.Store(nil)
	eventually(t, "the server confirms", func() bool {
		said, err := feed.Observe(t.Context(), command.Store, r.Epoch, time.Now(), 0, nil)
		return err == nil && said.EffectiveEverywhere
	})
}

// A server that has no row yet does not begin without one, and whatever else keeps
// the row from being written ends the lease: others may have given this one up.
func TestRowThatCannotBeWritten(t *testing.T) {
	const lease = 2 * time.Second
	w := newWorld(t, migrated.SQLite(t))
	s := &unwritable{Store: w.Store}
	s.fail(fmt.Errorf("commit: %w: %w", store.ErrUnavailable, store.ErrDisk))
	if _, err := feed.Open(t.Context(), feed.Config{Store: s, Name: "node", Lease: lease}); !errors.Is(err, store.ErrDisk) {
		t.Fatalf("opened: %v", err)
	}
	s.why.Store(nil)
	n := w.node(feed.Config{Store: s, Name: "node", Lease: lease})
	s.fail(store.ErrUnavailable)
	defer s.why.Store(nil) // so that it can say goodbye
	eventually(t, "it is not trusted, since no node has heard of it for a lease", func() bool { return !n.Trusted(time.Now()) })
	expect(t, validator(t, n), w.sign("ann"), token.ErrUnavailable)
}
