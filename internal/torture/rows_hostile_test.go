//go:build torture

package torture

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/curfew/internal/await"
)

// residentMiB returns how much memory a process holds.
func residentMiB(t *testing.T, p *Process) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	for line := range strings.SplitSeq(string(text), "\n") {
		var kB int
		if n, err := fmt.Sscanf(line, "VmRSS: %d kB", &kB); n == 1 && err == nil {
			return kB >> 10
		}
	}
	t.Errorf("the process does not say how much memory it holds: %v", err)
	return 0
}

// endless is a body of n times the same byte.
func endless(b byte, n int64) io.Reader { return io.LimitReader(repeated(b), n) }

// repeatedText is a text n times over.
func repeatedText(text string, n int) io.Reader { return strings.NewReader(strings.Repeat(text, n)) }

type repeated byte

func (b repeated) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(b)
	}
	return len(p), nil
}

// Requests that are too long, too deep or too slow are refused or cut off. They
// cost the server no more than 50 MiB at any time, and no other client an answer.
func TestHostileClientsCostLittle(t *testing.T) {
	c := newCluster(t, must[string](t)(asShipped()), "")
	node := c.node(t, nil)
	raw := c.session(t, node, "existing", true)
	for range 500 { // it has worked for a while
		c.wants(t, "before", node, raw, "")
	}
	const head = " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer "
	post := func(path string, length int64) string {
		return fmt.Sprintf("POST %s%s%s\r\nContent-Length: %d\r\n\r\n", path, head, c.admin, length)
	}
	machine := watchMachine(t)
	before := residentMiB(t, node)
	most := before
	t.Logf("%-40s %d MiB", "before", before)

	for _, test := range []struct {
		name    string
		clients int
		send    func() io.Reader
		hold    bool // instead of reading the answer, wait
		want    []string
	}{
		{"10 MiB of body", 40, func() io.Reader {
			return io.MultiReader(strings.NewReader(post("/v1/sessions", 10<<20)), endless('[', 10<<20))
		}, false, []string{"413", ""}},
		{"10 MiB of body where 2 may be", 40, func() io.Reader {
			return io.MultiReader(strings.NewReader(post("/v1/revocations", 10<<20)), endless('[', 10<<20))
		}, false, []string{"413", ""}},
		{"10 MiB in chunks", 40, func() io.Reader {
			return io.MultiReader(strings.NewReader("POST /v1/sessions"+head+c.admin+"\r\nTransfer-Encoding: chunked\r\n\r\na00000\r\n"), endless(' ', 10<<20))
		}, false, []string{"413", ""}},
		{"JSON 100 000 deep", 100, func() io.Reader {
			return io.MultiReader(strings.NewReader(post("/v1/revocations", 200_000)), endless('[', 100_000), endless(']', 100_000))
		}, false, []string{"400"}},
		{"JSON 100 000 deep that never closes", 100, func() io.Reader {
			return io.MultiReader(strings.NewReader(post("/v1/revocations", 100_000)), endless('[', 100_000))
		}, false, []string{"400"}},
		{"1 GiB announced", 200, func() io.Reader { return strings.NewReader(post("/v1/sessions", 1<<30) + "{") }, false, []string{"413"}},
		{"2 MiB of headers", 100, func() io.Reader {
			return io.MultiReader(strings.NewReader("GET /v1/session"+head), endless('a', 2<<20))
		}, false, []string{"431", ""}},
		{"5 000 cookies", 100, func() io.Reader {
			return io.MultiReader(strings.NewReader("GET /v1/verify"+head), repeatedText("\r\nCookie: a=b", 5000), strings.NewReader("\r\n\r\n"))
		}, false, []string{"431", ""}},
		// They are short enough to be read, and too many to be looked at.
		{"5 000 cookies in one line", 100, func() io.Reader {
			return io.MultiReader(strings.NewReader("GET /v1/verify HTTP/1.1\r\nHost: x\r\nCookie: __Host-curfew_session="+raw), repeatedText(";a=b", 5000), strings.NewReader("\r\n\r\n"))
		}, false, []string{"401"}},
		{"headers a little at a time", 300, func() io.Reader { return strings.NewReader("GET /v1/session HTTP/1.1\r\nHost: x\r\nX-S") }, true, nil},
		{"bodies a little at a time", 300, func() io.Reader { return strings.NewReader(post("/v1/revocations", 1<<20) + `{"scope":"us`) }, true, nil},
		{"answers that the client does not read", 100, func() io.Reader {
			return strings.NewReader(strings.Repeat("GET /openapi.yaml HTTP/1.1\r\nHost: x\r\n\r\n", 300))
		}, true, nil},
	} {
		done, held := make(chan struct{}), make(chan struct{})
		var checking sync.WaitGroup
		var holding, looks atomic.Int64 // looks: while all that hold do
		var longest time.Duration
		checking.Go(func() {
			for {
				select {
				case <-done:
					return
				case <-time.After(10 * time.Millisecond):
				}
				began := time.Now()
				if got := c.verify(node, raw); got != "" {
					t.Errorf("%s: others get %q", test.name, got)
					looks.Store(enoughLooks)
					return
				}
				longest = max(longest, time.Since(began))
				most = max(most, residentMiB(t, node))
				if holding.Load() == int64(test.clients) {
					looks.Add(1)
				}
			}
		})
		if test.hold {
			checking.Go(func() {
				await.Until(quiet{t}, "others were answered while all connections were held", func() bool { return looks.Load() >= enoughLooks })
				close(held)
			})
		}
		var clients sync.WaitGroup
		for range test.clients {
			clients.Go(func() {
				got, err := converse(node.Addr, test.send(), test.hold, func() { holding.Add(1); <-held })
				if err != nil {
					t.Errorf("%s: %v", test.name, err)
				} else if !test.hold && !slices.Contains(test.want, got) {
					t.Errorf("%s: answered %q, want one of %q", test.name, got, test.want)
				}
			})
		}
		clients.Wait()
		close(done)
		checking.Wait()
		if bound := machine.allows(time.Second); longest > bound {
			t.Errorf("%s: others wait for %v; the bound is %v", test.name, longest, bound)
		}
		t.Logf("%-40s %d MiB, at most %d", test.name, residentMiB(t, node), most)
	}
	if most > before+50 {
		t.Errorf("it held %d MiB before, and up to %d MiB", before, most)
	}
	status, _, err := c.call(http.MethodGet, node.Addr, "/readyz", "", nil)
	if err != nil || status != http.StatusOK {
		t.Errorf("in the end it is not ready: %d %v", status, err)
	}
}

// enoughLooks is how often a server's memory is read while connections are held.
const enoughLooks = 50

// quiet is a test that may be failed by any goroutine.
type quiet struct{ *testing.T }

func (q quiet) Fatalf(format string, args ...any) { q.Errorf(format, args...) }

// converse sends bytes, and returns the status of the answer, "" if the connection
// was closed without one; or, to hold, it reads nothing and stays until stay returns.
func converse(addr string, send io.Reader, hold bool, stay func()) (status string, err error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(await.Limit)); err != nil {
		return "", err
	}
	if hold {
		if err := conn.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
			return "", err
		}
		_, _ = io.Copy(conn, send) // it may be cut off, or stand still
		stay()
		return "", nil
	}
	go func() { _, _ = io.Copy(conn, send) }() // ends with the connection
	line, err := bufio.NewReader(conn).ReadString('\n')
	if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
		return "", fmt.Errorf("neither an answer nor an end: %w", err)
	}
	if words := strings.Fields(line); len(words) > 1 {
		return words[1], nil
	}
	return "", nil
}
