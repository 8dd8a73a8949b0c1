package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"example.com/curfew/internal/bench/drive"
	"example.com/curfew/internal/bench/measure"
)

// processorTime returns the processor time that all threads of a process have had.
func processorTime(pid int) (time.Duration, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(files) == 0 {
		return 0, fmt.Errorf("process %d has no threads to be seen: %w", pid, err)
	}
	var sum time.Duration
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // a thread that has just ended
		}
		first, _, _ := strings.Cut(string(text), " ")
		ns, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", file, err)
		}
		sum += time.Duration(ns)
	}
	return sum, nil
}

// ownTime returns the processor time of this process.
func ownTime() (time.Duration, error) {
	var t unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t)
	return time.Duration(t.Nano()), err
}

// target is a server under load.
type target struct {
	address  string
	pid      int
	requests [][]byte
	want     int // status

	server, client measure.Series // µs of processor time a request, a figure a round
}

// rate returns a Run for measure.Case: requests a second. The processor time of
// server and client for each request is noted beside it: on a shared machine it is
// the steadier of the two.
func (t *target) rate(connections, depth int, d time.Duration) func() (float64, error) {
	return func() (float64, error) {
		server, err := processorTime(t.pid)
		if err != nil {
			return 0, err
		}
		client, err := ownTime()
		if err != nil {
			return 0, err
		}
		began := time.Now()
		rate, err := drive.Throughput(t.address, t.requests, connections, depth, d, t.want)
		if err != nil {
			return 0, err
		}
		n := rate * time.Since(began).Seconds()
		serverAfter, err := processorTime(t.pid)
		if err != nil {
			return 0, err
		}
		clientAfter, err := ownTime()
		t.server.Values = append(t.server.Values, float64(serverAfter-server)/n/1000)
		t.client.Values = append(t.client.Values, float64(clientAfter-client)/n/1000)
		return rate, err
	}
}

// costs returns the two columns, and forgets the figures.
func (t *target) costs() []string {
	out := []string{number(t.server.Median()), number(t.client.Median())}
	t.server.Values, t.client.Values = nil, nil
	return out
}

// family returns the processor time of a process and its children: PostgreSQL.
func family(pid int) (time.Duration, error) {
	sum, err := processorTime(pid)
	if err != nil {
		return 0, err
	}
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has just ended
		}
		// The name in parentheses may have anything in it; the parent is the second
		// field behind it.
		_, rest, _ := strings.Cut(string(text), ") ")
		if fields := strings.Fields(rest); len(fields) < 2 || fields[1] != strconv.Itoa(pid) {
			continue
		}
		child, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			return 0, err
		}
		if t, err := processorTime(child); err == nil {
			sum += t
		}
	}
	return sum, nil
}

// spent is the processor time, in µs for each operation, of all processes that take
// part in a measurement.
type spent struct {
	names   []string
	clocks  []func() (time.Duration, error)
	figures map[string][]measure.Series // by case
}

// during returns run with a note of what it spends. Its figure is operations a
// second.
func (s *spent) during(name string, run func() (float64, error)) measure.Case {
	if s.figures == nil {
		s.figures = map[string][]measure.Series{}
	}
	s.figures[name] = make([]measure.Series, len(s.clocks))
	return measure.Case{Name: name, Run: func() (float64, error) {
		before, err := s.read()
		if err != nil {
			return 0, err
		}
		began := time.Now()
		rate, err := run()
		if err != nil {
			return 0, err
		}
		n := rate * time.Since(began).Seconds()
		after, err := s.read()
		for i := range after {
			f := &s.figures[name][i]
			f.Values = append(f.Values, float64(after[i]-before[i])/n/1000)
		}
		return rate, err
	}}
}

func (s *spent) read() ([]time.Duration, error) {
	out := make([]time.Duration, len(s.clocks))
	for i, clock := range s.clocks {
		var err error
		if out[i], err = clock(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// columns returns the medians of a case.
func (s *spent) columns(name string) []string {
	var out []string
	for _, f := range s.figures[name] {
		out = append(out, number(f.Median()))
	}
	return out
}
