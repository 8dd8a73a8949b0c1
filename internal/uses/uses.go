// Package uses records when sessions were last used: coarsely, in batches, and never
// in the way of a check.
//
// A validator adds a session to a [Set] when it accepts a token of the session, at
// most once in [NoteEvery]. The set is sent on from time to time: by a follower or an
// edge to its server, by a node to the database. No decision reads the records.
package uses

import "time"

const (
	// Interval is the minimum time between two recorded uses of a session.
	Interval = 5 * time.Minute
	// NoteEvery is the minimum time between two notes that a validator makes of a
	// token. It is longer than Interval by the time for which reports may be delayed
	// on their way: a note that arrives a little early is not recorded, and the next
	// one would come NoteEvery later.
	NoteEvery = Interval + 10*time.Second
	// MaxAge is the maximum age of a use in a report.
	MaxAge = 24 * time.Hour
	// MaxReport is the maximum number of uses in a report.
	MaxReport = 1000
)

// Use is a session that was used at an instant.
type Use struct {
	Session string
	At      time.Time
}
