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
	like, err := startChild("child-like")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, like.close()) }()
	requests := make([][]byte, users)
	for i, raw := range tokens {
		requests[i] = drive.Request("GET", "/v1/verify", n.address, "Authorization: Bearer "+raw)
	}
	bareTarget := &target{address: bare.Address, pid: bare.command.Process.Pid, requests: requests, want: http.StatusNoContent}
	likeTarget := &target{address: like.Address, pid: like.command.Process.Pid, requests: requests, want: http.StatusOK}
	nodeTarget := &target{address: n.address, pid: n.command.Process.Pid, requests: requests, want: http.StatusOK}
	cases := func(connections, depth int) []measure.Case {
		return []measure.Case{
			{Name: bareHandler, Run: bareTarget.rate(connections, depth, 4*b.slice)},
			{Name: likeHandler, Run: likeTarget.rate(connections, depth, 4*b.slice)},
			{Name: "/v1/verify", Run: nodeTarget.rate(connections, depth, 4*b.slice)},
		}
	}
	for _, c := range cases(4, 16) { // every token once, and the code warm
		if _, err := c.Run(); err != nil {
			return err
		}
	}
	bareTarget.costs()
	likeTarget.costs()
	nodeTarget.costs()
	one, err := measure.Rounds(b.rounds, b.round("forward auth"), cases(connections, 1)...)
	if err != nil {
		return err
	}
	spent := [][]string{bareTarget.costs(), likeTarget.costs(), nodeTarget.costs()}
	many, err := measure.Rounds(b.rounds, b.round("forward auth, pipelined"), cases(4, 16)...)
	if err != nil {
		return err
	}
	spent = append(spent, bareTarget.costs(), likeTarget.costs(), nodeTarget.costs())
	b.report.atLeast("forward auth over HTTP (`/v1/verify`): requests a second against a handler that decides nothing, with the same limits on time and the same headers", 0.90, "×", one[2].Over(one[1]))
	b.report.remark("pipelined %s", number(many[2].Over(many[1]).Median()))
	b.report.explain(fmt.Sprintf("a bare net/http handler has neither: beside that one, forward auth reaches %s (pipelined %s), and the handler that decides nothing %s (%s)",
		number(one[2].Over(one[0]).Median()), number(many[2].Over(many[0]).Median()), number(one[1].Over(one[0]).Median()), number(many[1].Over(many[0]).Median())))
	head, rows := seriesTable("requests/s", append(one, many...), 0)
	for i := range rows {
		rows[i] = append(rows[i], spent[i]...)
	}
	b.report.table("Forward auth", fmt.Sprintf("%d connections with one request under way each; the last three lines on four connections, sixteen at a time. 1 000 users, PostgreSQL. "+
		"The last two columns are the processor time of each side.", connections), append(head, "server, µs each", "client, µs each"), rows...)
	return b.queries(n, requests)
}
