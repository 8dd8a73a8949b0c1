package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"example.com/curfew/internal/bench/drive"
	"example.com/curfew/internal/bench/measure"
	"example.com/curfew/internal/bench/peers"
)

// connections that requests come over, each sending its next request when it has
// the answer to the last.
const connections = 16

// middleware compares servers whose handler stands behind a guard with one whose
// handler stands bare.
func (b *bench) middleware() (err error) {
	dsn, err := b.database("scs")
	if err != nil {
		return err
	}
	names := []string{bareHandler, "Curfew", "golang-jwt v5", "auth0 v2", "scs + SQLite", "scs + PostgreSQL"}
	places := map[string]string{"scs + SQLite": b.dir, "scs + PostgreSQL": dsn}
	single, deep := make([]measure.Case, len(names)), make([]measure.Case, len(names))
	targets := make([]*target, len(names))
	for i, name := range names {
		c, startErr := startChild("child-guard", name, places[name])
		if startErr != nil {
			return startErr
		}
		defer func() { err = errors.Join(err, c.close()) }()
		t := &target{address: c.Address, pid: c.command.Process.Pid, requests: c.requests("/", c.Good), want: http.StatusNoContent}
		targets[i] = t
		single[i] = measure.Case{Name: name, Run: t.rate(connections, 1, 4*b.slice)}
		deep[i] = measure.Case{Name: name, Run: t.rate(4, 16, 4*b.slice)}
		if _, err := deep[i].Run(); err != nil { // every token once, and the code warm
			return fmt.Errorf("%s: %w", name, err)
		}
		t.costs()
	}
	one, err := measure.Rounds(b.rounds, b.round("middleware"), single...)
	if err != nil {
		return err
	}
	head, rows := seriesTable("requests/s", one, 0)
	for i, t := range targets {
		rows[i] = append(rows[i], t.costs()...)
	}
	head = append(head, "server, µs each", "client, µs each")
	many, err := measure.Rounds(b.rounds, b.round("middleware, pipelined"), deep...)
	if err != nil {
		return err
	}
	b.report.atLeast("Go middleware: requests a second against a bare net/http handler", 0.93, "×", one[1].Over(one[0]))
	b.report.remark("golang-jwt %s, auth0 %s, scs with SQLite %s, with PostgreSQL %s; pipelined, where the kernel costs least, Curfew %s and golang-jwt %s",
		number(one[2].Over(one[0]).Median()), number(one[3].Over(one[0]).Median()), number(one[4].Over(one[0]).Median()), number(one[5].Over(one[0]).Median()),
		number(many[1].Over(many[0]).Median()), number(many[2].Over(many[0]).Median()))
	b.report.explain("the table of the middleware has the processor time of both sides")
	b.report.table("Middleware", fmt.Sprintf("%d connections, each with one request under way, 1 000 users. Server and client share this machine's processors; "+
		"the last two columns are the processor time of each.", connections), head, rows...)
	head, rows = seriesTable("requests/s", many, 0)
	for i, t := range targets {
		rows[i] = append(rows[i], t.costs()...)
	}
	head = append(head, "server, µs each", "client, µs each")
	b.report.table("Middleware, pipelined", "Four connections, sixteen requests at a time on each: harder on the guard, since the kernel's share shrinks.", head, rows...)
	return nil
}

// flood measures how long good tokens wait while forged ones flood the server.
// Server and clients are one process here, so that the scheduler of Go decides who
// waits for whom, and not that of the kernel among its many other processes.
func (b *bench) flood() (err error) {
	names := []string{"Curfew", "golang-jwt v5"}
	var cases []measure.Case
	for _, name := range names {
		c, startErr := startSilent("child-flood", name)
		if startErr != nil {
			return startErr
		}
		defer func() { err = errors.Join(err, c.close()) }()
		ask := func(what string) func() (float64, error) {
			return func() (float64, error) {
				if _, err := fmt.Fprintln(c.stdin, what, 16*b.slice); err != nil {
					return 0, err
				}
				var p99 float64
				err := c.read(&p99)
				return p99, err
			}
		}
		cases = append(cases, measure.Case{Name: name + ", quiet", Run: ask("quiet")}, measure.Case{Name: name + ", flooded", Run: ask("flooded")})
	}
	series, err := measure.Rounds(b.rounds, b.round("a flood of forged tokens"), cases...)
	if err != nil {
		return err
	}
	b.report.atMost(fmt.Sprintf("good tokens' p99 during a flood of forged ones on %d connections, against the quiet p99", connections), 4, "×", series[1].Over(series[0]))
	b.report.remark("golang-jwt %s×; the flooded p99 is %s µs, golang-jwt's %s µs", number(series[3].Over(series[2]).Median()), number(series[1].Median()), number(series[3].Median()))
	b.report.explain("of two processors one checks forged signatures without a pause, the other reads and answers their requests; a good one waits its turn behind both, and behind whatever else the machine runs")
	head, rows := seriesTable("p99 in µs", series, 0)
	b.report.table("A flood of forged tokens", "About 1 000 good tokens a second on two connections, and on 16 others forged ones as fast as they are answered.", head, rows...)
	return nil
}

func init() { children["child-flood"] = floodChild }

// floodChild answers each line, "quiet" or "flooded" and a duration, with the 99th
// percentile in µs of good requests to a server of its own.
func floodChild(args []string) error {
	k, err := peers.NewKit()
	if err != nil {
		return err
	}
	guard, err := newGuard(args[0], "", k)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() { _ = http.Serve(listener, guard.Wrap(http.HandlerFunc(answer))) }() // ends with the process
	address := listener.Addr().String()
	tokens, err := k.Tokens(0, 1000)
	if err != nil {
		return err
	}
	var good, forged [][]byte
	for _, raw := range tokens {
		good = append(good, drive.Request("GET", "/", address, "Authorization: Bearer "+raw))
		forged = append(forged, drive.Request("GET", "/", address, "Authorization: Bearer "+peers.Forge(raw)))
	}
	if _, err := drive.Throughput(address, good, 1, 16, time.Second/4, http.StatusNoContent); err != nil {
		return err
	}
	for say := json.NewEncoder(os.Stdout); ; {
		var what, length string
		if n, err := fmt.Scanln(&what, &length); n == 0 && errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		d, err := time.ParseDuration(length)
		if err != nil {
			return err
		}
		flooding := forged
		if what == "quiet" {
			flooding = nil
		}
		p99, err := probe(address, good, flooding, d)
		if err = errors.Join(err, say.Encode(p99)); err != nil {
			return err
		}
	}
}

// probe returns the 99th percentile in µs of good requests, sent now and then for
// d, while forged ones, if any, are sent on other connections without a pause.
func probe(address string, good, forged [][]byte, d time.Duration) (float64, error) {
	var group sync.WaitGroup
	errs := make([]error, 3)
	if forged != nil {
		group.Go(func() {
			_, errs[0] = drive.Throughput(address, forged, connections, 1, d+d/4, http.StatusUnauthorized)
		})
		time.Sleep(d / 8)
	}
	var times measure.Histogram
	for p := range 2 {
		group.Go(func() {
			errs[1+p] = func() error {
				c, err := drive.Dial(address)
				if err != nil {
					return err
				}
				defer c.Close()
				for end := time.Now().Add(d); time.Now().Before(end); {
					time.Sleep(time.Duration(rand.Int64N(int64(4 * time.Millisecond))))
					began := time.Now()
					status, _, err := c.Do(good[rand.IntN(len(good))], false)
					times.Add(time.Since(began))
					if err != nil || status != http.StatusNoContent {
						return fmt.Errorf("a good token is answered with %d, %w", status, err)
					}
				}
				return nil
			}()
		})
	}
	group.Wait()
	return float64(times.Quantile(0.99)) / 1000, errors.Join(errs...)
}
