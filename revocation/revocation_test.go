package revocation

import (
	"testing"
	"time"
)

func TestScopeValid(t *testing.T) {
	for _, test := range []struct {
		scope Scope
		valid bool
		text  string
	}{
		{Everyone(), true, "everyone"},
		{Remembered(), true, "remembered"},
		{User("ann"), true, "user ann"},
		{Session("x1"), true, "session x1"},
		{User(""), false, "user"},
		{Session(""), false, "session"},
		{Scope{Kind: KindEveryone, ID: "ann"}, false, "everyone ann"},
		{Scope{Kind: KindRemembered, ID: "ann"}, false, "remembered ann"},
		{Scope{Kind: "users", ID: "ann"}, false, "users ann"},
		{Scope{}, false, ""},
	} {
		if test.scope.Valid() != test.valid {
			t.Errorf("%q: Valid = %v, want %v", test.scope, test.scope.Valid(), test.valid)
		}
		if test.scope.String() != test.text {
			t.Errorf("String = %q, want %q", test.scope, test.text)
		}
	}
}

// The epoch clock never stands still nor goes back, whatever the wall clock does.
func TestEpochNext(t *testing.T) {
	const e = Epoch(1_700_000_000_000_000)
	at := e.Time()
	for _, test := range []struct {
		now  time.Time
		want Epoch
	}{
		{at.Add(-time.Hour), e + 1},
		{at, e + 1},
		{at.Add(time.Microsecond), e + 1},
		{at.Add(2 * time.Microsecond), e + 2},
		{at.Add(time.Second), e + 1_000_000},
	} {
		if got := e.Next(test.now); got != test.want {
			t.Errorf("Next(%v) = %d, want %d", test.now, got, test.want)
		}
	}
	if got, want := e.String(), "2023-11-14T22:13:20.000000Z"; got != want {
		t.Errorf("String = %s, want %s", got, want)
	}
}
