//go:build interop

package interop

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"example.com/curfew/internal/await"
	"example.com/curfew/internal/curfewtest"
	"example.com/curfew/internal/store/pgtest"
	"example.com/curfew/internal/testnet"
)

// nodeProcess is one of two nodes, which is restarted at the same address.
type nodeProcess struct {
	t    *testing.T
	addr string
	args []string
	cmd  *exec.Cmd
	log  curfewtest.Output
}

func (n *nodeProcess) start() {
	n.t.Helper()
	n.cmd = exec.Command(binary, append([]string{"serve", "--listen", n.addr}, n.args...)...)
	n.cmd.Env = append(n.cmd.Environ(), "CURFEW_ADMIN_PASSWORD="+password, "CURFEW_KEY_ENCRYPTION_KEY=a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=")
	n.cmd.Stdout, n.cmd.Stderr = &n.log, &n.log
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := n.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
}

func (n *nodeProcess) stop() error {
	if err := n.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return n.cmd.Wait()
}

// Two nodes behind HAProxy are restarted in turn, twenty times, under load and
// without retries: no request fails.
func TestRollingRestart(t *testing.T) {
	const restarts = 20
	pg := pgtest.Start(t, pgtest.Options{})
	front := testnet.Address(t)
	config := "defaults\n    mode http\n    timeout connect 5s\n    timeout client 30s\n    timeout server 30s\n    timeout check 10s\n    retries 0\n" +
		"frontend web\n    bind " + front + "\n    http-response set-header X-Node %s\n    default_backend nodes\n" +
		"backend nodes\n    balance roundrobin\n    option httpchk GET /readyz\n    default-server check inter 300ms fall 2 rise 1\n"
	var nodes []*nodeProcess
	for i := range 2 {
		n := &nodeProcess{t: t, addr: testnet.Address(t), args: []string{
			"--metrics-listen", "", "--issuer", "http://" + front, "--database", pg.DSN("postgres"), "--shutdown-delay", "3s", "--log-level", "warn",
		}}
		config += fmt.Sprintf("    server n%d %s\n", i, n.addr)
		nodes = append(nodes, n)
		n.start()
		t.Cleanup(func() {
			_ = n.cmd.Process.Kill()
			_ = n.cmd.Wait()
			if t.Failed() {
				t.Log(n.log.String())
			}
		})
		waitFor(t, "a node", func() bool { return status(t, "http://"+n.addr+"/readyz", "") == http.StatusOK })
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "main.cfg"), config)
	spawn(t, exec.Command(find(t, "haproxy"), "-db", "-f", filepath.Join(dir, "main.cfg")))
	waitFor(t, "the proxy", func() bool { return status(t, "http://"+front+"/readyz", "") == http.StatusOK })

	var answer struct{ Token string }
	resp, err := http.Post("http://"+front+"/v1/sessions", "application/json", strings.NewReader(fmt.Sprintf(`{"username":%q,"password":%q}`, userName, password)))
	if err != nil {
		t.Fatal(err)
	}
	err = json.NewDecoder(resp.Body).Decode(&answer)
	resp.Body.Close()
	if err != nil {
		t.Fatal(err)
	}
	var asked, failed atomic.Int64
	var answered [2]atomic.Int64 // by each node
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var load sync.WaitGroup
	for range 4 {
		load.Go(func() { // ends with ctx
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for ctx.Err() == nil {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+front+"/v1/verify", http.NoBody)
				if err != nil {
					t.Error(err)
					return
				}
				r.Header.Set("Authorization", "Bearer "+answer.Token)
				resp, err := client.Do(r)
				asked.Add(1)
				if err != nil {
					failed.Add(1)
					t.Errorf("a request failed: %v", err)
					continue
				}
				body, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				switch {
				case resp.StatusCode != http.StatusOK:
					failed.Add(1)
					t.Errorf("a request got %d from %q: %s", resp.StatusCode, resp.Header.Get("X-Node"), body)
				case resp.Header.Get("X-Node") == "n0":
					answered[0].Add(1)
				default:
					answered[1].Add(1)
				}
			}
		})
	}
	for i := range restarts {
		n := nodes[i%2]
		if err := n.stop(); err != nil {
			t.Errorf("restart %d: ended with %v", i, err)
		}
		n.start()
		waitFor(t, "the node", func() bool { return status(t, "http://"+n.addr+"/readyz", "") == http.StatusOK })
		// The other may go when HAProxy has seen that this one is back.
		before := answered[i%2].Load()
		await.Until(t, "requests to the node", func() bool { return answered[i%2].Load() > before })
	}
	stop()
	load.Wait()
	t.Logf("%d restarts, %d requests, %d failed", restarts, asked.Load(), failed.Load())
	if asked.Load() < 1000 {
		t.Errorf("%d requests are too few to tell", asked.Load())
	}
}
