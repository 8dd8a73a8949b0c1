package revocation

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"example.com/curfew/internal/notify"
)

// DefaultCapacity is the default maximum number of entries of a [Cache].
const DefaultCapacity = 1_000_000

// ErrUnavailable is returned when a partial cache cannot determine whether a
// session was revoked. It never means that the session was not revoked. It is also
// token.ErrUnavailable for [errors.Is], and the reverse.
var ErrUnavailable error = unavailable{}

type unavailable struct{}

func (unavailable) Error() string { return "revocation: the session's revocation status is unknown" }

// Is reports whether target is a reason that says the same. Package token has them.
func (unavailable) Is(target error) bool {
	reason, ok := target.(interface{ Unavailable() bool }) // of target itself, not of what it wraps
	return ok && reason.Unavailable()
}

// Answer is the knowledge of a [Source] about one session.
type Answer struct {
	User    Epoch // revoked-before of the user; 0 if never revoked
	Session Epoch // revoked-before of the session; 0 if never revoked
	// AsOf is the epoch of the answer: the answer includes every change up to it.
	// This also covers pruned rows: a source may have deleted rows that a
	// revocation of everyone outdates. Neither User nor Session is therefore below
	// the epoch of everyone, which the cache may not have yet.
	AsOf Epoch
}

// Source answers for sessions that a partial cache has evicted.
//
// RevokedBefore must be safe for concurrent use. It must return an error if its
// answer may be out of date when it returns, for example because its lease has run
// out or the store did not answer. The cache does not retry after an error.
type Source interface {
	RevokedBefore(ctx context.Context, user, session string) (Answer, error)
}

// CacheConfig configures a [Cache].
type CacheConfig struct {
	// Capacity is the maximum number of entries, users and sessions together. Zero
	// or less means DefaultCapacity.
	Capacity int
	// Source answers for evicted entries. If nil, a partial cache returns
	// ErrUnavailable for every missing key.
	Source Source
	// LookupTimeout is the maximum time of one call to Source. Zero or less means 2
	// s.
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

// Cache holds the epoch of the last revocation of each scope, up to its capacity.
//
// The owner first applies every existing revocation, then every change. A cache
// that has evicted nothing is complete: a missing key was never revoked, and a
// check needs no look-up. It is then a table of hashes without pointers, which the
// garbage collector does not scan. After the first eviction the cache is partial:
// it holds least-recently-used lists of applied and looked-up entries, and asks the
// source about a missing key. A revocation of everyone outdates all evicted entries
// and makes the cache complete again.
//
// Every write keeps the maximum, so changes may arrive late, twice and out of
// order. A Cache is safe for concurrent use.
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
	forgot   Epoch // the highest epoch ever evicted; 0 if none was
	flights  map[flightKey]*flight
	closed   bool
	running  sync.WaitGroup
	ctx      context.Context
	cancel   context.CancelFunc
}

// NewCache returns an empty cache. It is complete: no session was revoked.
func NewCache(config CacheConfig) *Cache {
	c := &Cache{config: config, flights: map[flightKey]*flight{}}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.table.Store(newTable(0))
	return c
}

// Close cancels pending look-ups and waits for them. A closed cache still answers
// from its contents.
func (c *Cache) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.running.Wait()
}

// Generation changes whenever the answer to any call may have changed. A caller may
// reuse a cached answer while Generation still returns the value read before the
// call.
func (c *Cache) Generation() uint64 { return c.generation.Load() }

// Known returns the highest known epoch at which a session of user was revoked: the
// maximum over everyone, remembered (for a remember-me session), the user and the
// session. The session is revoked if its own epoch is lower.
//
// If complete is false, the cache has evicted something that may matter. The
// session may then be known to be revoked, but is not known to be valid before a
// call of [Cache.Ask].
func (c *Cache) Known(user, session string, rememberMe bool) (before Epoch, complete bool) {
	if t := c.table.Load(); t != nil {
		before = max(t.get(KindUser, user), t.get(KindSession, session))
		return max(before, c.broad(rememberMe)), true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	// If the table was restored in the meantime, there are no lists, and its
	// entries are newer than this call. Everyone's epoch is read under the lock,
	// because it may have made the cache complete.
	u, hasUser := get(c.users, user)
	s, hasSession := get(c.sessions, session)
	return max(u, s, c.broad(rememberMe)), hasUser && hasSession || c.completeLocked()
}

// broad returns the epoch of the scopes everyone and remembered.
func (c *Cache) broad(rememberMe bool) Epoch {
	before := Epoch(c.everyone.Load())
	if rememberMe {
		before = max(before, Epoch(c.remembered.Load()))
	}
	return before
}

// Peek returns the highest known epoch of one scope alone, for display. An epoch
// that the one of everyone outdates may be missing. If complete is false there may
// be a higher one. Unlike [Cache.Known] it does not count as a use, so it may be
// called for an unverified token.
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

// completeLocked reports whether the cache is complete. Evicted entries no longer
// matter after a revocation of everyone at or above them.
func (c *Cache) completeLocked() bool { return c.forgot <= Epoch(c.everyone.Load()) }

// Apply merges revocations into the cache. When it returns, every answer includes
// them, and no look-up that began earlier can undo them.
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

// Subscribe registers f: every later Apply calls f with the applied revocations,
// new or not, after the cache has them and before Apply returns. This includes
// revocations that the cache has no room to keep. f must return quickly and must
// neither keep nor modify the slice. It may be called from several goroutines at
// once. cancel ends the subscription.
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
			return // the epoch of everyone already covers it
		}
		if t.live >= c.config.capacity() {
			t = t.without(everyone) // outdated entries may use the room
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
		return // the evicted epoch may be higher: a missing entry is safer than a low one
	}
	c.addLocked(l, r.Scope.ID, max(old, r.Epoch))
}

func peek(l *lru.Cache[string, Epoch], key string) (Epoch, bool) {
	if l == nil {
		return 0, false
	}
	return l.Peek(key)
}

// becomePartialLocked drops the table. Its keys are hashes, so no entry can be
// carried over: all count as evicted.
func (c *Cache) becomePartialLocked(t *table) {
	c.forgot = max(c.forgot, t.highest())
	// Users and sessions do not share room, so that a user who opens many sessions
	// cannot evict entries of users.
	sessions := c.config.capacity() / 2
	c.users, c.sessions = c.newList(c.config.capacity()-sessions), c.newList(sessions)
	c.table.Store(nil)
}

// startAfreshLocked replaces the lists by an empty table: the epoch of everyone
// outdates everything applied so far.
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
	Capacity int    // maximum number of entries
	Complete bool   // a missing key was never revoked
	Lookups  uint64 // calls to the source since the start
}

// Stats returns the current state of the cache.
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

// errBehind is the error for an answer that does not include the changes applied
// before the call.
func errBehind(asOf, high Epoch) error {
	return fmt.Errorf("%w: the source answered as of %d, but %d was already applied before the request", ErrUnavailable, asOf, high)
}
