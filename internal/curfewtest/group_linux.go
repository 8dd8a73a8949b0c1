package curfewtest

import "syscall"

// ownGroup also ends the program with the test process.
var ownGroup = syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
