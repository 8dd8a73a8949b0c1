package pgtest

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// StopIdle stops a process (SIGSTOP) that uses the database of dsn, at a moment when no
// transaction is open in the database. A process that is stopped at any other moment may
// keep its locks, and other processes then wait for them until they give up: a test that
// needs the other processes to write cannot use it. SIGCONT lets the process go on.
func StopIdle(tb testing.TB, dsn string, pid int) {
	tb.Helper()
	server, err := sharedServer() // for its programs
	if err == nil {
		err = server.stopIdle(dsn, pid)
	}
	if err != nil {
		tb.Fatalf("pgtest: stop process %d while it is idle: %v", pid, err)
	}
}

func (s *Server) stopIdle(dsn string, pid int) error {
	return waitFor("a moment without a transaction", func() (bool, error) {
		if err := kill(pid, sigStop); err != nil {
			return false, err
		}
		// Until its last thread has stopped it may still send a statement.
		if err := waitFor("the process to stop", func() (bool, error) { return stopped(pid) }); err != nil {
			return false, err
		}
		idle, err := s.idle(dsn)
		if idle || err != nil {
			return idle, err
		}
		return false, kill(pid, sigCont)
	})
}

// idle reports whether no transaction is open in the database and none is about to open:
// a statement that was sent but not yet read makes its backend runnable. The backends
// are therefore looked at between two looks at the transactions.
func (s *Server) idle(dsn string) (bool, error) {
	for range 2 {
		said, err := s.psql(dsn, `SELECT pid, xact_start IS NULL FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid()`)
		if err != nil {
			return false, err
		}
		for line := range strings.Lines(said) {
			pid, outside, _ := strings.Cut(strings.TrimSpace(line), "|")
			backend, err := strconv.Atoi(pid)
			if err != nil {
				return false, err
			}
			if outside != "t" || processState(backend) == 'R' {
				return false, nil
			}
		}
	}
	return true, nil
}

// stopped reports whether every thread of a process has stopped. It returns an error if
// the process has ended.
func stopped(pid int) (bool, error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil {
		return false, err
	}
	if !running(pid) {
		return false, errors.New("it has ended")
	}
	for _, thread := range threads {
		if state, _ := readStatFile(thread); state != 'T' && state != 0 {
			return false, nil
		}
	}
	return len(threads) > 0, nil
}
