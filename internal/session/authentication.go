package session

import (
	"context"
	"fmt"
	"time"

	"example.com/curfew/internal/store"
	"example.com/curfew/token"
)

// Authentication says how the user of a session has authenticated. The zero value is a
// session whose user has not authenticated here: a service has begun it.
type Authentication struct {
	// At is the second of the authentication; zero if unknown. A later second than the
	// present one, from a clock that is ahead, counts as the present one.
	At token.UnixTime
	// ACR is the authentication context class, "" if unknown. A value that no token may
	// carry counts as unknown: see [token.ValidACR].
	ACR string
	// SessionExpiry is the second at which the session ends at the latest; zero for no
	// such limit.
	SessionExpiry token.UnixTime
}

// byPassword is the authentication with a password at an instant.
func byPassword(at time.Time) Authentication { return Authentication{At: token.UnixTime(at.Unix())} }

// apply sets the claims of a session that begins at now. The error wraps
// token.ErrMaximumDuration if the session would be over.
func (a Authentication) apply(s token.Session, now time.Time) (token.Session, error) {
	s.AuthTime = min(a.At, token.UnixTime(now.Unix()))
	s.ACR = ""
	if token.ValidACR(a.ACR) {
		s.ACR = a.ACR
	}
	if a.SessionExpiry != 0 && a.SessionExpiry <= token.UnixTime(now.Unix()) {
		return s, fmt.Errorf("%w: the authentication allows a session until %s only",
			token.ErrMaximumDuration, a.SessionExpiry.Time().Format(time.RFC3339))
	}
	s.SessionExpiry = a.SessionExpiry
	return s, nil
}

// stored returns the session with the claims that its row holds: an authentication
// during the session, and the limit, which a release that does not know it leaves out
// of the tokens that it mints. A session without a row keeps those of its token.
func stored(ctx context.Context, r store.SessionReader, s token.Session) (token.Session, error) {
	row, err := r.Session(ctx, s.ID)
	if isNotFound(err) {
		return s, nil
	}
	s.AuthTime, s.ACR, s.SessionExpiry = second(row.AuthenticatedAt), row.ACR, second(row.SessionExpiry)
	return s, err
}

// second and micros convert between a claim and a row. Zero stays zero.
func second(micros int64) token.UnixTime { return token.UnixTime(micros / 1e6) }

func micros(t token.UnixTime) int64 { return int64(t) * 1e6 }
