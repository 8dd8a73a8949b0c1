package feed_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/lib/pq"

	"example.com/curfew/internal/await"
	"example.com/curfew/internal/feed"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/store/migrated"
	"example.com/curfew/internal/store/pgtest"
	"example.com/curfew/internal/upstream"
	"example.com/curfew/revocation"
	"example.com/curfew/token"
)

// Whatever happens to the database meanwhile, no acknowledged revocation is
// missed: not by a node, and not by its follower.
func TestNothingIsMissed(t *testing.T) {
	for _, fault := range []struct {
		name string
		do   func(t *testing.T, s *pgtest.Server, n *feed.Node)
	}{
		{"LISTEN killed", func(t *testing.T, s *pgtest.Server, _ *feed.Node) {
			db, err := sql.Open("postgres", s.DSN("curfew"))
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			eventually(t, "a connection that listens is killed", func() bool {
				var killed int
				err := db.QueryRowContext(t.Context(), `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query ILIKE 'LISTEN%'`).Scan(&killed)
				must(t, err)
				return killed > 0
			})
		}},
		{"restart, fast", func(t *testing.T, s *pgtest.Server, _ *feed.Node) { must(t, s.Restart(pgtest.Fast)) }},
		{"restart, immediate", func(t *testing.T, s *pgtest.Server, _ *feed.Node) { must(t, s.Restart(pgtest.Immediate)) }},
		{"kill", func(t *testing.T, s *pgtest.Server, _ *feed.Node) { must(t, s.Kill()); must(t, s.Start()) }},
		{"hang", func(t *testing.T, s *pgtest.Server, n *feed.Node) {
			must(t, s.Pause())
			eventually(t, "the node notices", func() bool { return n.Status().Error != nil })
			must(t, s.Resume())
		}},
	} {
		t.Run(fault.name, func(t *testing.T) {
			s := pgtest.Start(t, pgtest.Options{})
			must(t, s.CreateDatabase("curfew"))
			w := newWorld(t, s.DSN("curfew"))
			n := (&world{tb: t, Store: openStore(t, w.url)}).node(feed.Config{Name: "node", Lease: 5 * time.Second})
			f := follow(t, upstream.Config{}, serve(t, n))

			const revocations = 200
			const before = 50 // revocations
			strike, struck := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(struck)
				<-strike
				fault.do(t, s, n)
			}()
			var acknowledged []revocation.Revocation
			for i := 0; i < revocations || !done(struck); i++ {
				if i == before {
					close(strike)
				}
				r := revocation.Revocation{Scope: revocation.User(fmt.Sprint("u", i))}
				err := w.Update(context.Background(), func(tx store.Tx) error {
					e, err := tx.Advance(context.Background(), time.Now())
					if err != nil {
						return err
					}
					r.Epoch = e
					return tx.PutRevocations(context.Background(), r)
				})
				if err == nil {
					acknowledged = append(acknowledged, r)
				}
				time.Sleep(2 * time.Millisecond) // of a server that is away, no more is asked
			}
			<-struck
			last := acknowledged[len(acknowledged)-1].Epoch
			eventually(t, "node and follower are up to date", func() bool {
				return n.Epoch() >= last && f.Epoch() >= last && n.Trusted(time.Now()) && f.Trusted(time.Now())
			})
			for _, r := range acknowledged {
				for who, c := range map[string]*revocation.Cache{"the node": n.Cache(), "the follower": f.Cache()} {
					if before, _ := c.Known(r.Scope.ID, "", false); before != r.Epoch {
						t.Fatalf("%s has %d for %v, acknowledged at %d", who, before, r.Scope, r.Epoch)
					}
				}
			}
			t.Logf("%d of %d acknowledged", len(acknowledged), revocations)
		})
	}
}

func done(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

// While the store hangs, checks go on until the lease ends, then say unavailable,
// within two seconds each; when it is back they are right again by themselves.
func TestStoreThatHangs(t *testing.T) {
	s := pgtest.Start(t, pgtest.Options{})
	must(t, s.CreateDatabase("curfew"))
	w := newWorld(t, s.DSN("curfew"))
	const lease = 3 * time.Second
	n := w.node(feed.Config{Name: "node", Lease: lease})
	v := validator(t, n)
	ann := w.sign("ann")
	expect(t, v, ann, nil)
	hung := time.Now()
	must(t, s.Pause())
	paused, left := time.Now(), n.Status().LeaseLeft
	var valid time.Time
	check := func() bool {
		began := time.Now()
		_, err := v.Validate(t.Context(), ann)
		switch {
		case err == nil:
			valid = began
		case !errors.Is(err, token.ErrUnavailable):
			t.Fatal(err)
		}
		ended := time.Now()
		if took := ended.Sub(began); took > slowness*2*time.Second {
			t.Errorf("a check took %v", took)
		}
		if err != nil && ended.Sub(paused) < left {
			t.Errorf("unavailable %v after the store hung, with %v left of the lease", ended.Sub(paused), left)
		}
		return err != nil
	}
	eventually(t, "the lease has ended", check)
	if valid.Sub(paused) > lease {
		t.Errorf("valid until %v after the store hung, with a lease of %v", valid.Sub(hung), lease)
	}
	eventually(t, "the status says so", func() bool { s := n.Status(); return s.Error != nil && !s.Trusted })
	must(t, s.Resume())
	eventually(t, "valid again", func() bool { _, err := v.Validate(t.Context(), ann); return err == nil })
}

// swapped is a store whose database can be replaced, as a restored backup does.
type swapped struct {
	store.Store
	now atomic.Pointer[store.Store]
}

func (s *swapped) current() store.Store { return *s.now.Load() }
func (s *swapped) Update(ctx context.Context, write func(store.Tx) error) error {
	return s.current().Update(ctx, write)
}
func (s *swapped) Nodes(ctx context.Context) ([]store.Node, error) { return s.current().Nodes(ctx) }
func (s *swapped) ChangesAfter(ctx context.Context, after revocation.Epoch, limit int) (store.Changes, error) {
	return s.current().ChangesAfter(ctx, after, limit)
}

func (s *swapped) RevokedBefore(ctx context.Context, user, session string) (store.RevokedBefore, error) {
	return s.current().RevokedBefore(ctx, user, session)
}

// A store restored from a backup: the node says so, starts over and keeps what
// it knows; its followers and those of an edge do the same.
func TestRestoredStore(t *testing.T) {
	backup := newWorld(t, "sqlite:"+filepath.Join(t.TempDir(), "backup.db"))
	backup.revoke(revocation.User("both"))
	w := newWorld(t, migrated.SQLite(t))
	w.key = backup.key
	w.update(func(tx store.Tx, e revocation.Epoch) error {
		return tx.PutKey(t.Context(), keyRow(t, backup.key, store.KeyActive, e))
	})
	w.revoke(revocation.User("forgotten"))
	last := w.revoke(revocation.User("late"))[0].Epoch

	s := &swapped{Store: w.Store}
	s.now.Store(&w.Store)
	n := w.node(feed.Config{Store: s, Name: "node"})
	_, edgeURL := edge(t, "edge", serve(t, n))
	f := follow(t, upstream.Config{}, edgeURL)
	v := f.Validator()
	expect(t, v, w.sign("ann"), nil)

	s.now.Store(&backup.Store)
	clock, err := backup.Clock(t.Context())
	if err != nil || clock >= last {
		t.Fatalf("the backup's clock stands at %d, %v; the node has seen %d", clock, err, last)
	}
	// The node registers in the restored database before it reads, so that what it reads
	// comes with a lease.
	if err := n.CatchUp(t.Context()); err != nil || n.Epoch() != clock || !n.Trusted(time.Now()) {
		t.Errorf("CatchUp = %v; the view is at %d, trusted: %v; want %d, trusted", err, n.Epoch(), n.Trusted(time.Now()), clock)
	}
	if rows, err := backup.Nodes(t.Context()); err != nil || len(rows) != 1 || rows[0].ID != n.ID() {
		t.Errorf("the restored database has the nodes %+v, %v; want this one", rows, err)
	}
	eventually(t, "all have started over", func() bool { return n.Epoch() == clock && f.Epoch() == clock })
	for who, c := range map[string]*revocation.Cache{"the node": n.Cache(), "the follower": f.Cache()} {
		for _, user := range []string{"both", "forgotten", "late"} {
			if before, _ := c.Known(user, "", false); before == 0 {
				t.Errorf("%s has forgotten %q", who, user)
			}
		}
	}
	// It goes on from there.
	ann := backup.sign("ann")
	expect(t, validator(t, n), ann, nil)
	r := backup.revoke(revocation.User("ann"))
	n.Applied(r...)
	e, err := n.Enforcement(t.Context(), r[0].Epoch, time.Now(), await.Limit)
	if err != nil || !e.EffectiveEverywhere || e.Validators < 3 {
		t.Errorf("%+v, %v", e, err)
	}
	expect(t, v, ann, token.ErrRevoked)
}
