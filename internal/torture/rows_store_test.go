//go:build torture

package torture

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/curfew/internal/await"
	"example.com/curfew/internal/store/pgtest"
	"example.com/curfew/internal/testnet"
	"example.com/curfew/token"
	"example.com/curfew/token/follower"
)

const (
	faultLease = 4 * time.Second
	faultBound = faultLease + time.Second // and the margin: no check invoked later rests on what was read before
)

// TestStoreFaults takes the store away from two nodes: one has every revocation in
// memory, the other must look most of them up. Known tokens are validated until the
// lease ends; no token is refused as bad because the store is away; writes soon get
// an error; and when the store is back everything recovers by itself, without a
// backlog.
func TestStoreFaults(t *testing.T) {
	binary := must[string](t)(asShipped())
	refuse := func(w *faultTest) error {
		for _, l := range w.links {
			l.Set(testnet.Mode{Refuse: true})
			l.Reset()
		}
		return nil
	}
	set := func(m testnet.Mode) func(*faultTest) error {
		return func(w *faultTest) error {
			for _, l := range w.links {
				l.Set(m)
			}
			return nil
		}
	}
	for _, test := range []struct {
		name       string
		lasts      time.Duration
		begin, end func(*faultTest) error
		answers    bool // it answers, if late: things may work
	}{
		{
			name: "hanging", lasts: 15 * time.Second,
			begin: func(w *faultTest) error { return w.server.Pause() },
			end:   func(w *faultTest) error { return w.server.Resume() },
		},
		{
			name: "down", lasts: 8 * time.Second,
			begin: func(w *faultTest) error { return w.server.Stop(pgtest.Fast) },
			end:   func(w *faultTest) error { return w.server.Start() },
		},
		{name: "refusing", lasts: 8 * time.Second, begin: refuse, end: set(testnet.Pass)},
		{
			name: "500 ms slower per packet", lasts: 8 * time.Second, answers: true,
			begin: set(testnet.Mode{Delay: 500 * time.Millisecond}), end: set(testnet.Pass),
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newFaultTest(t, binary)
			before := w.usage()
			w.surelyTrusted()
			if err := test.begin(w); err != nil {
				t.Fatal(err)
			}
			w.began = time.Now()
			stop := w.load()
			during := w.watch(test.lasts, test.answers)
			w.mending.Store(true)
			w.ended = time.Now()
			if err := test.end(w); err != nil {
				t.Fatal(err)
			}
			mended := time.Now()
			if !await.Holds(await.Limit, func() bool { return w.Ready(w.Nodes[0]) && w.Ready(w.Nodes[1]) }) {
				t.Fatal("it is not ready again, long after the store is")
			}
			t.Logf("ready again after %v", time.Since(mended).Round(time.Millisecond))
			stop()
			w.checksWere(test.answers)
			w.wishesWere(test.answers)
			w.kept(test.answers)
			w.http.CloseIdleConnections()
			w.nothingPiledUp(before, during)
		})
	}
}

// faultTest is two nodes and a follower on a PostgreSQL by way of proxies.
type faultTest struct {
	*Cluster
	t        *testing.T
	server   *pgtest.Server
	links    []*testnet.Proxy
	metrics  []string
	follower *follower.Follower

	good, dead, refreshed string
	unseen                []string // tokens that were never shown

	machine      *Machine
	began, ended time.Time   // of the fault
	mending      atomic.Bool // it is ending

	// trusted is until when a validator's lease surely ran, as it said itself before
	// the fault.
	trusted map[string]time.Time

	mu      sync.Mutex
	checks  []faultCheck
	wishes  []faultWish
	victims map[string]string // by user: a token to revoke
}

// faultCheck is what a validator said of a token.
type faultCheck struct {
	who, what string
	invoked   time.Time
	took      time.Duration
	said      string
}

// faultWish is a change that a client asked the store to keep.
type faultWish struct {
	kind, user, token string
	invoked           time.Time
	took              time.Duration
	status            int
}

func newFaultTest(t *testing.T, binary string) *faultTest {
	server := pgtest.Start(t, pgtest.Options{TCP: true})
	if err := server.CreateDatabase("curfew"); err != nil {
		t.Fatal(err)
	}
	w := &faultTest{Cluster: newCluster(t, binary, server.DSN("curfew")), t: t, server: server, victims: map[string]string{}, machine: watchMachine(t)}
	for _, cache := range []string{"100000", "16"} {
		link := must[*testnet.Proxy](t)(testnet.NewProxy(server.Addr()))
		t.Cleanup(link.Close)
		w.links = append(w.links, link)
		w.metrics = append(w.metrics, must[string](t)(testnet.FreeAddress()))
		w.node(t, nil, "--database", server.DSNVia(link.Addr(), "curfew"), "--lease", faultLease.String(),
			"--revocation-cache", cache, "--metrics-listen", w.metrics[len(w.metrics)-1])
	}
	knows := w.Nodes[0]
	w.dead = w.session(t, knows, "dead", true)
	w.revoked(t, knows, "dead")
	for i := range 40 { // more than the second can remember
		user := fmt.Sprintf("other%d", i)
		w.session(t, knows, user, true)
		w.revoked(t, knows, user)
	}
	w.good, w.refreshed = w.session(t, knows, "good", true), w.session(t, knows, "refreshed", true)
	for i := range 30 {
		w.unseen = append(w.unseen, w.session(t, knows, fmt.Sprintf("unseen%d", i), true))
		user := fmt.Sprintf("victim%d", i)
		w.victims[user] = w.session(t, knows, user, true)
	}
	var err error
	if w.follower, err = follower.Open(t.Context(), follower.Config{
		Server: "http://" + knows.Addr, ClientID: w.client.id, ClientSecret: w.client.secret, Audience: "https://curfew.test",
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.follower.Close() }) // nothing is kept
	for _, n := range w.Nodes {
		w.wants(t, "before", n, w.good, "")
		w.wants(t, "before", n, w.dead, "revoked")
	}
	return w
}

// surelyTrusted waits until every validator has most of its lease left, and takes
// down how much that is.
func (w *faultTest) surelyTrusted() {
	w.t.Helper()
	left := map[string]func() time.Duration{"the follower": func() time.Duration { return w.follower.Status().LeaseLeft }}
	for i, n := range w.Nodes {
		left[n.Name] = func() time.Duration {
			return time.Duration(metric(w.t, w.metrics[i], "curfew_view_lease_seconds") * float64(time.Second))
		}
	}
	await.Until(w.t, "every validator has more than half of its lease left", func() bool {
		w.trusted = map[string]time.Time{}
		for who, left := range left {
			asked := time.Now()
			if w.trusted[who] = asked.Add(left()); time.Until(w.trusted[who]) < faultLease/2 {
				return false
			}
		}
		return true
	})
}

// The load: so many want something stored at each node at a time, several times as
// many as a node has connections to the store.
const (
	workersOfAKind = 20
	workersOfANode = 3*workersOfAKind + 1
	// clientsOfANode are these and those who ask about tokens.
	clientsOfANode = workersOfANode + 4
)

// load wants things stored, from many at once, and asks about tokens, until stop is
// called.
func (w *faultTest) load() (stop func()) {
	done := make(chan struct{})
	var working sync.WaitGroup
	every := func(d time.Duration, do func(i int)) {
		working.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				case <-time.After(d):
					do(i)
				}
			}
		})
	}
	var users []string
	for user := range w.victims {
		users = append(users, user)
	}
	slices.Sort(users)
	for n, node := range w.Nodes {
		for what, raw := range map[string]string{"good": w.good, "dead": w.dead} {
			every(30*time.Millisecond, func(int) { w.ask(node.Name, what, func() string { return w.verify(node, raw) }) })
		}
		// Only once each: from then on it is remembered.
		every(50*time.Millisecond, func(i int) {
			if i < len(w.unseen) {
				w.ask(node.Name, "unseen", func() string { return w.verify(node, w.unseen[i]) })
			}
		})
		wish := func(kind string, workers int, ask func(i int) (user, method, path, bearer string, body any)) {
			for worker := range workers {
				every(500*time.Millisecond, func(i int) {
					user, method, path, bearer, body := ask(workers*i + worker)
					w.wish(kind, user, node, method, path, bearer, body)
				})
			}
		}
		wish("sign-in by a client", workersOfAKind, func(i int) (user, method, path, bearer string, body any) {
			user = fmt.Sprintf("newcomer%d-%d", n, i)
			return user, http.MethodPost, "/v1/users/" + user + "/sessions", "", map[string]bool{"remember_me": true}
		})
		wish("sign-in", 1, func(int) (user, method, path, bearer string, body any) {
			return "", http.MethodPost, "/v1/sessions", "nobody", map[string]any{"username": "admin", "password": adminPassword, "remember_me": true}
		})
		wish("refresh", workersOfAKind, func(int) (user, method, path, bearer string, body any) {
			return "", http.MethodPost, "/v1/session/refresh", w.refreshed, nil
		})
		wish("revocation", workersOfAKind, func(i int) (user, method, path, bearer string, body any) {
			user = users[i%20]
			if w.mending.Load() { // others: what was refused before is not to happen now
				user = users[20+i%10]
			}
			return user, http.MethodPost, "/v1/users/" + user + "/revocations", w.admin, map[string]string{"reason": "a fault"}
		})
	}
	every(30*time.Millisecond, func(int) {
		w.ask("the follower", "good", func() string {
			_, err := w.follower.Validator().Validate(w.t.Context(), w.good)
			if errors.Is(err, token.ErrUnavailable) {
				return "unavailable"
			}
			return string(token.ReasonOf(err))
		})
	})
	stop = sync.OnceFunc(func() {
		close(done)
		working.Wait()
	})
	w.t.Cleanup(stop)
	return stop
}

func (w *faultTest) ask(who, what string, ask func() string) {
	c := faultCheck{who: who, what: what, invoked: time.Now()}
	c.said = ask()
	c.took = time.Since(c.invoked)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.checks = append(w.checks, c)
}

func (w *faultTest) wish(kind, user string, node *Process, method, path, bearer string, body any) {
	wish := faultWish{kind: kind, user: user, invoked: time.Now()}
	status, answer, err := w.call(method, node.Addr, path, bearer, body)
	wish.took, wish.status, wish.token = time.Since(wish.invoked), status, tokenIn(answer)
	if err != nil {
		w.t.Errorf("%s at %s was not answered: %v", kind, node.Name, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wishes = append(w.wishes, wish)
}
