//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"example.com/curfew/internal/await"
)

// terminal is a pseudo-terminal: what a person types and sees.
type terminal struct {
	tty    *os.File // the program's end
	person *os.File

	mu   sync.Mutex
	seen strings.Builder
	done chan struct{} // closed when nothing more will be seen
}

func openTerminal(t *testing.T) *terminal {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fd := int(person.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	term := &terminal{tty: tty, person: person, done: make(chan struct{})}
	go func() { // ends when the program's end is closed
		defer close(term.done)
		buffer := make([]byte, 1024)
		for {
			n, err := person.Read(buffer)
			term.mu.Lock()
			term.seen.Write(buffer[:n])
			term.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = tty.Close()
		<-term.done
		_ = person.Close()
	})
	return term
}

func (term *terminal) transcript() string {
	term.mu.Lock()
	defer term.mu.Unlock()
	return term.seen.String()
}

// until waits until the person sees a text.
func (term *terminal) until(t *testing.T, text string) {
	t.Helper()
	if !await.Holds(await.Limit, func() bool { return strings.Contains(term.transcript(), text) }) {
		t.Fatalf("%q was not to be seen, but\n%s", text, term.transcript())
	}
}

// enter types a line at a prompt that shows nothing, as soon as the terminal does
// not.

func (term *terminal) enter(t *testing.T, line string) {
	t.Helper()
	await.Until(t, "the terminal's echo is off", func() bool {
		mode, err := unix.IoctlGetTermios(int(term.tty.Fd()), unix.TCGETS)
		return err == nil && mode.Lflag&unix.ECHO == 0
	})
	if _, err := term.person.WriteString(line + "\n"); err != nil {
		t.Fatal(err)
	}
}

// A password that is typed is not shown.
func TestPasswordIsNotEchoed(t *testing.T) {
	p := startServer(t, &serverProcess{})
	term := openTerminal(t)
	cmd := exec.Command(program(t), "user", "add", "alice")
	cmd.Dir, cmd.Env = p.dir, p.env
	cmd.Stdin, cmd.Stdout, cmd.Stderr = term.tty, term.tty, term.tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	term.until(t, "New password: ")
	term.enter(t, "correct horse battery")
	term.until(t, "Again: ")
	term.enter(t, "correct horse battery")
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, term.transcript())
	}
	term.until(t, "created user alice")
	if strings.Contains(term.transcript(), "horse") {
		t.Errorf("the password was shown:\n%s", term.transcript())
	}
	got := p.ask(t, "POST", "/v1/sessions", "", `{"username":"alice","password":"correct horse battery"}`)
	if got.status != 201 {
		t.Errorf("the password that was typed does not work: %d %s", got.status, got.body)
	}
}

// On a terminal the log is for people.
func TestLogOnATerminal(t *testing.T) {
	term := openTerminal(t)
	cmd := exec.Command(program(t), "serve", "--listen", "127.0.0.1:0", "--metrics-listen", "")
	cmd.Dir, cmd.Env = t.TempDir(), curfewEnvironment(func(string) string { return "" })
	cmd.Stdin, cmd.Stdout, cmd.Stderr = term.tty, term.tty, term.tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	term.until(t, "level=INFO msg=ready")
	term.until(t, "The password is not shown again.") // it is shown
	if made, err := filepath.Glob(cmd.Dir + "/*password*"); err != nil || len(made) > 0 {
		t.Errorf("the password is in %q, too (%v)", made, err)
	}
	// What Ctrl-C sends.
	if _, err := term.person.WriteString("\x03"); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, term.transcript())
	}
	term.until(t, "msg=\"shut down\"")
	if strings.Contains(term.transcript(), `{"time"`) {
		t.Errorf("the log is JSON:\n%s", term.transcript())
	}
}

// A sign-in that requires a new password asks for it at a terminal; without one it says
// where to choose it. Neither is shown.
func TestLoginAsksForARequiredPassword(t *testing.T) {
	p := startServer(t, &serverProcess{})
	url, credentials := p.banner()["URL"], filepath.Join(t.TempDir(), "credentials.json")
	login := func() *exec.Cmd {
		cmd := exec.Command(program(t), "login", "alice", "--server", url)
		cmd.Dir, cmd.Env = p.dir, append(p.env, "CURFEW_CREDENTIALS="+credentials)
		return cmd
	}
	add := exec.Command(program(t), "user", "add", "alice", "--must-change-password")
	add.Dir, add.Env, add.Stdin = p.dir, p.env, strings.NewReader("correct horse battery")
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	piped := login()
	piped.Stdin = strings.NewReader("correct horse battery")
	if out, err := piped.CombinedOutput(); err == nil || !strings.Contains(string(out), "sign in at "+url+"/sign-in") {
		t.Errorf("without a terminal: %v\n%s", err, out)
	}

	term := openTerminal(t)
	cmd := login()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = term.tty, term.tty, term.tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, step := range [][2]string{
		{"Password: ", "correct horse battery"}, {"must be changed", ""}, {"New password: ", "a staple, a battery"}, {"Again: ", "a staple, a battery"},
	} {
		term.until(t, step[0])
		if step[1] != "" {
			term.enter(t, step[1])
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, term.transcript())
	}
	term.until(t, "signed in to "+url+" as alice")
	if strings.Contains(term.transcript(), "battery") {
		t.Errorf("a password was shown:\n%s", term.transcript())
	}
	got := p.ask(t, "POST", "/v1/sessions", "", `{"username":"alice","password":"a staple, a battery"}`)
	if got.status != 201 {
		t.Errorf("the new password does not work: %d %s", got.status, got.body)
	}
}

// A command whose server asks for the password again asks for it at a terminal, and is
// then done; without a terminal it says how to go on.
func TestCommandConfirmsThePassword(t *testing.T) {
	p := startServer(t, &serverProcess{args: []string{"--reauthenticate-within", "6s"}})
	url, credentials := p.banner()["URL"], filepath.Join(t.TempDir(), "credentials.json")
	run := func(args ...string) *exec.Cmd {
		cmd := exec.Command(program(t), append(args, "--server", url)...)
		cmd.Dir, cmd.Env = p.dir, append(p.env, "CURFEW_CREDENTIALS="+credentials)
		return cmd
	}
	for _, name := range []string{"alice", "root"} {
		add := exec.Command(program(t), "user", "add", name)
		add.Dir, add.Env, add.Stdin = p.dir, p.env, strings.NewReader("correct horse battery")
		if out, err := add.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	grant := exec.Command(program(t), "user", "grant", "root", "AdministerSystem")
	grant.Dir, grant.Env = p.dir, p.env
	if out, err := grant.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	login := run("login", "root")
	login.Stdin = strings.NewReader("correct horse battery")
	if out, err := login.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	// Until the sign-in is long enough ago the command is done at once.
	await.Until(t, "the server asks for the password", func() bool {
		piped := run("user", "grant", "alice", "UserEdit")
		out, err := piped.CombinedOutput()
		return err != nil && strings.Contains(string(out), "sign in again with `curfew login NAME --server "+url+"`")
	})
	term := openTerminal(t)
	cmd := run("user", "grant", "alice", "AdministerSystem")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = term.tty, term.tty, term.tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	term.until(t, "Your password: ")
	term.enter(t, "correct horse battery")
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, term.transcript())
	}
	if seen := term.transcript(); strings.Contains(seen, "horse") {
		t.Errorf("the password was shown:\n%s", seen)
	}
	show := exec.Command(program(t), "user", "show", "alice")
	show.Dir, show.Env = p.dir, p.env
	if out, err := show.CombinedOutput(); err != nil || !strings.Contains(string(out), "AdministerSystem") {
		t.Errorf("not done: %v\n%s\n%s", err, out, term.transcript())
	}
	// Without passwords it asks for none, and says what else there is. A token of the
	// command line is one.
	off := exec.Command(program(t), "sign-in-methods", "set", "--passwords", "off")
	off.Dir, off.Env = p.dir, p.env
	if out, err := off.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	await.Until(t, "the server asks for an authentication", func() bool {
		out, err := run("user", "grant", "alice", "UserEdit").CombinedOutput()
		return err != nil && strings.Contains(string(out), "signing in with a password is switched off at "+url)
	})
	issue := exec.Command(program(t), "token", "issue", "root")
	issue.Dir, issue.Env = p.dir, p.env
	raw, err := issue.Output()
	if err != nil {
		t.Fatal(err)
	}
	with := run("user", "grant", "alice", "UserEdit")
	with.Env = append(with.Env, "CURFEW_TOKEN="+strings.TrimSpace(string(raw)))
	if out, err := with.CombinedOutput(); err != nil {
		t.Errorf("with a token of the command line: %v\n%s", err, out)
	}
}
