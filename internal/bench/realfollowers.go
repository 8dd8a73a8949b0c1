package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"example.com/curfew/internal/bench/measure"
	"example.com/curfew/internal/wire"
	"example.com/curfew/token"
	"example.com/curfew/token/follower"
)

func init() {
	children["child-start"] = startChildFollower
	children["child-refuse"] = refuseChild
}

func open(address, id, secret string) (*follower.Follower, error) {
	return follower.Open(context.Background(), follower.Config{
		Server: "http://" + address, ClientID: id, ClientSecret: secret, Audience: "https://curfew.example", CacheSize: 1 << 24,
	})
}

// started is how the start of a follower went.
type started struct {
	Seconds float64
	Heap    int64 // bytes that it took
}

// startChildFollower opens one follower, as a user's program would.
func startChildFollower(args []string) error {
	before := heap()
	began := time.Now()
	f, err := open(args[0], args[1], args[2])
	if err != nil {
		return err
	}
	s := started{Seconds: time.Since(began).Seconds()}
	s.Heap = heap() - before
	runtime.KeepAlive(f)
	return errors.Join(json.NewEncoder(os.Stdout).Encode(s), f.Close())
}

// followerStarts measures starts of a follower of a node that holds revocations.
func (b *bench) followerStarts(n *node, revocations int) (measure.Series, error) {
	var s measure.Series
	c, err := n.client("starting", "follow")
	if err != nil {
		return s, err
	}
	for range b.of(7, 5) {
		b.calm()
		child, err := startSilent("child-start", n.address, c.ID, c.Secret)
		if err != nil {
			return s, err
		}
		var one started
		if err := errors.Join(child.read(&one), child.close()); err != nil {
			return s, err
		}
		s.Values = append(s.Values, one.Seconds)
		b.costs["follower bytes per revocation"] = float64(one.Heap) / float64(revocations)
	}
	return s, nil
}

// refuseChild opens count followers and reads tokens, one a line. Of each it says
// when the last follower accepts it, then when the last follower refuses it.
func refuseChild(args []string) error {
	count, err := strconv.Atoi(args[3])
	if err != nil {
		return err
	}
	validators := make([]*token.Validator, count)
	for i := range validators {
		f, err := open(args[0], args[1], args[2])
		if err != nil {
			return err
		}
		validators[i] = f.Validator()
	}
	say := json.NewEncoder(os.Stdout)
	if err := say.Encode(moved{}); err != nil {
		return err
	}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		raw := strings.TrimSpace(in.Text())
		for _, v := range validators {
			if _, err := v.Validate(context.Background(), raw); err != nil {
				return fmt.Errorf("a token that is not revoked yet: %w", err)
			}
		}
		if err := say.Encode(moved{At: time.Now().UnixNano()}); err != nil {
			return err
		}
		for _, v := range validators {
			for {
				_, err := v.Validate(context.Background(), raw)
				if errors.Is(err, token.ErrRevoked) {
					break
				}
				if err != nil {
					return fmt.Errorf("a token that is being revoked: %w", err)
				}
				time.Sleep(100 * time.Microsecond)
			}
		}
		if err := say.Encode(moved{At: time.Now().UnixNano()}); err != nil {
			return err
		}
	}
	return in.Err()
}

// refusers are real followers in a process of their own.
type refusers struct{ *child }

func startRefusers(n *node, c wire.Client, count int) (*refusers, error) {
	child, err := startSilent("child-refuse", n.address, c.ID, c.Secret, strconv.Itoa(count))
	if err != nil {
		return nil, err
	}
	r := &refusers{child}
	_, err = r.next()
	if err != nil {
		err = errors.Join(err, child.close())
	}
	return r, err
}

// watch makes every follower accept raw, and watch for its end.
func (r *refusers) watch(raw string) error {
	if _, err := fmt.Fprintln(r.stdin, raw); err != nil {
		return err
	}
	_, err := r.next()
	return err
}

// next reads when what was asked for last had happened.
func (r *refusers) next() (time.Time, error) {
	var m moved
	err := r.read(&m)
	return time.Unix(0, m.At), err
}

// begin begins a session for a user.
func (n *node) begin(authorization, user string) (string, error) {
	var issued wire.Issued
	err := n.call(http.MethodPost, "/v1/users/"+user+"/sessions", authorization, wire.Issue{}, &issued)
	return issued.Token, err
}
