// Command fleet starts two nodes on one PostgreSQL, two edges and twenty followers
// on this machine, revokes a user's sessions, and shows the receipt and how long
// each validator took:
//
//	go run ./internal/torture/cmd/fleet
//
// PostgreSQL is a temporary one of its own.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"example.com/curfew/internal/curfewtest"

	"example.com/curfew/internal/store/pgtest"
	"example.com/curfew/internal/torture"
)

// tb is what pgtest needs of a test.
type tb struct {
	testing.TB // the rest, which is not called
	cleanups   []func()
}

func (t *tb) Helper()                      {}
func (t *tb) Cleanup(f func())             { t.cleanups = append(t.cleanups, f) }
func (t *tb) Errorf(f string, args ...any) { fmt.Fprintf(os.Stderr, f+"\n", args...) }
func (t *tb) Fatal(args ...any)            { panic(fmt.Sprintln(args...)) }
func (t *tb) Fatalf(f string, args ...any) { panic(fmt.Sprintf(f, args...)) }

func (t *tb) end() {
	for _, f := range slices.Backward(t.cleanups) {
		f()
	}
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
}

func run() (err error) {
	t := new(tb)
	defer t.end()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "curfew-fleet-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	module, err := filepath.Abs(".")
	if err != nil {
		return err
	}
	fmt.Println("building curfew")
	binary, err := curfewtest.Build(module, dir, "curfew")
	if err != nil {
		return fmt.Errorf("%w (run this at the top of the checkout)", err)
	}
	fmt.Println("starting PostgreSQL, two nodes, two edges and twenty followers")
	db := pgtest.Start(t, pgtest.Options{TCP: true, Fsync: true})
	if err := db.CreateDatabase("curfew"); err != nil {
		return err
	}
	c, err := torture.Start(ctx, torture.Config{
		Binary: binary, Dir: dir, Database: db.DSN("curfew"), Store: db.Addr(),
		Link:  func(proxy string) string { return db.DSNVia(proxy, "curfew") },
		Nodes: 2, Edges: 2, Followers: 20,
	})
	if err != nil {
		return err
	}
	defer c.Close()
	return revoke(ctx, c)
}

// revoke revokes a session that every validator knows, and prints what comes of it.
func revoke(ctx context.Context, c *torture.Cluster) error {
	raw, o, why := c.Begin(c.Nodes[0], "ann")
	if o != torture.OK {
		return fmt.Errorf("beginning a session: %s %s", o, why)
	}
	names := c.Validators()
	for i, name := range names {
		if o, why := c.Validate(ctx, i, raw); o != torture.OK {
			return fmt.Errorf("%s does not accept the session: %s %s", name, o, why)
		}
	}
	fmt.Printf("a session that all %d validators accept is revoked at %s\n", len(names), c.Nodes[0].Name)

	began := time.Now()
	took := make([]time.Duration, len(names))
	var watching sync.WaitGroup
	for i := range names {
		watching.Go(func() {
			for o := torture.OK; o == torture.OK; took[i] = time.Since(began) {
				time.Sleep(500 * time.Microsecond) // the machine is shared by all of them
				o, _ = c.Validate(ctx, i, raw)
			}
		})
	}
	r, o, why := c.Revoke(c.Nodes[0], "ann", "", 5*time.Second)
	answered := time.Since(began)
	if o != torture.OK {
		return fmt.Errorf("revoking: %s %s", o, why)
	}
	watching.Wait()
	e := r.Enforcement
	fmt.Printf("answered after %v: %d of %d validators confirmed, everywhere: %v, waiting for: %v\n",
		answered.Round(time.Microsecond), e.Confirmed, e.Validators, e.EffectiveEverywhere, e.Waiting)
	for i, name := range names {
		fmt.Printf("  %-12s refused it after %v\n", name, took[i].Round(time.Microsecond))
	}
	if !e.EffectiveEverywhere || e.Confirmed < len(c.Nodes)+20 {
		return fmt.Errorf("not all followers have confirmed")
	}
	return nil
}
