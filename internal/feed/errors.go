package feed

import (
	"errors"
	"fmt"

	"example.com/curfew/token"
)

var (
	errClosed  = errors.New("this node is shutting down: ask another")
	errGone    = errors.New("the follower has gone")
	errAgain   = errors.New("the follower has asked again, on another connection")
	errNoLease = errors.New("this node has not heard from its store for a lease: ask another")
)

// unavailable makes err wrap [token.ErrUnavailable].
func unavailable(err error) error {
	if errors.Is(err, token.ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", token.ErrUnavailable, err)
}
