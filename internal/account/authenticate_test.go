package account_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/await"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/throttle"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
	"example.com/curfew/token"
)

// What the package promises: so many failures a minute.
const (
	window     = time.Minute
	forAccount = 10
	forAddress = 30
)

func TestAuthenticate(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.node()
		alice := n.add("Alice")
		for _, spelling := range []string{"Alice", "alice", "ALICE", "  aLiCe\n"} {
			u, _, err := n.Authenticate(t.Context(), spelling, good, home)
			noErr(t, err)
			if u.ID != alice.ID {
				t.Fatalf("%q is %s, want %s", spelling, u.ID, alice.ID)
			}
		}
	})
}

// All refused sign-ins get the same answer, so that an attacker learns nothing from it.
func TestAuthenticateRefusesAlike(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.node()
		n.add("alice")
		gone := n.add("disabled")
		_, _, err := n.ChangeUser(t.Context(), cli, gone.ID, account.UserChange{Disabled: ptr(true)}, "")
		noErr(t, err)
		_, err = n.EnsureUser(t.Context(), cli, "without-password")
		noErr(t, err)
		broken := n.add("broken")
		broken.PasswordHash = "$argon2id$v=19$m=4294967295,t=2,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNo"
		noErr(t, n.store.Update(t.Context(), func(tx store.Tx) error { return tx.UpdateUser(t.Context(), broken) }))

		var texts []string
		for _, tt := range []struct{ what, name, password string }{
			{"wrong password", "alice", "wrong horse battery"},
			{"empty password", "alice", ""},
			{"password of 64 KiB", "alice", strings.Repeat("x", 64<<10)},
			{"unknown name", "nobody", good},
			{"disabled, with the right password", "disabled", good},
			{"no password", "without-password", good},
			{"no password, empty one given", "without-password", ""},
			{"a stored hash that asks for 4 TiB", "broken", good},
			{"a name that cannot be", "ali\x00ce", good},
			{"a name that is not text", "\xff\xfe", good},
			{"an empty name", "", good},
			{"a name of 64 KiB", strings.Repeat("a", 64<<10), good},
		} {
			_, _, err := n.Authenticate(t.Context(), tt.name, tt.password, home)
			is(t, tt.what, err, account.ErrBadCredentials)
			texts = append(texts, err.Error())
			w.pass(window)
		}
		for _, text := range texts {
			if text != texts[0] {
				t.Errorf("answers differ: %q and %q", texts[0], text)
			}
		}
		if n := len(n.audits(wire.ActionSignInFailed)); n != len(texts) {
			t.Errorf("%d refusals in the audit, want %d", n, len(texts))
		}
	})
}

// People type passwords where the name belongs: what was typed is not kept.
func TestAuditOfRefusalsKeepsNothingTyped(t *testing.T) {
	n := sqlite(t).node()
	alice := n.add("alice")
	const typed = "my-secret-passphrase"
	is(t, "unknown", n.signIn(typed, typed, home.Address), account.ErrBadCredentials)
	_, _, err := n.Authenticate(t.Context(), "alice", typed, home)
	is(t, "wrong", err, account.ErrBadCredentials)
	n.noSecrets(typed)
	entries := n.audits(wire.ActionSignInFailed)
	if len(entries) != 2 {
		t.Fatalf("%d entries, want 2", len(entries))
	}
	e := entries[0]
	if e.TargetID != alice.ID || e.TargetName != "alice" || e.Actor.Address != home.Address || e.Actor.RequestID != home.RequestID || e.At != start.UnixMicro() {
		t.Errorf("the entry does not say who, from where and when: %+v", e)
	}
	if entries[1].TargetID != "" {
		t.Errorf("an unknown user is called %q", entries[1].TargetID)
	}
}

func TestTenFailuresAMinute(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		first, second := w.node(), w.node()
		first.add("Alice")
		spellings := []string{"alice", "ALICE", " Alice ", "aLICE"}
		for i := range forAccount {
			n := []*node{first, second}[i%2]
			address := fmt.Sprintf("198.51.100.%d", i)
			is(t, fmt.Sprintf("failure %d", i+1), n.signIn(spellings[i%4], "wrong horse battery", address), account.ErrBadCredentials)
		}
		limited(t, "one more, elsewhere", first.signIn("alice", "wrong horse battery", "203.0.113.1"))
		limited(t, "at the other node", second.signIn("Alice", "wrong horse battery", "203.0.113.2"))
		limited(t, "the right password from an unknown address", first.signIn("alice", good, "203.0.113.3"))
		limited(t, "after a restart", w.node().signIn("alice", good, "203.0.113.4"))

		w.pass(window)
		noErr(t, first.signIn("alice", good, "203.0.113.3")) // at the end of the window, not before
		is(t, "counting anew", second.signIn("alice", "wrong horse battery", "203.0.113.4"), account.ErrBadCredentials)
	})
}

// The counters move on with every failure: it is any minute, not every minute.
func TestTheMinuteSlides(t *testing.T) {
	w := sqlite(t)
	n := w.node()
	n.add("alice")
	for i := range forAccount {
		is(t, "failing", n.signIn("alice", "wrong horse battery", fmt.Sprintf("198.51.100.%d", i)), account.ErrBadCredentials)
		w.pass(5 * time.Second) // the last one is 5 s ago, the first 50 s
	}
	limited(t, "after 50 s", n.signIn("alice", good, "203.0.113.1"))
	w.pass(10*time.Second - time.Microsecond)
	limited(t, "just before the first is a minute ago", n.signIn("alice", good, "203.0.113.1"))
	w.pass(time.Microsecond)
	is(t, "when it is", n.signIn("alice", "wrong horse battery", "203.0.113.1"), account.ErrBadCredentials)
	limited(t, "which was the one", n.signIn("alice", good, "203.0.113.1"))
}

func TestFailuresOfAnAddress(t *testing.T) {
	for _, tt := range []struct {
		what, same, other string
		address           func(i int) string
	}{
		{"IPv4", "192.0.2.7", "192.0.2.8", func(int) string { return "192.0.2.7" }},
		{"IPv4 in IPv6", "192.0.2.7", "192.0.2.8", func(int) string { return "::ffff:192.0.2.7" }},
		{"a /64", "2001:db8:0:1:ffff::1", "2001:db8:0:2::1", func(i int) string { return fmt.Sprintf("2001:db8:0:1::%x", i+1) }},
		{"a zone", "fe80::1", "192.0.2.8", func(i int) string { return fmt.Sprintf("fe80::1%%eth%d", i) }},
	} {
		t.Run(tt.what, func(t *testing.T) {
			w := sqlite(t)
			n := w.node()
			n.add("alice")
			for i := range forAddress {
				is(t, "failing", n.signIn(fmt.Sprintf("user%d", i), good, tt.address(i)), account.ErrBadCredentials)
			}
			limited(t, "the address", n.signIn("alice", good, tt.same))
			noErr(t, n.signIn("alice", good, tt.other))
			w.pass(window)
			noErr(t, n.signIn("alice", good, tt.same))
		})
	}
}

// begin notes a session of the user from an address.
func (n *node) begin(u store.User, address string, at time.Time) {
	n.t.Helper()
	id := token.NewSessionID()
	noErr(n.t, n.store.Update(n.t.Context(), func(tx store.Tx) error {
		us := at.UnixMicro()
		return tx.InsertSession(n.t.Context(), store.Session{
			ID: id, UserID: u.ID, Epoch: 1, KeyID: "k", Address: address, BeganAt: us, LastSeenAt: us, ExpiresAt: us + 1,
		})
	}))
}

// An attacker who knows a name, or shares an address with its owner, keeps failing.
// The owner can still sign in from an address that they used before.
func TestNobodyLocksOut(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.node()
		alice := n.add("alice")
		day := 24 * time.Hour
		n.begin(alice, "192.0.2.1", w.now().Add(-30*day+time.Minute))
		n.begin(alice, "192.0.2.2", w.now().Add(-30*day-time.Microsecond))

		for i := range forAddress { // attackers, and the neighbours at her address
			_ = n.signIn("alice", "wrong horse battery", fmt.Sprintf("198.51.100.%d", i))
			is(t, "neighbour", n.signIn(fmt.Sprintf("neighbour%d", i), good, "192.0.2.1"), account.ErrBadCredentials)
		}
		limited(t, "an attacker", n.signIn("alice", good, "203.0.113.1"))
		limited(t, "an address that she left more than 30 days ago", n.signIn("alice", good, "192.0.2.2"))
		limited(t, "a neighbour", n.signIn("bob", good, "192.0.2.1"))
		noErr(t, n.signIn("alice", good, "192.0.2.1"))

		// Her own address is bound for her account by its own failures only.
		for range forAccount {
			is(t, "at home", n.signIn("ALICE", "wrong horse battery", "192.0.2.1"), account.ErrBadCredentials)
		}
		limited(t, "at home, once more", n.signIn("alice", good, "192.0.2.1"))
		w.pass(window)
		noErr(t, n.signIn("alice", good, "192.0.2.1"))
	})
}

// Successful sign-ins count as no failures.
func TestSuccessesNeverCount(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.with(account.Config{MaxQueue: 100, Successes: throttle.Limit{Burst: -1}})
		n.add("alice")
		errs := make(chan error)
		const many = 2 * forAddress
		for range 4 {
			go func() {
				for range many / 4 {
					errs <- n.signIn("alice", good, "192.0.2.1")
				}
			}()
		}
		for range many {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		for i := range forAccount {
			is(t, fmt.Sprintf("failure %d after them", i+1), n.signIn("alice", "wrong horse battery", "192.0.2.1"), account.ErrBadCredentials)
		}
		limited(t, "one more", n.signIn("alice", good, "192.0.2.1"))
	})
}

// A burst of attempts at the same time gets no more tries than one after another.
func TestBurst(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.with(account.Config{MaxHashes: 8, MaxQueue: 100})
		n.add("alice")
		var mu sync.Mutex
		counts := map[string]int{}
		var running sync.WaitGroup
		for i := range 60 {
			running.Go(func() {
				err := account.ErrBusy
				for errors.Is(err, account.ErrBusy) { // the account has its share of the queue: neither looked at nor limited
					time.Sleep(time.Millisecond) // as a client would, who was told to come again
					err = n.signIn("alice", "wrong horse battery", fmt.Sprintf("198.51.100.%d", i))
				}
				mu.Lock()
				defer mu.Unlock()
				switch {
				case errors.Is(err, account.ErrBadCredentials):
					counts["refused"]++
				case errors.As(err, new(*account.RateLimited)):
					counts["limited"]++
				default:
					t.Errorf("error %v", err)
				}
			})
		}
		running.Wait()
		if counts["refused"] != forAccount || counts["limited"] != 60-forAccount {
			t.Errorf("%v, want exactly %d tries", counts, forAccount)
		}
		if got := len(n.audits(wire.ActionSignInFailed)); got != forAccount {
			t.Errorf("%d in the audit, want %d", got, forAccount)
		}
		if n.Gates() != 0 {
			t.Errorf("%d counters are still held", n.Gates())
		}
	})
}

// A client over the limit does not wait for a turn to hash.
func TestLimitedIsNotHashed(t *testing.T) {
	n := sqlite(t).with(account.Config{MaxHashes: 1})
	n.add("alice")
	for range forAccount {
		is(t, "failing", n.signIn("alice", "wrong horse battery", "198.51.100.1"), account.ErrBadCredentials)
	}
	release, err := n.OccupyHashes(1)
	noErr(t, err)
	defer release()
	_, _, err = n.Authenticate(ctxWithin(t, await.Limit), "alice", good, authz.Origin{Address: "198.51.100.1"})
	limited(t, "with no turn to be had", err)
}

func TestQueueIsBounded(t *testing.T) {
	n := sqlite(t).with(account.Config{MaxHashes: 2, MaxQueue: 6})
	const all, kept = 8, 2
	for i := range all {
		n.begin(n.add(fmt.Sprint("known", i)), fmt.Sprintf("192.0.2.%d", i), start)
	}
	release, err := n.OccupyHashes(2)
	noErr(t, err)

	ctx, cancel := context.WithCancel(t.Context())
	errs := make(chan error, all)
	inside := 0
	enter := func(name, address string) {
		t.Helper()
		go func() {
			_, _, err := n.Authenticate(ctx, name, good, authz.Origin{Address: address})
			errs <- err
		}()
		inside++
		n.places(inside)
	}
	for i := range all - kept {
		enter(fmt.Sprint("unknown", i), fmt.Sprintf("198.51.100.%d", i))
	}
	is(t, "one too many from an unknown address", n.signIn("unknown", good, "198.51.100.99"), account.ErrBusy)
	for i := range kept {
		enter(fmt.Sprint("known", i), fmt.Sprintf("192.0.2.%d", i))
	}
	is(t, "one too many", n.signIn("known7", good, "192.0.2.7"), account.ErrBusy)
	_, err = n.CreateUser(t.Context(), cli, account.UserChange{Name: ptr("bob"), Password: ptr(good)})
	is(t, "a new password", err, account.ErrBusy)

	cancel()
	for range all {
		// Who had not come as far as the queue was still asking the store.
		if err := <-errs; !errors.Is(err, account.ErrBusy) && !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("a client that no longer waits: error %v", err)
		}
	}
	release()
	noErr(t, n.signIn("known7", good, "192.0.2.7"))
	if running, waiting, _ := n.HashQueue(); running != 0 || waiting != 0 {
		t.Errorf("%d running, %d waiting at the end", running, waiting)
	}
}

// asked counts what the store is asked for at the beginning of a sign-in.
type asked struct {
	store.Store
	clock, user atomic.Int64
	late        atomic.Bool // a user was read before the clock
}

func (s *asked) Clock(ctx context.Context) (revocation.Epoch, error) {
	s.clock.Add(1)
	return s.Store.Clock(ctx)
}

func (s *asked) UserByName(ctx context.Context, key string) (store.User, error) {
	if s.user.Add(1) > s.clock.Load() {
		s.late.Store(true)
	}
	return s.Store.UserByName(ctx, key)
}

// A refused sign-in costs the store nothing: ten thousand sign-ins at once are not
// ten thousand queries. An accepted one gets an epoch from before anything else was
// read.
func TestTurnedAwayWithoutAskingTheStore(t *testing.T) {
	w := sqlite(t)
	counting := &asked{Store: w.store()}
	n := w.nodeWith(counting, account.Config{MaxHashes: 1, MaxQueue: 1})
	alice := n.add("alice")
	release, err := n.OccupyHashes(1)
	noErr(t, err)
	inside := make(chan error, 2)
	for i := range 2 {
		go func() { inside <- n.signIn("alice", good, fmt.Sprintf("192.0.2.%d", i+1)) }()
	}
	await.Until(t, "the two that have a place ask for the user", func() bool { return counting.user.Load() >= 2 })
	const lookups = 32 // that may find a user who has been there before; the clock stands still
	for i := range 50 * lookups {
		is(t, "one too many", n.signIn("bob", good, fmt.Sprintf("198.51.%d.%d", i/256, i%256)), account.ErrBusy)
	}
	if clock, user := counting.clock.Load(), counting.user.Load(); clock != 2 || user != 2+lookups {
		t.Errorf("the store was asked for its clock %d times and for the user %d times, want 2 and %d", clock, user, 2+lookups)
	}
	release()
	noErr(t, <-inside)
	noErr(t, <-inside)

	before, err := n.store.Clock(t.Context())
	noErr(t, err)
	counting.clock.Store(0)
	counting.user.Store(0)
	counting.late.Store(false)
	u, epoch, err := n.Authenticate(t.Context(), "alice", good, home)
	noErr(t, err)
	if u.ID != alice.ID || epoch != before || counting.late.Load() {
		t.Errorf("user %s at epoch %d (read after the user: %v), want %s at %d", u.ID, epoch, counting.late.Load(), alice.ID, before)
	}
}

// failing is a store whose writes do not arrive.
type failing struct{ store.Store }

func (failing) Update(context.Context, func(store.Tx) error) error {
	return fmt.Errorf("disk full: %w", store.ErrUnavailable)
}

// A verdict that could not be counted is not given: guesses are never free.
func TestNoVerdictWithoutCount(t *testing.T) {
	w := sqlite(t)
	n := w.node()
	n.add("alice")
	broken := w.nodeWith(failing{n.store}, account.Config{})
	err := broken.signIn("alice", "wrong horse battery", "192.0.2.1")
	is(t, "wrong password", err, store.ErrUnavailable)
	if errors.Is(err, account.ErrBadCredentials) {
		t.Error("the answer tells that the password is wrong")
	}
	if broken.Gates() != 0 {
		t.Error("the attempt is still under way")
	}
}

func TestStoreThatIsGone(t *testing.T) {
	w := sqlite(t)
	n := w.node()
	n.add("alice")
	noErr(t, n.store.Close())
	is(t, "sign-in", n.signIn("alice", good, "192.0.2.1"), store.ErrUnavailable)
	_, err := n.ClientCaller(t.Context(), "billing", "secret", home)
	is(t, "client", err, store.ErrUnavailable)
	_, err = n.UserCaller(t.Context(), &token.Session{Subject: "x"}, home)
	is(t, "caller", err, store.ErrUnavailable)
}

func TestUserCaller(t *testing.T) {
	n := sqlite(t).node()
	alice := n.add("alice", store.UserEdit)
	sess := n.session(alice)
	c, err := n.UserCaller(t.Context(), sess, home)
	noErr(t, err)
	if !c.IsSelf(alice.ID) || c.IsSelf("somebody") || !c.Can(store.UserEdit) || c.Can(store.AdministerSystem) || c.Session != sess || c.Trusted {
		t.Errorf("caller %+v", c)
	}
	if want := (store.Actor{Kind: store.ActorUser, ID: alice.ID, Name: "alice", Address: home.Address, RequestID: home.RequestID}); c.Actor != want {
		t.Errorf("actor %+v, want %+v", c.Actor, want)
	}
	if (authz.Caller{}).IsSelf("") {
		t.Error("the zero Caller is a user")
	}
	_, _, err = n.ChangeUser(t.Context(), cli, alice.ID, account.UserChange{Permissions: ptr([]string{})}, "")
	noErr(t, err)
	c, err = n.UserCaller(t.Context(), sess, home)
	noErr(t, err)
	if c.Can(store.UserEdit) {
		t.Error("the permission that was taken is still there")
	}
	_, _, err = n.ChangeUser(t.Context(), cli, alice.ID, account.UserChange{Disabled: ptr(true)}, "")
	noErr(t, err)
	_, err = n.UserCaller(t.Context(), sess, home)
	is(t, "disabled", err, token.ErrRevoked)
	_, err = n.UserCaller(t.Context(), &token.Session{Subject: "gone"}, home)
	is(t, "gone", err, token.ErrRevoked)
}
