//go:build unix && !linux

package curfewtest

import "syscall"

var ownGroup = syscall.SysProcAttr{Setpgid: true}
