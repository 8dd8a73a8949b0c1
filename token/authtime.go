package token

import (
	"fmt"
	"time"
)

// AuthenticationError is the error of a valid session whose user authenticated too
// long ago for a request, or at an unknown time. It wraps
// [ErrInsufficientAuthentication].
type AuthenticationError struct {
	AuthTime UnixTime      // when the user authenticated; zero if unknown
	MaxAge   time.Duration // the maximum age that the request allows
}

func (e *AuthenticationError) Error() string {
	at := "at an unknown time"
	if e.AuthTime != 0 {
		at = "at " + e.AuthTime.Time().UTC().Format(time.RFC3339)
	}
	return fmt.Sprintf("%s: the user authenticated %s, and the maximum age is %v", ErrInsufficientAuthentication, at, e.MaxAge)
}

// Unwrap returns [ErrInsufficientAuthentication].
func (e *AuthenticationError) Unwrap() error { return ErrInsufficientAuthentication }

// Seconds returns MaxAge in whole seconds, rounded down: max_age of a challenge (RFC
// 9470, section 3). It is never negative.
func (e *AuthenticationError) Seconds() int64 { return max(0, int64(e.MaxAge/time.Second)) }

// CheckAuthTime returns an [*AuthenticationError] if the user of the session
// authenticated longer than maxAge before now, or at an unknown time. An age of
// exactly maxAge is accepted (OpenID Connect Core, section 3.1.2.1). Zero maxAge
// checks nothing; a negative maxAge refuses every session.
//
// It does not decide whether the session is valid: a [Validator] does.
func (s *Session) CheckAuthTime(maxAge time.Duration, now time.Time) error {
	if maxAge == 0 {
		return nil
	}
	if maxAge > 0 && s.AuthTime != 0 && now.Sub(s.AuthTime.Time()) <= maxAge {
		return nil
	}
	return &AuthenticationError{AuthTime: s.AuthTime, MaxAge: maxAge}
}
