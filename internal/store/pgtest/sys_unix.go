//go:build unix

package pgtest

import (
	"errors"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// credential is the user that a process runs as.
type credential = syscall.Credential

// The signals that stop a process where it stands, and let it go on.
const (
	sigStop = syscall.SIGSTOP
	sigCont = syscall.SIGCONT
)

// runAs makes a command run as a user, nil for the one who runs the test.
func runAs(command *exec.Cmd, owner *credential) {
	if owner != nil {
		command.SysProcAttr = &syscall.SysProcAttr{Credential: owner}
	}
}

// detach gives a command a session of its own, so that no terminal signals it.
func detach(command *exec.Cmd, owner *credential) {
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: owner}
}

func kill(pid int, signal syscall.Signal) error { return syscall.Kill(pid, signal) }

// reapChild reports whether a child has ended, and if so removes it from the table
// of processes.
func reapChild(pid int) (bool, error) {
	var status syscall.WaitStatus
	switch got, err := syscall.Wait4(pid, &status, syscall.WNOHANG, nil); {
	case errors.Is(err, syscall.EINTR), err == nil && got == 0:
		return false, nil
	case err != nil:
		return false, err
	}
	return true, nil
}

// pause waits in real time, in a bubble of synctest too.
func pause(d time.Duration) { _, _ = unix.Poll(nil, int(d.Milliseconds())) }
