package inbound

import "time"

// AgeList is a set of bounded size, in the order in which its members came. When
// there are too many, the oldest has to go: if new members were refused, an
// attacker who holds the old ones would keep all others out. It is not safe for
// concurrent use.
//
// A connection enters and leaves a list with each request, so the places of former
// members are used again.
type AgeList[K comparable] struct {
	old, most      int // how many older than Patience, and how many at all
	oldest, newest *agedMember[K]
	at             map[K]*agedMember[K]
	spare          *agedMember[K] // linked by newer
	spares         int
}

// Patience is how long a member of an [AgeList] may stay in any case, as far as
// there is memory for it. On a server that is short of processors honest clients
// take long, too, through no fault of theirs.
const Patience = time.Second

// maxSpares is the maximum number of places that an [AgeList] keeps for reuse.
const maxSpares = 1024

type agedMember[K comparable] struct {
	older, newer *agedMember[K]
	member       K
	since        time.Time
}

// NewAgeList returns an empty list for at most that many members older than
// [Patience], and that many at all.
func NewAgeList[K comparable](old, most int) *AgeList[K] {
	return &AgeList[K]{old: old, most: most, at: map[K]*agedMember[K]{}}
}

// Add takes a member in. If another must go for it, that one is removed and
// returned.
func (a *AgeList[K]) Add(member K, now time.Time) (surplus K, over bool) {
	m := a.spare
	if m != nil {
		a.spare = m.newer
		a.spares--
	} else {
		m = new(agedMember[K])
	}
	*m = agedMember[K]{older: a.newest, member: member, since: now}
	if a.newest != nil {
		a.newest.newer = m
	} else {
		a.oldest = m
	}
	a.newest = m
	a.at[member] = m
	oldest := a.oldest
	if len(a.at) <= a.old || len(a.at) <= a.most && now.Sub(oldest.since) <= Patience {
		return surplus, false
	}
	surplus = oldest.member
	a.Remove(surplus)
	return surplus, true
}

// Remove removes a member, if it is one.
func (a *AgeList[K]) Remove(member K) {
	if len(a.at) == 0 {
		return
	}
	m, ok := a.at[member]
	if !ok {
		return
	}
	delete(a.at, member)
	if m.older != nil {
		m.older.newer = m.newer
	} else {
		a.oldest = m.newer
	}
	if m.newer != nil {
		m.newer.older = m.older
	} else {
		a.newest = m.older
	}
	*m = agedMember[K]{} // it keeps no connection in memory
	if a.spares < maxSpares {
		m.newer, a.spare = a.spare, m
		a.spares++
	}
}

// Len returns the number of members.
func (a *AgeList[K]) Len() int { return len(a.at) }

// Members returns the members, the oldest first.
func (a *AgeList[K]) Members() []K {
	members := make([]K, 0, len(a.at))
	for m := a.oldest; m != nil; m = m.newer {
		members = append(members, m.member)
	}
	return members
}
