package pgtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Mode is how a server is asked to stop; the words are pg_ctl's.
type Mode string

// The ways to stop.
const (
	Smart     Mode = "smart"     // wait for every client to leave
	Fast      Mode = "fast"      // disconnect the clients, write a checkpoint
	Immediate Mode = "immediate" // drop everything; the next start recovers
)

var stopSignals = map[Mode]syscall.Signal{
	Smart: syscall.SIGTERM, Fast: syscall.SIGINT, Immediate: syscall.SIGQUIT,
}

const (
	// patience is how long a server may take to start or to stop. A recovery takes a
	// second or two, and many times that on a busy machine.
	patience = 5 * time.Minute
	beat     = 5 * time.Millisecond
)

// Start starts the server and returns when it takes connections.
func (s *Server) Start() error {
	s.life.Lock()
	defer s.life.Unlock()
	return s.start()
}

// Stop stops the server and returns when it has ended.
func (s *Server) Stop(mode Mode) error {
	s.life.Lock()
	defer s.life.Unlock()
	return s.stop(mode)
}

// Restart stops the server and starts it again; no other call comes between.
func (s *Server) Restart(mode Mode) error {
	s.life.Lock()
	defer s.life.Unlock()
	if err := s.stop(mode); err != nil {
		return err
	}
	return s.start()
}

// Kill ends the server and all its processes with SIGKILL, paused or not.
func (s *Server) Kill() error {
	s.life.Lock()
	defer s.life.Unlock()
	// A stopped server makes no new process behind our back.
	processes, err := s.freeze()
	if err != nil {
		return fmt.Errorf("kill PostgreSQL: %w", err)
	}
	for _, pid := range processes {
		if err := kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("kill PostgreSQL: process %d: %w", pid, err)
		}
	}
	if err := s.waitEnd("SIGKILL"); err != nil {
		return err
	}
	// The next start refuses while an old process holds the shared memory.
	return waitFor("the end of PostgreSQL's processes", func() (bool, error) {
		return !slices.ContainsFunc(processes, running), nil
	})
}

// Pause stops every process of the server where it stands (SIGSTOP): connections
// stay open but get no answers, and no new ones are accepted.
func (s *Server) Pause() error {
	if _, err := s.freeze(); err != nil {
		return fmt.Errorf("pause PostgreSQL: %w", err)
	}
	return nil
}

// Resume lets a paused server go on.
func (s *Server) Resume() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pid == 0 {
		return errors.New("resume PostgreSQL: it is not running")
	}
	// The server itself comes last, so that the list holds until the end.
	for _, pid := range append(children(s.pid), s.pid) {
		if err := kill(pid, sigCont); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("resume PostgreSQL: process %d: %w", pid, err)
		}
	}
	return nil
}

// freeze sends SIGSTOP to the server, then to its children, and returns them
// all. PostgreSQL gives each child a process group of its own, so there is no
// group to signal.
func (s *Server) freeze() ([]int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pid == 0 {
		return nil, errors.New("it is not running")
	}
	if err := kill(s.pid, sigStop); err != nil {
		return nil, err
	}
	// A fork under way when the signal was sent is done before it takes effect.
	if err := waitFor("PostgreSQL to stop", func() (bool, error) {
		state := processState(s.pid)
		return state == 'T' || state == 'Z', nil
	}); err != nil {
		return nil, err
	}
	processes := append([]int{s.pid}, children(s.pid)...)
	for _, pid := range processes[1:] {
		if err := kill(pid, sigStop); err != nil && !errors.Is(err, syscall.ESRCH) {
			return nil, fmt.Errorf("process %d: %w", pid, err)
		}
	}
	return processes, nil
}

func (s *Server) start() error {
	if pid := s.PID(); pid != 0 {
		return fmt.Errorf("start PostgreSQL: it is running, as process %d", pid)
	}
	if err := s.launch(filepath.Join(s.binaries, "postgres"), "-D", s.data); err != nil {
		return err
	}
	return s.waitReady(s.ready)
}

// ready reports what the server says of itself in the last line of
// postmaster.pid, where pg_ctl looks too. The first line tells a leftover of
// the server before from this one.
func (s *Server) ready() bool {
	content, err := os.ReadFile(filepath.Join(s.data, "postmaster.pid"))
	if err != nil {
		return false
	}
	lines := strings.Split(string(content), "\n")
	return len(lines) >= 8 && lines[0] == fmt.Sprint(s.PID()) && strings.TrimSpace(lines[7]) == "ready"
}

func (s *Server) stop(mode Mode) error {
	signal, known := stopSignals[mode]
	if !known {
		return fmt.Errorf("stop PostgreSQL: mode is %q, and there are smart, fast and immediate", mode)
	}
	if err := s.signal(signal); err != nil {
		return fmt.Errorf("stop PostgreSQL: %w", err)
	}
	return s.waitEnd(string(mode))
}

// end stops the server, if there is one, in whatever state it is.
func (s *Server) end() error {
	s.life.Lock()
	defer s.life.Unlock()
	if s.PID() == 0 {
		return nil
	}
	return errors.Join(s.Resume(), s.stop(Immediate))
}

// waitFor waits until done says so. It sleeps in a system call: in a synctest
// bubble time.Sleep would use up all patience in no time.
func waitFor(what string, done func() (bool, error)) error {
	for range patience / beat {
		if ok, err := done(); ok || err != nil {
			return err
		}
		// Interrupted by a signal, it ends early: the next look comes sooner.
		pause(beat)
	}
	return fmt.Errorf("waited %v for %s in vain", patience, what)
}
