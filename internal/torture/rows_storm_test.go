//go:build torture

package torture

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/curfew/internal/await"
	"example.com/curfew/internal/curfewtest"
	"example.com/curfew/internal/testnet"
)

// A storm is many requests at one moment, each on a connection of its own: none
// waits in a client's pool until the server has time.
type storm struct {
	addr     string
	requests []string
	// kept is how many of the connections are old ones, as proxies and browsers
	// keep them: they have asked before, and all that they do now is ask. The others
	// are opened for this.
	kept int
}

// opening is how many connections may be opened at a time. The rest waits for a
// turn, and not with a connection that asks nothing: that would be another attack.
const opening = 128

// sendAll sends all requests and returns the answers; if a request failed, the status
// is 0 and the body is the error.
func (s storm) sendAll(t *testing.T) []attempt {
	t.Helper()
	conns := make([]net.Conn, len(s.requests))
	turns := make(chan struct{}, opening)
	var old sync.WaitGroup
	for i := range s.kept {
		turns <- struct{}{}
		old.Go(func() {
			defer func() { <-turns }()
			conn, err := net.Dial("tcp", s.addr)
			if err != nil {
				t.Error(err)
				return
			}
			if got := asks(conn, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"); got.status != http.StatusOK {
				t.Errorf("a first request: %d %s", got.status, got.body)
			}
			conns[i] = conn
		})
	}
	old.Wait()
	answers := make([]attempt, len(s.requests))
	var work sync.WaitGroup
	for i, request := range s.requests {
		work.Go(func() {
			conn := conns[i]
			if conn == nil {
				turns <- struct{}{}
				var err error
				if conn, err = net.DialTimeout("tcp", s.addr, await.Limit); err != nil {
					<-turns
					answers[i].body = err.Error()
					return
				}
				<-turns
			}
			defer conn.Close()
			answers[i] = asks(conn, request)
		})
	}
	work.Wait()
	return answers
}

// asks makes a request and reads the answer.
func asks(conn net.Conn, request string) attempt {
	began := time.Now()
	fail := func(err error) attempt {
		return attempt{body: fmt.Sprintf("after %v: %v", time.Since(began), err)}
	}
	if err := conn.SetDeadline(began.Add(await.Limit)); err != nil {
		return fail(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		return fail(err)
	}
	resp, err := http.ReadResponse(bufio.NewReaderSize(conn, 1024), nil)
	if err != nil {
		return fail(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return fail(err)
	}
	return attempt{resp.StatusCode, string(text), resp.Header, time.Since(began)}
}

// beside checks a session again and again, until the function that it returns is
// called, which returns how long the checks took.
func beside(t *testing.T, c *Cluster, node *Process, raw string) (end func() (checks []time.Duration)) {
	t.Helper()
	done := make(chan struct{})
	var checks []time.Duration
	var checking sync.WaitGroup
	checking.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(2 * time.Millisecond):
			}
			began := time.Now()
			if got := c.verify(node, raw); got != "" {
				t.Errorf("a check beside all this: %q", got)
				return
			}
			checks = append(checks, time.Since(began))
		}
	})
	return func() []time.Duration {
		close(done)
		checking.Wait()
		return checks
	}
}

// doingNothing starts a server that refuses everything at once.
func doingNothing(t *testing.T, c *Cluster) *Process {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "nothing")
	build := exec.Command("go", "build", "-o", binary, "./internal/torture/cmd/nothing")
	build.Dir = curfewtest.Module()
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	addr := must[string](t)(testnet.FreeAddress())
	p := &Process{Name: "nothing", Addr: addr, binary: binary, args: []string{addr}, env: []string{"GOMAXPROCS=2"}}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	if err := c.ready(p); err != nil {
		t.Fatal(err)
	}
	return p
}

// machineIn returns what the machine and the client take for a storm and for the
// checks beside it, where the server does nothing.
func (s storm) machineIn(t *testing.T, c *Cluster, nothing *Process) (slowest, check time.Duration) {
	t.Helper()
	end := beside(t, c, nothing, "any")
	s.addr = nothing.Addr
	answers := s.sendAll(t)
	for _, a := range answers {
		if slowest = max(slowest, a.took); a.status != http.StatusServiceUnavailable {
			t.Fatalf("a server that does nothing: %d %s", a.status, a.body)
		}
	}
	return slowest, p99(end())
}

// maxHashed looks at a node's metrics until the function that it returns is
// called, which returns the most passwords that it has seen being hashed, and
// waiting, at a time.
func maxHashed(t *testing.T, c *Cluster, addr string) (end func() (running, waiting, looks int)) {
	t.Helper()
	done := make(chan struct{})
	var running, waiting, looks int
	var looking sync.WaitGroup
	looking.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(20 * time.Millisecond):
			}
			status, text, err := c.call(http.MethodGet, addr, "/metrics", "", nil)
			if err != nil || status != http.StatusOK {
				t.Errorf("the metrics: %d %v", status, err)
				return
			}
			running = max(running, gauge(t, string(text), "curfew_password_hashes_running"))
			waiting = max(waiting, gauge(t, string(text), "curfew_password_hashes_waiting"))
			looks++
		}
	})
	return func() (int, int, int) {
		close(done)
		looking.Wait()
		return running, waiting, looks
	}
}

func gauge(t *testing.T, metrics, name string) int {
	t.Helper()
	for line := range strings.SplitSeq(metrics, "\n") {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			n, err := strconv.Atoi(value)
			if err != nil {
				t.Error(err)
			}
			return n
		}
	}
	t.Errorf("no metric %s", name)
	return 0
}

// 10 000 sign-ins at once, each on a connection of its own: the server hashes as
// many passwords at a time as the limit allows, and lets as many wait as its queue
// holds; it tells the rest at once to try again, and cuts off no connection.
// Existing sessions go on, and there is a session for every successful answer, and
// no other.
//
// What "at once" means depends on the machine. The same storm hits a server that does
// nothing, before and after: a refusal of Curfew's may take a small multiple of what
// the slowest answer took there. A refusal that waited for passwords to be hashed
// would take hundreds of times as long.
func TestSignInsAtOnce(t *testing.T) {
	const accounts, tries = 20, 10_000
	const running, waiting = 1, 32 // on two processors, one of which is left to others
	metrics := must[string](t)(testnet.FreeAddress())
	c, node, ids := behindProxy(t, []string{"GOMAXPROCS=2"}, accounts, "--metrics-listen", metrics)
	existing := c.session(t, node, "existing", true)
	s := storm{addr: node.Addr, kept: tries / 2}
	for i := range tries {
		body, err := json.Marshal(map[string]string{"username": accountName(i % accounts), "password": adminPassword})
		if err != nil {
			t.Fatal(err)
		}
		s.requests = append(s.requests, fmt.Sprintf("POST /v1/sessions HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 198.51.%d.%d\r\n"+
			"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", i/200, i%200+1, len(body), body))
	}
	nothing := doingNothing(t, c)
	machineRefusal, machineCheck := s.machineIn(t, c, nothing)
	before := residentMiB(t, node)
	endChecks, endHashes := beside(t, c, node, existing), maxHashed(t, c, metrics)
	began := time.Now()
	answers := s.sendAll(t)
	took := time.Since(began)
	checks := endChecks()
	hashed, queued, looks := endHashes()
	afterRefusal, afterCheck := s.machineIn(t, c, nothing)
	machineRefusal, machineCheck = max(machineRefusal, afterRefusal), max(machineCheck, afterCheck)

	counts := map[int]int{}
	var refusals []time.Duration
	for _, a := range answers {
		counts[a.status]++
		switch a.status {
		case http.StatusCreated:
		case http.StatusTooManyRequests, http.StatusServiceUnavailable:
			refusals = append(refusals, a.took)
			if n, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || n < 1 {
				t.Errorf("a refusal says Retry-After: %q", a.header.Get("Retry-After"))
			}
		default:
			if counts[a.status] <= 5 { // one says as much as thousands
				t.Errorf("status %d: %s", a.status, a.body)
			}
		}
	}
	if len(checks) < 20 || looks < 5 || counts[http.StatusCreated] == 0 || len(refusals) < tries/2 {
		t.Fatalf("%d checks, %d looks at the queue; answers %v: this proves nothing", len(checks), looks, counts)
	}
	t.Logf("answers %v in %v; refusals: median %v, slowest %v", counts, took, median(refusals), p100(refusals))
	t.Logf("%d checks, p99 %v", len(checks), p99(checks))
	t.Logf("a server that does nothing: slowest refusal %v, p99 of the checks %v", machineRefusal, machineCheck)
	t.Logf("at most %d hashed, %d waited; memory %d MiB before, %d after", hashed, queued, before, residentMiB(t, node))
	if slowest, bound := p100(refusals), time.Second+slower*machineRefusal; slowest > bound {
		t.Errorf("a refusal took %v; the bound is %v", slowest, bound)
	}
	if got, bound := p99(checks), 50*time.Millisecond+slower*machineCheck; got > bound {
		t.Errorf("the p99 of the checks is %v; the bound is %v", got, bound)
	}
	if hashed > running || queued > waiting+running { // the two numbers are not read at one instant
		t.Errorf("%d passwords were hashed at a time and %d waited, want at most %d and %d", hashed, queued, running, waiting)
	}
	sessions := 0
	for _, id := range ids {
		status, list, err := c.call(http.MethodGet, node.Addr, "/v1/users/"+id+"/sessions?limit=500", c.admin, nil)
		if err != nil || status != http.StatusOK {
			t.Fatalf("%d %s %v", status, list, err)
		}
		sessions += len(sessionIDs(list))
	}
	if sessions != counts[http.StatusCreated] {
		t.Errorf("%d sessions for %d answers that said so", sessions, counts[http.StatusCreated])
	}
}
