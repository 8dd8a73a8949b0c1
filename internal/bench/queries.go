package main

import (
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"time"

	"example.com/curfew/internal/bench/drive"
)

// queries counts the statements that PostgreSQL runs while a node validates, less
// those that it runs while the node idles.
func (b *bench) queries(n *node, dsn string, requests [][]byte) (err error) {
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	window := time.Duration(b.of(3, 2)) * time.Second
	b.say("  counting database transactions, %v idle and %v of load", window, window)
	transactions := func() (int64, error) {
		// The backends report what they have done within a second, or when asked.
		time.Sleep(1200 * time.Millisecond)
		var n int64
		err := db.QueryRow(`SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()`).Scan(&n)
		return n, err
	}
	during := func(f func() error) (int64, error) {
		before, err := transactions()
		if err != nil {
			return 0, err
		}
		if err := f(); err != nil {
			return 0, err
		}
		after, err := transactions()
		return after - before, err
	}
	idle, err := during(func() error { time.Sleep(window); return nil })
	if err != nil {
		return err
	}
	validations := 0.0
	busy, err := during(func() error {
		rate, err := drive.Throughput(n.address, requests, connections, 1, window, http.StatusOK)
		validations = rate * window.Seconds()
		return err
	})
	if err != nil {
		return err
	}
	each := max(0, float64(busy-idle)) / validations
	// The node looks at the clock once a second and beats: a window may hold one
	// more of these than the other.
	reached := busy-idle <= 4
	b.report.enter("database queries per validation in steady state", "0", fmt.Sprintf("%.5f", each), reached, 0)
	b.report.remark("%d transactions in %v of %s validations, %d in as long without any", busy, window, number(validations), idle)
	return nil
}
