//go:build torture

package torture

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"example.com/curfew/internal/await"
)

// kept is what one user has been told, and must find again after a crash.
type kept struct {
	user     string
	sessions map[string]string // token to alive, dead or unknown
}

// step begins a session, or revokes all that there are. It counts as acknowledged
// what was answered so.
func (k *kept) step(c *Cluster, node *Process, random *rand.Rand) (acknowledged bool) {
	if len(k.sessions) == 0 || random.IntN(3) > 0 {
		raw, o, _ := c.Begin(node, k.user)
		if o == OK {
			k.sessions[raw] = "alive"
		}
		return o == OK
	}
	_, o, _ := c.Revoke(node, k.user, "", 0)
	for raw, state := range k.sessions {
		switch {
		case o == OK:
			k.sessions[raw] = "dead"
		case state == "alive":
			k.sessions[raw] = "unknown" // it may have happened, or not
		}
	}
	return o == OK
}

// check compares a node's answer with the acknowledged changes. Unknown outcomes
// are known from here on.
func (k *kept) check(t *testing.T, c *Cluster, node *Process) {
	t.Helper()
	status, list, err := c.call(http.MethodGet, node.Addr, "/v1/users/"+k.user+"/sessions", c.admin, nil)
	if err != nil || status != http.StatusOK && status != http.StatusNotFound {
		t.Fatalf("the sessions of %s: %d %s %v", k.user, status, list, err)
	}
	for raw, state := range k.sessions {
		got := c.verify(node, raw)
		switch {
		case state == "alive" && got != "", state == "dead" && got != "revoked", state == "unknown" && got != "" && got != "revoked":
			t.Errorf("%s: a session that was %s when the server was killed: %q", k.user, state, got)
		case got == "" && !slices.Contains(sessionIDs(list), sessionID(raw)):
			t.Errorf("%s: an acknowledged session is not listed", k.user)
		}
		if k.sessions[raw] = "dead"; got == "" {
			k.sessions[raw] = "alive"
		}
	}
}

func sessionIDs(list []byte) (ids []string) {
	var l struct{ Sessions []struct{ ID string } }
	_ = json.Unmarshal(list, &l) // nothing is listed then
	for _, s := range l.Sessions {
		ids = append(ids, s.ID)
	}
	return ids
}

// keyOnDisk is a key as `curfew key list` shows it.
type keyOnDisk struct {
	ID, State string
	Activated *time.Time `json:"activated_at"`
}

func (c *Cluster) keys(t *testing.T) map[string]keyOnDisk {
	t.Helper()
	var l struct{ Keys []keyOnDisk }
	if err := json.Unmarshal(must[[]byte](t)(c.curfew("key", "list", "--json")), &l); err != nil {
		t.Fatal(err)
	}
	keys := map[string]keyOnDisk{}
	for _, k := range l.Keys {
		keys[k.ID] = k
	}
	return keys
}

// rotate rotates the keys with a command that is killed too when ctx ends.
func (c *Cluster) rotate(ctx context.Context) (kid string, acknowledged bool) {
	cmd := exec.CommandContext(ctx, c.config.Binary, "key", "rotate", "--json", "--database", c.config.Database)
	cmd.Env = append(cmd.Environ(), "CURFEW_KEY_ENCRYPTION_KEY="+kek)
	out, err := cmd.Output()
	var k keyOnDisk
	acknowledged = err == nil && json.Unmarshal(out, &k) == nil
	return k.ID, acknowledged
}

// kill -9 at any instant of sign-ins, revocations, settings changes and key
// rotations: what was acknowledged is there when the server is back, which is soon.
func TestKilledWhileWriting(t *testing.T) {
	c := newCluster(t, must[string](t)(asShipped()), "")
	node := c.node(t, nil)
	random := rand.New(rand.NewPCG(6, 1))
	users := make([]*kept, 4)
	for i := range users {
		users[i] = &kept{fmt.Sprintf("killed%d", i), map[string]string{}}
	}
	timeouts := []int64{1200} // acknowledged, and after it a value that may be in force
	rotated := map[string]bool{}
	counts := map[string]int{}
	machine := watchMachine(t)
	var slowest time.Duration
	// Each round lasts until something of each kind was acknowledged in it, and then
	// for as long again as chance says: however slow the machine is, the kill hits
	// writes that are under way and others that have been acknowledged.
	kinds := []string{"sign-ins and revocations", "settings", "rotations"}
	for round := 0; round < 8 || counts["sign-ins and revocations"] < 300; round++ {
		ctx, cancel := context.WithCancel(t.Context())
		var mu sync.Mutex // of counts, here, timeouts and rotated
		here := map[string]int{}
		count := func(what string, also func()) {
			mu.Lock()
			defer mu.Unlock()
			counts[what]++
			here[what]++
			also()
		}
		acknowledged := func() bool {
			mu.Lock()
			defer mu.Unlock()
			return !slices.ContainsFunc(kinds, func(kind string) bool { return here[kind] == 0 })
		}
		var work sync.WaitGroup
		for i, k := range users {
			mine := rand.New(rand.NewPCG(uint64(round), uint64(i)))
			work.Go(func() {
				for ctx.Err() == nil {
					if k.step(c, node, mine) {
						count("sign-ins and revocations", func() {})
					}
				}
			})
		}
		work.Go(func() {
			for n := timeouts[len(timeouts)-1] + 1; ctx.Err() == nil; n++ {
				mu.Lock()
				timeouts = append(timeouts, n)
				mu.Unlock()
				if ok, _ := c.set(node, authentication{n, 1_728_000, true}); ok {
					count("settings", func() { timeouts = []int64{n} })
				}
			}
		})
		work.Go(func() {
			for ctx.Err() == nil {
				if kid, ok := c.rotate(ctx); ok {
					count("rotations", func() { rotated[kid] = true })
				}
				sleep(ctx, 100*time.Millisecond)
			}
		})
		began := time.Now()
		await.Until(t, "something of each kind is acknowledged", acknowledged)
		// No event is waited for here: the kill comes at any instant.
		time.Sleep(time.Duration(random.Int64N(int64(time.Since(began)) + 1)))
		node.Kill()
		cancel()
		work.Wait()

		began = time.Now()
		if err := node.Start(); err != nil {
			t.Fatal(err)
		}
		if err := c.ready(node); err != nil {
			t.Fatal(err)
		}
		slowest = max(slowest, time.Since(began))
		for _, k := range users {
			k.check(t, c, node)
		}
		s, _, err := c.settings(node)
		if err != nil || !slices.Contains(timeouts, s.Timeout) {
			t.Fatalf("the timeout is %d s, want one of %v: %v", s.Timeout, timeouts, err)
		}
		timeouts = []int64{s.Timeout}
		keys := c.keys(t)
		for kid := range rotated {
			if k, ok := keys[kid]; !ok || k.Activated == nil {
				t.Errorf("key %s was rotated to, and is %+v", kid, k)
			}
		}
		if t.Failed() {
			t.FailNow()
		}
	}
	t.Logf("acknowledged: %v; slowest start %v", counts, slowest)
	if bound := machine.allows(5 * time.Second); slowest > bound {
		t.Errorf("a start took %v; the bound is %v", slowest, bound)
	}
}
