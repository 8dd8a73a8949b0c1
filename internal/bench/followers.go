package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"example.com/curfew/internal/bench/drive"
)

func init() { children["child-followers"] = followersChild }

// followersChild follows a node n times over, each time on a connection of its
// own, as token/follower does on the wire but with as little work as can be: in
// production the followers have processors of their own. Whenever the last of
// them has moved on, it says so.
func followersChild(args []string) error {
	address, authorization := args[0], args[1]
	n, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	crowd := &crowd{n: n, at: map[int64]int{}, out: bufio.NewWriter(os.Stdout)}
	for i := range n {
		c, err := drive.Dial(address)
		if err != nil {
			return fmt.Errorf("follower %d: %w", i, err)
		}
		f := &lightFollower{conn: c, address: address, authorization: authorization, name: fmt.Sprintf("%s-%d", args[3], i), crowd: crowd}
		// The connection is begun before the next one: a server refuses a crowd that
		// says nothing.
		if err := f.ask(0); err != nil {
			return fmt.Errorf("follower %d: %w", i, err)
		}
		go func() { // ends with the process
			if err := f.follow(); err != nil {
				fmt.Fprintln(os.Stderr, "bench: follower:", err)
				os.Exit(1)
			}
		}()
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// moved says that the last follower of a crowd has reached an epoch.
type moved struct {
	Epoch int64
	Half  int64 // when half of them had, in Unix ns
	At    int64 // when the last had
}

// crowd knows how far the slowest of n followers is.
type crowd struct {
	mu    sync.Mutex
	n     int
	begun int
	at    map[int64]int // how many stand at an epoch
	high  int64
	half  int64
	out   *bufio.Writer
}

func (c *crowd) move(from, to int64) error {
	now := time.Now().UnixNano()
	c.mu.Lock()
	defer c.mu.Unlock()
	if from == 0 {
		c.begun++
	}
	c.at[to]++
	c.high = max(c.high, to)
	if to == c.high && c.at[to] == (c.n+1)/2 {
		c.half = now
	}
	if from != 0 {
		if c.at[from]--; c.at[from] == 0 {
			delete(c.at, from)
		}
	}
	if c.begun < c.n || len(c.at) > 1 || c.at[to] != c.n || from == to {
		return nil
	}
	if err := json.NewEncoder(c.out).Encode(moved{Epoch: to, Half: c.half, At: now}); err != nil {
		return err
	}
	return c.out.Flush()
}

type lightFollower struct {
	conn                         *drive.Conn
	address, authorization, name string
	crowd                        *crowd
	epoch                        int64
}

var epochMember, moreMember = []byte(`{"epoch":`), []byte(`"more":true`)

// ask asks once, and takes the answer.
func (f *lightFollower) ask(wait int) error {
	for {
		path := fmt.Sprintf("/v1/changes?after=%d&confirmed=%d&wait=%d&follower=%s", f.epoch, f.epoch, wait, f.name)
		status, body, err := f.conn.Do(drive.Request("GET", path, f.address, "Authorization: "+f.authorization), true)
		if err != nil {
			return err
		}
		if status != http.StatusOK {
			return fmt.Errorf("%s is answered with %d: %s", path, status, body)
		}
		rest, found := bytes.CutPrefix(body, epochMember)
		end := bytes.IndexByte(rest, ',')
		if !found || end < 0 {
			return fmt.Errorf("an answer that does not begin with its epoch: %.100q", body)
		}
		epoch, err := strconv.ParseInt(string(rest[:end]), 10, 64)
		if err != nil {
			return err
		}
		if bytes.Contains(body[:min(200, len(body))], moreMember) {
			f.epoch = epoch
			continue
		}
		before := f.epoch
		f.epoch = epoch
		if wait == 0 {
			before = 0
		}
		return f.crowd.move(before, epoch)
	}
}

func (f *lightFollower) follow() error {
	for {
		if err := f.ask(5); err != nil {
			return err
		}
	}
}

// followers are crowds in several processes, each below the limit on open files.
type followers struct {
	n      int
	crowds []*child
}

const maxInProcess = 5000

// startFollowers lets n light followers follow a node and waits until all do.
func startFollowers(n *node, authorization string, count int) (*followers, error) {
	f := &followers{n: count}
	for left := count; left > 0; left -= maxInProcess {
		c, err := startCrowd(n, authorization, min(left, maxInProcess), len(f.crowds))
		if err != nil {
			return nil, errors.Join(err, f.close())
		}
		f.crowds = append(f.crowds, c)
	}
	for _, c := range f.crowds {
		var all moved
		if err := c.read(&all); err != nil {
			return nil, errors.Join(fmt.Errorf("followers: %w", err), f.close())
		}
	}
	return f, nil
}

func startCrowd(n *node, authorization string, count, number int) (*child, error) {
	return startSilent("child-followers", n.address, authorization, strconv.Itoa(count), fmt.Sprintf("light-%d-%d", count, number))
}

// reach waits until the last follower has an epoch, and returns when half of
// them, and when the last, had it.
func (f *followers) reach(epoch int64) (half, last time.Time, err error) {
	for _, c := range f.crowds {
		var m moved
		for m.Epoch < epoch {
			if err := c.read(&m); err != nil {
				return half, last, err
			}
		}
		if t := time.Unix(0, m.Half); t.After(half) {
			half = t
		}
		if t := time.Unix(0, m.At); t.After(last) {
			last = t
		}
	}
	return half, last, nil
}

func (f *followers) close() error {
	var errs []error
	for _, c := range f.crowds {
		errs = append(errs, c.close())
	}
	return errors.Join(errs...)
}
