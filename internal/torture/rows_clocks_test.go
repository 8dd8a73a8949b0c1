//go:build torture

package torture

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/curfew/internal/curfewtest"

	"example.com/curfew/internal/await"
	"example.com/curfew/internal/testnet"
	"example.com/curfew/token"
	"example.com/curfew/token/follower"
)

// withClocks builds curfew, once, so that a file named in the environment sets its
// clock: by how many seconds wall time is off. As on a machine whose clock is set,
// the monotonic reading does not move, hence the reach into time.Time.
var withClocks = sync.OnceValues(func() (string, error) {
	return curfewtest.Build(curfewtest.Module(), builds, "curfew-clocks",
		curfewtest.Patch{File: "internal/app/host.go", Old: "		h.now = time.Now\n", New: "		h.now = shifted\n"},
		curfewtest.Patch{File: "internal/app/host.go", Old: "	\"slices\"\n	\"time\"\n", New: "	\"slices\"\n	\"strconv\"\n	\"time\"\n	\"unsafe\"\n"},
		curfewtest.Patch{File: "internal/app/host.go", Old: "func newHost(", New: `func shifted() time.Time {
	now := time.Now()
	if text, err := os.ReadFile(os.Getenv("TEST_CLOCK")); err == nil {
		seconds, err := strconv.ParseInt(string(text), 10, 64)
		if err != nil {
			panic(err)
		}
		*(*uint64)(unsafe.Pointer(&now)) += uint64(seconds) << 30
	}
	return now
}

func newHost(`})
})

// clock is the clock of a process.
type clock struct {
	t    *testing.T
	file string
}

func newClock(t *testing.T) *clock {
	t.Helper()
	c := &clock{t, filepath.Join(t.TempDir(), "clock")}
	c.set(0)
	return c
}

func (c *clock) env() []string { return []string{"TEST_CLOCK=" + c.file} }

// set steps the clock: it is off by so much from here on.
func (c *clock) set(off time.Duration) {
	c.t.Helper()
	err := os.WriteFile(c.file+".new", fmt.Append(nil, int(off.Seconds())), 0o600)
	if err == nil {
		err = os.Rename(c.file+".new", c.file) // never half of it
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// metric reads a metric at an address; -1 if it is not there.
func metric(t *testing.T, addr, name string) (value float64) {
	t.Helper()
	resp, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text := must[[]byte](t)(io.ReadAll(resp.Body))
	for line := range strings.SplitSeq(string(text), "\n") {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			if _, err := fmt.Sscan(rest, &value); err != nil {
				t.Fatal(err)
			}
			return value
		}
	}
	return -1
}

// Nodes and a follower whose clocks are up to 50 s apart: a session begun anywhere
// is good everywhere at once, and a session revoked anywhere is refused everywhere.
func TestClocksApart(t *testing.T) {
	c := onPostgres(t, must[string](t)(withClocks()))
	a, b := newClock(t), newClock(t)
	// A lease that a busy machine does not miss; a step forward ends it all the same.
	const lease = "6s"
	nodes := []*Process{c.node(t, a.env(), "--lease", lease), c.node(t, b.env(), "--lease", lease)}
	ahead := 50 * time.Second
	f, err := follower.Open(t.Context(), follower.Config{
		Server: "http://" + nodes[0].Addr, ClientID: c.client.id, ClientSecret: c.client.secret, Audience: "https://curfew.test",
		Now: func() time.Time { return time.Now().Add(ahead) },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	downstream := func(what, raw string, want token.Reason) {
		t.Helper()
		if _, err := f.Validator().Validate(t.Context(), raw); token.ReasonOf(err) != want {
			t.Errorf("%s: the follower says %v, want %q", what, err, want)
		}
	}
	var dead []string
	for _, off := range []time.Duration{-50 * time.Second, 50 * time.Second, 0} {
		b.set(off)
		for _, n := range nodes {
			c.comesTo(t, "after a step", n, c.admin, "") // wall time passed: the lease is over for a moment
		}
		for i, at := range nodes {
			for j, by := range nodes {
				what := fmt.Sprintf("the second is off by %v; begun at %s, revoked at %s", off, at.Name, by.Name)
				user := fmt.Sprintf("user%d%d", i, j)
				old := c.session(t, at, user, false)
				for _, n := range nodes {
					c.wants(t, what+", new", n, old, "")
				}
				downstream(what+", new", old, "")
				r := c.revoked(t, by, user)
				if !r.Enforcement.EffectiveEverywhere {
					t.Errorf("%s: the revocation is not in force everywhere: %+v", what, r)
				}
				fresh := c.session(t, at, user, true) // in the same second, as dates go
				for _, n := range nodes {
					c.wants(t, what+", revoked", n, old, "revoked")
					c.wants(t, what+", begun afterwards", n, fresh, "")
				}
				downstream(what+", revoked", old, token.ErrRevoked)
				downstream(what+", begun afterwards", fresh, "")
				dead = append(dead, old)
			}
		}
		for _, raw := range dead { // whatever the clocks say now
			for _, n := range nodes {
				c.wants(t, "dead before the step", n, raw, "revoked")
			}
			downstream("dead before the step", raw, token.ErrRevoked)
		}
	}
}

// Five minutes apart: a node with a clock behind refuses tokens from the future,
// the log and a metric say that a clock is off, and no ended session comes back.
func TestClocksFarApart(t *testing.T) {
	c := onPostgres(t, must[string](t)(withClocks()))
	var nodes []*Process
	var metrics []string
	clocks := []*clock{newClock(t), newClock(t)}
	for _, k := range clocks {
		metrics = append(metrics, must[string](t)(testnet.FreeAddress()))
		nodes = append(nodes, c.node(t, k.env(), "--metrics-listen", metrics[len(metrics)-1]))
	}
	dead := c.session(t, nodes[0], "gone", true)
	c.revoked(t, nodes[0], "gone")
	const name = "curfew_view_clock_ahead_seconds"
	for i, m := range metrics {
		if v := metric(t, m, name); v < 0 || v > 60 {
			t.Errorf("%s of %s is %v while all is well", name, nodes[i].Name, v)
		}
	}
	for _, test := range []struct {
		off           time.Duration // of the second clock
		ahead, behind int
	}{{-5 * time.Minute, 0, 1}, {5 * time.Minute, 1, 0}} {
		clocks[1].set(test.off)
		ahead, behind := nodes[test.ahead], nodes[test.behind]
		for _, n := range nodes {
			if !await.Holds(await.Limit, func() bool { return c.verify(n, dead) != "unavailable" }) {
				t.Fatalf("%v: %s does not recover", test.off, n.Name)
			}
		}
		what := fmt.Sprintf("off by %v", test.off)
		late := c.session(t, ahead, "late", true)
		c.wants(t, what, ahead, late, "")
		c.wants(t, what, behind, late, "not_yet_valid")
		early := c.session(t, behind, "early", true)
		c.wants(t, what, ahead, early, "")
		c.wants(t, what, behind, early, "")
		c.revoked(t, ahead, "early") // advances the epoch clock
		for _, n := range nodes {
			c.wants(t, what+", revoked", n, early, "revoked")
			if got := c.verify(n, dead); got == "" {
				t.Errorf("%s: %s accepts what was revoked long ago", what, n.Name)
			}
		}
		if !await.Holds(await.Limit, func() bool { return metric(t, metrics[test.behind], name) > 200 }) {
			t.Errorf("%s: %s of %s is %v", what, name, behind.Name, metric(t, metrics[test.behind], name))
		}
	}
	for _, n := range nodes {
		n.Stop()
		if !strings.Contains(n.Log(), "synchronize both clocks") {
			t.Errorf("%s does not warn that a clock is off:\n%s", n.Name, n.Log())
		}
	}
}

// revokeMine revokes all sessions of a token's user, by that token.
func (c *Cluster) revokeMine(at *Process, raw string) (r Receipt, err error) {
	status, body, err := c.call(http.MethodPost, at.Addr, "/v1/users/me/revocations", raw, map[string]string{"reason": "torture"})
	if err == nil && status != http.StatusCreated {
		err = fmt.Errorf("%d %s", status, body)
	}
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(body, &r)
}

// A clock that is set back by an hour and forward again, under load: nothing that
// was dead comes back, whatever it died of, and new sessions work at once.
func TestClockSteps(t *testing.T) {
	c := newCluster(t, must[string](t)(withClocks()), "")
	k := newClock(t)
	node := c.node(t, k.env(), "--insecure-short-timeouts")
	if ok, err := c.set(node, authentication{2, 1_728_000, true}); !ok {
		t.Fatal(err)
	}
	idle := c.session(t, node, "idle", false)
	lasting := c.session(t, node, "lasting", true)
	revoked := c.session(t, node, "revoked", true)
	before := c.revoked(t, node, "revoked").Epoch
	c.comesTo(t, "two seconds later", node, idle, "idle_timeout")

	var mu sync.Mutex
	dead := []string{idle, revoked}
	deaths := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(dead)
	}
	done := make(chan struct{})
	var load sync.WaitGroup
	for w := range 3 {
		load.Go(func() {
			user := fmt.Sprintf("loader%d", w)
			for {
				select {
				case <-done:
					return
				default:
				}
				raw, o, _ := c.Begin(node, user)
				if o != OK {
					continue
				}
				if _, err := c.revokeMine(node, raw); err == nil {
					mu.Lock()
					dead = append(dead, raw)
					mu.Unlock()
				}
				mu.Lock()
				all := slices.Clone(dead[max(0, len(dead)-20):])
				mu.Unlock()
				for _, raw := range append(all, idle, revoked) {
					if c.verify(node, raw) == "" {
						t.Errorf("what was dead is accepted: session %s", sessionID(raw))
						return
					}
				}
			}
		})
	}
	for _, off := range []time.Duration{-time.Hour, 0, time.Hour, 0} {
		died := deaths()
		await.Until(t, "sessions die at this time of the clock", func() bool { return deaths() >= died+3 })
		k.set(off)
		c.comesTo(t, fmt.Sprintf("a session begun at a clock that is off by %v", off), node, c.session(t, node, "new", true), "")
		begun := c.session(t, node, "stepped", true)
		c.wants(t, fmt.Sprintf("off by %v", off), node, begun, "")
		r := must[Receipt](t)(c.revokeMine(node, begun)) // the administrator's session has a date too
		if r.Epoch <= before {
			t.Errorf("off by %v: the epoch went from %d to %d", off, before, r.Epoch)
		}
		before = r.Epoch
		c.wants(t, fmt.Sprintf("off by %v, revoked", off), node, begun, "revoked")
		if off == 0 {
			c.wants(t, "a session that outlasts it all", node, lasting, "")
		}
	}
	close(done)
	load.Wait()
	for _, raw := range dead {
		if c.verify(node, raw) == "" {
			t.Error("what was dead is accepted in the end")
		}
	}
	t.Logf("%d sessions died", len(dead))
	if len(dead) < 10 {
		t.Error("hardly any load: this proves little")
	}
}
