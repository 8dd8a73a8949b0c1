package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"example.com/curfew/internal/bench/drive"
	"example.com/curfew/internal/bench/peers"
)

// children are what this binary does when it is started by itself: servers in a
// process of their own, so that neither their heap nor their garbage collector is
// shared with who measures them. Each ends when its standard input does.
var children = map[string]func(args []string) error{
	"child-guard": guardChild,
	"child-like":  likeChild,
}

// hello is what a child says first.
type hello struct {
	Address string
	Good    []string // header lines of requests that are to be let through
	Forged  []string // and of some that are not
}

// child is a process that this one has started.
type child struct {
	hello
	command *exec.Cmd
	stdin   io.WriteCloser
	stdout  *bufio.Reader
}

// startChild starts this binary as one of children and reads its hello.
func startChild(args ...string) (*child, error) {
	c, err := startSilent(args...)
	if err != nil {
		return nil, err
	}
	if err := c.read(&c.hello); err != nil {
		return nil, errors.Join(fmt.Errorf("%v said nothing: %w", args, err), c.close())
	}
	return c, nil
}

// startSilent starts a child that prints nothing before its first result.
func startSilent(args ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{command: exec.Command(self, args...)}
	c.command.Stderr = os.Stderr
	in, err := c.command.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := c.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.stdin, c.stdout = in, bufio.NewReader(out)
	return c, c.command.Start()
}

// read reads one line of JSON.
func (c *child) read(to any) error {
	line, err := c.stdout.ReadBytes('\n')
	if err != nil {
		return err
	}
	return json.Unmarshal(line, to)
}

func (c *child) close() error {
	return errors.Join(c.stdin.Close(), c.command.Wait())
}

// requests returns the bytes of GET requests, one for each header.
func (c *child) requests(path string, headers []string) [][]byte {
	out := make([][]byte, len(headers))
	for i, h := range headers {
		out[i] = drive.Request("GET", path, c.Address, h)
	}
	return out
}

const bareHandler = "bare net/http handler"

// guardChild serves a handler behind the guard named, for n users, until its
// standard input ends.
func guardChild(args []string) error {
	name, place, n := args[0], args[1], 1000
	k, err := peers.NewKit()
	if err != nil {
		return err
	}
	var h hello
	guard, err := newGuard(name, place, k)
	if err != nil {
		return err
	}
	if s, ok := guard.(*peers.SCS); ok {
		for i := range n {
			cookie, err := s.SignIn(peers.User(i), k.Audience, time.Now().Add(time.Hour))
			if err != nil {
				return err
			}
			h.Good = append(h.Good, "Cookie: "+s.Cookie(cookie))
		}
	} else {
		tokens, err := k.Tokens(0, n)
		if err != nil {
			return err
		}
		for _, raw := range tokens {
			h.Good = append(h.Good, "Authorization: Bearer "+raw)
			h.Forged = append(h.Forged, "Authorization: Bearer "+peers.Forge(raw))
		}
	}
	var handler http.Handler = http.HandlerFunc(answer)
	if guard != nil {
		handler = guard.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if guard.User(r) == "" {
				http.Error(w, "a guard without users", http.StatusInternalServerError)
				return
			}
			answer(w, r)
		}))
	}
	return serveChild(new(http.Server), handler, h)
}

// likeHandler decides nothing, and is otherwise like Curfew: a server on a network
// has limits on time, and forward auth answers with headers. Its distance from the
// bare handler cannot be saved.
const likeHandler = "the same with limits on time and the answer's headers"

func likeChild([]string) error {
	header := map[string]string{
		"Remote-User": peers.User(1), "Remote-Name": peers.User(1), "Remote-Email": "", "Remote-Groups": "", "Curfew-User-Id": "AAAAAAAAAAAAAAAAAAAAAA",
		"Curfew-Session": "AAAAAAAAAAAAAAAAAAAAAA", "X-Request-Id": "AAAAAAAAAAAAAAAA", "Cache-Control": "no-store",
	}
	return serveChild(&http.Server{
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
	}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for name, value := range header {
			w.Header().Set(name, value)
		}
		w.WriteHeader(http.StatusOK)
	}), hello{})
}

func answer(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }

// serveChild serves on a free port, says hello, and ends with standard input.
func serveChild(server *http.Server, handler http.Handler, h hello) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server.Handler = handler
	go func() { _ = server.Serve(listener) }() // ends with the process
	h.Address = listener.Addr().String()
	if err := json.NewEncoder(os.Stdout).Encode(h); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// newGuard returns a guard by its name; place is a directory or a database. The
// bare handler has none.
func newGuard(name, place string, k *peers.Kit) (peers.Guard, error) {
	switch name {
	case bareHandler:
		return nil, nil
	case "Curfew":
		return peers.NewCurfew(k, 0, nil)
	case "golang-jwt v5":
		return peers.NewGolangJWT(k), nil
	case "auth0 v2":
		return peers.NewAuth0(k)
	case "scs + SQLite":
		return peers.NewSCSWithSQLite(filepath.Join(place, "scs.db"), k.Audience)
	case "scs + PostgreSQL":
		return peers.NewSCSWithPostgres(place, k.Audience)
	}
	return nil, fmt.Errorf("no guard is called %q", name)
}
