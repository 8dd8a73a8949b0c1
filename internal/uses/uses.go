// Package uses records when sessions are used: coarsely, in batches, and never in
// the way of a check.
//
// A validator adds a session to a [Set] at the first accepted token in a window of
// [Interval]. The set is sent on from time to time: by a follower or an edge to its
// server, by a node to the database. A record of a use has no effect on any decision.
package uses

import "time"

// Interval is the length of a window. A session is recorded at most once in a window,
// so a recorded use is at most Interval older than the last one.
const Interval = 5 * time.Minute

const seconds = int64(Interval / time.Second)

// Window returns the number of the window of a session in which a second (of Unix
// time) lies. All processes have the same windows, so a session that many of them
// validate is recorded once. The windows of different sessions begin at different
// seconds, so the sessions in use are not all recorded at the same time.
func Window(session string, second int64) int64 { return (second + offset(session)) / seconds }

// Start returns the first instant of the window of a session in which an instant
// lies.
func Start(session string, at time.Time) time.Time {
	return time.Unix(Window(session, at.Unix())*seconds-offset(session), 0)
}

// offset returns a number below seconds from the beginning of a session's id, which
// is random.
func offset(session string) int64 {
	n := int64(0)
	for i := range min(len(session), 3) {
		n = n<<6 + int64(session[i])
	}
	return n % seconds
}
