package pgtest

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// must ends the test at an error: the steps of a scenario build on each other.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ask fails the test unless the server answers SQL with want.
func ask(t *testing.T, server *Server, sql, want string) {
	t.Helper()
	got, err := server.Exec(sql)
	must(t, err)
	if got != want {
		t.Fatalf("%s: got %q, want %q", sql, got, want)
	}
}

func TestServerKeepsWhatWasCommitted(t *testing.T) {
	server := Start(t, Options{})
	ask(t, server, "CREATE TABLE kept (n INT)", "")
	ways := []struct {
		name string
		end  func() error
	}{
		{"smart", func() error { return server.Stop(Smart) }},
		{"fast", func() error { return server.Stop(Fast) }},
		{"immediate", func() error { return server.Stop(Immediate) }},
		{"kill", server.Kill},
		{"kill while paused", func() error { return errors.Join(server.Pause(), server.Kill()) }},
	}
	for n, way := range ways {
		ask(t, server, fmt.Sprintf("INSERT INTO kept VALUES (%d)", n), "")
		if err := way.end(); err != nil {
			t.Fatalf("%s: %v", way.name, err)
		}
		if pid := server.PID(); pid != 0 {
			t.Fatalf("%s: the server still runs, as process %d", way.name, pid)
		}
		if _, err := server.Exec("SELECT 1"); err == nil {
			t.Fatalf("%s: a server that has ended still answers", way.name)
		}
		if err := server.Start(); err != nil {
			t.Fatalf("after %s: %v", way.name, err)
		}
		ask(t, server, "SELECT count(*) FROM kept", fmt.Sprint(n+1))
	}
	before := server.PID()
	must(t, server.Restart(Fast))
	if server.PID() == before {
		t.Errorf("after a restart the process is still %d", before)
	}
	ask(t, server, "SELECT count(*) FROM kept", fmt.Sprint(len(ways)))
}

func TestPausedServerHangsUntilResumed(t *testing.T) {
	server := Start(t, Options{})
	must(t, server.Pause())
	answered := make(chan error, 1)
	go func() {
		_, err := server.Exec("SELECT 1")
		answered <- err
	}()
	select {
	case err := <-answered:
		t.Fatalf("a paused server answered: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	must(t, server.Resume())
	must(t, <-answered)
}

func TestPauseReachesConnectionsThatAreOpen(t *testing.T) {
	server := Start(t, Options{})
	answered := make(chan error, 1)
	go func() {
		_, err := server.Exec("SELECT pg_sleep(0.2)")
		answered <- err
	}()
	must(t, waitFor("the query to run", func() (bool, error) {
		got, err := server.Exec("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(0.2)'")
		return got == "1", err
	}))
	must(t, server.Pause())
	select {
	case err := <-answered:
		t.Fatalf("a connection of a paused server answered: %v", err)
	case <-time.After(500 * time.Millisecond):
	}
	must(t, server.Resume())
	must(t, <-answered)
}

func TestServerThatDoesNotRun(t *testing.T) {
	server := Start(t, Options{})
	if err := server.Start(); err == nil {
		t.Error("a running server was started again")
	}
	if err := server.Stop("gently"); err == nil || !strings.Contains(err.Error(), "gently") {
		t.Errorf("stop with an unknown mode: %v", err)
	}
	must(t, server.Stop(Fast))
	for name, call := range map[string]func() error{
		"stop": func() error { return server.Stop(Fast) }, "kill": server.Kill,
		"pause": server.Pause, "resume": server.Resume,
	} {
		if err := call(); err == nil || !strings.Contains(err.Error(), "not running") {
			t.Errorf("%s: got %v, want that it is not running", name, err)
		}
	}
}

func TestServerThatCannotStartSaysWhy(t *testing.T) {
	_, err := open(Options{Settings: map[string]string{"max_connections": "many"}})
	if err == nil || !strings.Contains(err.Error(), "max_connections") {
		t.Errorf("got %v, want the line of the log about max_connections", err)
	}
}

func TestServerOverTCP(t *testing.T) {
	server := Start(t, Options{TCP: true, Settings: map[string]string{"application_name": "it's us"}})
	if got, err := server.psql(server.DSNVia(server.Addr(), "postgres"), "SHOW application_name"); err != nil || got == "" {
		t.Errorf("over TCP: got %q, %v", got, err)
	}
	ask(t, server, "SELECT setting FROM pg_file_settings WHERE name = 'application_name'", "it's us")
	stranger := strings.Replace(server.DSNVia(server.Addr(), "postgres"), server.password, "guessed", 1)
	if _, err := server.psql(stranger, "SELECT 1"); err == nil {
		t.Error("over TCP a wrong password was let in")
	}
	if host, _, err := net.SplitHostPort(server.Addr()); err != nil || host != "127.0.0.1" {
		t.Errorf("it listens on %q (%v), want 127.0.0.1", server.Addr(), err)
	}
}

func TestFsyncIsTheCallersChoice(t *testing.T) {
	ask(t, Start(t, Options{}), "SHOW fsync", "off")
	ask(t, Start(t, Options{Fsync: true}), "SHOW fsync", "on")
}

func TestDataDirOfTheCallersChoice(t *testing.T) {
	parent := openDir(t)
	t.Run("uses it", func(t *testing.T) {
		server := Start(t, Options{DataDir: parent})
		got, err := server.Exec("SHOW data_directory")
		must(t, err)
		if filepath.Dir(got) != parent {
			t.Errorf("the data are in %s, want them in %s", got, parent)
		}
	})
	left, err := os.ReadDir(parent)
	must(t, err)
	if len(left) != 0 {
		t.Errorf("the test has left %v behind", left)
	}
}

func TestStandbyTakesOver(t *testing.T) {
	primary := Start(t, Options{})
	standby := primary.Standby(t, Options{TCP: true})
	ask(t, primary, "ALTER SYSTEM SET synchronous_standby_names = '*'", "")
	ask(t, primary, "SELECT pg_reload_conf()", "t")
	must(t, waitFor("the standby to be synchronous", func() (bool, error) {
		got, err := primary.Exec("SELECT sync_state FROM pg_stat_replication")
		return got == "sync", err
	}))
	ask(t, primary, "CREATE TABLE kept AS SELECT 7 AS n", "")
	must(t, primary.Kill())
	must(t, standby.Promote())
	ask(t, standby, "SELECT n FROM kept", "7")
	ask(t, standby, "INSERT INTO kept VALUES (8)", "")
}

func TestServerEndsWithItsProcess(t *testing.T) {
	for _, how := range []string{"running", "paused"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel() // PostgreSQL gives children that were stopped five seconds
			command := exec.CommandContext(t.Context(), os.Args[0])
			command.Env = append(os.Environ(), orphan+"="+how)
			command.Stderr = os.Stderr
			said, err := command.StdoutPipe()
			must(t, err)
			must(t, command.Start())
			line, err := bufio.NewReader(said).ReadString('\n')
			must(t, err)
			var home string
			var pid int
			_, err = fmt.Sscan(line, &home, &pid)
			must(t, err)
			processes := append(children(pid), pid)
			if len(processes) < 3 {
				t.Fatalf("process %d has the children %v; PostgreSQL has more", pid, processes)
			}

			must(t, command.Process.Kill())
			if err := command.Wait(); err == nil {
				t.Error("a killed process ended well")
			}
			must(t, waitFor("the server and its directory to be gone", func() (bool, error) {
				if slices.ContainsFunc(processes, running) {
					return false, nil
				}
				left, err := filepath.Glob(home + "*")
				return len(left) == 0, err
			}))
		})
	}
}

func TestMissingPostgreSQLSaysWhatToInstall(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	got, err := findBinaries(filepath.Join(t.TempDir(), "*", "bin"))
	if err == nil {
		t.Fatalf("found PostgreSQL in %s", got)
	}
	for _, want := range []string{"apt-get install postgresql", "make test"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
}

func TestBinariesOfTheHighestVersion(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	root := t.TempDir()
	for _, version := range []string{"9.6", "15", "17", "common"} {
		bin := filepath.Join(root, version, "bin")
		must(t, os.MkdirAll(bin, 0o700))
		must(t, os.WriteFile(filepath.Join(bin, "initdb"), nil, 0o600))
	}
	got, err := findBinaries(filepath.Join(root, "*", "bin"))
	must(t, err)
	if want := filepath.Join(root, "17", "bin"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	// What PATH leads to is what the person at the keyboard has chosen.
	chosen := filepath.Join(root, "15", "bin")
	must(t, os.Chmod(filepath.Join(chosen, "initdb"), 0o700))
	t.Setenv("PATH", chosen)
	got, err = findBinaries(filepath.Join(root, "*", "bin"))
	must(t, err)
	if want, err := filepath.EvalSymlinks(chosen); err != nil || got != want {
		t.Errorf("got %s, want %s (%v)", got, want, err)
	}
}

// openDir returns a directory that the server's user can get into, as it can
// not into root's t.TempDir.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "curfew-pg-test-") //nolint:usetesting // what t.TempDir gives is for its owner only
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	must(t, os.Chmod(dir, 0o755))
	return dir
}
