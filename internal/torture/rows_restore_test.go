//go:build torture

package torture

import (
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"example.com/curfew/internal/await"
	"example.com/curfew/internal/store/pgtest"
	"example.com/curfew/token/follower"
)

// says returns what the i-th validator says of a token: the reason of a refusal, ""
// if it is valid.
func (c *Cluster) says(t *testing.T, i int, raw string) string {
	t.Helper()
	o, why := c.Validate(t.Context(), i, raw)
	switch o {
	case OK:
		return ""
	case Refused:
		return why
	default:
		return "unavailable"
	}
}

// allCome fails the test unless every validator says so of a token soon.
func (c *Cluster) allCome(t *testing.T, what, raw, want string) {
	t.Helper()
	for i, name := range c.Validators() {
		var got string
		if !await.Holds(await.Limit, func() bool { got = c.says(t, i, raw); return got == want }) {
			t.Errorf("%s: %s says %q, want %q", what, name, got, want)
		}
	}
}

// A database is restored to an earlier state under running nodes, an edge and
// followers: they notice, and begin again; they keep the revocations in their
// memory that the database has lost, and go on from there. Revocations that no
// process has in memory are lost, and so the guide says `curfew revoke everyone`:
// that ends all sessions everywhere.
func TestRestoredUnderNodes(t *testing.T) {
	primary := pgtest.Start(t, pgtest.Options{TCP: true})
	if err := primary.CreateDatabase("curfew"); err != nil {
		t.Fatal(err)
	}
	backup := primary.Standby(t, pgtest.Options{TCP: true})
	c, err := Start(t.Context(), Config{
		Binary: must[string](t)(asShipped()), Dir: t.TempDir(), Database: bothOf(t, primary, backup), Nodes: 2, Edges: 1, Followers: 2,
	})
	t.Cleanup(c.Close)
	if err != nil {
		t.Fatal(err)
	}
	c.http.Timeout = await.Limit
	var startedOver atomic.Int32
	watched, err := follower.Open(t.Context(), follower.Config{
		Server: "http://" + c.Nodes[1].Addr, ClientID: c.client.id, ClientSecret: c.client.secret, Audience: "https://curfew.test",
		OnEvent: func(e follower.Event) {
			if e.Kind == follower.EventStartedOver {
				startedOver.Add(1)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	c.followers = append(c.followers, watched) // Close ends it

	alice, bob := c.session(t, c.Nodes[0], "alice", true), c.session(t, c.Nodes[0], "bob", true)
	c.allCome(t, "alice", alice, "")
	written := strings.TrimSpace(must[string](t)(primary.Exec(`SELECT pg_current_wal_lsn()`)))
	comesTo(t, backup, `SELECT pg_last_wal_replay_lsn() >= '`+written+`'`, "t")
	if err := backup.Stop(pgtest.Fast); err != nil { // from here on it is a backup
		t.Fatal(err)
	}
	c.revoked(t, c.Nodes[0], "alice")
	c.allCome(t, "alice is revoked", alice, "revoked")
	if err := primary.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := backup.Start(); err != nil {
		t.Fatal(err)
	}
	if err := backup.Promote(); err != nil {
		t.Fatal(err)
	}
	var dave string
	for _, n := range c.Nodes {
		if !await.Holds(await.Limit, func() bool {
			for i, name := range c.Validators() {
				if got := c.says(t, i, alice); got != "revoked" && got != "unavailable" {
					t.Fatalf("meanwhile %s says %q of alice, who was revoked", name, got)
				}
			}
			raw, o, _ := c.Begin(n, "dave")
			dave = raw
			return o == OK
		}) {
			t.Fatalf("%s does not work again", n.Name)
		}
	}
	c.allCome(t, "a session that began on what was restored", dave, "")
	c.allCome(t, "an earlier session that was not revoked", bob, "")
	c.allCome(t, "a revocation that the database has lost", alice, "revoked")
	if startedOver.Load() == 0 {
		t.Error("the follower was not told to start over")
	}
	if r := c.revoked(t, c.Nodes[1], "bob"); !r.Enforcement.EffectiveEverywhere {
		t.Errorf("a revocation afterwards: %+v", r)
	}
	c.allCome(t, "a revocation afterwards", bob, "revoked")

	// A process that begins now knows what the database knows, and not alice. The node
	// that looked first has said so; it moved the clock on, so the other may have
	// seen nothing.
	said := false
	for _, n := range c.Nodes {
		n.Kill()
		log := n.log.String()
		said = said || strings.Contains(log, "the database was restored from a backup") && strings.Contains(log, "revoke everyone")
		if err := n.Start(); err != nil {
			t.Fatal(err)
		}
		if err := c.ready(n); err != nil {
			t.Fatal(err)
		}
	}
	if !said {
		t.Errorf("no node's log says what has happened, and what to do:\n%s\n%s", c.Nodes[0].log, c.Nodes[1].log)
	}
	t.Logf("a node that was restarted says %q of alice", c.says(t, 0, alice))
	if _, err := c.curfew("revoke", "everyone", "--yes", "--reason", "restored from a backup"); err != nil {
		t.Fatal(err)
	}
	c.allCome(t, "alice, after the guide was followed", alice, "revoked")
	c.allCome(t, "dave, after the guide was followed", dave, "revoked")
	c.allCome(t, "a session after that", c.session(t, c.Nodes[0], "dave", true), "")
}

// `curfew restore`, with followers that have been there before: whatever was
// revoked is over, and so is everything else; what begins then is good.
func TestRestoredByCommand(t *testing.T) {
	c := newCluster(t, must[string](t)(asShipped()), "")
	node := c.node(t, nil)
	f, err := follower.Open(t.Context(), follower.Config{
		Server: "http://" + node.Addr, ClientID: c.client.id, ClientSecret: c.client.secret, Audience: "https://curfew.test",
	})
	if err != nil {
		t.Fatal(err)
	}
	c.followers = append(c.followers, f)
	alice, bob := c.session(t, node, "alice", true), c.session(t, node, "bob", true)
	copied := filepath.Join(c.config.Dir, "copy.db")
	if _, err := c.curfew("backup", copied); err != nil {
		t.Fatal(err)
	}
	c.revoked(t, node, "alice")
	c.allCome(t, "alice is revoked", alice, "revoked")
	c.allCome(t, "bob is not", bob, "")
	node.Stop()
	if _, err := c.curfew("restore", copied); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(copied); err != nil {
		t.Fatal(err)
	}
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	if err := c.ready(node); err != nil {
		t.Fatal(err)
	}
	if got := c.says(t, 0, alice); got != "revoked" {
		t.Errorf("the node says %q of alice at once, want revoked", got)
	}
	c.allCome(t, "alice, after the restore", alice, "revoked")
	c.allCome(t, "bob, after the restore", bob, "revoked")
	if c.admin, err = c.signIn(); err != nil {
		t.Fatal(err)
	}
	again := c.session(t, node, "alice", true)
	c.allCome(t, "a session after the restore", again, "")
	c.revoked(t, node, "alice")
	c.allCome(t, "a revocation after the restore", again, "revoked")
}
