package feed

import (
	"testing"
	"time"

	"example.com/curfew/revocation"
)

// The followers of a client are shown together: the shortest lease, and the oldest
// revocation that one of them lacks.
func TestClientStates(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	follower := func(client string, end time.Duration, confirmed revocation.Epoch) *entry {
		return &entry{client: client, confirmed: confirmed, end: now.Add(end), until: now.Add(end + time.Second)}
	}
	r := &registry{list: []*entry{
		follower("b", 10*time.Second, 7), follower("a", 15*time.Second, 9), follower("b", 5*time.Second, 9),
		follower("b", -500*time.Millisecond, 9), // only the margin is left
		follower("gone", -time.Second, 1),
	}}
	got := r.byClient(now, func(e revocation.Epoch, _ time.Time) time.Duration { return time.Duration(9-e) * time.Second })
	want := []ClientState{
		{Client: "a", Followers: 1, LeaseLeft: 15 * time.Second},
		{Client: "b", Followers: 3, LeaseLeft: 0, Lag: 2 * time.Second},
	}
	if len(got) != len(want) || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("%+v, want %+v", got, want)
	}
}
