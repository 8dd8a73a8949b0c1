package pgtest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// daemon is a process that outlives the call which starts it, and that a guard
// watches over.
type daemon struct {
	name  string      // for errors
	home  string      // holds the socket, the log and the pid for the guard
	owner *credential // nil: the user who runs the test
	guard *guard

	mu  sync.Mutex
	pid int // 0 when there is no process
}

// newDaemon makes the directory of a daemon and starts the guard over it. The
// data directory is data, or is within home if data is "".
func newDaemon(name, data string, owner *credential) (*daemon, error) {
	home, err := makeDir("", owner)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(data))
	}
	if data == "" {
		data = filepath.Join(home, "data")
	}
	guard, err := startGuard(home, data)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(home), os.RemoveAll(data))
	}
	return &daemon{name: name, home: home, owner: owner, guard: guard}, nil
}

// A closer ends a daemon and removes its directories.
type closer interface{ close() error }

// begin takes the steps that start a daemon. After a step that fails it closes the
// daemon, and returns the error.
func begin[D closer](d D, steps ...func() error) (D, error) {
	for _, step := range steps {
		if err := step(); err != nil {
			var none D
			return none, errors.Join(err, d.close())
		}
	}
	return d, nil
}

// forTest opens a daemon that the end of the test closes. It fails the test if it
// cannot.
func forTest[D closer](tb testing.TB, what string, open func() (D, error)) D {
	tb.Helper()
	d, err := open()
	if err != nil {
		tb.Fatalf("pgtest: %s: %v", what, err)
	}
	tb.Cleanup(func() {
		if err := d.close(); err != nil {
			tb.Errorf("pgtest: %s: %v", what, err)
		}
	})
	return d
}

// PID returns the process id of the server, 0 while there is none.
func (d *daemon) PID() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.pid
}

// LogFile returns the name of the file that the server logs to.
func (d *daemon) LogFile() string { return filepath.Join(d.home, "log") }

// launch starts a program in home.
func (d *daemon) launch(program string, arguments ...string) error {
	if pid := d.PID(); pid != 0 {
		return fmt.Errorf("start %s: it is running, as process %d", d.name, pid)
	}
	log, err := os.OpenFile(d.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open the log of %s: %w", d.name, err)
	}
	arguments = append([]string{"-c", launchScript, "pgtest-launch", d.home, program}, arguments...)
	command := exec.Command("/bin/sh", arguments...)
	command.Stdout, command.Stderr = log, log
	command.Env = environment()
	command.Dir = d.home
	detach(command, d.owner)
	err = command.Start()
	_ = log.Close() // nothing was written through it: the server has its own
	if err != nil {
		return fmt.Errorf("start %s: %w", d.name, err)
	}
	d.mu.Lock()
	d.pid = command.Process.Pid
	d.mu.Unlock()
	// We reap it ourselves, in waitEnd, rather than keep a goroutine waiting.
	if err := command.Process.Release(); err != nil {
		return fmt.Errorf("start %s: %w", d.name, err)
	}
	return nil
}

// waitReady waits until ready says so, or the process has ended.
func (d *daemon) waitReady(ready func() bool) error {
	return waitFor(d.name+" to take connections", func() (bool, error) {
		ended, err := d.reap()
		if err != nil {
			return false, err
		}
		if ended {
			return false, fmt.Errorf("%s did not start; its log ends with\n%s", d.name, d.logTail())
		}
		return ready(), nil
	})
}

func (d *daemon) signal(signal syscall.Signal) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.pid == 0 {
		return errors.New("it is not running")
	}
	return kill(d.pid, signal)
}

func (d *daemon) waitEnd(how string) error {
	return waitFor(d.name+" to stop ("+how+")", d.reap)
}

// reap reports whether the process has ended, and forgets it if so. Until then
// its number is not given to another, so that our signals cannot go astray.
func (d *daemon) reap() (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.pid == 0 {
		return true, nil
	}
	ended, err := reapChild(d.pid)
	if err != nil {
		return false, fmt.Errorf("wait for %s, process %d: %w", d.name, d.pid, err)
	}
	if !ended {
		return false, nil
	}
	d.pid = 0
	return true, forgetPID(d.home)
}

// logTail returns the end of the log, for error messages.
func (d *daemon) logTail() string {
	content, err := os.ReadFile(d.LogFile())
	if err != nil {
		return err.Error()
	}
	const enough = 2000
	if len(content) > enough {
		content = content[len(content)-enough:]
	}
	return string(bytes.TrimSpace(content))
}

// writeFile writes a file for the server's user alone.
func (d *daemon) writeFile(name, content string) error {
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		return err
	}
	if d.owner == nil {
		return nil
	}
	return os.Chown(name, int(d.owner.Uid), int(d.owner.Gid))
}
