package pgtest

import (
	"errors"
	"os/exec"
	"syscall"
	"time"
)

// The package works on Unix only. This file lets its users compile for Windows,
// where starting a server fails.

// credential is the user that a process runs as.
type credential struct{ Uid, Gid uint32 }

const sigStop, sigCont = syscall.SIGTERM, syscall.SIGTERM

func runAs(*exec.Cmd, *credential)  {}
func detach(*exec.Cmd, *credential) {}

func kill(int, syscall.Signal) error { return errors.ErrUnsupported }
func reapChild(int) (bool, error)    { return false, errors.ErrUnsupported }
func pause(d time.Duration)          { time.Sleep(d) }
