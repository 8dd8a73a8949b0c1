package token

import (
	"context"
	"time"

	"example.com/curfew/revocation"
)

// View is what a validator knows of the shared state, and for how long it may
// rely on it. It is implemented by whoever follows the changes. All methods must
// be safe for concurrent use; Epoch and Trusted take no lock and do no I/O.
type View interface {
	// Epoch returns the epoch up to which every change to keys, settings and
	// revocations has been applied.
	Epoch() revocation.Epoch

	// Trusted reports whether the view's lease is still running at now: whether
	// a change that is not in the view yet could already bind. It counts the
	// greater of the monotonic and the wall time passed, since monotonic clocks
	// stop while a machine sleeps.
	Trusted(now time.Time) bool

	// CatchUp asks the store. It returns nil only when the view includes
	// everything up to the epoch clock as read after CatchUp was called; any
	// error means that this cannot be told now. Calls at the same time may share
	// one question, if it was put after they were made. CatchUp bounds the time
	// that it takes by itself, and ends with ctx.
	CatchUp(ctx context.Context) error
}

// Lease is a span of trust that began at an instant, by the clock of this
// process. The zero Lease has run out.
type Lease struct {
	Start  time.Time
	Length time.Duration
}

// Running reports whether the lease still runs at now, counting the greater of
// the monotonic and the wall time since its start. A wall clock that was set back
// takes nothing from the monotonic time passed.
func (l Lease) Running(now time.Time) bool { return l.Left(now) > 0 }

// Left returns how much of the lease is left at now, zero or less if none, and
// never more than its length.
func (l Lease) Left(now time.Time) time.Duration {
	if l.Length <= 0 {
		return 0
	}
	monotonic := now.Sub(l.Start)
	wall := now.Round(0).Sub(l.Start.Round(0)) // Round strips the monotonic reading
	return l.Length - max(monotonic, wall, 0)
}
