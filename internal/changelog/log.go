// Package changelog holds revocations in the order of their epochs, in little
// memory, so that "everything after epoch E" can be served to followers, and kept
// in a file, without asking a store.
package changelog

import (
	"cmp"
	"hash/maphash"
	"slices"
	"sort"

	"example.com/curfew/revocation"
)

// PageSize is about how many revocations one page has. A page that would split
// an epoch grows until it does not.
const PageSize = 10_000

// Log is a log of revocations, ascending by epoch. The zero Log is empty.
//
// A Log is not safe for concurrent use; a [Page] that was taken from it is, and
// stays as it was whatever happens to the Log afterwards.
type Log struct {
	chunks   []*chunk // none empty; all but the last are sealed
	size     int
	compared int // the size after the last compaction
	merged   int // how often something was put below Last
}

// Len returns the number of entries, superseded ones included.
func (l *Log) Len() int { return l.size }

// Last returns the epoch of the last entry, or 0.
func (l *Log) Last() revocation.Epoch {
	if len(l.chunks) == 0 {
		return 0
	}
	return l.chunks[len(l.chunks)-1].last()
}

// Append adds revocations, in any order. Those that the log has already are left
// out. As a rule all lie above Last; what lies below, because answers overtook each
// other, costs a copy of the log.
func (l *Log) Append(revocations ...revocation.Revocation) {
	byEpoch := func(a, b revocation.Revocation) int { return cmp.Compare(a.Epoch, b.Epoch) }
	if !slices.IsSortedFunc(revocations, byEpoch) {
		revocations = slices.Clone(revocations)
		slices.SortStableFunc(revocations, byEpoch)
	}
	last := l.Last()
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
func (l *Log) has(r revocation.Revocation) bool {
	page, _ := l.After(r.Epoch - 1)
	for i := page.from; i < page.to && page.epochs[i] == int64(r.Epoch); i++ {
		if kind, id := page.at(i); kinds[kind] == r.Scope.Kind && string(id) == r.Scope.ID {
			return true
		}
	}
	return false
}

// merge puts revocations, ascending, where they belong.
func (l *Log) merge(revocations []revocation.Revocation) {
	out := &Log{compared: l.compared, merged: l.merged + 1}
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
	*l = *out
}

func (l *Log) add(k revocation.Kind, id string, e revocation.Epoch) {
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
}

// After returns the first page of what lies above e, and whether there are more
// after it. Pages end where chunks end, so that followers who have come different
// ways soon ask for the same ones.
func (l *Log) After(e revocation.Epoch) (page Page, more bool) {
	i := sort.Search(len(l.chunks), func(i int) bool { return l.chunks[i].last() > e })
	if i == len(l.chunks) {
		return Page{}, false
	}
	c := l.chunks[i]
	from := sort.Search(c.len(), func(j int) bool { return c.epochs[j] > int64(e) })
	return c.page(from), i < len(l.chunks)-1
}

// Due reports whether so much was appended since the last compaction that
// another is worth its time.
func (l *Log) Due() bool { return l.size-l.compared > max(PageSize, l.compared/2) }

// Compacted returns a log without what decides nothing any more: entries of
// users and sessions at or below everyone, and entries that have a newer one of
// the same scope. Nobody may append to l meanwhile: see [Log.Clone].
func (l *Log) Compacted(everyone revocation.Epoch) *Log {
	type place struct {
		hash         uint64
		chunk, index uint32
	}
	places := make([]place, 0, l.size)
	seed := maphash.MakeSeed()
	for i, c := range l.chunks {
		for j := range c.len() {
			kind, id := c.at(j)
			if kind != kindEveryone && revocation.Epoch(c.epochs[j]) <= everyone {
				continue
			}
			places = append(places, place{maphash.Bytes(seed, id) + uint64(kind), uint32(i), uint32(j)}) //nolint:gosec // an index of a slice that fits in memory
		}
	}
	// By hash, the newest first; then each is compared with those of its own hash
	// that were kept.
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
	out := &Log{}
	for _, p := range kept {
		c := l.chunks[p.chunk]
		kind, id := c.at(int(p.index))
		out.add(kinds[kind], string(id), revocation.Epoch(c.epochs[p.index]))
	}
	out.compared = out.size
	return out
}

// Merged counts how often something was put in below Last: what was read up to
// there before may then lack something.
func (l *Log) Merged() int { return l.merged }

// Clone returns a copy that shares what does not change: l may be appended to
// afterwards, and the copy too.
func (l *Log) Clone() *Log {
	out := *l
	out.chunks = slices.Clone(l.chunks)
	if n := len(out.chunks); n > 0 {
		c := out.chunks[n-1].columns
		out.chunks[n-1] = &chunk{columns: columns{slices.Clip(c.epochs), slices.Clip(c.kinds), slices.Clip(c.ends), slices.Clip(c.ids)}}
	}
	return &out
}

// Settled says that what the log holds now needs no compaction: it was just
// read from where there is one entry a scope.
func (l *Log) Settled() { l.compared = l.size }
