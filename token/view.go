package token

import (
	"context"
	"time"

	"example.com/curfew/revocation"
)

// View tells a validator how current its copy of the shared state is, and for how
// long the validator may rely on it. A replica that follows the changes implements
// it. All methods must be safe for concurrent use. Epoch and Trusted take no lock
// and do no I/O.
type View interface {
	// Epoch returns the epoch up to which every change to keys, settings and
	// revocations has been applied.
	Epoch() revocation.Epoch

	// Trusted reports whether the view's lease is running at now. After the lease,
	// a change that is not in the view may already be in force. The lease counts
	// the larger of the monotonic and the wall time, because monotonic clocks stop
	// while a machine sleeps.
	Trusted(now time.Time) bool

	// CatchUp brings the view up to date from the store. It returns nil only if the
	// view includes every change up to the epoch clock as read after the call
	// began; any error means that this is unknown now. Concurrent calls may share
	// one request that is sent after they began. CatchUp has its own time limit,
	// and also ends with ctx.
	CatchUp(ctx context.Context) error
}

// Lease is a period of trust that begins at Start, by the clock of this process.
// The zero Lease has run out.
type Lease struct {
	Start  time.Time
	Length time.Duration
}

// Running reports whether the lease is running at now. It counts the larger of the
// monotonic and the wall time since Start. A wall clock that is set back does not
// reduce the monotonic time.
func (l Lease) Running(now time.Time) bool { return l.Left(now) > 0 }

// Left returns the remaining time of the lease at now: zero or less if it has run
// out, and never more than Length.
func (l Lease) Left(now time.Time) time.Duration {
	if l.Length <= 0 {
		return 0
	}
	monotonic := now.Sub(l.Start)
	wall := now.Round(0).Sub(l.Start.Round(0)) // Round strips the monotonic reading
	return l.Length - max(monotonic, wall, 0)
}
