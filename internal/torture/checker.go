package torture

import (
	"fmt"
	"sort"
	"time"
)

// Violation is a promise that the history shows to be broken.
type Violation struct {
	Rule string // "I1" to "I7"
	What string
}

func (v Violation) String() string { return v.Rule + ": " + v.What }

// settle is how long after a fault has ended answers of 503 are still excused.
const settle = 10 * time.Second

// prompt is how quickly a revocation reaches the other validators as a rule, when
// nothing is broken: far above the milliseconds that it takes, and far below the
// second after which a node looks by itself.
const prompt = 400 * time.Millisecond

// Check returns every violation in a history. The rules:
//
//	I1  Once a revocation is acknowledged, the node that acknowledged it refuses
//	    what it ended; every other validator does so after the bound that the
//	    receipt names, and at once if the receipt says "everywhere".
//	I2  A session that was not revoked is refused by nobody; and is answered with
//	    503 only while something is broken.
//	I3  What a validator has once refused as ended it never accepts again, and the
//	    revoked-before that it shows never goes down.
//	I4  No refresh that was asked for after an acknowledged revocation succeeds.
//	I5  A revocation of unknown outcome has happened everywhere or nowhere.
//	I6  When everything has healed all validators agree, and with the history; so do
//	    audit, users, live sessions and settings, wherever one looks.
//	I7  As a rule, and while nothing is broken, a revocation is everywhere promptly.
func Check(history []Event) []Violation {
	c := newChecker(history)
	for _, e := range history {
		switch e.Op {
		case OpCheck:
			c.check(e)
		case OpRefresh:
			c.refresh(e)
		}
	}
	c.never()
	c.shown()
	c.agreement()
	c.state()
	c.promptness()
	return c.violations
}

type checker struct {
	sessions   map[string]Event   // by id: its beginning
	revokes    map[string][]Event // by "user X" and "session X"
	users      map[string]bool    // who have a session that surely began
	unanswered map[string]int     // beginnings of unknown outcome, by user
	faults     []Event
	checks     []Event
	shows      []Event
	changes    []Event
	states     []Event
	violations []Violation
	late       int // I7: checks that accepted what had been revoked a while before
}

func newChecker(history []Event) *checker {
	c := &checker{sessions: map[string]Event{}, revokes: map[string][]Event{}, users: map[string]bool{}, unanswered: map[string]int{}}
	for _, e := range history {
		switch e.Op {
		case OpBegin:
			if e.Outcome == OK {
				c.sessions[e.Session] = e
				c.users[e.User] = true
			} else if e.Outcome != Refused {
				c.unanswered[e.User]++
			}
		case OpRevoke:
			c.revokes[scope(e)] = append(c.revokes[scope(e)], e)
		case OpShow:
			c.shows = append(c.shows, e)
		case OpChange:
			c.changes = append(c.changes, e)
		case OpState:
			c.states = append(c.states, e)
		case OpFault:
			c.faults = append(c.faults, e)
		case OpCheck:
			c.checks = append(c.checks, e)
		}
	}
	return c
}

// scope is what an event is about.
func scope(e Event) string {
	if e.Session != "" {
		return "session " + e.Session
	}
	return "user " + e.User
}

func (c *checker) fail(rule, format string, args ...any) {
	c.violations = append(c.violations, Violation{rule, fmt.Sprintf(format, args...)})
}

// concerning returns the revocations of a session or of its user.
func (c *checker) concerning(session string) []Event {
	return append(append([]Event(nil), c.revokes["session "+session]...), c.revokes["user "+c.sessions[session].User]...)
}

// ends reports whether r surely ended the session: it was acknowledged, and the
// session had begun before it was asked for.
func (c *checker) ends(r Event, session string) bool {
	return r.Outcome == OK && c.sessions[session].Returned < r.Invoked
}

// mayEnd reports whether r may have ended the session: it did not surely come
// before the session began.
func (c *checker) mayEnd(r Event, session string) bool {
	return r.Returned > c.sessions[session].Invoked || r.Outcome == Unknown
}

// broken reports whether something was broken at any time from a to b, or shortly
// before.
func (c *checker) broken(a, b int64) bool {
	for _, f := range c.faults {
		if f.Invoked <= b && a <= f.Returned+int64(settle) {
			return true
		}
	}
	return false
}

func (c *checker) check(e Event) {
	if _, known := c.sessions[e.Session]; !known {
		return
	}
	switch e.Outcome {
	case OK:
		for _, r := range c.concerning(e.Session) {
			if !c.ends(r, e.Session) {
				continue
			}
			switch {
			case e.Node == r.Node && e.Invoked > r.Returned:
				c.fail("I1", "%s accepted session %s %v after it had acknowledged its revocation", e.Node, e.Session, since(r.Returned, e.Invoked))
			case r.Everywhere && e.Invoked > r.Returned:
				c.fail("I1", "%s accepted session %s %v after its revocation was said to hold everywhere", e.Node, e.Session, since(r.Returned, e.Invoked))
			case e.Invoked > r.By:
				c.fail("I1", "%s accepted session %s %v after the bound of its revocation", e.Node, e.Session, since(r.By, e.Invoked))
			}
			if after := e.Invoked - r.Returned; after > int64(prompt) && !c.broken(r.Invoked, e.Returned) {
				c.late++
			}
		}
	case Refused:
		if e.Reason != "revoked" && e.Reason != "unknown_key" {
			c.fail("I2", "%s refused session %s: %s", e.Node, e.Session, e.Reason)
			return
		}
		for _, r := range c.concerning(e.Session) {
			if c.mayEnd(r, e.Session) && r.Invoked < e.Returned {
				return
			}
		}
		c.fail("I2", "%s refused session %s, which nobody had revoked", e.Node, e.Session)
	case Unavailable, Unknown:
		if !c.broken(e.Invoked, e.Returned) {
			c.fail("I2", "%s answered %s while nothing was broken (%s)", e.Node, e.Outcome, e.Reason)
		}
	}
}

func (c *checker) refresh(e Event) {
	if _, known := c.sessions[e.Session]; !known || e.Outcome != OK {
		return
	}
	for _, r := range c.concerning(e.Session) {
		if c.ends(r, e.Session) && e.Invoked > r.Returned {
			c.fail("I4", "%s refreshed session %s %v after its revocation", e.Node, e.Session, since(r.Returned, e.Invoked))
		}
	}
}

// never is I3.
func (c *checker) never() {
	refused := map[[2]string]Event{}
	for _, e := range c.checks {
		key := [2]string{e.Node, e.Session}
		if first, ok := refused[key]; e.Outcome == Refused && (!ok || e.Returned < first.Returned) {
			refused[key] = e
		}
	}
	for _, e := range c.checks {
		if first, ok := refused[[2]string{e.Node, e.Session}]; ok && e.Outcome == OK && e.Invoked > first.Returned {
			c.fail("I3", "%s accepted session %s %v after it had refused it", e.Node, e.Session, since(first.Returned, e.Invoked))
		}
	}
}

// shown is the other half of I3, and I1 of what is shown: the node that
// acknowledged a revocation shows it, or a later one.
func (c *checker) shown() {
	latest := map[[2]string][]Event{} // by node and scope
	for _, e := range c.shows {
		if e.Outcome != OK {
			continue
		}
		key := [2]string{e.Node, scope(e)}
		for _, before := range latest[key] {
			if before.Returned < e.Invoked && before.Shown > e.Shown {
				c.fail("I3", "%s showed %d as the revoked-before of %s, %v after it had shown %d", e.Node, e.Shown, scope(e), since(before.Returned, e.Invoked), before.Shown)
				break
			}
		}
		latest[key] = append(latest[key], e)
		for _, r := range c.revokes[scope(e)] {
			if r.Outcome == OK && r.Node == e.Node && r.Returned < e.Invoked && e.Shown < r.Epoch {
				c.fail("I1", "%s showed %d as the revoked-before of %s, %v after it had acknowledged %d", e.Node, e.Shown, scope(e), since(r.Returned, e.Invoked), r.Epoch)
				break
			}
		}
	}
}

// agreement is I5 and I6: the last word of each validator about each session.
func (c *checker) agreement() {
	final := map[string]map[string]Outcome{}
	for _, e := range c.checks {
		if e.Final {
			if final[e.Session] == nil {
				final[e.Session] = map[string]Outcome{}
			}
			final[e.Session][e.Node] = e.Outcome
		}
	}
	for session, verdicts := range final {
		seen := map[Outcome][]string{}
		for node, o := range verdicts {
			seen[o] = append(seen[o], node)
		}
		if len(seen) > 1 {
			rule := "I6"
			for _, r := range c.concerning(session) {
				if r.Outcome == Unknown {
					rule = "I5"
				}
			}
			for _, nodes := range seen {
				sort.Strings(nodes)
			}
			c.fail(rule, "the validators disagree about session %s: %v", session, seen)
		}
		for _, r := range c.concerning(session) {
			if c.ends(r, session) && len(seen[OK]) > 0 {
				c.fail("I6", "session %s was revoked and is accepted in the end by %v", session, seen[OK])
			}
		}
	}
}

// promptness is I7. A single late one may be the machine's fault, so it takes
// several.
func (c *checker) promptness() {
	if c.late >= 5 {
		c.fail("I7", "%d checks accepted a session more than %v after its revocation, while nothing was broken", c.late, prompt)
	}
}

func since(from, to int64) time.Duration {
	return time.Duration(to - from).Round(10 * time.Microsecond)
}
