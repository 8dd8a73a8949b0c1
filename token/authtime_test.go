package token_test

import (
	"math"
	"testing"
	"time"

	"example.com/curfew/token"
)

// The age of an authentication is compared to the nanosecond, with dates from the whole
// range that a token may carry.
func TestCheckAuthTime(t *testing.T) {
	at := time.Unix(1_800_000_000, 0)
	for _, tt := range []struct {
		what     string
		authTime token.UnixTime
		maxAge   time.Duration
		now      time.Time
		ok       bool
	}{
		{"a nanosecond before", 1_800_000_000, time.Minute, at.Add(time.Minute - 1), true},
		{"at the age", 1_800_000_000, time.Minute, at.Add(time.Minute), true},
		{"a nanosecond after", 1_800_000_000, time.Minute, at.Add(time.Minute + 1), false},
		{"at the same instant", 1_800_000_000, 1, at, true},
		{"in the future, by a clock that is ahead", 1_800_000_030, time.Second, at, true},
		{"unknown", 0, time.Duration(math.MaxInt64), at, false},
		{"unknown, no limit", 0, 0, at, true},
		{"old, no limit", 1, 0, at, true},
		{"a negative limit", 1_800_000_000, -1, at, false},
		{"the first second of all", 1, time.Duration(math.MaxInt64), at, true},
		{"the first second of all, too old", 1, 100 * 24 * time.Hour, at, false},
	} {
		s := token.Session{AuthTime: tt.authTime}
		if err := s.CheckAuthTime(tt.maxAge, tt.now); (err == nil) != tt.ok || err != nil && token.ReasonOf(err) != token.ErrInsufficientAuthentication {
			t.Errorf("%s: %v, want accepted: %v", tt.what, err, tt.ok)
		}
	}
	for maxAge, want := range map[time.Duration]int64{-time.Hour: 0, 0: 0, time.Second - 1: 0, time.Second: 1, time.Hour + 1: 3600} {
		if got := (&token.AuthenticationError{MaxAge: maxAge}).Seconds(); got != want {
			t.Errorf("%v: max_age %d, want %d", maxAge, got, want)
		}
	}
}
