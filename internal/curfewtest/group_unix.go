//go:build unix

package curfewtest

import (
	"os"
	"os/exec"
	"syscall"
)

// OwnGroup makes a command start in a process group of its own. On Linux it also ends
// with the test process.
func OwnGroup(cmd *exec.Cmd) {
	attributes := ownGroup
	cmd.SysProcAttr = &attributes
}

// KillGroup ends a process that [OwnGroup] was called for, and those that it has
// started. They may have ended already.
func KillGroup(p *os.Process) { _ = syscall.Kill(-p.Pid, syscall.SIGKILL) }
