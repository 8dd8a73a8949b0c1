package upstream

import (
	"example.com/curfew/internal/replica"
	"example.com/curfew/revocation"
)

// Downstream is for programs that serve the feed to other followers, as `curfew
// edge` does.
type Downstream interface {
	// Publish receives every new state: see [replica.Config].
	Publish(replica.State)
	// Confirmed returns the epoch that may be acknowledged to the server while the
	// follower's own view is at view: at most view, and at most what every live
	// follower downstream has acknowledged. behind is the number of these
	// followers. It is called for each request and must not call the Follower.
	Confirmed(view revocation.Epoch) (confirmed revocation.Epoch, behind int64)
}
