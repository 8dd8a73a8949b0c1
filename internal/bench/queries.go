package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"example.com/curfew/internal/bench/drive"
)

// queries counts the statements that PostgreSQL logs while a node validates, less
// those that it logs while the node idles. Every connection of the node must have
// been opened since logStatements.
func (b *bench) queries(n *node, requests [][]byte) error {
	window := time.Duration(b.of(3, 2)) * time.Second
	b.say("  counting statements, %v idle and %v of load", window, window)
	during := func(f func() error) (int, error) {
		time.Sleep(200 * time.Millisecond) // for queries under way
		before, err := b.statements()
		if err != nil {
			return 0, err
		}
		if err := f(); err != nil {
			return 0, err
		}
		after, err := b.statements()
		return after - before, err
	}
	began := time.Now()
	idle, err := during(func() error { time.Sleep(window); return nil })
	if err != nil {
		return err
	}
	if idle == 0 {
		return errors.New("PostgreSQL logs no statements: the count would prove nothing")
	}
	perSecond := float64(idle) / time.Since(began).Seconds()
	validations := 0.0
	began = time.Now()
	busy, err := during(func() error {
		rate, err := drive.Throughput(n.address, requests, connections, 1, window, http.StatusOK)
		validations = rate * window.Seconds()
		return err
	})
	if err != nil {
		return err
	}
	// Once a second the node looks at the clock, and now and then it beats. One
	// window may hold some more of these than the other; what would be asked for
	// each validation, or each thousandth, would be far more.
	more := (float64(busy) - perSecond*time.Since(began).Seconds()) / validations
	b.report.enter("database queries per validation in steady state", "0", fmt.Sprintf("%.4f", max(0, more)), more < 0.0005, 0)
	b.report.remark("%d statements during %s validations, %d in as long without any: the node's own heartbeat", busy, number(validations), idle)
	return nil
}

// logStatements makes PostgreSQL log every statement of connections to a database
// that are opened from now on.
func (b *bench) logStatements(database string) error {
	_, err := b.postgres.Exec("ALTER DATABASE " + database + " SET log_statement = 'all'")
	return err
}

// statements returns how many statements were logged so far.
func (b *bench) statements() (int, error) {
	log, err := os.ReadFile(b.postgres.LogFile())
	return bytes.Count(log, []byte("LOG:  statement: ")) + bytes.Count(log, []byte("LOG:  execute ")), err
}
