package torture

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"time"

	"example.com/curfew/internal/await"
	"example.com/curfew/internal/testnet"
	"example.com/curfew/token"
	"example.com/curfew/token/follower"
)

// Lease is the nodes' lease in a run: the shortest there is, since much of a run
// is waiting for leases to end.
const Lease = 2 * time.Second

// kek seals the signing keys of databases that live as long as a run.
const kek = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

// Config lists the parts of a cluster.
type Config struct {
	Binary string
	Dir    string
	// Database is the store, by way of nothing; Link returns its address by way of
	// a proxy that listens at an address. Where there is no Link, nothing stands
	// between a node and its store: that is a file.
	Database string
	Link     func(proxy string) string
	Store    string // address of the store, if there is a Link
	Nodes    int
	Edges    int // each follows the first node
	// Followers run in this process: they follow all nodes and, where there are
	// edges, the last follows an edge.
	Followers int
	// CacheSize is the size of the nodes' revocation caches; 0 for the default.
	CacheSize int
}

// Cluster is a store, nodes, edges and followers, with a proxy wherever one talks
// to another.
type Cluster struct {
	config    Config
	Nodes     []*Process
	StoreLink []*testnet.Proxy // of each node to the store
	Edges     []*Process
	EdgeLink  []*testnet.Proxy // of each edge to the first node
	followers []*follower.Follower
	FollowTo  []*testnet.Proxy // of each follower to its server

	client struct{ id, secret string }
	admin  string // a token of the account admin
	http   *http.Client
}

// Start starts everything and waits until it is ready.
func Start(ctx context.Context, config Config) (c *Cluster, err error) {
	c = &Cluster{config: config, http: &http.Client{
		Timeout:   4 * time.Second,
		Transport: &http.Transport{MaxIdleConnsPerHost: 64},
	}}
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	for i := range config.Nodes {
		database := config.Database
		if config.Link != nil {
			link, err := testnet.NewProxy(config.Store)
			if err != nil {
				return c, err
			}
			c.StoreLink = append(c.StoreLink, link)
			database = config.Link(link.Addr())
		}
		args := []string{
			"serve", "--database", database, "--issuer", "https://curfew.test", "--lease", Lease.String(),
			"--max-sessions-per-user", "0", // a long run begins more, and expects them to live
		}
		if config.CacheSize > 0 {
			args = append(args, "--revocation-cache", fmt.Sprint(config.CacheSize))
		}
		p, err := c.process(fmt.Sprintf("node%d", i+1), args...)
		if err != nil {
			return c, err
		}
		c.Nodes = append(c.Nodes, p)
		if err := c.ready(p); err != nil { // one by one: the first makes the schema
			return c, err
		}
	}
	if err := c.prepare(); err != nil {
		return c, err
	}
	for i := range config.Edges {
		link, err := testnet.NewProxy(c.Nodes[0].Addr)
		if err != nil {
			return c, err
		}
		c.EdgeLink = append(c.EdgeLink, link)
		p, err := c.process(fmt.Sprintf("edge%d", i+1), "edge", "--upstream", "http://"+link.Addr(), "--client-id", c.client.id)
		if err != nil {
			return c, err
		}
		c.Edges = append(c.Edges, p)
		if err := c.ready(p); err != nil {
			return c, err
		}
	}
	for i := range config.Followers {
		to := c.Nodes[i%len(c.Nodes)]
		if i == config.Followers-1 && len(c.Edges) > 0 {
			to = c.Edges[0]
		}
		link, err := testnet.NewProxy(to.Addr)
		if err != nil {
			return c, err
		}
		c.FollowTo = append(c.FollowTo, link)
		f, err := follower.Open(ctx, follower.Config{
			Server: "http://" + link.Addr(), ClientID: c.client.id, ClientSecret: c.client.secret, Audience: "https://curfew.test",
		})
		if err != nil {
			return c, err
		}
		c.followers = append(c.followers, f)
	}
	return c, nil
}

func (c *Cluster) process(name string, args ...string) (*Process, error) {
	addr, err := testnet.FreeAddress()
	if err != nil {
		return nil, err
	}
	p := &Process{
		Name: name, Addr: addr, binary: c.config.Binary, dir: c.config.Dir,
		args: append(args, "--listen", addr, "--metrics-listen", "", "--log-level", "warn", "--shutdown-delay", "0"),
		env:  []string{"CURFEW_KEY_ENCRYPTION_KEY=" + kek, "CURFEW_ADMIN_PASSWORD=a password for torture", "CURFEW_CLIENT_SECRET=" + c.client.secret},
	}
	return p, p.Start()
}

func (c *Cluster) ready(p *Process) error {
	if !await.Holds(await.Limit, func() bool { return c.Ready(p) }) {
		p.Kill()
		return fmt.Errorf("%s is not ready after %v; it printed:\n%s", p.Name, await.Limit, p.Log())
	}
	return nil
}

// Ready asks a process whether it is.
func (c *Cluster) Ready(p *Process) bool {
	status, _, err := c.call(http.MethodGet, p.Addr, "/readyz", "", nil)
	return err == nil && status == http.StatusOK
}

// prepare makes a service client and a session of the administrator.
func (c *Cluster) prepare() error {
	out, err := c.curfew("client", "add", "torture", "--can", "issue", "--can", "follow", "--can", "introspect", "--json")
	if err != nil {
		return err
	}
	var made struct{ ID, Secret string }
	if err := json.Unmarshal(out, &made); err != nil {
		return err
	}
	c.client.id, c.client.secret = made.ID, made.Secret
	c.admin, err = c.signIn()
	return err
}

// signIn begins a session of the administrator.
func (c *Cluster) signIn() (string, error) {
	out, err := c.curfew("token", "issue", "admin", "--remember-me")
	return strings.TrimSpace(string(out)), err
}

// curfew runs a command on the database itself.
func (c *Cluster) curfew(args ...string) ([]byte, error) {
	cmd := exec.Command(c.config.Binary, append(args, "--database", c.config.Database)...)
	cmd.Dir = c.config.Dir
	cmd.Env = append(cmd.Environ(), "CURFEW_KEY_ENCRYPTION_KEY="+kek)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("curfew %s: %w: %s", strings.Join(args, " "), err, errs.Bytes())
	}
	return out.Bytes(), nil
}

// Close ends everything.
func (c *Cluster) Close() {
	for _, f := range c.followers {
		_ = f.Close() // nothing is kept
	}
	for _, p := range append(append([]*Process(nil), c.Edges...), c.Nodes...) {
		p.Kill()
	}
	for _, links := range [][]*testnet.Proxy{c.FollowTo, c.EdgeLink, c.StoreLink} {
		for _, p := range links {
			p.Close()
		}
	}
	c.http.CloseIdleConnections()
}

// call makes a request; bearer "" means the client's own credentials.
func (c *Cluster) call(method, addr, path, bearer string, body any, header ...string) (int, []byte, error) {
	resp, answer, err := c.ask(method, addr, path, bearer, body, header...)
	if err != nil {
		return 0, nil, err
	}
	return resp.StatusCode, answer, nil
}

// ask is call with the whole response, whose body has been read.
func (c *Cluster) ask(method, addr, path, bearer string, body any, header ...string) (*http.Response, []byte, error) {
	text := []byte(nil)
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return nil, nil, err
		}
	}
	req, err := http.NewRequest(method, "http://"+addr+path, bytes.NewReader(text))
	if err != nil {
		return nil, nil, err
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	} else {
		req.SetBasicAuth(c.client.id, c.client.secret)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp, answer, err
}

// outcome reads an answer; good is the status that means success.
func outcome(status, good int, body []byte, err error) (Outcome, string) {
	var problem struct {
		Code string `json:"code"`
	}
	switch {
	case err != nil:
		return Unknown, err.Error()
	case status == good:
		return OK, ""
	case json.Unmarshal(body, &problem) == nil && status == http.StatusUnauthorized:
		return Refused, problem.Code
	case status == http.StatusServiceUnavailable:
		return Unavailable, problem.Code
	}
	return Unknown, fmt.Sprintf("status %d: %s", status, body)
}

// Begin begins a session of a user.
func (c *Cluster) Begin(at *Process, user string) (raw string, o Outcome, why string) {
	status, body, err := c.call(http.MethodPost, at.Addr, "/v1/users/"+user+"/sessions", "", map[string]bool{"remember_me": false})
	o, why = outcome(status, http.StatusCreated, body, err)
	return tokenIn(body), o, why
}

func tokenIn(body []byte) string {
	var issued struct {
		Token string `json:"token"`
	}
	_ = json.Unmarshal(body, &issued) // an answer without one has none
	return issued.Token
}

// Refresh refreshes a session.
func (c *Cluster) Refresh(at *Process, raw string) (next string, o Outcome, why string) {
	status, body, err := c.call(http.MethodPost, at.Addr, "/v1/session/refresh", raw, nil)
	o, why = outcome(status, http.StatusOK, body, err)
	return tokenIn(body), o, why
}

// Validators returns the names of all that validate.
func (c *Cluster) Validators() []string {
	var names []string
	for _, p := range append(append([]*Process(nil), c.Nodes...), c.Edges...) {
		names = append(names, p.Name)
	}
	for i := range c.followers {
		names = append(names, fmt.Sprintf("follower%d", i+1))
	}
	return names
}

// Validate asks the i-th validator about a token.
func (c *Cluster) Validate(ctx context.Context, i int, raw string) (Outcome, string) {
	if i < len(c.Nodes)+len(c.Edges) {
		p := append(append([]*Process(nil), c.Nodes...), c.Edges...)[i]
		status, body, err := c.call(http.MethodGet, p.Addr, "/v1/verify", raw, nil)
		return outcome(status, http.StatusOK, body, err)
	}
	ctx, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	_, err := c.followers[i-len(c.Nodes)-len(c.Edges)].Validator().Validate(ctx, raw)
	switch reason := token.ReasonOf(err); {
	case reason == "":
		return OK, ""
	case errors.Is(err, token.ErrUnavailable):
		return Unavailable, err.Error()
	default:
		return Refused, string(reason)
	}
}

// Receipt holds the members that are read from the answer to a revocation.
type Receipt struct {
	Epoch       int64
	Enforcement struct {
		EffectiveEverywhere bool      `json:"effective_everywhere"`
		EffectiveBy         time.Time `json:"effective_by"`
		Validators          int       `json:"validators"`
		Confirmed           int       `json:"confirmed"`
		Waiting             []string  `json:"waiting"`
	}
}

// Revoke revokes the sessions of a user, or one of them, and waits up to wait until
// all have confirmed.
func (c *Cluster) Revoke(at *Process, user, session string, wait time.Duration) (r Receipt, o Outcome, why string) {
	var status int
	var body []byte
	var err error
	if session != "" {
		status, body, err = c.call(http.MethodDelete, at.Addr, "/v1/users/"+user+"/sessions/"+session, c.admin, nil)
		o, why = outcome(status, http.StatusNoContent, body, err)
		return r, o, why
	}
	prefer := fmt.Sprintf("wait=%d", int(wait.Seconds()))
	status, body, err = c.call(http.MethodPost, at.Addr, "/v1/users/"+user+"/revocations", c.admin, map[string]string{"reason": "torture"}, "Prefer", prefer)
	good := http.StatusCreated
	if status == http.StatusAccepted {
		good = http.StatusAccepted // committed, and not yet everywhere
	}
	if o, why = outcome(status, good, body, err); o == OK {
		if err := json.Unmarshal(body, &r); err != nil {
			return r, Unknown, err.Error()
		}
	}
	return r, o, why
}
