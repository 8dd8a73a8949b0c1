package pgtest

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// orphan, when set in the environment, makes this binary a process that starts
// a server, says where it is, and then waits to be killed.
const orphan = "CURFEW_PGTEST_ORPHAN"

func TestMain(m *testing.M) {
	if how := os.Getenv(orphan); how != "" {
		server, err := open(Options{})
		if err == nil && how == "paused" {
			err = server.Pause()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(server.home, server.PID())
		select {}
	}
	goleak.VerifyTestMain(m)
}
