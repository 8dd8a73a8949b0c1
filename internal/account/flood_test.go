package account_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/throttle"
	"example.com/curfew/internal/wire"
	"example.com/curfew/token"
)

// An account has a share of the queue, and so has a network of unknown origins.
func TestSharesOfTheQueue(t *testing.T) {
	n := sqlite(t).with(account.Config{MaxHashes: 1, MaxQueue: 31}) // 32 places: 24 for the unknown, 12 a network, 4 an account
	release, err := n.OccupyHashes(1)
	noErr(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var waiting sync.WaitGroup
	inside := 0
	enter := func(name, address string) {
		t.Helper()
		waiting.Go(func() { _, _, _ = n.Authenticate(ctx, name, good, authz.Origin{Address: address}) })
		inside++
		n.places(inside)
	}
	for i := range 4 {
		enter("alice", fmt.Sprintf("198.51.100.%d", i))
	}
	is(t, "a fifth of one account", n.signIn("alice", good, "198.51.100.4"), account.ErrBusy)
	for i := range 12 {
		enter(fmt.Sprint("user", i), fmt.Sprintf("2001:db8::%x", i))
	}
	is(t, "a thirteenth of one network", n.signIn("user12", good, "2001:db8::ffff"), account.ErrBusy)
	enter("user12", "2001:db8:1::1")
	cancel()
	waiting.Wait()
	release()
}

// A user who comes from where they are known waits for one attempt from elsewhere,
// not for all that came before.
func TestTurnsAlternate(t *testing.T) {
	n := sqlite(t).with(account.Config{MaxHashes: 1, MaxQueue: 47}) // 18 places for a network
	n.begin(n.add("alice"), home.Address, start)
	noErr(t, n.signIn("alice", good, home.Address)) // this node remembers the address
	release, err := n.OccupyHashes(1)
	noErr(t, err)
	var others sync.WaitGroup
	for i := range 18 {
		others.Go(func() { _ = n.signIn(fmt.Sprint("user", i), good, home.Address) })
		n.places(i + 1)
	}
	refused := make(chan int, 1)
	go func() {
		if err := n.signIn("alice", good, home.Address); err != nil {
			t.Error(err)
		}
		refused <- len(n.audits(wire.ActionSignInFailed))
	}()
	n.places(19)
	n.waiters(19)
	release()
	// One whose turn came before hers, and a few while she read the audit.
	if before := <-refused; before > 6 {
		t.Errorf("%d attempts from elsewhere were served before hers", before)
	}
	others.Wait()
}

// One user's successes are limited by account, and only theirs.
func TestSuccessesAreLimited(t *testing.T) {
	w := sqlite(t)
	n := w.with(account.Config{Successes: throttle.Limit{Burst: 3, Every: 2 * time.Second}})
	n.add("alice")
	n.add("bob")
	for i := range 3 {
		noErr(t, n.signIn("alice", good, fmt.Sprintf("192.0.2.%d", i)))
	}
	limited(t, "one more, elsewhere", n.signIn("alice", good, "192.0.2.9"))
	noErr(t, n.signIn("bob", good, "192.0.2.1"))
	w.pass(2*time.Second - time.Millisecond)
	limited(t, "just before", n.signIn("alice", good, "192.0.2.1"))
	w.pass(time.Millisecond)
	noErr(t, n.signIn("alice", good, "192.0.2.1"))
	limited(t, "one each two seconds", n.signIn("alice", good, "192.0.2.1"))
}

// After a hundred failures in a row the next attempt has to wait a minute, then
// two, up to an hour; at whatever pace they come, on whichever node, and after a
// restart. The user still gets in from where they have been, and with the token of
// an earlier session from anywhere; their success ends it for all origins.
func TestHundredFailuresInARow(t *testing.T) {
	engines(t, func(t *testing.T, w *testDatabase) {
		n := w.node()
		alice := n.add("alice")
		n.begin(alice, "192.0.2.1", start)
		elsewhere := func() string { return fmt.Sprintf("198.51.100.%d", w.now().Unix()%256) }
		fail := func(what string) {
			t.Helper()
			is(t, what, n.signIn("alice", "wrong horse battery", elsewhere()), account.ErrBadCredentials)
		}
		waits := func(want time.Duration) {
			t.Helper()
			err := n.signIn("alice", good, elsewhere())
			limit, ok := errors.AsType[*account.RateLimited](err)
			if !ok || limit.Limit != account.LimitStreak || limit.RetryAfter != want {
				t.Fatalf("%v; want to wait %v for the streak", err, want)
			}
		}
		for i := range 100 {
			fail(fmt.Sprint("failure ", i+1))
			w.pass(7 * time.Second) // not ten a minute
		}
		waits(time.Minute - 7*time.Second)
		n = w.node() // a restart
		w.pass(time.Minute - 7*time.Second - time.Microsecond)
		waits(time.Microsecond)
		w.pass(time.Microsecond)
		for _, pause := range []time.Duration{2, 4, 8, 16, 32, 60, 60} {
			fail("the attempt after the pause")
			waits(pause * time.Minute)
			w.pass(pause * time.Minute)
		}
		fail("the last")

		here := authz.Origin{Address: "203.0.113.7", Presented: &token.Session{Subject: alice.ID, ID: token.NewSessionID()}}
		notHers := authz.Origin{Address: "203.0.113.8", Presented: &token.Session{Subject: "another", ID: token.NewSessionID()}}
		_, _, err := n.Authenticate(t.Context(), "alice", good, notHers)
		if _, ok := errors.AsType[*account.RateLimited](err); !ok {
			t.Fatalf("with another user's token: %v, want *RateLimited", err)
		}
		_, _, err = n.Authenticate(t.Context(), "alice", good, here)
		noErr(t, err)
		noErr(t, n.signIn("alice", good, elsewhere())) // the streak is over

		for range 100 {
			fail("again")
			w.pass(7 * time.Second)
		}
		waits(time.Minute - 7*time.Second)
		noErr(t, n.signIn("alice", good, "192.0.2.1"))
		noErr(t, n.signIn("alice", good, elsewhere()))
	})
}

// The known address and the earlier session have their own hundred.
func TestStreaksOfKnownOrigins(t *testing.T) {
	w := sqlite(t)
	n := w.node()
	alice := n.add("alice")
	n.begin(alice, "192.0.2.1", start)
	with := authz.Origin{Address: "203.0.113.7", Presented: &token.Session{Subject: alice.ID, ID: token.NewSessionID()}}
	for _, from := range []authz.Origin{{Address: "192.0.2.1"}, with} {
		for i := range 100 {
			_, _, err := n.Authenticate(t.Context(), "alice", "wrong horse battery", from)
			is(t, fmt.Sprint("failure ", i+1), err, account.ErrBadCredentials)
			w.pass(7 * time.Second)
		}
		_, _, err := n.Authenticate(t.Context(), "alice", good, from)
		limited(t, "after a hundred", err)
	}
	noErr(t, n.signIn("alice", good, "198.51.100.1")) // an unknown address has not failed
	noErr(t, n.signIn("alice", good, "198.51.100.2"))
}

// A new password ends the streak: so does an administrator help a user who has
// nowhere else to sign in from.
func TestNewPasswordEndsStreak(t *testing.T) {
	const next = "another good password"
	for what, set := range map[string]func(n *node, u store.User) error{
		"PATCH": func(n *node, u store.User) error {
			_, _, err := n.ChangeUser(t.Context(), cli, u.ID, account.UserChange{Password: ptr(next)}, "")
			return err
		},
		"PUT password": func(n *node, u store.User) error {
			change, err := n.PreparePassword(t.Context(), cli, u.ID, account.NewPassword{New: next}, home)
			if err != nil {
				return err
			}
			return n.write(cli, u.ID, change)
		},
	} {
		t.Run(what, func(t *testing.T) {
			w := sqlite(t)
			n := w.node()
			alice := n.add("alice")
			for i := range 100 {
				is(t, fmt.Sprint("failure ", i+1), n.signIn("alice", "wrong horse battery", "198.51.100.1"), account.ErrBadCredentials)
				w.pass(7 * time.Second)
			}
			limited(t, "after a hundred", n.signIn("alice", good, "198.51.100.2"))
			noErr(t, set(n, alice))
			noErr(t, n.signIn("alice", next, "198.51.100.2"))
		})
	}
}
