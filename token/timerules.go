package token

import (
	"fmt"
	"time"

	"example.com/curfew/settings"
)

// A timeRule is a rule that depends on the clock and the settings in force. A time
// equal to the end counts as past the end.
type timeRule struct {
	reason  Reason
	applies func(*Session) bool
	// violated reports whether the rule applies and fails.
	violated func(s *Session, in *settings.InForce, now UnixTime) bool
	// explain names the values that decide.
	explain func(s *Session, in *settings.InForce, at time.Time) string
	// end is the second from which the rule is violated; zero if there is none.
	end func(s *Session, in *settings.InForce) UnixTime
}

func (r *timeRule) err(s *Session, in *settings.InForce, at time.Time) error {
	return fmt.Errorf("%w: %s", r.reason, r.explain(s, in, at))
}

var (
	notYetValid = timeRule{
		reason:  ErrNotYetValid,
		applies: always,
		violated: func(s *Session, _ *settings.InForce, now UnixTime) bool {
			return s.latest() > now.Add(Leeway)
		},
		explain: func(s *Session, _ *settings.InForce, at time.Time) string {
			return fmt.Sprintf("dated %s, and this machine's clock shows %s", rfc3339(s.latest()), at.UTC().Format(time.RFC3339))
		},
		end: func(*Session, *settings.InForce) UnixTime { return 0 },
	}
	maximumDuration = timeRule{
		reason:  ErrMaximumDuration,
		applies: always,
		violated: func(s *Session, in *settings.InForce, now UnixTime) bool {
			return in.Over(s.IssuedAt, s.Epoch, now) || s.pastExpiry(now)
		},
		explain: func(s *Session, in *settings.InForce, at time.Time) string {
			now, end := UnixTime(at.Unix()), s.MaximumEnd(in.Settings)
			switch {
			case in.Over(s.IssuedAt, s.Epoch, now) && now < end:
				return fmt.Sprintf("began at %s, and an earlier maximum session duration has ended it", rfc3339(s.IssuedAt))
			case s.SessionExpiry == end:
				return fmt.Sprintf("began at %s, and ends at %s at the latest: session_expiry", rfc3339(s.IssuedAt), rfc3339(end))
			}
			return fmt.Sprintf("began at %s, and a session lasts %v at most", rfc3339(s.IssuedAt), in.MaximumSessionDuration)
		},
		end: func(s *Session, in *settings.InForce) UnixTime { return s.MaximumEnd(in.Settings) },
	}
	idleTimeout = timeRule{
		reason:  ErrIdleTimeout,
		applies: ordinary,
		violated: func(s *Session, in *settings.InForce, now UnixTime) bool {
			return !s.RememberMe && in.Idle(s.LastRefresh, s.Epoch, now)
		},
		explain: func(s *Session, in *settings.InForce, at time.Time) string {
			if now := UnixTime(at.Unix()); in.Idle(s.LastRefresh, s.Epoch, now) && now < s.IdleEnd(in.Settings) {
				return fmt.Sprintf("last refreshed at %s, and an earlier session timeout has ended it", rfc3339(s.LastRefresh))
			}
			return fmt.Sprintf("last refreshed at %s, and the session timeout is %v", rfc3339(s.LastRefresh), in.SessionTimeout)
		},
		end: func(s *Session, in *settings.InForce) UnixTime { return s.IdleEnd(in.Settings) },
	}
	expired = timeRule{
		reason:   ErrExpired,
		applies:  always,
		violated: func(s *Session, _ *settings.InForce, now UnixTime) bool { return now >= s.ExpiresAt },
		explain: func(s *Session, _ *settings.InForce, _ time.Time) string {
			return fmt.Sprintf("expires at %s", rfc3339(s.ExpiresAt))
		},
		end: func(s *Session, _ *settings.InForce) UnixTime { return s.ExpiresAt },
	}
)

func always(*Session) bool { return true }

// pastExpiry reports whether the session has a SessionExpiry that is over.
func (s *Session) pastExpiry(now UnixTime) bool {
	return s.SessionExpiry != 0 && now >= s.SessionExpiry
}

func ordinary(s *Session) bool { return !s.RememberMe }

func rfc3339(t UnixTime) string { return t.Time().Format(time.RFC3339) }

// latest returns the latest of the dates that must not be in the future.
func (s *Session) latest() UnixTime { return max(s.IssuedAt, s.LastRefresh, s.NotBefore) }
