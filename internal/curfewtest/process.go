package curfewtest

import (
	"bytes"
	"os/exec"
	"sync"
	"syscall"
)

// Output is what a program has printed so far. The zero value is empty. It is safe
// for concurrent use.
type Output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (o *Output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// Process is a program that runs.
type Process struct {
	*Output
	Ended <-chan struct{} // closed when the program has ended
	cmd   *exec.Cmd
}

// Spawn starts a program in a process group of its own. It ends with the test
// process at the latest. Standard output and standard error go to the same Output.
func Spawn(cmd *exec.Cmd) (*Process, error) {
	ended := make(chan struct{})
	p := &Process{Output: &Output{}, Ended: ended, cmd: cmd}
	cmd.Stdout, cmd.Stderr = p.Output, p.Output
	OwnGroup(cmd)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() { // ends with the program
		_ = cmd.Wait()
		close(ended)
	}()
	return p, nil
}

// Signal sends a signal to the program.
func (p *Process) Signal(s syscall.Signal) error { return p.cmd.Process.Signal(s) }

// PID returns the program's process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Kill ends the program and those that it has started, and waits until it has
// ended. A second call does nothing.
func (p *Process) Kill() {
	select {
	case <-p.Ended:
		return // the number may be another program's by now
	default:
	}
	KillGroup(p.cmd.Process)
	<-p.Ended
}
