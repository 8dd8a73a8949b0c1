//go:build torture

package torture

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/curfew/internal/await"
	"example.com/curfew/token"
	"example.com/curfew/token/follower"
)

// SIGTERM, with 50 followers waiting and 200 revocations and sign-ins on their way:
// the acknowledged ones hold, the followers go to the other node and never miss an
// answer, and the exit code is 0.
//
// The lease is the default: if the machine does not run a follower for that long,
// Curfew is not at fault. The node that ends is given minutes for its requests
// under way, since their time depends on the machine as well.
func TestStoppedUnderLoad(t *testing.T) {
	c := onPostgres(t, must[string](t)(asShipped()))
	flags := []string{"--lease", "15s", "--shutdown-timeout", await.Limit.String()}
	going, staying := c.node(t, nil, flags...), c.node(t, nil, flags...)
	const waiting, requests = 50, 200

	followers := make([]*follower.Follower, waiting)
	transport := &http.Transport{MaxIdleConnsPerHost: waiting}
	defer transport.CloseIdleConnections()
	for i := range followers {
		f, err := follower.Open(t.Context(), follower.Config{
			Server: "http://" + going.Addr, Servers: []string{"http://" + staying.Addr},
			ClientID: c.client.id, ClientSecret: c.client.secret, Audience: "https://curfew.test",
			HTTPClient: &http.Client{Transport: transport},
		})
		if err != nil {
			t.Fatal(err)
		}
		followers[i] = f
		t.Cleanup(func() { _ = f.Close() }) // nothing is kept
	}
	victims := make([]string, requests)
	for i := range victims {
		victims[i] = c.session(t, going, fmt.Sprintf("victim%d", i), true)
	}
	c.session(t, going, "elsewhere", true)
	watched := c.session(t, going, "watched", true)
	done := make(chan struct{})
	var watching, working sync.WaitGroup
	for i, f := range followers {
		watching.Go(func() {
			for {
				select {
				case <-done:
					return
				case <-time.After(50 * time.Millisecond):
				}
				if _, err := f.Validator().Validate(t.Context(), watched); err != nil {
					t.Errorf("follower %d, while it moved: %v", i, err)
					return
				}
			}
		})
	}

	// Each goes on until it is acknowledged or the node is asked to stop: an answer
	// of 503 on a busy machine asks to try again.
	revoked, begun := make([]bool, requests), make([]string, requests)
	var acknowledged [2]atomic.Int32
	stopping := make(chan struct{})
	for i := range requests {
		working.Go(func() {
			for !revoked[i] && begun[i] == "" {
				select {
				case <-stopping:
					return
				default:
				}
				if i%2 == 0 {
					_, o, _ := c.Revoke(going, fmt.Sprintf("victim%d", i), "", 0)
					revoked[i] = o == OK
				} else if raw, o, _ := c.Begin(going, fmt.Sprintf("newcomer%d", i)); o == OK {
					begun[i] = raw
				}
			}
			acknowledged[i%2].Add(1)
		})
	}
	await.Until(t, "some of each kind are acknowledged", func() bool { return acknowledged[0].Load() > 10 && acknowledged[1].Load() > 10 })
	cmd, signalled := going.cmd, time.Now()
	under := requests - acknowledged[0].Load() - acknowledged[1].Load()
	close(stopping)
	going.Stop()
	t.Logf("%d requests were not acknowledged yet; it ended after %v", under, time.Since(signalled))
	if code := cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d:\n%s", code, going.Log())
	}
	working.Wait()

	counts := map[string]int{}
	for i := range requests {
		what := fmt.Sprintf("request %d", i)
		switch {
		case revoked[i]:
			counts["revoked"]++
			c.wants(t, what+", an acknowledged revocation", staying, victims[i], "revoked")
		case begun[i] != "":
			counts["begun"]++
			c.wants(t, what+", an acknowledged sign-in", staying, begun[i], "")
		}
	}
	t.Log(counts)
	if counts["revoked"] == 0 || counts["begun"] == 0 {
		t.Errorf("nothing of one kind was acknowledged: %v", counts)
	}

	// All of them follow the other node: it waits for them, and they have it.
	if !await.Holds(await.Limit, func() bool {
		e := c.revoked(t, staying, "elsewhere").Enforcement
		return e.EffectiveEverywhere && e.Validators == waiting+1
	}) {
		t.Errorf("not all followers came to the other node: %+v", c.revoked(t, staying, "elsewhere").Enforcement)
	}
	close(done)
	watching.Wait()
	c.revoked(t, staying, "watched")
	for i, f := range followers {
		if _, err := f.Validator().Validate(t.Context(), watched); token.ReasonOf(err) != token.ErrRevoked {
			t.Errorf("follower %d, after an answer that it is in force everywhere: %v", i, err)
		}
	}
}
