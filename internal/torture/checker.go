package torture

import (
	"cmp"
	"fmt"
	"iter"
	"math"
	"slices"
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
//	I2  A session that was not revoked is never refused; and is answered with 503 only while something is broken.
//	I3  What a validator has once refused as ended it never accepts again, and the
//	    revoked-before that it shows never goes down.
//	I4  No refresh that was asked for after an acknowledged revocation succeeds.
//	I5  A revocation of unknown outcome has happened everywhere or nowhere.
//	I6  When everything has healed all validators agree, and with the history; so do
//	    audit, users, live sessions and settings, at every node.
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
	revokes    map[string][]Event // by "user X" and "session X", in the order in which they were invoked
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
	for _, of := range c.revokes {
		slices.SortStableFunc(of, func(a, b Event) int { return cmp.Compare(a.Invoked, b.Invoked) })
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

func (c *checker) failf(rule, format string, args ...any) {
	c.violations = append(c.violations, Violation{rule, fmt.Sprintf(format, args...)})
}

// concerning goes through the revocations of a session or of its user that were
// invoked before an instant, the last ones first. A long run has thousands of
// them for each of tens of thousands of checks, and the last decide.
func (c *checker) concerning(session string, before int64) iter.Seq[*Event] {
	return func(yield func(*Event) bool) {
		for _, of := range [...]string{"session " + session, "user " + c.sessions[session].User} {
			revokes := c.revokes[of]
			end := sort.Search(len(revokes), func(i int) bool { return revokes[i].Invoked >= before })
			for i := end - 1; i >= 0; i-- {
				if !yield(&revokes[i]) {
					return
				}
			}
		}
	}
}

// ending goes through those that surely ended the session.
func (c *checker) ending(session string, before int64) iter.Seq[*Event] {
	return func(yield func(*Event) bool) {
		begun := c.sessions[session].Returned
		for r := range c.concerning(session, before) {
			if r.Outcome == OK && r.Invoked > begun && !yield(r) {
				return
			}
			if r.Invoked <= begun && r.Session == "" {
				return // the user's come last, and the rest are older still
			}
		}
	}
}

const always = math.MaxInt64

// mayEnd reports whether r may have ended the session: it did not surely come
// before the session began.
func (c *checker) mayEnd(r *Event, session string) bool {
	return r.Returned > c.sessions[session].Invoked || r.Outcome == Unknown
}

// hasFault reports whether something was broken at any time from a to b, or shortly
// before.
func (c *checker) hasFault(a, b int64) bool {
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
		for r := range c.ending(e.Session, e.Invoked) {
			switch {
			case e.Node == r.Node && e.Invoked > r.Returned:
				c.failf("I1", "%s accepted session %s %v after it had acknowledged its revocation", e.Node, e.Session, since(r.Returned, e.Invoked))
			case r.Everywhere && e.Invoked > r.Returned:
				c.failf("I1", "%s accepted session %s %v after its revocation was said to hold everywhere", e.Node, e.Session, since(r.Returned, e.Invoked))
			case e.Invoked > r.By:
				c.failf("I1", "%s accepted session %s %v after the bound of its revocation", e.Node, e.Session, since(r.By, e.Invoked))
			}
			if after := e.Invoked - r.Returned; after > int64(prompt) && !c.hasFault(r.Invoked, e.Returned) {
				c.late++
			}
		}
	case Refused:
		if e.Reason != "revoked" && e.Reason != "unknown_key" {
			c.failf("I2", "%s refused session %s: %s", e.Node, e.Session, e.Reason)
			return
		}
		for r := range c.concerning(e.Session, e.Returned) {
			if c.mayEnd(r, e.Session) {
				return
			}
		}
		c.failf("I2", "%s refused session %s, which was not revoked", e.Node, e.Session)
	case Unavailable, Unknown:
		if !c.hasFault(e.Invoked, e.Returned) {
			c.failf("I2", "%s answered %s while nothing was broken (%s)", e.Node, e.Outcome, e.Reason)
		}
	}
}

func (c *checker) refresh(e Event) {
	if _, known := c.sessions[e.Session]; !known || e.Outcome != OK {
		return
	}
	for r := range c.ending(e.Session, e.Invoked) {
		if e.Invoked > r.Returned {
			c.failf("I4", "%s refreshed session %s %v after its revocation", e.Node, e.Session, since(r.Returned, e.Invoked))
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
			c.failf("I3", "%s accepted session %s %v after it had refused it", e.Node, e.Session, since(first.Returned, e.Invoked))
		}
	}
}

// shown is the other half of I3, and I1 for the values shown: the node that
// acknowledged a revocation shows it, or a later one.
func (c *checker) shown() {
	type place struct{ node, of string }
	shows, acknowledged := map[place][]Event{}, map[place][]Event{}
	for _, e := range c.shows {
		if e.Outcome == OK {
			p := place{e.Node, scope(e)}
			shows[p] = append(shows[p], e)
		}
	}
	for of, revokes := range c.revokes {
		for _, r := range revokes {
			if r.Outcome == OK {
				acknowledged[place{r.Node, of}] = append(acknowledged[place{r.Node, of}], r)
			}
		}
	}
	for p, events := range shows {
		shown := rise(events, func(e Event) int64 { return e.Shown })
		revoked := rise(acknowledged[p], func(r Event) int64 { return r.Epoch })
		for _, e := range events {
			if before := shown.before(e.Invoked); e.Shown < before {
				c.failf("I3", "%s showed %d as the revoked-before of %s, and %d before that", p.node, e.Shown, p.of, before)
			} else if before := revoked.before(e.Invoked); e.Shown < before {
				c.failf("I1", "%s showed %d as the revoked-before of %s, and had acknowledged %d", p.node, e.Shown, p.of, before)
			}
		}
	}
}

// rising is the highest value that any event had by an instant.
type rising []struct{ at, highest int64 }

func rise(events []Event, value func(Event) int64) rising {
	byEnd := slices.SortedFunc(slices.Values(events), func(a, b Event) int { return cmp.Compare(a.Returned, b.Returned) })
	r := make(rising, len(byEnd))
	highest := int64(0)
	for i, e := range byEnd {
		highest = max(highest, value(e))
		r[i].at, r[i].highest = e.Returned, highest
	}
	return r
}

// before returns the highest value of the events that had returned before t.
func (r rising) before(t int64) int64 {
	i := sort.Search(len(r), func(i int) bool { return r[i].at >= t })
	if i == 0 {
		return 0
	}
	return r[i-1].highest
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
			for r := range c.concerning(session, always) {
				if r.Outcome == Unknown {
					rule = "I5"
				}
			}
			for _, nodes := range seen {
				sort.Strings(nodes)
			}
			c.failf(rule, "the validators disagree about session %s: %v", session, seen)
		}
		for range c.ending(session, always) {
			if len(seen[OK]) > 0 {
				c.failf("I6", "session %s was revoked and is accepted in the end by %v", session, seen[OK])
				break
			}
		}
	}
}

// promptness is I7. A single late one may be the machine's fault, so it takes
// several.
func (c *checker) promptness() {
	if c.late >= 5 {
		c.failf("I7", "%d checks accepted a session more than %v after its revocation, while nothing was broken", c.late, prompt)
	}
}

func since(from, to int64) time.Duration {
	return time.Duration(to - from).Round(10 * time.Microsecond)
}
