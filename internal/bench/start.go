package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"example.com/curfew/internal/bench/drive"
	"example.com/curfew/internal/bench/measure"
)

// start measures a first start: an empty directory, no configuration.
func (b *bench) start() error {
	if _, err := b.binary(); err != nil {
		return err
	}
	n := 0
	series, err := measure.Rounds(b.rounds, b.round("starting on an empty SQLite file"), measure.Case{Name: "first start", Run: func() (float64, error) {
		n++
		dir := filepath.Join(b.dir, fmt.Sprintf("start-%d", n))
		if err := os.Mkdir(dir, 0o700); err != nil {
			return 0, err
		}
		node, err := b.startNode("sqlite:" + filepath.Join(dir, "curfew.db"))
		if err != nil {
			return 0, err
		}
		return node.ready.Seconds() * 1000, errors.Join(node.close(), os.RemoveAll(dir))
	}})
	if err != nil {
		return err
	}
	b.report.atMost("`curfew serve` on an empty SQLite file, from exec to the first good answer", 300, " ms", series[0])
	b.report.explain("schema, two signing keys and one password hash, each written to disk before anything is answered")
	return nil
}

// verify compares forward auth on a running node with a bare handler, and counts
// what the database is asked meanwhile.
func (b *bench) verify() (err error) {
	dsn, err := b.database("verify")
	if err != nil {
		return err
	}
	if err := b.logStatements("verify"); err != nil {
		return err
	}
	n, err := b.startNode(dsn)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.close()) }()
	const users = 1000
	tokens, err := n.tokens(users)
	if err != nil {
		return err
	}
	bare, err := startChild("child-guard", bareHandler, "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bare.close()) }()
	requests := make([][]byte, users)
	for i, raw := range tokens {
		requests[i] = drive.Request("GET", "/v1/verify", n.address, "Authorization: Bearer "+raw)
	}
	rate := func(address string, want, connections, depth int) func() (float64, error) {
		return func() (float64, error) {
			return drive.Throughput(address, requests, connections, depth, 4*b.slice, want)
		}
	}
	if _, err := rate(n.address, http.StatusOK, 4, 16)(); err != nil { // every token once
		return err
	}
	one, err := measure.Rounds(b.rounds, b.round("forward auth"),
		measure.Case{Name: bareHandler, Run: rate(bare.Address, http.StatusNoContent, connections, 1)},
		measure.Case{Name: "/v1/verify", Run: rate(n.address, http.StatusOK, connections, 1)})
	if err != nil {
		return err
	}
	many, err := measure.Rounds(b.rounds, b.round("forward auth, pipelined"),
		measure.Case{Name: bareHandler, Run: rate(bare.Address, http.StatusNoContent, 4, 16)},
		measure.Case{Name: "/v1/verify", Run: rate(n.address, http.StatusOK, 4, 16)})
	if err != nil {
		return err
	}
	b.report.atLeast("forward auth over HTTP (`/v1/verify`): requests a second against a bare net/http handler", 0.88, "×", one[1].Over(one[0]))
	b.report.remark("pipelined %s", number(many[1].Over(many[0]).Median()))
	head, rows := seriesTable("requests/s", append(one, many...), 0)
	b.report.table("Forward auth", fmt.Sprintf("%d connections with one request under way each; the last two lines on four connections, sixteen at a time. 1 000 users, PostgreSQL.", connections), head, rows...)
	return b.queries(n, requests)
}
