package inbound

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// An AgeList does what a slice in the order of arrival does.
func TestAgeListIsInOrder(t *testing.T) {
	const old, most = 8, 16
	random := rand.New(rand.NewPCG(1, 2)) // #nosec G404 -- a test that can be repeated
	a := NewAgeList[int](old, most)
	type entry struct {
		member int
		since  time.Time
	}
	var want []entry
	now := time.Unix(1000, 0)
	for range 20_000 {
		now = now.Add(time.Duration(random.IntN(300)) * time.Millisecond)
		member := random.IntN(40)
		if random.IntN(3) == 0 || slices.ContainsFunc(want, func(e entry) bool { return e.member == member }) {
			a.Remove(member)
			want = slices.DeleteFunc(want, func(e entry) bool { return e.member == member })
		} else {
			surplus, over := a.Add(member, now)
			want = append(want, entry{member, now})
			expected := len(want) > most || len(want) > old && now.Sub(want[0].since) > Patience
			if over != expected || over && surplus != want[0].member {
				t.Fatalf("Add = %d, %v; want %v of %v", surplus, over, expected, want)
			}
			if over {
				want = want[1:]
			}
		}
		var members []int
		for _, e := range want {
			members = append(members, e.member)
		}
		if got := a.Members(); !slices.Equal(got, members) || a.Len() != len(members) {
			t.Fatalf("Members = %v, want %v", got, members)
		}
	}
	if a.spares > maxSpares {
		t.Errorf("%d spare places", a.spares)
	}
}

// A member that comes and goes allocates nothing.
func TestAgeListReusesPlaces(t *testing.T) {
	a := NewAgeList[int](8, 8)
	a.Add(1, time.Time{})
	a.Add(2, time.Time{})
	if n := testing.AllocsPerRun(100, func() { a.Remove(1); a.Add(1, time.Time{}) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
