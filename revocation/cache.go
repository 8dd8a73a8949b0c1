package revocation

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"example.com/curfew/internal/notify"
)

// DefaultCapacity is the number of entries that a [Cache] holds at most unless
// told otherwise.
const DefaultCapacity = 1_000_000

// ErrUnavailable is returned when a cache that is partial cannot learn whether a
// session was revoked. It never means that the session was not.
var ErrUnavailable = errors.New("revocation: cannot tell whether the session was revoked")

// Answer is what a [Source] knows about one session.
type Answer struct {
	User    Epoch // revoked-before of the user; 0 if never revoked
	Session Epoch // revoked-before of the session; 0 if never revoked
	// AsOf is the epoch that the answer rests on: every change up to it is
	// included. That goes for pruning too: since a source may have dropped what
	// everyone's revocation outdates, neither User nor Session is below everyone's,
	// of which the cache may not have heard yet.
	AsOf Epoch
}

// Source is asked for what a partial cache has forgotten.
//
// RevokedBefore must be safe for concurrent use. An answer that it cannot vouch
// for at the moment of returning (its lease has run out, the store did not
// answer) must be an error; the cache does not retry those.
type Source interface {
	RevokedBefore(ctx context.Context, user, session string) (Answer, error)
}

// CacheConfig configures a [Cache].
type CacheConfig struct {
	// Capacity is the number of entries held at most, users and sessions
	// together. Zero or less means DefaultCapacity.
	Capacity int
	// Source answers for what the cache has forgotten. With nil, a cache that
	// has become partial is unavailable for every absent key.
	Source Source
	// LookupTimeout bounds one question to the source. Zero or less means 2 s.
	LookupTimeout time.Duration
}

func (c CacheConfig) capacity() int {
	if c.Capacity <= 0 {
		return DefaultCapacity
	}
	return c.Capacity
}

func (c CacheConfig) lookupTimeout() time.Duration {
	if c.LookupTimeout <= 0 {
		return 2 * time.Second
	}
	return c.LookupTimeout
}

// Cache holds the epoch of the last revocation of each scope, and never more
// than its capacity.
//
// Whoever owns it applies every revocation there is, then every change. While
// nothing has been forced out it is complete: an absent key was never revoked,
// and a question costs no look-up. It is then a table of hashes without
// pointers, which costs the garbage collector nothing. Once the capacity has
// forced something out it is partial: least recently used lists of what was
// applied or asked for, and an absent key means that the source is asked. Revoking
// everyone outdates whatever was forced out, and makes it complete again.
//
// Every write merges by the maximum, so that messages may come late, twice and
// out of order. A Cache is safe for concurrent use.
type Cache struct {
	config CacheConfig

	everyone, remembered atomic.Int64
	table                atomic.Pointer[table] // nil once partial
	generation           atomic.Uint64
	lookups              atomic.Uint64
	applied              notify.List[[]Revocation]

	mu       sync.Mutex // guards what follows, and every write
	users    *lru.Cache[string, Epoch]
	sessions *lru.Cache[string, Epoch]
	high     Epoch // the highest epoch ever applied
	forgot   Epoch // the highest epoch ever forced out; 0 if none was
	flights  map[flightKey]*flight
	closed   bool
	running  sync.WaitGroup
	ctx      context.Context
	cancel   context.CancelFunc
}

// NewCache returns an empty cache, which is complete: nothing was revoked.
func NewCache(config CacheConfig) *Cache {
	c := &Cache{config: config, flights: map[flightKey]*flight{}}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.table.Store(newTable(0))
	return c
}

// Close ends the look-ups that are under way and waits for them. A closed cache
// still answers what it knows.
func (c *Cache) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.running.Wait()
}

// Generation changes whenever the answer to any question may have changed. Who
// remembers an answer together with the generation read before asking needs not
// ask again while the generation is the same.
func (c *Cache) Generation() uint64 { return c.generation.Load() }

// Known returns the highest epoch known at which a session of user was revoked:
// the greatest over everyone, remembered (if the session is remember-me), the
// user and the session. The session is revoked if its own epoch is below that.
//
// When complete is false the cache has forgotten something that may matter; the
// session can be known to be revoked, but not known to be good before [Cache.Ask].
func (c *Cache) Known(user, session string, rememberMe bool) (before Epoch, complete bool) {
	if t := c.table.Load(); t != nil {
		before = max(t.get(KindUser, user), t.get(KindSession, session))
		return max(before, c.broad(rememberMe)), true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	// If the table has come back in the meantime there are no lists, and what it
	// holds came after the question. Everyone's epoch is read under the lock: it
	// may be what has made the cache complete.
	u, hasUser := get(c.users, user)
	s, hasSession := get(c.sessions, session)
	return max(u, s, c.broad(rememberMe)), hasUser && hasSession || c.completeLocked()
}

// broad returns the epoch of the scopes that are not a user's or a session's.
func (c *Cache) broad(rememberMe bool) Epoch {
	before := Epoch(c.everyone.Load())
	if rememberMe {
		before = max(before, Epoch(c.remembered.Load()))
	}
	return before
}

// Peek returns the highest epoch known for one scope alone, for people to look
// at; one that everyone's outdates may be gone. When complete is false there may
// be a higher one. Unlike [Cache.Known] it does not count as a use, so it may be
// asked about a token that proves nothing.
func (c *Cache) Peek(scope Scope) (before Epoch, complete bool) {
	switch scope.Kind {
	case KindEveryone:
		return Epoch(c.everyone.Load()), true
	case KindRemembered:
		return Epoch(c.remembered.Load()), true
	case KindUser, KindSession:
		c.mu.Lock()
		defer c.mu.Unlock()
		if t := c.table.Load(); t != nil {
			return t.get(scope.Kind, scope.ID), true
		}
		before, held := peek(c.listLocked(scope.Kind), scope.ID)
		return before, held || c.completeLocked()
	}
	return 0, false
}

func get(l *lru.Cache[string, Epoch], key string) (Epoch, bool) {
	if l == nil {
		return 0, false
	}
	return l.Get(key)
}

// completeLocked: what was forced out no longer matters once everyone was
// revoked at or above it.
func (c *Cache) completeLocked() bool { return c.forgot <= Epoch(c.everyone.Load()) }

// Apply merges revocations into the cache. When it returns, every question
// answers with them, and no look-up that began before it can undo them.
func (c *Cache) Apply(revocations ...Revocation) {
	if len(revocations) == 0 {
		return
	}
	c.applyAll(revocations)
	c.applied.Send(revocations)
}

func (c *Cache) applyAll(revocations []Revocation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.detachLocked(revocations)
	for _, r := range revocations {
		c.applyLocked(r)
	}
	c.generation.Add(1)
}

// Subscribe makes every later Apply call f with what was applied, new or not,
// after the cache has it and before Apply returns. It covers what the cache does
// not keep for lack of room. f must be quick and must neither keep nor modify the
// slice; it may be called by several goroutines at once. cancel ends the
// subscription.
func (c *Cache) Subscribe(f func([]Revocation)) (cancel func()) { return c.applied.Add(f) }

func (c *Cache) applyLocked(r Revocation) {
	c.high = max(c.high, r.Epoch)
	switch r.Scope.Kind {
	case KindEveryone:
		raise(&c.everyone, r.Epoch)
		if c.table.Load() == nil && r.Epoch >= c.high {
			c.startAfreshLocked()
		}
	case KindRemembered:
		raise(&c.remembered, r.Epoch)
	case KindUser, KindSession:
		c.insertLocked(r)
	}
}

func raise(v *atomic.Int64, e Epoch) {
	if int64(e) > v.Load() { // all writers hold the lock
		v.Store(int64(e))
	}
}

func (c *Cache) insertLocked(r Revocation) {
	if t := c.table.Load(); t != nil {
		if t.raise(r.Scope.Kind, r.Scope.ID, r.Epoch) {
			return
		}
		everyone := Epoch(c.everyone.Load())
		if r.Epoch <= everyone {
			return // decides nothing that everyone does not
		}
		if t.live >= c.config.capacity() {
			t = t.without(everyone) // room may be held by what everyone outdates
		}
		if t.live < c.config.capacity() {
			t = t.withRoom()
			t.insert(r.Scope.Kind, r.Scope.ID, r.Epoch)
			c.table.Store(t)
			return
		}
		c.becomePartialLocked(t)
	}
	l := c.listLocked(r.Scope.Kind)
	old, held := peek(l, r.Scope.ID)
	if !held && r.Epoch <= c.forgot {
		return // a higher one may be what was forgotten: absent is safer than low
	}
	c.addLocked(l, r.Scope.ID, max(old, r.Epoch))
}

func peek(l *lru.Cache[string, Epoch], key string) (Epoch, bool) {
	if l == nil {
		return 0, false
	}
	return l.Peek(key)
}

// becomePartialLocked gives up the table. Its keys are hashes, so nothing can be
// carried over; all of it counts as forgotten.
func (c *Cache) becomePartialLocked(t *table) {
	c.forgot = max(c.forgot, t.highest())
	// Users and sessions do not share room, so that somebody who opens session
	// after session cannot force out what is known of users.
	sessions := c.config.capacity() / 2
	c.users, c.sessions = c.newList(c.config.capacity()-sessions), c.newList(sessions)
	c.table.Store(nil)
}

// startAfreshLocked gives up the lists for an empty table: everything that was
// ever applied is outdated by what everyone has.
func (c *Cache) startAfreshLocked() {
	c.users, c.sessions, c.forgot = nil, nil, 0
	c.table.Store(newTable(0))
}

func (c *Cache) newList(size int) *lru.Cache[string, Epoch] {
	if size == 0 {
		return nil
	}
	l, err := lru.NewWithEvict(size, func(_ string, e Epoch) { c.forgot = max(c.forgot, e) })
	if err != nil {
		panic(err) // only for a size below one
	}
	return l
}

func (c *Cache) listLocked(k Kind) *lru.Cache[string, Epoch] {
	if k == KindUser {
		return c.users
	}
	return c.sessions
}

func (c *Cache) addLocked(l *lru.Cache[string, Epoch], key string, e Epoch) {
	if l == nil {
		c.forgot = max(c.forgot, e)
		return
	}
	l.Add(key, e)
}

// Stats describes a cache at one instant.
type Stats struct {
	Entries  int    // entries held
	Capacity int    // entries held at most
	Complete bool   // absent means never revoked
	Lookups  uint64 // questions put to the source since the start
}

// Stats returns the present state of the cache.
func (c *Cache) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Stats{Capacity: c.config.capacity(), Complete: c.completeLocked(), Lookups: c.lookups.Load()}
	if t := c.table.Load(); t != nil {
		s.Entries = t.live
		return s
	}
	for _, l := range []*lru.Cache[string, Epoch]{c.users, c.sessions} {
		if l != nil {
			s.Entries += l.Len()
		}
	}
	return s
}

// errBehind refuses an answer that does not include what had been applied here
// when the question was put.
func errBehind(asOf, high Epoch) error {
	return fmt.Errorf("%w: the source answered as of %d, but %d had been applied here before it was asked", ErrUnavailable, asOf, high)
}
