package revocation

import (
	"fmt"
	"testing"
)

func known(t *testing.T, c *Cache, user, session string, rememberMe bool, want Epoch, wantComplete bool) {
	t.Helper()
	before, complete := c.Known(user, session, rememberMe)
	if before != want || complete != wantComplete {
		t.Errorf("Known(%s, %s, %v) = %d, %v; want %d, %v", user, session, rememberMe, before, complete, want, wantComplete)
	}
}

// revokeUsers applies the revocations of n users with epochs from first on, in
// their order.
func revokeUsers(c *Cache, n int, first Epoch) {
	for i := range n {
		c.Apply(Revocation{User(fmt.Sprint("u", i)), first + Epoch(i)})
	}
}

func TestEachScopeRevokesItsOwnSessions(t *testing.T) {
	for _, test := range []struct {
		scope                                 Scope
		own, other, ownRemember, otherSession Epoch
	}{
		{Everyone(), 7, 7, 7, 7},
		{Remembered(), 0, 0, 7, 0},
		{User("u"), 7, 0, 7, 7},
		{Session("s"), 7, 0, 7, 0},
		{Scope{}, 0, 0, 0, 0},
		{Scope{Kind: "made up", ID: "u"}, 0, 0, 0, 0},
	} {
		t.Run(test.scope.String(), func(t *testing.T) {
			c := NewCache(CacheConfig{})
			c.Apply(Revocation{test.scope, 7})
			known(t, c, "u", "s", false, test.own, true)
			known(t, c, "other", "another", false, test.other, true)
			known(t, c, "u", "s", true, test.ownRemember, true)
			known(t, c, "u", "another", false, test.otherSession, true)
			// A user's id is no session's id.
			known(t, c, "s", "u", false, test.other, true)
		})
	}
}

func TestKnownIsTheGreatestOverTheScopes(t *testing.T) {
	scopes := []Scope{Everyone(), Remembered(), User("u"), Session("s")}
	for highest := range scopes {
		c := NewCache(CacheConfig{})
		for i, s := range scopes {
			e := Epoch(10 + i)
			if i == highest {
				e = 20
			}
			c.Apply(Revocation{s, e})
		}
		known(t, c, "u", "s", true, 20, true)
	}
}

// Messages come late, twice and out of order.
func TestApplyMergesByTheMaximum(t *testing.T) {
	for _, capacity := range []int{0, 4} { // complete, partial
		for _, scope := range []Scope{Everyone(), Remembered(), User("u"), Session("s")} {
			t.Run(fmt.Sprint(capacity, scope), func(t *testing.T) {
				c := NewCache(CacheConfig{Capacity: capacity})
				if capacity > 0 {
					revokeUsers(c, capacity+1, 1)
				}
				for _, e := range []Epoch{30, 29, 30, 1} {
					c.Apply(Revocation{scope, e})
					if before, _ := c.Known("u", "s", true); before != 30 {
						t.Fatalf("after %d: Known = %d, want 30", e, before)
					}
				}
				c.Apply(Revocation{scope, 31})
				if before, _ := c.Known("u", "s", true); before != 31 {
					t.Errorf("Known = %d, want 31", before)
				}
			})
		}
	}
}

func TestCapacity(t *testing.T) {
	if got := NewCache(CacheConfig{}).Stats().Capacity; got != DefaultCapacity {
		t.Errorf("capacity by default %d, want %d", got, DefaultCapacity)
	}
	if got := NewCache(CacheConfig{Capacity: -1}).Stats().Capacity; got != DefaultCapacity {
		t.Errorf("capacity for -1 %d, want %d", got, DefaultCapacity)
	}
	for _, capacity := range []int{1, 2, 3, 10, 1000} {
		t.Run(fmt.Sprint(capacity), func(t *testing.T) {
			c := NewCache(CacheConfig{Capacity: capacity})
			for n := range 3 * capacity {
				c.Apply(Revocation{User(fmt.Sprint("u", n)), Epoch(2*n + 1)}, Revocation{Session(fmt.Sprint("s", n)), Epoch(2*n + 2)})
				s := c.Stats()
				if s.Entries > capacity {
					t.Fatalf("%d entries of %d", s.Entries, capacity)
				}
				if applied := 2 * (n + 1); s.Complete != (applied <= capacity) {
					t.Fatalf("complete = %v after %d revocations with room for %d", s.Complete, applied, capacity)
				}
			}
			c.Apply(Revocation{Everyone(), 1 << 40})
			if s := c.Stats(); !s.Complete || s.Entries != 0 {
				t.Errorf("after everyone: %+v; want it complete and empty", s)
			}
		})
	}
}

// A revocation that a cache was too small for is not known, and the cache says so.
func TestPartial(t *testing.T) {
	c := NewCache(CacheConfig{Capacity: 4}) // two users and two sessions
	revokeUsers(c, 5, 10)                   // the fifth, at 14, forces everything out
	known(t, c, "u4", "s", false, 14, false)
	known(t, c, "u0", "s", false, 0, false)
	known(t, c, "never", "s", false, 0, false)
	c.Apply(Revocation{Session("s"), 20})
	known(t, c, "u4", "s", false, 20, true) // both are held
	known(t, c, "u0", "s", false, 20, false)
	// Sessions force out no users.
	for n := range 10 {
		c.Apply(Revocation{Session(fmt.Sprint("s", n)), Epoch(30 + n)})
	}
	known(t, c, "u4", "s9", false, 39, true)
}

func TestRoomOfTheOutdatedIsUsedAgain(t *testing.T) {
	c := NewCache(CacheConfig{Capacity: 4})
	revokeUsers(c, 4, 10)
	c.Apply(Revocation{Everyone(), 12}) // outdates u0, u1 and u2
	revokeUsers(c, 4, 9)
	c.Apply(Revocation{User("a"), 20}, Revocation{User("b"), 21}, Revocation{User("c"), 22})
	if s := c.Stats(); !s.Complete || s.Entries != 4 {
		t.Fatalf("%+v; want it complete with 4 entries", s)
	}
	known(t, c, "u3", "s", false, 13, true)
	known(t, c, "u2", "s", false, 12, true)
	known(t, c, "c", "s", false, 22, true)
	c.Apply(Revocation{User("d"), 23})
	if s := c.Stats(); s.Complete {
		t.Errorf("%+v; want it partial", s)
	}
	// What everyone outdates takes no room at all.
	c = NewCache(CacheConfig{Capacity: 1})
	c.Apply(Revocation{Everyone(), 12})
	revokeUsers(c, 3, 10)
	if s := c.Stats(); !s.Complete || s.Entries != 0 {
		t.Errorf("%+v; want it complete and empty", s)
	}
	known(t, c, "u0", "s", false, 12, true)
}

// Max-merge forgets what was forced out: a late, lower epoch of the same scope
// must not pass for the truth afterwards.
func TestForgottenEpochIsNotReplacedByALowerOne(t *testing.T) {
	c := NewCache(CacheConfig{Capacity: 2})
	c.Apply(Revocation{User("u"), 50})
	revokeUsers(c, 2, 60) // forces u out
	if before, complete := c.Known("u", "s", false); complete {
		t.Fatalf("Known = %d and complete; the test wants it forgotten", before)
	}
	for _, late := range []Epoch{1, 49, 50, 59, 60} {
		c.Apply(Revocation{User("u"), late})
		if before, held := c.Peek(User("u")); held {
			t.Errorf("the late epoch %d stands for the truth: Peek = %d", late, before)
		}
	}
	c.Apply(Revocation{User("u"), 70})
	if before, held := c.Peek(User("u")); !held || before != 70 {
		t.Errorf("Peek = %d, %v; want 70, held", before, held)
	}
}

func TestEveryoneMakesComplete(t *testing.T) {
	c := NewCache(CacheConfig{Capacity: 2})
	revokeUsers(c, 5, 10) // forgotten up to 13
	for _, test := range []struct {
		everyone Epoch
		complete bool
	}{{11, false}, {12, false}, {13, true}, {14, true}, {15, true}} {
		c.Apply(Revocation{Everyone(), test.everyone})
		if s := c.Stats(); s.Complete != test.complete {
			t.Errorf("everyone at %d: %+v; want complete = %v", test.everyone, s, test.complete)
		}
		known(t, c, "u0", "s", false, test.everyone, test.complete)
	}
	// It is as good as new, and can become partial again.
	revokeUsers(c, 2, 20)
	known(t, c, "u1", "s", false, 21, true)
	known(t, c, "another", "s", false, 15, true)
	revokeUsers(c, 3, 30)
	known(t, c, "another", "s", false, 15, false)
}

func TestPeek(t *testing.T) {
	c := NewCache(CacheConfig{Capacity: 4})
	c.Apply(Revocation{Everyone(), 5}, Revocation{Remembered(), 6}, Revocation{User("u"), 7}, Revocation{Session("s"), 8})
	for _, test := range []struct {
		scope Scope
		want  Epoch
		known bool
	}{
		{Everyone(), 5, true}, {Remembered(), 6, true}, {User("u"), 7, true}, {Session("s"), 8, true},
		{User("s"), 0, true}, {Session("u"), 0, true}, {Scope{}, 0, false},
	} {
		if got, known := c.Peek(test.scope); got != test.want || known != test.known {
			t.Errorf("Peek(%v) = %d, %v; want %d, %v", test.scope, got, known, test.want, test.known)
		}
	}
	// To be looked at is no use: u0 goes first all the same.
	c = NewCache(CacheConfig{Capacity: 4})
	revokeUsers(c, 5, 10)
	revokeUsers(c, 2, 20) // u0 and u1 are held
	c.Peek(User("u0"))
	c.Apply(Revocation{User("another"), 30})
	if _, held := c.Peek(User("u0")); held {
		t.Error("u0 is still held: a peek counted as a use")
	}
	if _, held := c.Peek(User("u1")); !held {
		t.Error("u1 was forced out before u0")
	}
}

func TestGeneration(t *testing.T) {
	c := NewCache(CacheConfig{})
	g := c.Generation()
	c.Apply()
	if c.Generation() != g {
		t.Error("the generation moved, but nothing was applied")
	}
	for _, s := range []Scope{Everyone(), Remembered(), User("u"), Session("s")} {
		c.Apply(Revocation{s, 1})
		if c.Generation() == g {
			t.Errorf("the generation did not move with %v", s)
		}
		g = c.Generation()
	}
}

func TestTableGrows(t *testing.T) {
	c := NewCache(CacheConfig{})
	const n = 5000
	revokeUsers(c, n, 1)
	for i := range n {
		known(t, c, fmt.Sprint("u", i), "s", false, Epoch(i+1), true)
	}
	if s := c.Stats(); s.Entries != n {
		t.Errorf("%d entries, want %d", s.Entries, n)
	}
}
