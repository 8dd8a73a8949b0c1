//go:build torture

package torture

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/curfew/internal/curfewtest"

	_ "modernc.org/sqlite" // to lock a file as another program might

	"example.com/curfew/internal/await"
	"example.com/curfew/internal/store/pgtest"
	"example.com/curfew/internal/testnet"
)

var (
	duration = flag.Duration("torture.duration", 45*time.Second, "how long to break things")
	seed     = flag.Uint64("torture.seed", 0, "repeats a run; 0 for another each time")
)

// bench is what a run needs: a PostgreSQL of its own, or a file, and a cluster
// on it.
type bench struct {
	t       *testing.T
	store   *pgtest.Server // nil on SQLite
	cluster *Cluster
	record  *Recorder
	load    *Load
	locked  *sql.DB // the file, while it is locked by us
}

func setUp(t *testing.T, binary string, seed uint64, cacheSize int) *bench {
	t.Helper()
	return setUpWith(t, binary, seed, Config{Nodes: 2, Edges: 1, Followers: 3, CacheSize: cacheSize})
}

// setUpWith starts a cluster of the size that config says, on PostgreSQL.
func setUpWith(t *testing.T, binary string, seed uint64, config Config) *bench {
	t.Helper()
	store := pgtest.Start(t, pgtest.Options{TCP: true, Fsync: true})
	if err := store.CreateDatabase("curfew"); err != nil {
		t.Fatal(err)
	}
	config.Binary, config.Dir, config.Database, config.Store = binary, t.TempDir(), store.DSN("curfew"), store.Addr()
	config.Link = func(proxy string) string { return store.DSNVia(proxy, "curfew") }
	b := newBench(t, seed, config)
	b.store = store
	return b
}

// setUpSQLite starts a node on a file, with an edge and followers.
func setUpSQLite(t *testing.T, binary string, seed uint64) *bench {
	t.Helper()
	dir := t.TempDir()
	return newBench(t, seed, Config{Binary: binary, Dir: dir, Database: "sqlite:" + filepath.Join(dir, "curfew.db"), Nodes: 1, Edges: 1, Followers: 2})
}

func newBench(t *testing.T, seed uint64, config Config) *bench {
	t.Helper()
	b := &bench{t: t}
	var err error
	if b.cluster, err = Start(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.cluster.Close)
	history, err := os.CreateTemp("", "curfew-history-*.jsonl") //nolint:usetesting // it is kept when the test fails
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = history.Close()
		if t.Failed() {
			t.Logf("seed %d; the history is in %s", seed, history.Name())
		} else {
			os.Remove(history.Name())
		}
	})
	b.record = NewRecorder(history)
	// A machine that stands still for its processes is a fault like others: leases
	// end, and the answer is 503.
	machine := Watch(func(from, to time.Time, slowdown float64) {
		if slowdown >= standstill {
			b.record.Add(Event{Op: OpFault, Reason: "the machine is busy", Invoked: b.record.At(from), Returned: b.record.At(to)})
		}
	})
	t.Cleanup(func() {
		machine.Stop()
		t.Logf("the machine was up to %.1f times slower than an idle one", machine.Slowdown())
	})
	b.load = &Load{Cluster: b.cluster, Record: b.record, Users: 12, Workers: 6, Seed: seed}
	return b
}

// fault is something that breaks, and how it is mended.
type fault struct {
	name  string
	for_  time.Duration
	begin func(*bench) error
	end   func(*bench) error
}

// standstill is the slowdown of a single piece of work, half a second, at which leases
// of [Lease] may end. It is far above what a run brings about by itself.
const standstill = 25

func nothing(*bench) error { return nil }

// faults are the things that break. Each is mended before the next.
func (b *bench) faults(random *rand.Rand) []fault {
	n := random.IntN(len(b.cluster.Nodes))
	node := func(c *Cluster) *Process { return c.Nodes[n] }
	edge := func(c *Cluster) *Process { return c.Edges[0] }
	set := func(which func(*Cluster) *testnet.Proxy, m testnet.Mode) func(*bench) error {
		return func(b *bench) error { which(b.cluster).Set(m); return nil }
	}
	between := func(name string, which func(*Cluster) *testnet.Proxy, m testnet.Mode) fault {
		return fault{name, 5 * time.Second, set(which, m), set(which, testnet.Pass)}
	}
	reset := func(name string, which func(*Cluster) *testnet.Proxy) fault {
		return fault{name + ": reset", 0, func(b *bench) error { which(b.cluster).Reset(); return nil }, nothing}
	}
	edgeLink := func(c *Cluster) *testnet.Proxy { return c.EdgeLink[0] }
	f := random.IntN(len(b.cluster.FollowTo))
	followLink := func(c *Cluster) *testnet.Proxy { return c.FollowTo[f] }
	kill := func(name string, which func(*Cluster) *Process) fault {
		return fault{name + " killed", time.Second,
			func(b *bench) error { which(b.cluster).Kill(); return nil },
			func(b *bench) error { return which(b.cluster).Start() }}
	}
	pause := func(name string, which func(*Cluster) *Process) fault {
		return fault{name + " frozen for longer than its lease", Lease + 2*time.Second,
			func(b *bench) error { return which(b.cluster).Pause() },
			func(b *bench) error { return which(b.cluster).Resume() }}
	}
	all := []fault{
		between("an edge is cut off", edgeLink, testnet.BlackHole),
		between("an edge hears nothing", edgeLink, testnet.HalfOpen),
		between("an edge and its node: dropped after 20 kB", edgeLink, testnet.Mode{DropAt: 20_000}),
		reset("an edge and its node", edgeLink),
		between("a follower is cut off", followLink, testnet.BlackHole),
		between("a follower is refused", followLink, testnet.Mode{Refuse: true}),
		between("a follower and its node: now slow, now quick", followLink, testnet.Mode{Jitter: 100 * time.Millisecond}),
		reset("a follower and its node", followLink),
		kill("a node", node), kill("an edge", edge),
		pause("a node", node), pause("an edge", edge),
	}
	if b.store == nil {
		return append(all, fault{"the file is locked by another process", 3 * time.Second, lockFile, unlockFile})
	}
	storeLink := func(c *Cluster) *testnet.Proxy { return c.StoreLink[n] }
	return append(all,
		fault{"store restarted, fast", 0, func(b *bench) error { return b.store.Restart(pgtest.Fast) }, nothing},
		fault{"store restarted, at once", 0, func(b *bench) error { return b.store.Restart(pgtest.Immediate) }, nothing},
		fault{"store killed", 2 * time.Second, func(b *bench) error { return b.store.Kill() }, func(b *bench) error { return b.store.Start() }},
		fault{"store hangs", 5 * time.Second, func(b *bench) error { return b.store.Pause() }, func(b *bench) error { return b.store.Resume() }},
		between("a node and the store: nothing passes", storeLink, testnet.BlackHole),
		between("a node and the store: no answer", storeLink, testnet.HalfOpen),
		between("a node and the store: slow", storeLink, testnet.Mode{Delay: 100 * time.Millisecond}),
		between("a node and the store: now slow, now quick", storeLink, testnet.Mode{Jitter: 100 * time.Millisecond}),
		between("a node and the store: dropped after 20 kB", storeLink, testnet.Mode{DropAt: 20_000}),
		reset("a node and the store", storeLink),
	)
}

// lockFile keeps every writer out of the file, as a backup program might.
func lockFile(b *bench) (err error) {
	path := strings.TrimPrefix(b.cluster.config.Database, "sqlite:")
	if b.locked, err = sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(10000)"); err != nil {
		return err
	}
	b.locked.SetMaxOpenConns(1)
	_, err = b.locked.Exec("BEGIN IMMEDIATE")
	return err
}

func unlockFile(b *bench) error {
	_, err := b.locked.Exec("ROLLBACK")
	return errors.Join(err, b.locked.Close())
}

// torment breaks one thing after the other until ctx ends.
func (b *bench) torment(ctx context.Context, random *rand.Rand) {
	for ctx.Err() == nil {
		all := b.faults(random)
		f := all[random.IntN(len(all))]
		b.t.Logf("%6.1f s  %s", time.Duration(b.record.Now()).Seconds(), f.name)
		e := Event{Op: OpFault, Reason: f.name, Invoked: b.record.Now()}
		err := f.begin(b)
		sleep(ctx, f.for_)
		if healed := f.end(b); err == nil {
			err = healed
		}
		if err != nil {
			b.t.Errorf("%s: %v", f.name, err)
			return
		}
		if !await.Holds(await.Limit, b.ready) {
			b.t.Errorf("not everything is ready again after: %s", f.name)
		}
		e.Returned = b.record.Now()
		b.record.Add(e)
		sleep(ctx, time.Duration(random.IntN(1500))*time.Millisecond)
	}
}

func (b *bench) ready() bool {
	for _, p := range append(slices.Clone(b.cluster.Nodes), b.cluster.Edges...) {
		if !b.cluster.Ready(p) {
			return false
		}
	}
	return true
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// TestTorture breaks everything under load: two nodes on PostgreSQL, and beside
// them one on SQLite, each with an edge and followers. It runs for
// -torture.duration.
func TestTorture(t *testing.T) {
	run := *seed
	if run == 0 {
		run = rand.Uint64()
	}
	t.Logf("seed %d", run)
	binary, err := asShipped()
	if err != nil {
		t.Fatal(err)
	}
	for name, set := range map[string]func(*testing.T) *bench{
		"PostgreSQL": func(t *testing.T) *bench { return setUp(t, binary, run, 0) },
		"SQLite":     func(t *testing.T) *bench { return setUpSQLite(t, binary, run) },
	} {
		t.Run(name, func(t *testing.T) {
			set(t).torture(rand.New(rand.NewPCG(run, 0)))
		})
	}
}

func (b *bench) torture(random *rand.Rand) {
	calm, cancel := context.WithTimeout(b.t.Context(), 5*time.Second)
	b.load.Calm(calm)
	cancel()
	ctx, cancel := context.WithTimeout(b.t.Context(), *duration)
	defer cancel()
	done := make(chan struct{})
	go func() { defer close(done); b.load.Run(ctx) }()
	b.torment(ctx, random)
	<-done
	b.settled()
	b.load.Finish(b.t.Context())
	b.report(Check(b.record.Events()))
}

// settled waits until all operations under way are decided: a lease and its margin
// later, by the clock, as promised.
func (b *bench) settled() { time.Sleep(bound + time.Second) }

func (b *bench) report(violations []Violation) {
	b.t.Helper()
	counts := map[string]int{}
	for _, e := range b.record.Events() {
		counts[fmt.Sprintf("%s %s", e.Op, e.Outcome)]++
	}
	b.t.Logf("%v", counts)
	for i, v := range violations {
		if i == 20 {
			b.t.Errorf("and %d more", len(violations)-i)
			break
		}
		b.t.Error(v)
	}
	for _, must := range []string{"begin ok", "check ok", "check refused", "revoke ok", "refresh ok", "change ok", "show ok", "state ok"} {
		if counts[must] == 0 {
			b.t.Errorf("the history has no %s: it proves nothing", must)
		}
	}
}

// TestPlantedBugs proves that the harness bites: each bug, planted in the source
// of one build, is found. It takes seconds on an idle machine.
func TestPlantedBugs(t *testing.T) {
	for name, test := range map[string]struct {
		cacheSize int
		patches   []curfewtest.Patch
		load      func(*Load, context.Context) // under which it shows
		rules     []string                     // any of them finds it
	}{
		"a late look-up overwrites what was revoked": {
			cacheSize: 16,
			patches: []curfewtest.Patch{
				// A look-up that is slow in coming back: harmless by itself.
				{File: "revocation/lookup.go", Old: "	answer, err := c.config.Source.RevokedBefore(ctx, key.user, key.session)\n", New: "	answer, err := c.config.Source.RevokedBefore(ctx, key.user, key.session)\n	time.Sleep(200 * time.Millisecond)\n"},
				{File: "revocation/lookup.go", Old: "	\"fmt\"\n", New: "	\"fmt\"\n	\"time\"\n"},
				{File: "revocation/lookup.go", Old: "	if f.detached {\n		return\n	}\n	delete", New: "	f.detached = false\n	delete"},
				{File: "revocation/lookup.go", Old: "max(user, a.User)", New: "max(0*user, a.User)"},
				{File: "revocation/lookup.go", Old: "max(session, a.Session)", New: "max(0*session, a.Session)"},
			},
			load:  (*Load).Race,
			rules: []string{"I1", "I3"},
		},
		"a session that began with the revocation is refused": {
			patches: []curfewtest.Patch{{File: "token/validator.go", Old: "	case s.Epoch < before:\n", New: "	case s.Epoch <= before:\n"}},
			load:    (*Load).Run,
			rules:   []string{"I2"},
		},
		"the others are woken before the commit": {
			patches: []curfewtest.Patch{
				{File: "internal/store/sqlstore/dialect.go", Old: `"pg_notify('" + notifyChannel + "', ?)::text"`, New: `"?"`},
				{File: "internal/store/sqlstore/update.go", Old: "	over = true\n	err = sqlTx.Commit()", New: "	over = true\n	if t.wake && s.d.engine == \"postgres\" {\n		_, _ = s.write.ExecContext(b.ctx, \"SELECT pg_notify('\"+notifyChannel+\"', 'early')\")\n		time.Sleep(20 * time.Millisecond)\n	}\n	err = sqlTx.Commit()"},
			},
			load:  (*Load).Calm,
			rules: []string{"I7"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			binary, err := curfewtest.Build(curfewtest.Module(), t.TempDir(), "curfew", test.patches...)
			if err != nil {
				t.Fatal(err)
			}
			b := setUp(t, binary, 1, test.cacheSize)
			if test.cacheSize > 0 {
				for i := range 40 { // more than the cache holds: it is partial from here on
					user := fmt.Sprintf("other%d", i)
					if _, o, why := b.cluster.Begin(b.cluster.Nodes[0], user); o != OK {
						t.Fatal(o, why)
					}
					if _, o, why := b.cluster.Revoke(b.cluster.Nodes[0], user, "", 0); o != OK {
						t.Fatal(o, why)
					}
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan struct{})
			go func() { defer close(done); test.load(b.load, ctx) }()
			looked := 0
			found := await.Holds(await.Limit, func() bool {
				n := len(b.record.Events())
				if n < looked+200 {
					return false // a check of a long history takes a while
				}
				looked = n
				return slices.ContainsFunc(Check(b.record.Events()), func(v Violation) bool { return slices.Contains(test.rules, v.Rule) })
			})
			cancel()
			<-done
			if !found {
				t.Errorf("not found within %v; the checker says %v", await.Limit, Check(b.record.Events()))
			}
		})
	}
}
