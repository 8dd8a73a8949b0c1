package feed

import (
	"errors"
)

// ErrLimited is wrapped by errors about a client that exceeds a limit: see the
// limits in cmd/curfew/docs/many-nodes.md.
var ErrLimited = errors.New("feed: limit exceeded")

var (
	errClosed = errors.New("this node is shutting down; ask another node")
	errGone   = errors.New("the follower disconnected")
	errAgain  = errors.New("the follower sent a newer poll on another connection")
	// errRecheck means that clients have changed since the poll was authenticated.
	errRecheck = errors.New("the credential must be checked again")
	errNoLease = errors.New("this node has not reached its database for a whole lease; ask another node")
)
