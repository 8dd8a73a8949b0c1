// Command bench measures Curfew beside its peers and writes RESULTS.md and the
// plots beside it.
//
// The full run takes about six minutes, -quick about one. Every figure comes from
// interleaved rounds; the goals stand in the code beside what they are compared
// with, and a goal that is missed is reported as missed.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"time"

	"example.com/curfew/internal/bench/peers"
)

// bench is one run of everything.
type bench struct {
	quick    bool
	rounds   int
	slice    time.Duration // that a case gets in a round
	dir      string        // for databases and binaries; removed at the end
	kit      *peers.Kit
	began    time.Time
	report   report
	postgres *postgres // nil until a section asks for one
	costs    costs
	kek      string // of the nodes
	curfew   string // the binary, once there is one

	patience time.Duration // that is left: see calm
	busy     bool          // it was used up
}

// costs are the figures that SCALE.md calculates with.
type costs map[string]float64

// sections in the order in which they are run.
var sections = []struct {
	name string
	run  func(*bench) error
}{
	{"validate", (*bench).validate},
	{"mint", (*bench).mint},
	{"memory", (*bench).memory},
	{"middleware", (*bench).middleware},
	{"flood", (*bench).flood},
	{"start", (*bench).start},
	{"verify", (*bench).verify},
	{"revoke", (*bench).revoke},
	{"propagate", (*bench).propagate},
	{"open", (*bench).openConnections},
	{"grow", (*bench).grow},
}

func main() {
	if len(os.Args) > 1 {
		if child := children[os.Args[1]]; child != nil { // this binary, started by itself
			exit(child(os.Args[2:]))
		}
	}
	exit(run())
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func run() (err error) {
	quick := flag.Bool("quick", false, "fewer rounds, smaller numbers: about a minute, for a first look")
	only := flag.String("only", "", "run the sections that match this regular expression alone, print their results, and put them into RESULTS.md in place of the old ones")
	out := flag.String("out", ".", "the directory for RESULTS.md and the plots; empty writes nothing and prints the results")
	patience := flag.Duration("patience", time.Minute, "wait this long, all in all, for the machine to be free before rounds")
	curfew := flag.String("curfew", "", "a curfew to measure; empty builds one from the sources around")
	flag.Parse()
	match, err := regexp.Compile(*only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	b := &bench{quick: *quick, rounds: 9, slice: 60 * time.Millisecond, began: time.Now(), costs: costs{}}
	b.curfew, b.patience = *curfew, *patience
	if b.quick {
		b.rounds, b.slice = 7, 25*time.Millisecond
	}
	if b.kit, err = peers.NewKit(); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp("", "curfew-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close(), os.RemoveAll(b.dir)) }()
	for _, s := range sections {
		if !match.MatchString(s.name) {
			continue
		}
		b.say("%s", s.name)
		if err := s.run(b); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	if *only != "" || *out == "" {
		if err := b.report.write(os.Stdout, b); err != nil || *out == "" {
			return err
		}
		return b.update(*out)
	}
	return b.publish(*out)
}

// say prints the current step, with the time since the start.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%6.1fs  %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, args...))
}

// round returns what happens before each round of what.
func (b *bench) round(what string) func(int) {
	return func(n int) {
		if n == 0 {
			b.say("  %s", what)
		}
		b.calm()
	}
}

// of returns full, or less in a quick run.
func (b *bench) of(full, less int) int {
	if b.quick {
		return less
	}
	return full
}
