package inbound

import (
	"container/list"
	"time"
)

// AgeList is a set of bounded size, in the order in which its members came. When
// there are too many, the oldest has to go: if new members were refused, an
// attacker who holds the old ones would keep all others out. It is not safe for
// concurrent use.
type AgeList[K comparable] struct {
	old, most int // how many older than Patience, and how many at all
	order     list.List
	at        map[K]*list.Element
}

// Patience is how long a member of an [AgeList] may stay in any case, as far as
// there is memory for it. On a server that is short of processors honest clients
// take long, too, through no fault of theirs.
const Patience = time.Second

type agedMember[K comparable] struct {
	member K
	since  time.Time
}

// NewAgeList returns an empty list for at most that many members older than
// [Patience], and that many at all.
func NewAgeList[K comparable](old, most int) *AgeList[K] {
	return &AgeList[K]{old: old, most: most, at: map[K]*list.Element{}}
}

// Add takes a member in. If another must go for it, that one is removed and
// returned.
func (a *AgeList[K]) Add(member K, now time.Time) (surplus K, over bool) {
	a.at[member] = a.order.PushBack(agedMember[K]{member, now})
	oldest, _ := a.order.Front().Value.(agedMember[K])
	if len(a.at) <= a.old || len(a.at) <= a.most && now.Sub(oldest.since) <= Patience {
		return surplus, false
	}
	a.Remove(oldest.member)
	return oldest.member, true
}

// Remove removes a member, if it is one.
func (a *AgeList[K]) Remove(member K) {
	if e, ok := a.at[member]; ok {
		a.order.Remove(e)
		delete(a.at, member)
	}
}

// Len returns the number of members.
func (a *AgeList[K]) Len() int { return len(a.at) }

// Members returns the members, the oldest first.
func (a *AgeList[K]) Members() []K {
	members := make([]K, 0, len(a.at))
	for e := a.order.Front(); e != nil; e = e.Next() {
		one, _ := e.Value.(agedMember[K])
		members = append(members, one.member)
	}
	return members
}
