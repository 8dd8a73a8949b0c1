package httpapi

import (
	"strings"
	"testing"
	"time"

	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
)

// Over HTTP: a follower that polls and never confirms is left without a lease worth
// the name, and gets a whole one when it confirms.
func TestFollowerThatNeverConfirms(t *testing.T) {
	s := start(t, func(_ *Config, set *setup) { set.lease = 2 * time.Second })
	me := s.service("billing", store.Follow)
	var got wire.Changes
	for got.LeaseMS != 1 { // its leases run out meanwhile
		s.do("GET", path("/v1/changes?after=%d&follower=f&wait=1", got.Epoch), nil, me).must(200, &got)
		if got.LeaseMS < 1 {
			t.Fatalf("lease_ms %d: a follower takes that for an error", got.LeaseMS)
		}
	}
	if n := s.node.Status().Overdue; n != 1 {
		t.Logf("%d followers are overdue just now", n) // its millisecond may be over
	}
	s.do("GET", path("/v1/changes?after=%d&confirmed=%d&follower=f", got.Epoch, got.Epoch), nil, me).must(200, &got)
	if got.LeaseMS < 100 {
		t.Errorf("lease_ms %d after it has confirmed", got.LeaseMS)
	}
}

// What a client claims is bounded, and the answer says which limit it is.
func TestFollowersBehindAreBounded(t *testing.T) {
	s := start(t)
	me, other := s.service("edge", store.Follow), s.service("other", store.Follow)
	s.do("GET", "/v1/changes?after=0&follower=a&behind=600000", nil, me).must(200, nil)
	p := s.do("GET", "/v1/changes?after=0&follower=b&behind=400001", nil, me).problem(429, "rate_limited")
	if !strings.Contains(p.Detail, "1000000") || !strings.Contains(p.Detail, "600000") {
		t.Errorf("detail %q, want the limit and what is taken", p.Detail)
	}
	s.do("GET", "/v1/changes?after=0&follower=b&behind=400000", nil, me).must(200, nil)
	s.do("GET", "/v1/changes?after=0&follower=x&behind=1099511627776", nil, other).problem(429, "rate_limited")
	s.do("GET", "/v1/changes?after=0&follower=x&behind=1000000", nil, other).must(200, nil)
	if n := s.node.Status(); n.Followers != 2_000_003 || n.Polls.Refused != 2 {
		t.Errorf("%d followers, %d refused", n.Followers, n.Polls.Refused)
	}
}
