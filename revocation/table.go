package revocation

import (
	"hash/maphash"
	"math/bits"
	"sync/atomic"
)

// table maps seeded 64-bit hashes of scopes to epochs. It holds no pointers, so the
// garbage collector does not scan it. Two scopes with the same hash share an entry
// and the higher of their epochs. A collision can therefore end a session too early
// (probability one in 2⁶⁴ per pair), but never keep one alive. The seed is random,
// so an attacker cannot search for collisions.
//
// Readers take no lock. Writers hold the lock of the cache. A writer that needs
// another size fills a new table, and the cache publishes it.
type table struct {
	user, session maphash.Seed
	slots         []slot // a power of two
	// filter has a bit for each stored hash, and eight bits per slot. Nearly every
	// call is about a scope that was never revoked. The filter answers such a call
	// from one byte per slot, which stays in the processor's cache, without loading
	// the slots. A bit is set before its slot.
	filter []atomic.Uint64
	live   int
	// floor is the epoch at or below which entries were dropped, because everyone
	// was revoked then. It belongs to the table: a reader that misses a dropped
	// entry cannot miss the reason.
	floor Epoch
}

// slot is empty while hash is 0. The epoch is written before the hash, so a reader
// that sees the hash also sees an epoch.
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

// bit returns the filter word for h and the bit in it. It uses other bits of the
// hash than the slots do.
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

// find returns the slot that holds h, or the empty slot for it.
func (t *table) find(h uint64) *slot {
	mask := uint64(len(t.slots) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		s := &t.slots[i]
		if held := s.hash.Load(); held == h || held == 0 {
			return s
		}
	}
}

// get returns the epoch of a scope, or floor if it has no entry. An empty slot may
// be taken by another scope just after it was found, so get compares the hash
// again.
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

// raise raises the epoch of a scope that has an entry, and reports whether it has
// one.
func (t *table) raise(k Kind, id string, e Epoch) bool {
	s := t.find(t.hash(k, id))
	if s.hash.Load() == 0 {
		return false
	}
	raise(&s.epoch, e)
	return true
}

// insert adds a scope that has no entry. The table must have room.
func (t *table) insert(k Kind, id string, e Epoch) { t.put(t.hash(k, id), e) }

func (t *table) put(h uint64, e Epoch) {
	word, mask := t.bit(h)
	word.Or(mask)
	s := t.find(h)
	s.epoch.Store(int64(e))
	s.hash.Store(h)
	t.live++
}

// withRoom returns t, or a copy of twice the size if t has no room for another
// entry.
func (t *table) withRoom() *table {
	if !full(t.live+1, len(t.slots)) {
		return t
	}
	return t.copied(len(t.slots), t.floor)
}

// without returns a copy of t without the entries at or below e, the epoch of
// everyone. It returns t if there are none.
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

// copied returns a table with room for n entries that contains those entries of t
// that are above floor.
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

// highest returns the highest stored epoch, or 0.
func (t *table) highest() Epoch {
	var e Epoch
	for i := range t.slots {
		e = max(e, Epoch(t.slots[i].epoch.Load()))
	}
	return e
}
