//go:build torture

package torture

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"
)

// during reports whether something began and ended while the fault lasted.
func (w *faultWorld) during(invoked time.Time, took time.Duration) bool {
	return invoked.After(w.began) && invoked.Add(took).Before(w.ended)
}

// checksWere holds what validators said against what they may say. answers: the
// store answered, if late.
func (w *faultWorld) checksWere(answers bool) {
	w.t.Helper()
	said, wrong := map[string]int{}, map[string]int{}
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
		case c.what == "good" && after < faultLease/4 && c.said != "":
			bad = "while the lease runs"
		case c.what == "unseen" && c.who == w.Nodes[1].Name && c.said != "unavailable":
			bad = "without knowing"
		case after > faultBound && c.said != "unavailable":
			bad = "after the lease"
		}
		if bad != "" {
			wrong[fmt.Sprintf("%s says %q %s", who, c.said, bad)]++
		}
	}
	w.t.Logf("said: %v; valid for the last time %v after the fault began", said, lastValid.Round(time.Millisecond))
	for what, times := range wrong {
		w.t.Errorf("%s, %d times", what, times)
	}
}

// wishesWere: nobody was told that something was stored, or hardly, and all soon.
func (w *faultWorld) wishesWere(answers bool) {
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
		if took > 2*time.Second*slower {
			w.t.Errorf("a %s was answered after %v", kind, took)
		}
	}
}

func (w faultWish) granted() bool { return w.status/100 == 2 }

// kept: what was acknowledged is so on both nodes, and what was not is nowhere or
// everywhere; nowhere, if nothing could have reached the store.
func (w *faultWorld) kept(answers bool) {
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
		said := both(raw)
		switch {
		case acknowledged[user] && said != [2]string{"revoked", "revoked"}:
			w.t.Errorf("an acknowledged revocation: %q", said)
		case !acknowledged[user] && !answers && !touched[user] && said != [2]string{}:
			w.t.Errorf("a revocation that was refused: %q", said)
		case said[0] != said[1]:
			w.t.Errorf("a revocation of which nobody knows: %q", said)
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
type usage struct{ files, threads, goroutines, connections int }

func (w *faultWorld) usage() (most usage) {
	w.t.Helper()
	for i, n := range w.Nodes {
		files := must[[]os.DirEntry](w.t)(os.ReadDir(fmt.Sprintf("/proc/%d/fd", n.pid())))
		threads := must[[]os.DirEntry](w.t)(os.ReadDir(fmt.Sprintf("/proc/%d/task", n.pid())))
		most.files, most.threads = max(most.files, len(files)), max(most.threads, len(threads))
		most.goroutines = max(most.goroutines, int(metric(w.t, w.metrics[i], "go_goroutines")))
	}
	return most
}

// connections asks PostgreSQL how many connections it has.
func (w *faultWorld) connections() (n int) {
	w.t.Helper()
	out := must[string](w.t)(w.server.Exec(`SELECT count(*) FROM pg_stat_activity WHERE datname = 'curfew'`))
	if _, err := fmt.Sscan(strings.TrimSpace(out), &n); err != nil {
		w.t.Fatal(err)
	}
	return n
}

// watch looks at the nodes until the fault has lasted long enough, and returns
// the most that it saw.
func (w *faultWorld) watch(lasts time.Duration, answers bool) (most usage) {
	w.t.Helper()
	for time.Since(w.began) < lasts {
		time.Sleep(500 * time.Millisecond)
		u := w.usage()
		if answers {
			u.connections = w.connections()
		}
		most = usage{max(most.files, u.files), max(most.threads, u.threads), max(most.goroutines, u.goroutines), max(most.connections, u.connections)}
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

// nothingPiledUp: those who wait have something open, and nobody else.
func (w *faultWorld) nothingPiledUp(before, during usage) {
	w.t.Helper()
	const (
		clients = 30 // of one node, at a time: those above, and what they leave open
		allowed = 17 // connections of one node to the store
	)
	var after usage
	settled := Until(5*time.Second*slower, func() bool {
		after = w.usage()
		after.connections = w.connections()
		return after.files <= before.files+clients && after.goroutines <= before.goroutines+3*clients && after.connections <= 2*allowed
	})
	w.t.Logf("open before %+v, at most %+v, after %+v", before, during, after)
	if !settled {
		w.t.Error("what was opened stays open")
	}
	if during.files > before.files+clients+2*allowed || during.goroutines > before.goroutines+6*clients ||
		during.threads > before.threads+clients || during.connections > 2*allowed {
		w.t.Error("it piles up")
	}
}
