package revocation

import (
	"hash/maphash"
	"math/bits"
	"sync/atomic"
)

// table maps seeded 64-bit hashes of scopes to epochs. It holds no pointers, so
// a garbage collection does not walk it. Two scopes with one hash share an entry
// and with it the higher of their epochs: a collision can end a session too
// early, one in 2⁶⁴ per pair, but never keep one alive. The seed is drawn at
// random, so nobody can look for collisions.
//
// Readers take no lock. Writers hold the lock of the cache; a writer that needs
// another size fills a new table, and the cache publishes it.
type table struct {
	user, session maphash.Seed
	slots         []slot // a power of two
	// filter has a bit for each hash that is held, and eight times as many bits as
	// there are slots. Nearly every question is about a scope that was never
	// revoked: what says so is then a byte a slot, which processors keep close, and
	// not the slots themselves. A bit is set before the slot that it is for.
	filter []atomic.Uint64
	live   int
	// floor is the epoch at or below which entries were dropped, since everyone
	// was revoked then. It comes with the table: a reader that misses a dropped
	// entry cannot miss the reason.
	floor Epoch
}

// slot is empty while hash is 0. The epoch is written before the hash, so a
// reader that sees the hash sees an epoch.
type slot struct {
	hash  atomic.Uint64
	epoch atomic.Int64
}

const smallestTable = 64

func newTable(room int) *table {
	return resized(&table{user: maphash.MakeSeed(), session: maphash.MakeSeed()}, room)
}

// resized returns an empty table with the seeds of t and room for n entries.
func resized(t *table, n int) *table {
	size := smallestTable
	for full(n, size) {
		size *= 2
	}
	return &table{user: t.user, session: t.session, slots: make([]slot, size), filter: make([]atomic.Uint64, size/8)}
}

// bit returns the word of the filter that h falls in, and the bit in it. It goes
// by other bits of the hash than the slots do.
func (t *table) bit(h uint64) (word *atomic.Uint64, mask uint64) {
	at := bits.RotateLeft64(h, 32)
	return &t.filter[at>>6&uint64(len(t.filter)-1)], 1 << (at & 63)
}

// full reports whether n entries are more than four fifths of size.
func full(n, size int) bool { return 5*n > 4*size }

func (t *table) hash(k Kind, id string) uint64 {
	seed := t.user
	if k == KindSession {
		seed = t.session
	}
	return max(1, maphash.String(seed, id))
}

// find returns the slot that holds h, or the empty one where it would stand.
func (t *table) find(h uint64) *slot {
	mask := uint64(len(t.slots) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		s := &t.slots[i]
		if held := s.hash.Load(); held == h || held == 0 {
			return s
		}
	}
}

// get returns the epoch of a scope, or what everyone has if it has no entry. A
// slot that was empty when it was found may be taken by another scope the moment
// after, so its hash is compared again.
func (t *table) get(k Kind, id string) Epoch {
	h := t.hash(k, id)
	if word, mask := t.bit(h); word.Load()&mask == 0 {
		return t.floor
	}
	s := t.find(h)
	if s.hash.Load() != h {
		return t.floor
	}
	return Epoch(s.epoch.Load())
}

// raise lifts the epoch of a scope that has an entry, and reports whether it has.
func (t *table) raise(k Kind, id string, e Epoch) bool {
	s := t.find(t.hash(k, id))
	if s.hash.Load() == 0 {
		return false
	}
	raise(&s.epoch, e)
	return true
}

// insert adds a scope that has no entry; there must be room.
func (t *table) insert(k Kind, id string, e Epoch) { t.put(t.hash(k, id), e) }

func (t *table) put(h uint64, e Epoch) {
	word, mask := t.bit(h)
	word.Or(mask)
	s := t.find(h)
	s.epoch.Store(int64(e))
	s.hash.Store(h)
	t.live++
}

// withRoom returns t, or a copy with twice the room if t has none for another entry.
func (t *table) withRoom() *table {
	if !full(t.live+1, len(t.slots)) {
		return t
	}
	return t.copied(len(t.slots), t.floor)
}

// without returns a copy of t that lacks the entries at or below e, which everyone
// has; or t if there are none.
func (t *table) without(e Epoch) *table {
	kept := 0
	for i := range t.slots {
		if Epoch(t.slots[i].epoch.Load()) > e {
			kept++
		}
	}
	if kept == t.live {
		return t
	}
	return t.copied(kept, e)
}

// copied returns a table with room for n entries, with those of t that are above
// the floor given.
func (t *table) copied(n int, floor Epoch) *table {
	to := resized(t, n)
	to.floor = floor
	for i := range t.slots {
		s := &t.slots[i]
		if h, e := s.hash.Load(), Epoch(s.epoch.Load()); h != 0 && e > floor {
			to.put(h, e)
		}
	}
	return to
}

// highest returns the highest epoch held, or 0.
func (t *table) highest() Epoch {
	var e Epoch
	for i := range t.slots {
		e = max(e, Epoch(t.slots[i].epoch.Load()))
	}
	return e
}
