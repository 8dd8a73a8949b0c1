package revocation

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// ask is a Source that is a function.
type ask func(ctx context.Context, user, session string) (Answer, error)

func (f ask) RevokedBefore(ctx context.Context, user, session string) (Answer, error) {
	return f(ctx, user, session)
}

// partial returns a cache that has forgotten something, with the highest epoch
// applied 14.
func partial(source Source) *Cache {
	c := NewCache(CacheConfig{Capacity: 4, Source: source})
	revokeUsers(c, 5, 10)
	return c
}

func answering(a Answer) ask {
	return func(context.Context, string, string) (Answer, error) { return a, nil }
}

func TestAsk(t *testing.T) {
	for _, test := range []struct {
		name       string
		answer     Answer
		rememberMe bool
		also       []Revocation
		want       Epoch
	}{
		{"never revoked", Answer{AsOf: 14}, true, nil, 0},
		{"the user", Answer{User: 8, AsOf: 14}, false, nil, 8},
		{"the session", Answer{Session: 9, AsOf: 14}, false, nil, 9},
		{"both", Answer{User: 8, Session: 9, AsOf: 14}, false, nil, 9},
		{"everyone, above the answer", Answer{User: 8, AsOf: 20}, false, []Revocation{{Everyone(), 9}}, 9},
		{"everyone, below the answer", Answer{User: 10, AsOf: 20}, false, []Revocation{{Everyone(), 9}}, 10},
		{"remembered", Answer{User: 8, AsOf: 20}, true, []Revocation{{Remembered(), 20}}, 20},
		{"remembered, but the session is not", Answer{User: 8, AsOf: 20}, false, []Revocation{{Remembered(), 20}}, 8},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := partial(answering(test.answer))
			defer c.Close()
			c.Apply(test.also...)
			got, _, err := c.Ask(t.Context(), "u", "s", test.rememberMe)
			if err != nil || got != test.want {
				t.Fatalf("Ask = %d, %v; want %d", got, err, test.want)
			}
			// A second check of the same session asks nothing, also if the first
			// answer was that there is no revocation.
			known(t, c, "u", "s", test.rememberMe, test.want, true)
			if n := c.Stats().Lookups; n != 1 {
				t.Errorf("%d look-ups, want 1", n)
			}
		})
	}
}

func TestAskUnavailable(t *testing.T) {
	failure := errors.New("the store is gone")
	for _, test := range []struct {
		name  string
		cache *Cache
		also  error
	}{
		{"no source", partial(nil), nil},
		{"the source fails", partial(ask(func(context.Context, string, string) (Answer, error) { return Answer{}, failure })), failure},
		{"closed", func() *Cache { c := partial(answering(Answer{AsOf: 14})); c.Close(); return c }(), nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			defer test.cache.Close()
			if got, _, err := test.cache.Ask(t.Context(), "u", "s", false); !errors.Is(err, ErrUnavailable) || got != 0 {
				t.Errorf("Ask = %d, %v; want %v", got, err, ErrUnavailable)
			} else if test.also != nil && !errors.Is(err, test.also) {
				t.Errorf("Ask = %v; want one that wraps %v", err, test.also)
			}
			if _, complete := test.cache.Known("u", "s", false); complete {
				t.Error("a failure was remembered as an answer")
			}
		})
	}
}

// A source that is behind what has been applied here, such as a replica, may not
// know the very revocation that was forgotten.
func TestStaleAnswersAreRefused(t *testing.T) {
	for asOf, want := range map[Epoch]error{13: ErrUnavailable, 14: nil, 15: nil} {
		c := partial(answering(Answer{AsOf: asOf}))
		if _, _, err := c.Ask(t.Context(), "u", "s", false); !errors.Is(err, want) {
			t.Errorf("an answer as of %d with 14 applied: %v, want %v", asOf, err, want)
		}
		if _, complete := c.Known("u", "s", false); complete != (want == nil) {
			t.Errorf("an answer as of %d with 14 applied: complete = %v", asOf, complete)
		}
		c.Close()
	}
}

// An answer never lowers a known epoch, however late it comes.
func TestAnswersMergeByTheMaximum(t *testing.T) {
	for _, scope := range []Scope{User("u"), Session("s")} {
		c := partial(answering(Answer{User: 3, Session: 4, AsOf: 99}))
		c.Apply(Revocation{scope, 50})
		if got, _, err := c.Ask(t.Context(), "u", "s", false); err != nil || got != 50 {
			t.Errorf("Ask = %d, %v; want 50", got, err)
		}
		known(t, c, "u", "s", false, 50, true)
		c.Close()
	}
}

// A change to anything else, while the source is asked, takes nothing from the
// answer: otherwise a busy feed would make every look-up fail.
func TestChangesToOthersDoNotSpoilAnAnswer(t *testing.T) {
	var c *Cache
	c = partial(ask(func(context.Context, string, string) (Answer, error) {
		c.Apply(Revocation{User("other"), 20}, Revocation{Session("another"), 21}, Revocation{Remembered(), 22})
		return Answer{User: 9, AsOf: 14}, nil
	}))
	defer c.Close()
	if got, _, err := c.Ask(t.Context(), "u", "s", false); err != nil || got != 9 {
		t.Errorf("Ask = %d, %v; want 9", got, err)
	}
	known(t, c, "u", "s", false, 9, true)
}

// A change to everyone is seen although the look-up began before it.
func TestEveryoneDuringALookUp(t *testing.T) {
	var c *Cache
	c = partial(ask(func(context.Context, string, string) (Answer, error) {
		c.Apply(Revocation{Everyone(), 12})
		return Answer{User: 9, AsOf: 14}, nil
	}))
	defer c.Close()
	if got, _, err := c.Ask(t.Context(), "u", "s", false); err != nil || got != 12 {
		t.Errorf("Ask = %d, %v; want 12", got, err)
	}
}

// A change detaches the look-ups under way for its key: they are made again, and
// neither their callers nor the cache take the old answer.
func TestChangeDetachesLookUps(t *testing.T) {
	for _, scope := range []Scope{User("u"), Session("s")} {
		t.Run(scope.String(), func(t *testing.T) {
			var c *Cache
			asked := 0
			c = partial(ask(func(ctx context.Context, _, _ string) (Answer, error) {
				asked++
				if asked > 1 {
					return Answer{User: 3, Session: 4, AsOf: 30}, nil
				}
				// Everything else may force out what the change brings.
				c.Apply(Revocation{scope, 30})
				for n := range 4 {
					c.Apply(Revocation{Scope{scope.Kind, string(rune('a' + n))}, Epoch(31 + n)})
				}
				if ctx.Err() == nil {
					t.Error("the worthless look-up was not ended")
				}
				return Answer{AsOf: 50}, nil
			}))
			defer c.Close()
			_, _, err := c.Ask(t.Context(), "u", "s", false)
			// The second answer is as of 30, below what was applied: refused, and
			// in no case is the first one taken.
			if !errors.Is(err, ErrUnavailable) {
				t.Errorf("Ask = %v, want %v", err, ErrUnavailable)
			}
			if asked != 2 {
				t.Errorf("asked %d times, want 2", asked)
			}
			if before, complete := c.Known("u", "s", false); complete {
				t.Errorf("Known = %d, complete: the old answer was kept", before)
			}
		})
	}
}

// Changes that keep overtaking the answers end in an error, not in a loop.
func TestOvertakenTooOften(t *testing.T) {
	var c *Cache
	epoch := Epoch(100)
	c = partial(ask(func(context.Context, string, string) (Answer, error) {
		epoch++
		c.Apply(Revocation{User("u"), epoch})
		return Answer{AsOf: epoch}, nil
	}))
	defer c.Close()
	if _, _, err := c.Ask(t.Context(), "u", "s", false); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Ask = %v, want %v", err, ErrUnavailable)
	}
	if n := c.Stats().Lookups; n != lookupTries {
		t.Errorf("%d look-ups, want %d", n, lookupTries)
	}
}

func TestOneLookUpForConcurrentMisses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		c := partial(ask(func(context.Context, string, string) (Answer, error) {
			asked.Add(1)
			time.Sleep(time.Second)
			return Answer{User: 9, AsOf: 14}, nil
		}))
		defer c.Close()
		began := time.Now()
		var callers sync.WaitGroup
		for range 50 {
			callers.Go(func() {
				if got, _, err := c.Ask(t.Context(), "u", "s", false); err != nil || got != 9 {
					t.Errorf("Ask = %d, %v; want 9", got, err)
				}
			})
		}
		callers.Go(func() {
			if _, _, err := c.Ask(t.Context(), "u", "another", false); err != nil {
				t.Error(err)
			}
		})
		callers.Wait()
		if n := asked.Load(); n != 2 {
			t.Errorf("the source was asked %d times for two sessions", n)
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("took %v: a caller waited for another caller's question", took)
		}
	})
}

// Room for a single user, and fifty that are asked about at once by twenty callers
// each: every caller hears the answer to its own question, although it is forgotten
// before it is heard.
func TestAnswersAreHeardAlthoughForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewCache(CacheConfig{Capacity: 1, Source: ask(func(_ context.Context, user, _ string) (Answer, error) {
			time.Sleep(time.Second)
			n, err := strconv.Atoi(user)
			return Answer{User: Epoch(n), AsOf: 99}, err
		})})
		defer c.Close()
		revokeUsers(c, 2, 1)
		var callers sync.WaitGroup
		for n := range 1000 {
			user := 10 + n%50
			callers.Go(func() {
				if got, _, err := c.Ask(t.Context(), strconv.Itoa(user), "s", false); err != nil || got != Epoch(user) {
					t.Errorf("Ask = %d, %v; want %d", got, err, user)
				}
			})
		}
		callers.Wait()
	})
}

// A caller that goes away leaves the question to the others.
func TestAskEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := partial(ask(func(ctx context.Context, _, _ string) (Answer, error) {
			select {
			case <-time.After(time.Second):
				return Answer{User: 9, AsOf: 14}, nil
			case <-ctx.Done():
				return Answer{}, ctx.Err()
			}
		}))
		defer c.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		var patient sync.WaitGroup
		patient.Go(func() {
			if got, _, err := c.Ask(t.Context(), "u", "s", false); err != nil || got != 9 {
				t.Errorf("the patient caller: %d, %v; want 9", got, err)
			}
		})
		if _, _, err := c.Ask(ctx, "u", "s", false); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the impatient caller: %v, want %v", err, context.DeadlineExceeded)
		}
		patient.Wait()
	})
}

func TestLookupTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := ask(func(ctx context.Context, _, _ string) (Answer, error) {
			<-ctx.Done()
			return Answer{}, ctx.Err()
		})
		for configured, want := range map[time.Duration]time.Duration{
			0: 2 * time.Second, -1: 2 * time.Second, 50 * time.Millisecond: 50 * time.Millisecond,
		} {
			c := NewCache(CacheConfig{Capacity: 1, Source: hang, LookupTimeout: configured})
			revokeUsers(c, 2, 1)
			began := time.Now()
			if _, _, err := c.Ask(t.Context(), "u", "s", false); !errors.Is(err, ErrUnavailable) {
				t.Errorf("Ask = %v, want %v", err, ErrUnavailable)
			}
			if took := time.Since(began); took != want {
				t.Errorf("LookupTimeout %v: took %v, want %v", configured, took, want)
			}
			c.Close()
		}
	})
}

// Close ends the look-ups that are under way, at once, and waits for the source to
// return.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		returned := false
		c := partial(ask(func(ctx context.Context, _, _ string) (Answer, error) {
			<-ctx.Done()
			time.Sleep(time.Millisecond)
			returned = true
			return Answer{}, ctx.Err()
		}))
		var caller sync.WaitGroup
		caller.Go(func() {
			if _, _, err := c.Ask(t.Context(), "u", "s", false); !errors.Is(err, ErrUnavailable) {
				t.Errorf("Ask = %v, want %v", err, ErrUnavailable)
			}
		})
		synctest.Wait()
		began := time.Now()
		c.Close()
		if !returned || time.Since(began) != time.Millisecond {
			t.Errorf("closed after %v, the source had returned: %v", time.Since(began), returned)
		}
		c.Close() // once more does no harm
		caller.Wait()
		known(t, c, "u4", "s", false, 14, false) // what it knows it still knows
	})
}
