package torture

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// state is I6 for the stored state: all nodes return the same, and it agrees with
// the history.
func (c *checker) state() {
	said := map[string]Event{} // what the first node said
	for _, e := range c.states {
		about := e.State + " " + e.User
		if e.Outcome != OK {
			c.failf("I6", "%s does not tell its %s when everything has healed: %s", e.Node, about, e.Reason)
			continue
		}
		first, known := said[about]
		if known {
			if !slices.Equal(first.Items, e.Items) {
				c.failf("I6", "the nodes disagree about %s: %s says %v, %s says %v", about, first.Node, first.Items, e.Node, e.Items)
			}
			continue
		}
		said[about] = e
		switch e.State {
		case StateUsers:
			c.stateOfUsers(e)
		case StateLive:
			c.stateOfSessions(e)
		case StateAudit:
			c.stateOfAudit(e)
		case StateSettings:
			c.stateOfSettings(e)
		default:
			c.failf("I6", "a history with an unknown state: %q", e.State)
		}
	}
}

func (c *checker) stateOfUsers(e Event) {
	for user := range c.users {
		if !slices.Contains(e.Items, user) {
			c.failf("I6", "user %s has a session, and %s does not know of them", user, e.Node)
		}
	}
}

// stateOfSessions: a session that surely began and was surely not revoked is there;
// a session that surely was revoked is not; and there is no session that no client
// asked for.
func (c *checker) stateOfSessions(e Event) {
	for id, s := range c.sessions {
		if s.User != e.User {
			continue
		}
		listed := slices.Contains(e.Items, id)
		if r, ended := c.endedSurely(id); listed && ended {
			c.failf("I6", "%s lists session %s, which was revoked at %d", e.Node, id, r.Invoked)
		}
		if !listed && !c.endedPerhaps(id) {
			c.failf("I6", "%s does not list session %s, which was not revoked", e.Node, id)
		}
	}
	unheard := 0 // sessions whose beginning was not answered
	for _, id := range e.Items {
		if _, begun := c.sessions[id]; !begun {
			unheard++
		}
	}
	if unheard > c.unanswered[e.User] {
		c.failf("I6", "%s lists %d sessions of %s whose beginning was not acknowledged, and only %d are in doubt", e.Node, unheard, e.User, c.unanswered[e.User])
	}
}

func (c *checker) endedSurely(session string) (*Event, bool) {
	for r := range c.ending(session, always) {
		return r, true
	}
	return nil, false
}

func (c *checker) endedPerhaps(session string) bool {
	for r := range c.concerning(session, always) {
		if c.mayEnd(r, session) {
			return true
		}
	}
	return false
}

// stateOfAudit: every acknowledged revocation is there once, at its epoch; and no
// revocation that no client asked for.
func (c *checker) stateOfAudit(e Event) {
	entries, at := map[string]int{}, map[string]int{} // by scope; by scope and epoch
	for _, item := range e.Items {
		of, epoch, _ := cutLast(item)
		if n, err := strconv.ParseInt(epoch, 10, 64); err != nil || n <= 0 {
			c.failf("I6", "the audit of %s has a revocation without an epoch: %s", e.Node, item)
		}
		entries[of]++
		at[item]++
	}
	for of, revokes := range c.revokes {
		sure, perhaps := 0, 0
		acknowledged := map[string]int{} // several may share a transaction, and so an epoch
		for _, r := range revokes {
			switch r.Outcome {
			case OK:
				sure++
				if r.Epoch > 0 {
					acknowledged[fmt.Sprintf("%s %d", of, r.Epoch)]++
				}
			case Unknown:
				perhaps++
			}
		}
		for item, n := range acknowledged {
			if at[item] < n {
				c.failf("I6", "the audit of %s has %d entries of the revocation of %s, which was acknowledged %d times", e.Node, at[item], item, n)
			}
		}
		// Revoking a session that has ended succeeds, and writes nothing.
		if strings.HasPrefix(of, "session ") {
			sure, perhaps = 0, perhaps+sure
		}
		if entries[of] < sure || entries[of] > sure+perhaps {
			c.failf("I6", "the audit of %s has %d revocations of %s; %d were acknowledged, %d are in doubt", e.Node, entries[of], of, sure, perhaps)
		}
		delete(entries, of)
	}
	for of, n := range entries {
		c.failf("I6", "the audit of %s has %d revocations of %s, which no client asked for", e.Node, n, of)
	}
}

// cutLast cuts s at its last space.
func cutLast(s string) (before, after string, found bool) {
	i := strings.LastIndexByte(s, ' ')
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

// stateOfSettings: the last acknowledged change, or a change requested at the same
// time, or a change whose outcome is unknown.
func (c *checker) stateOfSettings(e Event) {
	var may []int64
	for _, change := range c.changes {
		superseded := slices.ContainsFunc(c.changes, func(later Event) bool {
			return later.Outcome == OK && later.Invoked > change.Returned
		})
		if change.Outcome == Unknown || change.Outcome == OK && !superseded {
			may = append(may, change.Shown)
		}
	}
	changed := slices.ContainsFunc(c.changes, func(e Event) bool { return e.Outcome == OK })
	if changed && (len(e.Items) != 1 || !slices.ContainsFunc(may, func(n int64) bool { return strconv.FormatInt(n, 10) == e.Items[0] })) {
		c.failf("I6", "%s has a timeout of %v; the history leaves %v", e.Node, e.Items, may)
	}
}
