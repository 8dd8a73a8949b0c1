package pgtest

import (
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestStopIdle asks for the stop of a client while the client holds a lock. After the
// stop another client gets the lock at once.
func TestStopIdle(t *testing.T) {
	dsn := DSN(t)
	server, err := sharedServer()
	must(t, err)
	_, err = server.psql(dsn, "CREATE TABLE clock AS SELECT 1 AS epoch")
	must(t, err)

	const transaction = "BEGIN;\nUPDATE clock SET epoch = epoch + 1;\n\\! sleep 0.2\nCOMMIT;\n\\! sleep 0.1\n"
	client := exec.CommandContext(t.Context(), filepath.Join(server.binaries, "psql"), "-X", "-q", dsn)
	client.Env, client.Dir = environment(), server.home
	client.Stdin = strings.NewReader(strings.Repeat(transaction, 100_000))
	must(t, client.Start())
	defer func() {
		_ = client.Process.Kill()
		_ = client.Wait()
	}()
	for range 5 {
		must(t, waitFor("the client to hold the lock", func() (bool, error) {
			got, err := server.psql(dsn, "SELECT count(*) FROM pg_locks WHERE relation = 'clock'::regclass AND pid <> pg_backend_pid()")
			return got != "0", err
		}))
		StopIdle(t, dsn, client.Process.Pid)
		_, err := server.psql(dsn, "SET lock_timeout = '1ms'; UPDATE clock SET epoch = epoch")
		must(t, err)
		must(t, client.Process.Signal(syscall.SIGCONT))
	}
}

func TestStopIdleOfAProcessThatHasEnded(t *testing.T) {
	dsn := DSN(t)
	server, err := sharedServer()
	must(t, err)
	ended := exec.CommandContext(t.Context(), "true")
	must(t, ended.Start())
	must(t, waitFor("it to end", func() (bool, error) { return !running(ended.Process.Pid), nil }))
	if err := server.stopIdle(dsn, ended.Process.Pid); err == nil || !strings.Contains(err.Error(), "ended") {
		t.Errorf("a process that has ended: %v", err)
	}
	_ = ended.Wait()
	if err := server.stopIdle(dsn, ended.Process.Pid); err == nil {
		t.Error("a process that is no more: no error")
	}
}
