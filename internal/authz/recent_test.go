package authz

import (
	"errors"
	"testing"
	"time"

	"example.com/curfew/internal/store"
	"example.com/curfew/token"
)

// An operation asks from just after the maximum age on, and never if it is not to, if
// no age is configured, or for callers without a session.
func TestCheckRecent(t *testing.T) {
	const within = 15 * time.Minute
	now := time.Unix(1_800_000_000, 0)
	at := func(ago time.Duration) *token.Session {
		return &token.Session{AuthTime: token.UnixTime(now.Add(-ago).Unix())}
	}
	for _, tt := range []struct {
		what   string
		s      *token.Session
		within time.Duration
		asks   bool
	}{
		{"a second younger", at(within - time.Second), within, false},
		{"exactly as old", at(within), within, false},
		{"a second older", at(within + time.Second), within, true},
		{"of an unknown time", &token.Session{}, within, true},
		{"switched off", at(1000 * time.Hour), 0, false},
		{"switched off, of an unknown time", &token.Session{}, 0, false},
		{"of a clock that is ahead", at(-time.Minute), within, false},
	} {
		c := Caller{Session: tt.s, old: tooOld(tt.s, tt.within, now)}
		for op, rule := range asking {
			if rule.why == "" {
				t.Errorf("%s: no reason", op)
			}
			err := c.CheckRecent(op)
			if want := tt.asks && rule.asks; (err != nil) != want || err != nil && !errors.Is(err, token.ErrInsufficientAuthentication) {
				t.Errorf("%s, %s: %v, want an error: %v", tt.what, op, err, want)
			}
		}
		if err := c.CheckRecent("not in the table"); (err != nil) != tt.asks {
			t.Errorf("%s, an operation that is not in the table: %v", tt.what, err)
		}
		need := Recently(RevokeMany, Caller.MayAdminister)
		if forbidden := (*ErrForbidden)(nil); !errors.As(need(c), &forbidden) {
			t.Errorf("%s: without the permission: %v, want 403 first", tt.what, need(c))
		}
		c.User = &store.User{Permissions: []string{store.AdministerSystem}}
		if err := need(c); (err != nil) != tt.asks {
			t.Errorf("%s: with the permission: %v", tt.what, err)
		}
	}
	for name, c := range map[string]Caller{"trusted": {Trusted: true}, "client": {Client: &store.Client{}}} {
		if err := c.CheckRecent(RevokeMany); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
