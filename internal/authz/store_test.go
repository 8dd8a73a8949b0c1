package authz_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/await"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/store/migrated"
	"example.com/curfew/internal/store/sqlstore"
	"example.com/curfew/revocation"
	"example.com/curfew/settings"
	"example.com/curfew/token"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// testDatabase is a database with an administrator, who has a session, and a client.
type testDatabase struct {
	*testing.T
	store   store.Store
	session token.Session
	client  store.Client
}

func engines(t *testing.T, test func(w *testDatabase)) {
	t.Run("sqlite", func(t *testing.T) { test(newTestDatabase(t, migrated.SQLite(t))) })
	t.Run("postgres", func(t *testing.T) { test(newTestDatabase(t, migrated.Postgres(t))) })
}

func newTestDatabase(t *testing.T, url string) *testDatabase {
	s, err := sqlstore.Open(t.Context(), sqlstore.Config{URL: url, Create: true, Budget: await.Limit})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	w := &testDatabase{T: t, store: s}
	w.reset()
	return w
}

// reset brings the rows to where the callers may do everything.
func (w *testDatabase) reset() {
	w.Helper()
	w.client = store.Client{ID: "shop", Capabilities: store.Capabilities(), SecretHash: "secret"}
	w.session = token.Session{
		Issuer: "https://old.example", Subject: "alice", ID: token.NewSessionID(), KeyID: "key", IssuedAt: token.UnixTime(noon.Unix()),
	}.Refreshed(noon, settings.Default())
	w.update(func(ctx context.Context, tx store.Tx) (err error) {
		if w.session.Epoch, err = tx.Advance(ctx, noon); err != nil {
			return err
		}
		if _, err := tx.User(ctx, "alice"); errors.Is(err, store.ErrNotFound) {
			err = tx.InsertUser(ctx, store.User{ID: "alice", NameKey: "alice"})
			if err != nil {
				return err
			}
		}
		return errors.Join(
			tx.UpdateUser(ctx, store.User{ID: "alice", NameKey: "alice", Permissions: []string{store.AdministerSystem}}),
			tx.PutSettings(ctx, store.Settings{InForce: settings.InForce{Settings: settings.Default()}}),
			tx.PutInstallation(ctx, formerUntil(noon.Add(time.Hour))),
			tx.PutKey(ctx, store.Key{ID: "key", State: store.KeyActive}),
			tx.PutClient(ctx, w.client),
			tx.InsertSession(ctx, store.Session{ID: w.session.ID, UserID: "alice", Epoch: w.session.Epoch, BegunBy: store.ActorUser}))
	})
}

func (w *testDatabase) update(write func(context.Context, store.Tx) error) {
	w.Helper()
	if err := w.store.Update(w.Context(), func(tx store.Tx) error { return write(w.Context(), tx) }); err != nil {
		w.Fatal(err)
	}
}

func (w *testDatabase) alice() authz.Caller { s := w.session; return authz.Caller{Session: &s} }
func (w *testDatabase) shop() authz.Caller {
	return authz.Caller{Client: &store.Client{ID: "shop"}, SecretHash: "secret"}
}

func now() time.Time { return noon }

func mayIssue(c authz.Caller) error { return c.MayUse(store.Issue) }

// endings are the ways in which a caller ends, and what the caller gets then.
var endings = map[string]struct {
	client bool
	end    func(ctx context.Context, w *testDatabase, tx store.Tx, e revocation.Epoch) error
	want   error // nil: *authz.ErrForbidden
}{
	"session revoked":    {false, revoke(func(w *testDatabase) revocation.Scope { return revocation.Session(w.session.ID) }), token.ErrRevoked},
	"user revoked":       {false, revoke(func(*testDatabase) revocation.Scope { return revocation.User("alice") }), token.ErrRevoked},
	"everyone revoked":   {false, revoke(func(*testDatabase) revocation.Scope { return revocation.Everyone() }), token.ErrRevoked},
	"disabled":           {false, user(store.User{Permissions: []string{store.AdministerSystem}, Disabled: true}), token.ErrRevoked},
	"demoted":            {false, user(store.User{}), nil},
	"key retired":        {false, key(store.KeyRetired), token.ErrUnknownKey},
	"settings shortened": {false, shorten, token.ErrIdleTimeout},
	"issuer over":        {false, installation(formerUntil(noon)), token.ErrWrongIssuer},
	"issuer dropped":     {false, installation(store.Installation{Issuer: "https://new.example"}), token.ErrWrongIssuer},
	"client deleted":     {true, client(store.Client{Capabilities: store.Capabilities(), Deleted: true}), authz.ErrBadClient},
	"secret replaced":    {true, client(store.Client{Capabilities: store.Capabilities(), SecretHash: "new"}), authz.ErrBadClient},
	"capability taken":   {true, client(store.Client{SecretHash: "secret"}), nil},
}

type ending = func(context.Context, *testDatabase, store.Tx, revocation.Epoch) error

func revoke(scope func(*testDatabase) revocation.Scope) ending {
	return func(ctx context.Context, w *testDatabase, tx store.Tx, e revocation.Epoch) error {
		return tx.PutRevocations(ctx, revocation.Revocation{Scope: scope(w), Epoch: e})
	}
}

func user(u store.User) ending {
	u.ID, u.NameKey = "alice", "alice"
	return func(ctx context.Context, _ *testDatabase, tx store.Tx, _ revocation.Epoch) error {
		return tx.UpdateUser(ctx, u)
	}
}

func key(state string) ending {
	return func(ctx context.Context, _ *testDatabase, tx store.Tx, e revocation.Epoch) error {
		return tx.PutKey(ctx, store.Key{ID: "key", State: state, Epoch: e})
	}
}

func client(c store.Client) ending {
	c.ID = "shop"
	return func(ctx context.Context, _ *testDatabase, tx store.Tx, e revocation.Epoch) error {
		c.Epoch = e
		return tx.PutClient(ctx, c)
	}
}

// formerUntil is an installation that accepts the session's issuer until an instant.
func formerUntil(at time.Time) store.Installation {
	return store.Installation{Issuer: "https://new.example", Former: []store.FormerIssuer{
		{Issuer: "https://other.example", Until: noon.Add(time.Hour).Unix()}, {Issuer: "https://old.example", Until: at.Unix()}}}
}

func installation(in store.Installation) ending {
	return func(ctx context.Context, _ *testDatabase, tx store.Tx, e revocation.Epoch) error {
		in.Epoch = e
		return tx.PutInstallation(ctx, in)
	}
}

func shorten(ctx context.Context, _ *testDatabase, tx store.Tx, e revocation.Epoch) error {
	in := settings.InForce{Settings: settings.Default(), IdleFloor: settings.UnixTime(noon.Unix()), IdleFloorEpoch: e}
	return tx.PutSettings(ctx, store.Settings{InForce: in})
}

// ways are the ways to write for a caller.
var ways = map[string]func(ctx context.Context, s *authz.Store, c authz.Caller, need authz.Need, write func(store.Tx) error) error{
	"Update": func(ctx context.Context, s *authz.Store, c authz.Caller, need authz.Need, write func(store.Tx) error) error {
		return s.Update(ctx, c, need, func(tx authz.Tx) error { return write(tx) })
	},
	"Record": func(ctx context.Context, s *authz.Store, c authz.Caller, need authz.Need, write func(store.Tx) error) error {
		return s.Record(ctx, c, need, func(tx authz.Tx) error { return write(tx) })
	},
	"UpdateBatch": func(ctx context.Context, s *authz.Store, c authz.Caller, need authz.Need, write func(store.Tx) error) error {
		return s.UpdateBatch(ctx, []authz.Caller{c}, nil, func(b *authz.Batch) error {
			if _, err := b.Decide(c, need); err != nil {
				return err
			}
			return write(b)
		})
	},
}

// refused fails unless err is what a caller gets after an ending.
func (w *testDatabase) refused(what string, err, want error) {
	w.Helper()
	forbidden := (*authz.ErrForbidden)(nil)
	if want == nil && !errors.As(err, &forbidden) || want != nil && !errors.Is(err, want) {
		w.Errorf("%s: error %v, want %v", what, err, want)
	}
}

func (w *testDatabase) whoAfter(client bool) (authz.Caller, authz.Need) {
	if client {
		return w.shop(), mayIssue
	}
	return w.alice(), authz.Caller.MayAdminister
}

func TestWritesAreDecided(t *testing.T) {
	engines(t, func(w *testDatabase) {
		s := authz.New(w.store, now)
		for _, name := range slices.Sorted(maps.Keys(endings)) {
			ending := endings[name]
			for way, write := range ways {
				w.reset()
				c, need := w.whoAfter(ending.client)
				written := 0
				count := func(tx store.Tx) error { written++; return nil }
				if err := write(w.Context(), s, c, need, count); err != nil || written != 1 {
					w.Fatalf("%s, before %s: %d times, %v", way, name, written, err)
				}
				if _, err := s.Decide(w.Context(), c, need); err != nil {
					w.Fatalf("Decide before %s: %v", name, err)
				}
				w.update(func(ctx context.Context, tx store.Tx) error {
					e, err := tx.Advance(ctx, noon)
					return errors.Join(err, ending.end(ctx, w, tx, e))
				})
				clock, err := w.store.Clock(w.Context())
				if err != nil {
					w.Fatal(err)
				}
				w.refused(way+" after "+name, write(w.Context(), s, c, need, count), ending.want)
				_, err = s.Decide(w.Context(), c, need)
				w.refused("Decide after "+name, err, ending.want)
				if after, err := w.store.Clock(w.Context()); err != nil || after != clock || written != 1 {
					w.Errorf("%s after %s: the clock went from %d to %d (%v), and write was called %d times", way, name, clock, after, err, written)
				}
			}
		}
	})
}

// hooked is a store that says when a transaction is about to take the clock.
type hooked struct {
	store.Store
	taking func()
}

func (h hooked) Update(ctx context.Context, write func(store.Tx) error) error {
	return h.Store.Update(ctx, func(tx store.Tx) error { return write(hookedTx{tx, h.taking}) })
}

type hookedTx struct {
	store.Tx
	taking func()
}

func (h hookedTx) Advance(ctx context.Context, now time.Time) (revocation.Epoch, error) {
	h.taking()
	return h.Tx.Advance(ctx, now)
}

func (h hookedTx) HoldClock(ctx context.Context) error {
	h.taking()
	return h.Tx.HoldClock(ctx)
}

// A write waits for the clock while the caller is ended on another node: what was
// read before the clock was taken would be from before the end.
func TestWriteThatWaitsForTheClock(t *testing.T) {
	w := newTestDatabase(t, migrated.Postgres(t))
	for _, name := range slices.Sorted(maps.Keys(endings)) {
		ending := endings[name]
		for way, write := range ways {
			w.reset()
			c, need := w.whoAfter(ending.client)
			waiting, result := make(chan struct{}), make(chan error, 1)
			s := authz.New(hooked{w.store, func() { close(waiting) }}, now)
			w.update(func(ctx context.Context, tx store.Tx) error {
				e, err := tx.Advance(ctx, noon)
				if err != nil {
					return err
				}
				go func() { // ends with its transaction, whose error is waited for below
					result <- write(ctx, s, c, need, func(store.Tx) error { return errors.New("written") })
				}()
				<-waiting
				return ending.end(ctx, w, tx, e)
			})
			w.refused(way+" while "+name, <-result, ending.want)
		}
	}
}

// A session whose time is up while its write waits for the clock writes nothing. When
// settings are shortened, the transaction that does so is what it waits for.
func TestTimeIsUpWhileWaitingForTheClock(t *testing.T) {
	w := newTestDatabase(t, migrated.SQLite(t))
	end := w.session.IdleEnd(settings.Default()).Time()
	for way, write := range ways {
		for _, tt := range []struct {
			at   time.Time
			want error
		}{
			{end.Add(-time.Second), nil},
			{end, token.ErrIdleTimeout},
			{end.Add(time.Second), token.ErrIdleTimeout},
		} {
			at := noon
			s := authz.New(hooked{w.store, func() { at = tt.at }}, func() time.Time { return at })
			err := write(w.Context(), s, w.alice(), authz.Caller.MayAdminister, func(store.Tx) error { return nil })
			if !errors.Is(err, tt.want) {
				t.Errorf("%s at %v: error %v, want %v", way, tt.at, err, tt.want)
			}
		}
	}
}

// Callers of one batch are decided also by what was revoked for earlier ones.
func TestBatchDecidesByItsOwnRevocations(t *testing.T) {
	engines(t, func(w *testDatabase) {
		s := authz.New(w.store, now)
		c := w.alice()
		other := c.Session.Epoch + 1000
		err := s.UpdateBatch(w.Context(), []authz.Caller{c, w.shop()}, []string{"alice", "bob"}, func(b *authz.Batch) error {
			if u, ok := b.Found("alice"); !ok || u.ID != "alice" {
				w.Errorf("alice: %+v, %v", u, ok)
			}
			if u, ok := b.Found("bob"); ok {
				w.Errorf("bob, who does not exist: %+v", u)
			}
			b.Revoke(revocation.Revocation{Scope: revocation.User("bob"), Epoch: other})
			if _, err := b.Decide(c, authz.Caller.MayAdminister); err != nil {
				w.Errorf("after another user was revoked: %v", err)
			}
			b.Revoke(revocation.Revocation{Scope: revocation.Session(c.Session.ID), Epoch: other})
			_, err := b.Decide(c, authz.Caller.MayAdminister)
			w.refused("after the caller was revoked", err, token.ErrRevoked)
			_, err = b.Decide(w.shop(), mayIssue)
			return err
		})
		if err != nil {
			w.Error(err)
		}
	})
}

func TestUserCallerPermissions(t *testing.T) {
	engines(t, func(w *testDatabase) {
		s := authz.New(w.store, now)
		for by, carries := range map[string]bool{
			store.ActorUser: true, store.ActorCLI: true, store.ActorClient: false, store.ActorSystem: false, "": false, "no row": false,
		} {
			sess := w.session
			sess.ID = token.NewSessionID()
			if by != "no row" {
				w.update(func(ctx context.Context, tx store.Tx) error {
					return tx.InsertSession(ctx, store.Session{ID: sess.ID, UserID: "alice", BegunBy: by})
				})
			}
			c, err := s.UserCaller(w.Context(), &sess, authz.Origin{})
			if err != nil || c.Can(store.AdministerSystem) != carries || len(c.User.Permissions) > 0 != carries {
				w.Errorf("begun by %q: %+v, %v", by, c.User, err)
			}
		}
	})
}
