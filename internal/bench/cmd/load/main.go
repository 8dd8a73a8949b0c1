// Command load sends mixed traffic to running Curfew nodes over HTTP, bounded in
// time and in number, and says how long each kind of request took.
//
//	load -target http://127.0.0.1:8420 -target http://127.0.0.1:8430 -duration 1m
//
// It signs in as an administrator, makes users of its own, and lets them validate,
// refresh, sign in and revoke their sessions, each on a node drawn at random. It
// checks what it is told: a session that was revoked everywhere must be refused
// everywhere, and every other one accepted. At the end its users are disabled.
//
// Since it makes users and fills the audit, it talks to this machine alone unless
// told otherwise.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"
)

const usage = `load: mixed traffic for running Curfew nodes

The administrator's password is read from CURFEW_ADMIN_PASSWORD.

`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	failed, err := run(ctx, os.Args[1:], os.Getenv("CURFEW_ADMIN_PASSWORD"), os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(2)
	case failed:
		os.Exit(1)
	}
}

// options are what a run is bounded by.
type options struct {
	targets  []string
	duration time.Duration
	requests int64
	workers  int
	users    int
	admin    string
	password string
	mix      mix
	json     bool
	every    time.Duration
}

func parseOptions(args []string, errors io.Writer) (o options, err error) {
	f := flag.NewFlagSet("load", flag.ContinueOnError)
	f.SetOutput(errors)
	f.Usage = func() { fmt.Fprint(errors, usage); f.PrintDefaults() }
	f.Func("target", "base `URL` of a node; repeat it for several (default http://127.0.0.1:8420)", func(s string) error {
		o.targets = append(o.targets, strings.TrimSuffix(s, "/"))
		return nil
	})
	f.DurationVar(&o.duration, "duration", 30*time.Second, "stop after this time")
	f.Int64Var(&o.requests, "requests", 10_000_000, "stop after this many requests")
	f.IntVar(&o.workers, "workers", 16, "requests under way at a time")
	f.IntVar(&o.users, "users", 100, "users to make; each signs in once before the clock starts")
	f.StringVar(&o.admin, "admin", "admin", "name of an account that may make users")
	f.BoolVar(&o.json, "json", false, "write the results as JSON")
	f.DurationVar(&o.every, "progress", time.Second, "tell how far it is this often; 0: never")
	mixText := f.String("mix", defaultMix, "how much of the traffic is what, in parts")
	remote := f.Bool("any-target", false, "allow targets on other machines: they will be loaded, and users made there")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if len(o.targets) == 0 {
		o.targets = []string{"http://127.0.0.1:8420"}
	}
	for _, t := range o.targets {
		if err := checkTarget(t, *remote); err != nil {
			return o, err
		}
	}
	for name, n := range map[string]int64{"duration": int64(o.duration), "requests": o.requests, "workers": int64(o.workers), "users": int64(o.users)} {
		if n < 1 {
			return o, fmt.Errorf("-%s must be above zero", name)
		}
	}
	if o.workers > o.users {
		return o, fmt.Errorf("%d workers need as many users, since each user does one thing at a time; there are %d", o.workers, o.users)
	}
	o.mix, err = parseMix(*mixText)
	return o, err
}

// checkTarget refuses addresses of other machines, unless remote.
func checkTarget(target string, remote bool) error {
	u, err := url.Parse(target)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("target %q is not an http:// or https:// URL", target)
	}
	if remote {
		return nil
	}
	addresses := []net.IP{net.ParseIP(u.Hostname())}
	if addresses[0] == nil {
		if addresses, err = net.LookupIP(u.Hostname()); err != nil {
			return fmt.Errorf("target %q: %w", target, err)
		}
	}
	for _, a := range addresses {
		if !a.IsLoopback() {
			return fmt.Errorf("target %q is not on this machine (%s); -any-target allows it", target, a)
		}
	}
	return nil
}

// The kinds of requests.
const (
	validate = iota
	refresh
	signIn
	revoke
	kinds
)

var kindNames = [kinds]string{"validate", "refresh", "signin", "revoke"}

// mix is how many parts of the traffic each kind is.
type mix [kinds]int

const defaultMix = "validate=960,refresh=30,signin=5,revoke=5"

func parseMix(text string) (m mix, err error) {
	total := 0
	for part := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		kind := -1
		for i, known := range kindNames {
			if name == known {
				kind = i
			}
		}
		n, err := strconv.Atoi(value)
		if kind < 0 || err != nil || n < 0 || n > 1_000_000 {
			return m, fmt.Errorf("-mix: %q is not one of %s with a number of parts, such as validate=96", part, strings.Join(kindNames[:], ", "))
		}
		m[kind] = n
		total += n
	}
	if total == 0 {
		return m, fmt.Errorf("-mix: %q is no traffic at all", text)
	}
	return m, nil
}

// draw returns the kind that a number from 0 to m.total()-1 stands for.
func (m mix) draw(n int) int {
	for kind, parts := range m {
		if n -= parts; n < 0 {
			return kind
		}
	}
	return validate
}

func (m mix) total() (n int) {
	for _, parts := range m {
		n += parts
	}
	return n
}
