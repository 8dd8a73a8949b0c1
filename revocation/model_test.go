package revocation

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
)

// model is the truth: a store with a plain map, of which a cache is told late,
// twice and out of order.
type model struct {
	mu      sync.Mutex
	clock   Epoch
	truth   map[Scope]Epoch // everything committed
	applied map[Scope]Epoch // everything that the cache was told
}

func newModel() *model {
	return &model{truth: map[Scope]Epoch{}, applied: map[Scope]Epoch{}}
}

func effective(m map[Scope]Epoch, user, session string, rememberMe bool) Epoch {
	before := max(m[Everyone()], m[User(user)], m[Session(session)])
	if rememberMe {
		before = max(before, m[Remembered()])
	}
	return before
}

func (m *model) commit(s Scope) Revocation {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clock++
	m.truth[s] = m.clock
	return Revocation{s, m.clock}
}

func (m *model) RevokedBefore(_ context.Context, user, session string) (Answer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	everyone := m.truth[Everyone()]
	return Answer{User: max(everyone, m.truth[User(user)]), Session: max(everyone, m.truth[Session(session)]), AsOf: m.clock}, nil
}

// prune drops revocations at or below an epoch and raises everyone to it.
func (m *model) prune(upTo Epoch) Revocation {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clock++
	for s, e := range m.truth {
		if e <= upTo {
			delete(m.truth, s)
		}
	}
	m.truth[Everyone()] = max(m.truth[Everyone()], upTo)
	return Revocation{Everyone(), m.truth[Everyone()]}
}

func randomScope(r *rand.Rand, ids int) Scope {
	id := fmt.Sprint(r.IntN(ids))
	switch n := r.IntN(40); {
	case n == 0:
		return Everyone()
	case n == 1:
		return Remembered()
	case n < 20:
		return User(id)
	default:
		return Session(id)
	}
}

// Whatever comes in whatever order, a cache that claims to be complete never
// knows less than it was told, nothing is ever above the truth, an answer is the
// truth, and there is never more than there is room for.
func TestCacheAgainstAMap(t *testing.T) {
	for seed := range uint64(150) {
		r := rand.New(rand.NewPCG(seed, 1))
		const ids = 12
		capacity := 1 + r.IntN(20)
		m := newModel()
		c := NewCache(CacheConfig{Capacity: capacity, Source: m})
		var pending []Revocation // committed, not applied yet
		for step := range 300 {
			switch r.IntN(4) {
			case 0:
				if r.IntN(10) == 0 && m.clock > 0 {
					pending = append(pending, m.prune(Epoch(r.Int64N(int64(m.clock)+1))))
					break
				}
				pending = append(pending, m.commit(randomScope(r, ids)))
			case 1, 2: // some of them, in any order, some to come again
				r.Shuffle(len(pending), func(i, j int) { pending[i], pending[j] = pending[j], pending[i] })
				n := r.IntN(len(pending) + 1)
				c.Apply(pending[:n]...)
				for _, p := range pending[:n] {
					m.applied[p.Scope] = max(m.applied[p.Scope], p.Epoch)
				}
				pending = pending[r.IntN(n+1):]
			default:
				user, session, rememberMe := fmt.Sprint(r.IntN(ids)), fmt.Sprint(r.IntN(ids)), r.IntN(2) == 0
				if _, complete := c.Known(user, session, rememberMe); complete {
					break
				}
				got, _, err := c.Ask(t.Context(), user, session, rememberMe)
				if err != nil {
					t.Fatalf("seed %d, step %d: %v", seed, step, err)
				}
				// The source tells of everything but remembered, of which the
				// cache knows what it was told.
				least := max(effective(m.applied, user, session, rememberMe), effective(m.truth, user, session, false))
				if got < least || got > effective(m.truth, user, session, rememberMe) {
					t.Fatalf("seed %d, step %d: Ask = %d, want %d to %d", seed, step, got, least, effective(m.truth, user, session, rememberMe))
				}
			}
			checkAgainst(t, c, m, ids, fmt.Sprintf("seed %d, capacity %d, step %d", seed, capacity, step))
			if t.Failed() {
				return
			}
		}
		c.Close()
	}
}

func checkAgainst(t *testing.T, c *Cache, m *model, ids int, where string) {
	t.Helper()
	s := c.Stats()
	if s.Entries > s.Capacity {
		t.Errorf("%s: %d entries of %d", where, s.Entries, s.Capacity)
	}
	for i := range ids {
		for _, rememberMe := range []bool{false, true} {
			user, session := fmt.Sprint(i), fmt.Sprint((i*7+3)%ids)
			// Peek instead of Known, so that looking changes no order.
			u, knowsUser := c.Peek(User(user))
			e, knowsSession := c.Peek(Session(session))
			before := max(u, e, c.broad(rememberMe))
			least, most := effective(m.applied, user, session, rememberMe), effective(m.truth, user, session, rememberMe)
			if knowsUser && knowsSession && before < least {
				t.Errorf("%s: %d and complete, but %d was applied", where, before, least)
			}
			if s.Complete && !(knowsUser && knowsSession) {
				t.Errorf("%s: complete, but user %s or session %s is not known", where, user, session)
			}
			if before > most {
				t.Errorf("%s: %d, above the truth %d", where, before, most)
			}
		}
	}
}

// With readers and writers at once: what was applied before a question is in its
// answer.
func TestConcurrentUse(t *testing.T) {
	for _, capacity := range []int{2, 6, 1000} {
		t.Run(fmt.Sprint(capacity), func(t *testing.T) {
			const ids, rounds = 8, 400
			m := newModel()
			c := NewCache(CacheConfig{Capacity: capacity, Source: m})
			defer c.Close()
			var floor [ids]atomic.Int64 // of each user, applied for certain
			var all sync.WaitGroup
			for w := range uint64(2) {
				all.Go(func() {
					r := rand.New(rand.NewPCG(w, 2))
					for range rounds {
						id := r.IntN(ids)
						rev := m.commit(User(fmt.Sprint(id)))
						c.Apply(rev, m.commit(Session(fmt.Sprint(id))))
						for old := floor[id].Load(); int64(rev.Epoch) > old; old = floor[id].Load() {
							if floor[id].CompareAndSwap(old, int64(rev.Epoch)) {
								break
							}
						}
						if r.IntN(50) == 0 {
							c.Apply(m.commit(Everyone()))
						}
					}
				})
			}
			for w := range uint64(3) {
				all.Go(func() {
					r := rand.New(rand.NewPCG(w, 3))
					for range rounds {
						id := r.IntN(ids)
						least := Epoch(floor[id].Load())
						before, complete := c.Known(fmt.Sprint(id), "s", false)
						if !complete {
							var err error
							if before, _, err = c.Ask(t.Context(), fmt.Sprint(id), "s", false); err != nil {
								continue // overtaken too often: no answer is no wrong answer
							}
						}
						if before < least {
							t.Errorf("user %d: %d, but %d had been applied", id, before, least)
							return
						}
						if s := c.Stats(); s.Entries > capacity {
							t.Errorf("%d entries of %d", s.Entries, capacity)
							return
						}
					}
				})
			}
			all.Wait()
		})
	}
}
