package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"example.com/curfew/internal/bench/drive"
	"example.com/curfew/internal/bench/measure"
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
	for i, name := range names {
		c, startErr := startChild("child-guard", name, places[name])
		if startErr != nil {
			return startErr
		}
		defer func() { err = errors.Join(err, c.close()) }()
		requests := c.requests("/", c.Good)
		rate := func(connections, depth int) func() (float64, error) {
			return func() (float64, error) {
				return drive.Throughput(c.Address, requests, connections, depth, 4*b.slice, http.StatusNoContent)
			}
		}
		single[i] = measure.Case{Name: name, Run: rate(connections, 1)}
		deep[i] = measure.Case{Name: name, Run: rate(4, 16)}
		if _, err := rate(4, 16)(); err != nil { // every token once, and the code warm
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	one, err := measure.Rounds(b.rounds, b.round("middleware"), single...)
	if err != nil {
		return err
	}
	many, err := measure.Rounds(b.rounds, b.round("middleware, pipelined"), deep...)
	if err != nil {
		return err
	}
	b.report.atLeast("Go middleware: requests a second against a bare net/http handler", 0.93, "×", one[1].Over(one[0]))
	b.report.remark("golang-jwt %s, auth0 %s, scs with SQLite %s, with PostgreSQL %s; pipelined, where the kernel costs least, Curfew %s and golang-jwt %s",
		number(one[2].Over(one[0]).Median()), number(one[3].Over(one[0]).Median()), number(one[4].Over(one[0]).Median()), number(one[5].Over(one[0]).Median()),
		number(many[1].Over(many[0]).Median()), number(many[2].Over(many[0]).Median()))
	head, rows := seriesTable("requests/s", one, 0)
	b.report.table("Middleware", fmt.Sprintf("%d connections, each with one request under way, 1 000 users. Server and client share this machine's processors.", connections), head, rows...)
	head, rows = seriesTable("requests/s", many, 0)
	b.report.table("Middleware, pipelined", "Four connections, sixteen requests at a time on each: harder on the guard, since the kernel's share shrinks.", head, rows...)
	return nil
}

// flood measures how long good tokens wait while forged ones flood the server.
func (b *bench) flood() (err error) {
	names := []string{"Curfew", "golang-jwt v5"}
	var cases []measure.Case
	for _, name := range names {
		c, startErr := startChild("child-guard", name, "")
		if startErr != nil {
			return startErr
		}
		defer func() { err = errors.Join(err, c.close()) }()
		good, forged := c.requests("/", c.Good), c.requests("/", c.Forged)
		if _, err := drive.Throughput(c.Address, good, 1, 16, 8*b.slice, http.StatusNoContent); err != nil {
			return err
		}
		cases = append(cases,
			measure.Case{Name: name + ", quiet", Run: func() (float64, error) { return probe(c.Address, good, nil, 16*b.slice) }},
			measure.Case{Name: name + ", flooded", Run: func() (float64, error) { return probe(c.Address, good, forged, 16*b.slice) }})
	}
	series, err := measure.Rounds(b.rounds, b.round("a flood of forged tokens"), cases...)
	if err != nil {
		return err
	}
	b.report.atMost(fmt.Sprintf("good tokens' p99 during a flood of forged ones on %d connections, against the quiet p99", connections), 4, "×", series[1].Over(series[0]))
	b.report.remark("golang-jwt %s×", number(series[3].Over(series[2]).Median()))
	head, rows := seriesTable("p99 in µs", series, 0)
	b.report.table("A flood of forged tokens", "About 1 000 good tokens a second on two connections, and on 16 others forged ones as fast as they are answered.", head, rows...)
	return nil
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
				defer c.Close() //nolint:errcheck // nothing of it is wanted any more
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
