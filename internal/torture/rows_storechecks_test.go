//go:build torture

package torture

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"time"

	"example.com/curfew/internal/await"
)

// during reports whether something began and ended while the fault lasted.
func (w *faultTest) during(invoked time.Time, took time.Duration) bool {
	return invoked.After(w.began) && invoked.Add(took).Before(w.ended)
}

// checksWere holds what validators said against what they may say. answers: the
// store answered, if late.
func (w *faultTest) checksWere(answers bool) {
	w.t.Helper()
	said, wrong, leased := map[string]int{}, map[string]int{}, map[string]int{}
	var lastValid time.Duration
	for _, c := range w.checks {
		after := c.invoked.Sub(w.began)
		who := c.who + " of " + c.what
		said[fmt.Sprintf("%s: %q", who, c.said)]++
		if c.said == "" && w.during(c.invoked, c.took) {
			lastValid = max(lastValid, after)
		}
		bad := ""
		switch {
		case c.what == "dead" && c.said != "revoked" && c.said != "unavailable":
			bad = "of what was revoked"
		case c.what != "dead" && c.said != "" && c.said != "unavailable":
			bad = "of what is good"
		case answers || !w.during(c.invoked, c.took):
		case c.what == "good" && c.invoked.Add(c.took).Before(w.trusted[c.who]):
			if leased[c.who]++; c.said != "" {
				bad = "while the lease runs"
			}
		case c.what == "unseen" && c.who == w.Nodes[1].Name && c.said != "unavailable":
			bad = "without knowing"
		case after > faultBound && c.said != "unavailable":
			bad = "after the lease"
		}
		if bad != "" {
			wrong[fmt.Sprintf("%s says %q %s", who, c.said, bad)]++
		}
	}
	w.t.Logf("said: %v; valid for the last time %v after the fault began; answered while the lease surely ran: %v",
		said, lastValid.Round(time.Millisecond), leased)
	for what, times := range wrong {
		w.t.Errorf("%s, %d times", what, times)
	}
}

// wishesWere: no write was acknowledged, or hardly any, and all were answered soon.
func (w *faultTest) wishesWere(answers bool) {
	w.t.Helper()
	statuses, slowest := map[string]int{}, map[string]time.Duration{}
	for _, wish := range w.wishes {
		if !w.during(wish.invoked, wish.took) {
			continue
		}
		statuses[fmt.Sprintf("%s %d", wish.kind, wish.status)]++
		slowest[wish.kind] = max(slowest[wish.kind], wish.took.Round(time.Millisecond))
		if wish.status != http.StatusServiceUnavailable && (!answers || !wish.granted()) {
			w.t.Errorf("a %s was answered with %d", wish.kind, wish.status)
		}
	}
	w.t.Logf("wishes: %v; slowest: %v", statuses, slowest)
	if len(slowest) != 4 {
		w.t.Errorf("only these were asked for: %v", slices.Collect(maps.Keys(slowest)))
	}
	for kind, took := range slowest {
		if bound := w.machine.allows(2 * time.Second); took > bound {
			w.t.Errorf("a %s was answered after %v; the bound is %v", kind, took, bound)
		}
	}
}

func (w faultWish) granted() bool { return w.status/100 == 2 }

// kept: what was acknowledged is so on both nodes, and what was not is nowhere or
// everywhere; nowhere, if nothing could have reached the store.
func (w *faultTest) kept(answers bool) {
	w.t.Helper()
	both := func(raw string) (said [2]string) {
		for i, n := range w.Nodes {
			said[i] = w.verify(n, raw)
		}
		return said
	}
	acknowledged, touched := map[string]bool{}, map[string]bool{}
	looked := 0
	for _, wish := range w.wishes {
		switch {
		case wish.kind == "revocation":
			acknowledged[wish.user] = acknowledged[wish.user] || wish.granted()
			touched[wish.user] = touched[wish.user] || !w.during(wish.invoked, wish.took)
		case wish.granted():
			if said := both(wish.token); said != [2]string{} {
				w.t.Errorf("an acknowledged %s: %q", wish.kind, said)
			}
		case wish.user != "" && !answers && w.during(wish.invoked, wish.took) && looked < 10:
			looked++
			status, body, err := w.call(http.MethodGet, w.Nodes[0].Addr, "/v1/users/"+wish.user, w.admin, nil)
			if err != nil || status != http.StatusNotFound {
				w.t.Errorf("a sign-in that was refused: %d %s %v", status, body, err)
			}
		}
	}
	for user, raw := range w.victims {
		// The node that answered knows; the other one may still be on its way back to
		// the store's notifications, and then reads once a second.
		var said [2]string
		await.Holds(await.Limit, func() bool {
			said = both(raw)
			return said[0] == said[1] && (!acknowledged[user] || said[0] == "revoked")
		})
		switch {
		case acknowledged[user] && said != [2]string{"revoked", "revoked"}:
			w.t.Errorf("an acknowledged revocation: %q", said)
		case !acknowledged[user] && !answers && !touched[user] && said != [2]string{}:
			w.t.Errorf("a revocation that was refused: %q", said)
		case said[0] != said[1]:
			w.t.Errorf("an unknown revocation: %q", said)
		}
	}
	w.t.Logf("%d of %d revocations were acknowledged in the end", count(acknowledged), len(acknowledged))
}

func count(of map[string]bool) (n int) {
	for _, is := range of {
		if is {
			n++
		}
	}
	return n
}

// usage is what the nodes have open: the most of any of them.
type usage struct{ files, goroutines, connections int }

func (w *faultTest) usage() (most usage) {
	w.t.Helper()
	for i, n := range w.Nodes {
		files := must[[]os.DirEntry](w.t)(os.ReadDir(fmt.Sprintf("/proc/%d/fd", n.pid())))
		most.files = max(most.files, len(files))
		most.goroutines = max(most.goroutines, int(metric(w.t, w.metrics[i], "go_goroutines")))
		most.connections = max(most.connections, w.links[i].Open())
	}
	return most
}

// watch looks at the nodes until the fault has lasted long enough, and returns
// the most that it saw.
func (w *faultTest) watch(lasts time.Duration, answers bool) (most usage) {
	w.t.Helper()
	for time.Since(w.began) < lasts {
		time.Sleep(100 * time.Millisecond) // between two samples of the open connections
		u := w.usage()
		most = usage{max(most.files, u.files), max(most.goroutines, u.goroutines), max(most.connections, u.connections)}
	}
	for _, n := range w.Nodes {
		if status, _, err := w.call(http.MethodGet, n.Addr, "/livez", "", nil); err != nil || status != http.StatusOK {
			w.t.Errorf("%s is no longer live: %d %v", n.Name, status, err)
		}
		if w.Ready(n) && !answers {
			w.t.Errorf("%s says that it is ready", n.Name)
		}
	}
	return most
}

// nothingPiledUp: who asks has a connection to the node, and a node has as many to the
// store as its pools hold, however many ask. Afterwards nothing is left of either.
func (w *faultTest) nothingPiledUp(before, during usage) {
	w.t.Helper()
	const (
		pools = 17 // connections of one node to the store
		// A connection that was cut may be open in the proxy while the next is made.
		cut    = pools
		others = 10 // the tests' own questions for metrics and readiness, and timers
		// A request has the goroutine of its connection, and another that notices
		// when the client leaves.
		perClient = 2
	)
	var after usage
	settled := await.Holds(await.Limit, func() bool {
		after = w.usage()
		return after.files <= before.files+pools+others && after.goroutines <= before.goroutines+pools+others && after.connections <= pools
	})
	w.t.Logf("open before %+v, at most %+v, after %+v", before, during, after)
	if !settled {
		w.t.Error("what was opened stays open")
	}
	if bound := pools + cut; during.connections > bound {
		w.t.Errorf("a node had %d connections to the store, want at most %d", during.connections, bound)
	}
	if bound := before.files + clientsOfANode + pools + others; during.files > bound {
		w.t.Errorf("a node had %d descriptors open, want at most %d", during.files, bound)
	}
	if bound := before.goroutines + perClient*clientsOfANode + pools + others; during.goroutines > bound {
		w.t.Errorf("a node had %d goroutines, want at most %d", during.goroutines, bound)
	}
}
