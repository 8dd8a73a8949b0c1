package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"example.com/curfew/internal/bench/peers"
	"example.com/curfew/internal/testnet"
	"example.com/curfew/internal/wire"
)

// node is a running server: the binary that people run, in a process of its own.
type node struct {
	address string // host:port
	command *exec.Cmd
	stderr  *bytes.Buffer
	ready   time.Duration // from its start to its first good answer
	admin   string        // an administrator's token
}

const adminPassword = "a password for the time of a benchmark"

// binary builds curfew once.
func (b *bench) binary() (string, error) {
	if b.curfew != "" {
		return b.curfew, nil
	}
	path := filepath.Join(b.dir, "curfew")
	b.say("  building curfew")
	build := exec.Command("go", "build", "-trimpath", "-o", path, "./cmd/curfew")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	b.curfew = path
	return path, nil
}

// startNode starts a server on a database (a postgres:// URL or sqlite:PATH) and
// waits for its first good answer. Nodes of one database share its state.
func (b *bench) startNode(database string, flags ...string) (*node, error) {
	path, err := b.binary()
	if err != nil {
		return nil, err
	}
	address, err := testnet.FreeAddress()
	if err != nil {
		return nil, err
	}
	n := &node{address: address, stderr: &bytes.Buffer{}}
	n.command = exec.Command(path, append([]string{"serve", "--listen", address, "--metrics-listen", "", "--database", database,
		"--issuer", "https://curfew.example", "--log-level", "warn", "--shutdown-delay", "0"}, flags...)...)
	n.command.Dir = b.dir
	n.command.Stderr = n.stderr
	n.command.Env = append(os.Environ(), "CURFEW_ADMIN_PASSWORD="+adminPassword, "CURFEW_KEY_ENCRYPTION_KEY="+b.keyEncryptionKey())
	began := time.Now()
	if err := n.command.Start(); err != nil {
		return nil, err
	}
	for {
		r, err := http.Get("http://" + address + "/readyz")
		if err == nil {
			_, err = io.Copy(io.Discard, r.Body)
			if err = errors.Join(err, r.Body.Close()); err == nil && r.StatusCode == http.StatusOK {
				n.ready = time.Since(began)
				return n, nil
			}
		}
		if time.Since(began) > 30*time.Second {
			return nil, errors.Join(fmt.Errorf("the node does not become ready: %w", err), n.close())
		}
		time.Sleep(time.Millisecond)
	}
}

// keyEncryptionKey is that of every node of this run.
func (b *bench) keyEncryptionKey() string {
	if b.kek == "" {
		var key [32]byte
		_, _ = rand.Read(key[:]) // never fails
		b.kek = base64.StdEncoding.EncodeToString(key[:])
	}
	return b.kek
}

// close ends the server and returns what it said that it should not have.
func (n *node) close() error {
	http.DefaultClient.CloseIdleConnections()
	if err := n.command.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- n.command.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			return fmt.Errorf("the node ended with %w:\n%s", err, n.stderr)
		}
		return nil
	case <-time.After(20 * time.Second):
		return errors.Join(errors.New("the node does not end"), n.command.Process.Kill(), <-ended)
	}
}

// resident returns the resident memory of the server's process in bytes.
func (n *node) resident() (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.command.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if rest, found := strings.CutPrefix(line, "VmRSS:"); found {
			var kib float64
			_, err := fmt.Sscan(rest, &kib)
			return kib * 1024, err
		}
	}
	return 0, errors.New("/proc/…/status says nothing of VmRSS")
}

// call calls the API. authorization is a whole header value, or empty.
func (n *node) call(method, path, authorization string, body, to any, headers ...string) error {

	var in io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return err
		}
		in = bytes.NewReader(encoded)
	}
	r, err := http.NewRequestWithContext(context.Background(), method, "http://"+n.address+path, in)
	if err != nil {
		return err
	}
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s is answered with %d: %s", method, path, answer.StatusCode, text)
	}
	if to == nil {
		return nil
	}
	return json.Unmarshal(text, to)
}

// signIn gets an administrator's token.
func (n *node) signIn() error {
	var issued wire.Issued
	err := n.call(http.MethodPost, "/v1/sessions", "", wire.SignIn{Username: "admin", Password: adminPassword}, &issued)
	n.admin = "Bearer " + issued.Token
	return err
}

// client makes a service client and returns its id and its secret.
func (n *node) client(name string, capabilities ...string) (wire.Client, error) {
	if n.admin == "" {
		if err := n.signIn(); err != nil {
			return wire.Client{}, err
		}
	}
	var c wire.Client
	err := n.call(http.MethodPost, "/v1/clients", n.admin, wire.NewClient{Name: name, Capabilities: capabilities}, &c)
	return c, err
}

func basic(c wire.Client) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(c.ID+":"+c.Secret))
}

// tokens begins a session for each of the users 0…count-1.
func (n *node) tokens(count int) ([]string, error) {
	c, err := n.client("issuer", "issue")
	if err != nil {
		return nil, err
	}
	tokens := make([]string, count)
	err = inParallel(count, func(i int) error {
		var issued wire.Issued
		err := n.call(http.MethodPost, "/v1/users/"+peers.User(i)+"/sessions", basic(c), wire.Issue{}, &issued)
		tokens[i] = issued.Token
		return err
	})
	return tokens, err
}
