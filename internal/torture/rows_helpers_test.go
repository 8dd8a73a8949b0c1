//go:build torture

package torture

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/curfew/internal/curfewtest"

	"go.uber.org/goleak"

	"example.com/curfew/internal/await"
	"example.com/curfew/internal/store/pgtest"
	"example.com/curfew/internal/testnet"
)

// asShipped builds curfew as it is, once.
var asShipped = sync.OnceValues(func() (string, error) { return curfewtest.Build(curfewtest.Module(), builds, "curfew") })

// builds is where binaries are kept that several tests use.
var builds string

func TestMain(m *testing.M) {
	var err error
	if builds, err = os.MkdirTemp("", "curfew-torture-"); err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(builds) // it is a temporary directory
	if err := goleak.Find(); err != nil && code == 0 {
		os.Stderr.WriteString(err.Error() + "\n") // proxies, loads and followers end with their tests
		code = 1
	}
	os.Exit(code)
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func newCluster(t *testing.T, binary, database string) *Cluster {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	c := &Cluster{
		config: Config{Binary: binary, Dir: t.TempDir(), Database: database},
		http:   &http.Client{Timeout: await.Limit, Transport: transport},
	}
	if database == "" {
		c.config.Database = "sqlite:" + c.config.Dir + "/curfew.db"
	}
	t.Cleanup(c.Close)
	return c
}

// onPostgres returns a cluster without nodes yet, on a PostgreSQL of its own.
func onPostgres(t *testing.T, binary string) *Cluster {
	t.Helper()
	server := pgtest.Start(t, pgtest.Options{TCP: true})
	if err := server.CreateDatabase("curfew"); err != nil {
		t.Fatal(err)
	}
	return newCluster(t, binary, server.DSN("curfew"))
}

// node adds a node to the cluster and waits until it is ready. Of flags that are
// given twice, the last counts.
func (c *Cluster) node(t *testing.T, env []string, flags ...string) *Process {
	t.Helper()
	addr := must[string](t)(testnet.FreeAddress())
	p := &Process{
		Name: fmt.Sprintf("node%d", len(c.Nodes)+1), Addr: addr, binary: c.config.Binary, dir: c.config.Dir,
		args: append([]string{
			"serve", "--database", c.config.Database, "--issuer", "https://curfew.test", "--lease", Lease.String(),
			"--listen", addr, "--metrics-listen", "", "--log-level", "warn",
			"--max-sessions-per-user", "0", // some begin hundreds for one, and expect them to live
		}, flags...),
		env: append([]string{"CURFEW_KEY_ENCRYPTION_KEY=" + kek, "CURFEW_ADMIN_PASSWORD=" + adminPassword}, env...),
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	c.Nodes = append(c.Nodes, p)
	if err := c.ready(p); err != nil {
		t.Fatal(err)
	}
	if c.client.id == "" {
		if err := c.prepare(); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

const adminPassword = "a password for torture"

// session begins a session of a user, and fails the test if it does not begin.
func (c *Cluster) session(t *testing.T, at *Process, user string, rememberMe bool) string {
	t.Helper()
	status, body, err := c.call(http.MethodPost, at.Addr, "/v1/users/"+user+"/sessions", "", map[string]bool{"remember_me": rememberMe})
	if err != nil || status != http.StatusCreated {
		t.Fatalf("a session of %s at %s: %d %s %v", user, at.Name, status, body, err)
	}
	return tokenIn(body)
}

// verify asks a node about a token: the reason of a refusal, "" if it is valid.
func (c *Cluster) verify(at *Process, raw string) string {
	status, body, err := c.call(http.MethodGet, at.Addr, "/v1/verify", raw, nil)
	switch o, why := outcome(status, http.StatusOK, body, err); o {
	case OK:
		return ""
	case Refused:
		return why
	case Unavailable:
		return "unavailable"
	default:
		return fmt.Sprintf("no answer: %s", why)
	}
}

// wants fails the test unless a node says so of a token.
func (c *Cluster) wants(t *testing.T, what string, at *Process, raw, want string) {
	t.Helper()
	if got := c.verify(at, raw); got != want {
		t.Errorf("%s: %s says %q, want %q", what, at.Name, got, want)
	}
}

// comesTo fails the test unless a node says so of a token soon.
func (c *Cluster) comesTo(t *testing.T, what string, at *Process, raw, want string) {
	t.Helper()
	var got string
	if !await.Holds(await.Limit, func() bool { got = c.verify(at, raw); return got == want }) {
		t.Errorf("%s: %s says %q, want %q", what, at.Name, got, want)
	}
}

// revoked revokes the sessions of a user, and fails the test if that is not acknowledged.
func (c *Cluster) revoked(t *testing.T, at *Process, user string) Receipt {
	t.Helper()
	r, o, why := c.Revoke(at, user, "", 10*time.Second)
	if o != OK {
		t.Fatalf("revoking the sessions of %s at %s: %s %s", user, at.Name, o, why)
	}
	return r
}

// set changes the settings; false if it was not acknowledged.
func (c *Cluster) set(at *Process, s authentication) (bool, error) {
	_, tag, err := c.settings(at)
	if err != nil {
		return false, err
	}
	status, body, err := c.call(http.MethodPut, at.Addr, settingsPath, c.admin, s, "If-Match", tag)
	if err != nil || status != http.StatusOK {
		return false, fmt.Errorf("%d %s %w", status, body, err)
	}
	return true, nil
}

// part returns a part of a token, decoded; nil if it has none.
func part(raw string, i int) []byte {
	parts := strings.Split(raw, ".")
	if i >= len(parts) {
		return nil
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[i])
	if err != nil {
		return nil
	}
	return text
}

// pid returns the process's id, 0 while there is none.
func (p *Process) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}
