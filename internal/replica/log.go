package replica

import (
	"cmp"
	"hash/maphash"
	"iter"
	"slices"
	"sort"
	"sync"

	"example.com/curfew/revocation"
)

// PageSize is the approximate number of revocations in one page. A page that would
// split an epoch grows until it does not.
const PageSize = 10_000

// Log holds revocations in ascending order of their epochs, in little memory, so
// that "everything after epoch E" can be served to followers and written to a file
// without a query to a store. The zero Log is empty.
//
// A Log is safe for concurrent use. A [Page] that was taken from it never changes.
type Log struct {
	mu         sync.Mutex
	compacting bool
	entries
}

// entries is a Log without the lock.
type entries struct {
	chunks   []*chunk // none empty; all but the last are sealed
	size     int
	compared int // the size after the last compaction
	merged   int // how often an entry was inserted below the last
	everyone revocation.Epoch
}

// Len returns the number of entries, including superseded ones.
func (l *Log) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.size
}

// Append adds revocations, in any order. It omits those that the log already has.
// Usually all are above the last entry; an insertion below it, when answers arrived
// out of order, copies the log.
func (l *Log) Append(revocations ...revocation.Revocation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.append(revocations)
}

// After returns the first page of the entries above e, and whether there are more
// after it. Pages end where chunks end, so that followers at different positions
// soon request the same pages.
func (l *Log) After(e revocation.Epoch) (page Page, more bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.after(e)
}

// Pages ranges over all pages.
func (l *Log) Pages() iter.Seq[Page] {
	return func(yield func(Page) bool) {
		for at, more := revocation.Epoch(0), true; more; {
			var p Page
			if p, more = l.After(at); p.Len() > 0 && !yield(p) {
				return
			}
			at = p.Last()
		}
	}
}

// settle records that the log needs no compaction: its source has one entry for
// each scope.
func (l *Log) settle() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.compared = l.size
}

// tidy starts a compaction in a goroutine of running, if enough was appended since
// the last one. The goroutine ends by itself.
func (l *Log) tidy(running *sync.WaitGroup) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.compacting || !l.due() {
		return
	}
	l.compacting = true
	from := l.clone()
	running.Go(func() { l.compact(from) })
}

// compact replaces the entries by a compacted copy of from, an earlier clone of
// them. A million entries take a while, so it holds no lock meanwhile.
func (l *Log) compact(from entries) {
	smaller := from.compacted()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.compacting = false
	if l.merged != from.merged {
		return // the copy lacks an entry; the next compaction has it
	}
	last := from.last()
	for more := true; more; {
		var since Page
		since, more = l.after(last)
		smaller.append(slices.Collect(since.All()))
		last = max(last, since.Last())
	}
	l.entries = smaller
}

// last returns the epoch of the last entry, or 0.
func (l *entries) last() revocation.Epoch {
	if len(l.chunks) == 0 {
		return 0
	}
	return l.chunks[len(l.chunks)-1].last()
}

func (l *entries) append(revocations []revocation.Revocation) {
	byEpoch := func(a, b revocation.Revocation) int { return cmp.Compare(a.Epoch, b.Epoch) }
	if !slices.IsSortedFunc(revocations, byEpoch) {
		revocations = slices.Clone(revocations)
		slices.SortStableFunc(revocations, byEpoch)
	}
	last := l.last()
	above := sort.Search(len(revocations), func(i int) bool { return revocations[i].Epoch > last })
	var missing []revocation.Revocation
	for _, r := range revocations[:above] {
		if !l.has(r) {
			missing = append(missing, r)
		}
	}
	if len(missing) > 0 {
		l.merge(missing)
	}
	for _, r := range revocations[above:] {
		l.add(r.Scope.Kind, r.Scope.ID, r.Epoch)
	}
}

// has reports whether the log holds r.
func (l *entries) has(r revocation.Revocation) bool {
	page, _ := l.after(r.Epoch - 1)
	for i := page.from; i < page.to && page.epochs[i] == int64(r.Epoch); i++ {
		if kind, id := page.at(i); kinds[kind] == r.Scope.Kind && string(id) == r.Scope.ID {
			return true
		}
	}
	return false
}

// merge inserts revocations, ascending, in their places.
func (l *entries) merge(revocations []revocation.Revocation) {
	out := entries{compared: l.compared, merged: l.merged + 1}
	for _, c := range l.chunks {
		for i := range c.len() {
			for len(revocations) > 0 && revocations[0].Epoch < revocation.Epoch(c.epochs[i]) {
				r := revocations[0]
				out.add(r.Scope.Kind, r.Scope.ID, r.Epoch)
				revocations = revocations[1:]
			}
			kind, id := c.at(i)
			out.add(kinds[kind], string(id), revocation.Epoch(c.epochs[i]))
		}
	}
	for _, r := range revocations {
		out.add(r.Scope.Kind, r.Scope.ID, r.Epoch)
	}
	*l = out
}

func (l *entries) add(k revocation.Kind, id string, e revocation.Epoch) {
	var c *chunk
	if n := len(l.chunks); n > 0 {
		c = l.chunks[n-1]
	}
	if c == nil || c.len() >= PageSize && c.last() != e {
		if c != nil {
			c.seal()
		}
		c = &chunk{}
		l.chunks = append(l.chunks, c)
	}
	c.add(k, id, e)
	l.size++
	if c.kinds[c.len()-1] == kindEveryone {
		l.everyone = max(l.everyone, e)
	}
}

func (l *entries) after(e revocation.Epoch) (page Page, more bool) {
	i := sort.Search(len(l.chunks), func(i int) bool { return l.chunks[i].last() > e })
	if i == len(l.chunks) {
		return Page{}, false
	}
	c := l.chunks[i]
	from := sort.Search(c.len(), func(j int) bool { return c.epochs[j] > int64(e) })
	return c.page(from), i < len(l.chunks)-1
}

// due reports whether so much was appended since the last compaction that another
// one is worth its time.
func (l *entries) due() bool { return l.size-l.compared > max(PageSize, l.compared/2) }

// compacted returns a copy without the entries that no longer affect a decision:
// those of users and sessions at or below the epoch of everyone, and those with a
// newer entry of the same scope.
func (l *entries) compacted() entries {
	type place struct {
		hash         uint64
		chunk, index uint32
	}
	places := make([]place, 0, l.size)
	seed := maphash.MakeSeed()
	for i, c := range l.chunks {
		for j := range c.len() {
			kind, id := c.at(j)
			if kind != kindEveryone && revocation.Epoch(c.epochs[j]) <= l.everyone {
				continue
			}
			places = append(places, place{maphash.Bytes(seed, id) + uint64(kind), uint32(i), uint32(j)}) // an index of a slice that fits in memory
		}
	}
	// Sort by hash, the newest first. Each entry is then compared with the kept
	// entries of the same hash.
	slices.SortFunc(places, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(b.chunk, a.chunk), cmp.Compare(b.index, a.index))
	})
	kept := places[:0]
	for _, p := range places {
		superseded := false
		for k := len(kept) - 1; k >= 0 && kept[k].hash == p.hash && !superseded; k-- {
			superseded = l.chunks[kept[k].chunk].sameScope(int(kept[k].index), &l.chunks[p.chunk].columns, int(p.index))
		}
		if !superseded {
			kept = append(kept, p)
		}
	}
	slices.SortFunc(kept, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.chunk, b.chunk), cmp.Compare(a.index, b.index))
	})
	var out entries
	for _, p := range kept {
		c := l.chunks[p.chunk]
		kind, id := c.at(int(p.index))
		out.add(kinds[kind], string(id), revocation.Epoch(c.epochs[p.index]))
	}
	out.compared = out.size
	return out
}

// clone returns a copy that shares the sealed chunks. Both may be appended to.
func (l *entries) clone() entries {
	out := *l
	out.chunks = slices.Clone(l.chunks)
	if n := len(out.chunks); n > 0 {
		c := out.chunks[n-1].columns
		out.chunks[n-1] = &chunk{columns: columns{slices.Clip(c.epochs), slices.Clip(c.kinds), slices.Clip(c.ends), slices.Clip(c.ids)}}
	}
	return out
}
