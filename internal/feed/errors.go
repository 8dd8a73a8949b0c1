package feed

import (
	"errors"
	"fmt"

	"example.com/curfew/token"
)

// ErrLimited is wrapped by errors about a client that exceeds a limit: see the
// limits in README.md.
var ErrLimited = errors.New("feed: limit exceeded")

var (
	errClosed = errors.New("this node is shutting down: ask another")
	errGone   = errors.New("the follower has gone")
	errAgain  = errors.New("the follower has asked again, on another connection")
	// errRecheck means that clients have changed since the poll was authenticated.
	errRecheck = errors.New("the credential is to be checked again")
	errNoLease = errors.New("this node has not heard from its store for a lease: ask another")
)

// unavailable makes err wrap [token.ErrUnavailable].
func unavailable(err error) error {
	if errors.Is(err, token.ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", token.ErrUnavailable, err)
}
