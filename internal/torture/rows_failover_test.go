//go:build torture

package torture

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/curfew/internal/await"
	"example.com/curfew/internal/store/pgtest"
)

// Twenty restarts of PostgreSQL under load, orderly and immediate in turn:
// acknowledged changes hold, and clients that cannot be served are told to try
// again.
func TestRestartsUnderLoad(t *testing.T) {
	b := setUpWith(t, must[string](t)(asShipped()), 20, Config{Nodes: 2, Followers: 2})
	b.underLoad("PostgreSQL restarted 20 times", func() {
		for i := range 20 {
			mode := []pgtest.Mode{pgtest.Fast, pgtest.Immediate}[i%2]
			if err := b.store.Restart(mode); err != nil {
				t.Fatalf("restart %d, %s: %v", i, mode, err)
			}
			b.works()
			b.goesOn(20)
		}
	})
}

// kill -9 of the primary under load, and the standby takes its place: what was
// acknowledged had reached it, and the nodes find it by themselves.
func TestFailover(t *testing.T) {
	binary := must[string](t)(asShipped())
	primary := pgtest.Start(t, pgtest.Options{TCP: true, Fsync: true})
	if err := primary.CreateDatabase("curfew"); err != nil {
		t.Fatal(err)
	}
	warning := func() bool {
		c := newCluster(t, binary, primary.DSN("curfew"))
		n := c.node(t, nil)
		n.Stop()
		return strings.Contains(n.Log(), "a failover may lose the last revocations")
	}
	if warning() {
		t.Error("it warns of a failover where there is nothing to fail over to")
	}
	standby := primary.Standby(t, pgtest.Options{TCP: true, Fsync: true})
	comesTo(t, primary, `SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'`, "1")
	if !warning() {
		t.Error("with a standby that is not synchronous, the start-up log does not warn of what a failover may lose")
	}
	must[string](t)(primary.Exec(`ALTER SYSTEM SET synchronous_standby_names = '*'`))
	must[string](t)(primary.Exec(`SELECT pg_reload_conf()`))
	comesTo(t, primary, `SELECT sync_state FROM pg_stat_replication`, "sync")
	if warning() {
		t.Error("with a synchronous standby, the start-up log warns all the same")
	}

	b := newBench(t, 7, Config{Binary: binary, Dir: t.TempDir(), Database: bothOf(t, primary, standby), Nodes: 2, Followers: 2})
	b.underLoad("failover", func() {
		if err := primary.Kill(); err != nil {
			t.Fatal(err)
		}
		killed := time.Now()
		await.Until(t, "a node says that it is not ready", func() bool { return !b.ready() })
		if err := standby.Promote(); err != nil {
			t.Fatal(err)
		}
		promoted := time.Now()
		b.works()
		t.Logf("promoted %v after the kill; all nodes work %v after that", promoted.Sub(killed).Round(time.Millisecond), time.Since(promoted).Round(time.Millisecond))
	})
}

// comesTo waits until a server answers a question so.
func comesTo(t *testing.T, server *pgtest.Server, question, want string) {
	t.Helper()
	var got string
	if !await.Holds(await.Limit, func() bool {
		got = strings.TrimSpace(must[string](t)(server.Exec(question)))
		return got == want
	}) {
		t.Fatalf("%s: %q, want %q", question, got, want)
	}
}

// bothOf returns an address that names two servers: whichever can be written to.
func bothOf(t *testing.T, a, b *pgtest.Server) string {
	t.Helper()
	address := must[*url.URL](t)(url.Parse(a.DSNVia(a.Addr(), "curfew")))
	address.Host = "127.0.0.1,127.0.0.1"
	query := address.Query()
	query.Set("port", fmt.Sprintf("%d,%d", a.Port(), b.Port()))
	query.Set("target_session_attrs", "read-write")
	address.RawQuery = query.Encode()
	return address.String()
}

// underLoad breaks something under load, waits until it works again, and checks the
// history against the promises.
func (b *bench) underLoad(name string, breaking func()) {
	b.t.Helper()
	b.cluster.http.Timeout = await.Limit // an answer that is late is an answer
	for i := range b.load.Users {
		b.load.begin(b.cluster.Nodes[0], b.load.user(i))
	}
	ctx, cancel := context.WithCancel(b.t.Context())
	var load sync.WaitGroup
	load.Go(func() { b.load.Run(ctx) })
	defer load.Wait()
	defer cancel()
	b.goesOn(100)
	fault := Event{Op: OpFault, Reason: name, Invoked: b.record.Now()}
	breaking()
	if !await.Holds(await.Limit, b.ready) {
		b.t.Error("not everything is ready again")
	}
	fault.Returned = b.record.Now()
	b.record.Add(fault)
	b.goesOn(100)
	cancel()
	load.Wait()
	b.settled()
	b.load.Finish(b.t.Context())
	b.report(Check(b.record.Events()))
	b.onlyUnavailable()
}

// goesOn waits until so many more things were asked and answered.
func (b *bench) goesOn(events int) {
	b.t.Helper()
	before := len(b.record.Events())
	await.Until(b.t, fmt.Sprintf("%d more events", events), func() bool { return len(b.record.Events()) >= before+events })
}

// works waits until a session begins on every node.
func (b *bench) works() {
	b.t.Helper()
	for _, n := range b.cluster.Nodes {
		var why string
		if !await.Holds(await.Limit, func() bool {
			var o Outcome
			_, o, why = b.cluster.Begin(n, "somebody")
			return o == OK
		}) {
			b.t.Fatalf("%s does not work again: %s", n.Name, why)
		}
	}
}

// onlyUnavailable: clients that were not served got 503, and no other error.
func (b *bench) onlyUnavailable() {
	b.t.Helper()
	wrong, unavailable := map[string]int{}, 0
	for _, e := range b.record.Events() {
		switch {
		case e.Op == OpFault, e.Outcome == OK:
		case e.Outcome == Refused && (e.Op == OpCheck || e.Op == OpRefresh) && e.Reason == "revoked":
		case e.Outcome == Refused && e.Op == OpChange && (e.Reason == "a lost race" || strings.HasPrefix(e.Reason, "the settings: 503 ")):
		case e.Outcome == Unavailable,
			e.Outcome == Unknown && (e.Op == OpRevoke || e.Op == OpChange) && e.Reason == "unavailable": // see Load.revoke
			unavailable++
		default:
			wrong[fmt.Sprintf("%s %s: %s", e.Op, e.Outcome, e.Reason)]++
		}
	}
	b.t.Logf("%d times the state was unknown", unavailable)
	if unavailable == 0 {
		b.t.Error("all requests were served: nothing was broken")
	}
	for what, times := range wrong {
		b.t.Errorf("%s, %d times", what, times)
	}
}
