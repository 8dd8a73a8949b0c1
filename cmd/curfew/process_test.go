package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"example.com/curfew/internal/await"
	"example.com/curfew/internal/config"
	"example.com/curfew/internal/curfewtest"
)

// serverProcess is `curfew serve`, or `curfew edge`, in a process of its own.
type serverProcess struct {
	command       string // "" means serve
	dir, out, log string // files: standard output and standard error
	args, env     []string
	wrap          []string // a program to run it with, and its arguments

	cmd  *exec.Cmd
	once sync.Once
	done chan struct{} // closed when it has ended
	err  error         // how; set before done is closed
}

// startServer starts a server in a directory of its own, waits until it is ready,
// and ends it with the test.
func startServer(t testing.TB, p *serverProcess) *serverProcess {
	t.Helper()
	if p.dir == "" {
		p.dir = t.TempDir()
	}
	if p.out == "" {
		p.out, p.log = p.dir+"/server.out", p.dir+"/server.log"
	}
	p.args = append([]string{"--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"}, p.args...)
	p.env = append(curfewEnvironment(func(string) string { return "" }), p.env...)
	if err := p.start(serverProgram(t)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	if err := p.ready(); err != nil {
		t.Fatal(err)
	}
	return p
}

// program returns the path of the program that is tested, for commands that soon end.
func program(t testing.TB) string { t.Helper(); return find(t, "curfew") }

// serverProgramName is this binary, under a name that makes it curfew.
const serverProgramName = "curfew-server"

// serverProgram returns the path of the program that is tested, for servers.
func serverProgram(t testing.TB) string { t.Helper(); return find(t, serverProgramName) }

func find(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// endsAtOnce keeps the race detector from sleeping for a second before each process
// ends.
const endsAtOnce = "GORACE=atexit_sleep_ms=20"

// curfewEnvironment returns an environment with those variables of Curfew's that
// lookup knows.
func curfewEnvironment(lookup func(string) string) []string {
	env := []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir(), endsAtOnce}
	if dir := os.Getenv("GOCOVERDIR"); dir != "" {
		env = append(env, "GOCOVERDIR="+dir)
	}
	var names []string
	for _, o := range config.ServerOptions() {
		names = append(names, o.Env())
	}
	for _, o := range config.EdgeOptions() {
		names = append(names, o.Env())
	}
	for _, name := range names {
		for _, name := range []string{name, name + "_FILE"} {
			if value := lookup(name); value != "" {
				env = append(env, name+"="+value)
			}
		}
	}
	return env
}

func (p *serverProcess) start(path string) error {
	out, err := os.Create(p.out)
	if err != nil {
		return err
	}
	defer out.Close()
	log, err := os.Create(p.log)
	if err != nil {
		return err
	}
	defer log.Close()
	if p.command == "" {
		p.command = "serve"
	}
	words := slices.Concat(p.wrap, []string{path, p.command}, p.args)
	p.cmd = exec.Command(words[0], words[1:]...)
	p.cmd.Dir, p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = p.dir, p.env, out, log
	curfewtest.OwnGroup(p.cmd)
	p.done = make(chan struct{})
	if err := p.cmd.Start(); err != nil {
		return err
	}
	go func() { // ends with the process
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return nil
}

// ready waits until the server says that it is.
func (p *serverProcess) ready() error {
	ready := false
	ended := func() bool {
		select {
		case <-p.done:
			return true
		default:
			return false
		}
	}
	if !await.Holds(await.Limit, func() bool {
		ready = p.logs(`"msg":"ready"`)
		return ready || ended()
	}) {
		return fmt.Errorf("the server is not ready after %v\n%s", await.Limit, p.read(p.log))
	}
	if !ready {
		return fmt.Errorf("the server ended: %w\n%s", p.err, p.read(p.log))
	}
	return nil
}

// logs reports whether the log has a text.
func (p *serverProcess) logs(text string) bool { return strings.Contains(p.read(p.log), text) }

func (p *serverProcess) read(file string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	return string(data)
}

var bannerLine = regexp.MustCompile(`(?m)^  (open|address|metrics|password) +(?:in the file )?(\S+)$`)

// banner returns what the server has shown, and the password from the file that it
// has named.
func (p *serverProcess) banner() map[string]string {
	names := map[string]string{"open": "URL", "address": "URL", "metrics": "METRICS", "password": "PASSWORD"}
	found := map[string]string{}
	for _, m := range bannerLine.FindAllStringSubmatch(p.read(p.out), -1) {
		found[names[m[1]]] = m[2]
	}
	if file := found["PASSWORD"]; file != "" {
		found["PASSWORD"] = strings.TrimSpace(p.read(file))
	}
	_, found["ADDRESS"], _ = strings.Cut(found["URL"], "://")
	return found
}

func (p *serverProcess) signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// wait waits until the process has ended, and returns how.
func (p *serverProcess) wait(limit time.Duration) error {
	select {
	case <-p.done:
		return p.err
	case <-time.After(limit):
		return errors.New("the server has not ended after " + limit.String())
	}
}

// stop ends the server with SIGTERM.
func (p *serverProcess) stop() error {
	if err := p.signal(syscall.SIGTERM); err != nil {
		return err
	}
	if err := p.wait(await.Limit); err != nil {
		return fmt.Errorf("%w\n%s", err, p.read(p.log))
	}
	return nil
}

// kill ends the server if it still runs.
func (p *serverProcess) kill() {
	p.once.Do(func() {
		_ = p.cmd.Process.Kill()
		<-p.done
	})
}
