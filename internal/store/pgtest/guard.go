package pgtest

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// guardScript waits for the end of its standard input, a pipe that only the
// test process can write to, so that the kernel ends it even when that process
// is killed. It then ends the server and removes its directories: home ($1) and
// data ($2), which may be one within the other.
//
// Home is moved away first: a server that is about to start finds no
// place to write its process id to (see launchScript) and ends by itself, so
// none can slip through between the look and the kill. CONT is for servers
// that a test had stopped; QUIT makes PostgreSQL end its children too.
const guardScript = `
trap : HUP INT QUIT TERM
while read -r _; do :; done
mv "$1" "$1.gone" || exit 0
if read -r pid 2>/dev/null <"$1.gone/pid"; then
	kill -QUIT "$pid"
	kill -CONT "$pid"
	tries=0
	while kill -0 "$pid" && [ "$tries" -lt 100 ]; do
		sleep 0.1
		tries=$((tries + 1))
	done
	kill -KILL "$pid"
fi 2>/dev/null
rm -rf "$1.gone" "$2"
`

// launchScript leaves the server's process id where the guard looks for it,
// then becomes the server ($2…) itself.
const launchScript = `home=$1; shift; echo $$ >"$home/pid" || exit 1; exec "$@"`

// guard is the process that outlives the test process to clean up after it.
type guard struct {
	command *exec.Cmd
	alive   io.Closer // the pipe whose end is the signal
}

// startGuard starts the guard of a server. It has a session of its own: a Ctrl-C
// that ends the tests must not end who cleans up after them.
func startGuard(home, data string) (*guard, error) {
	command := exec.Command("/bin/sh", "-c", guardScript, "pgtest-guard", home, data)
	detach(command, nil)
	command.Dir = "/"
	alive, err := command.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("make the pipe to PostgreSQL's guard: %w", err)
	}
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("start PostgreSQL's guard: %w", err)
	}
	return &guard{command: command, alive: alive}, nil
}

// release lets the guard do its work now and waits until it has.
func (g *guard) release() error {
	if err := g.alive.Close(); err != nil {
		return fmt.Errorf("close the pipe to PostgreSQL's guard: %w", err)
	}
	if err := g.command.Wait(); err != nil {
		return fmt.Errorf("PostgreSQL's guard: %w", err)
	}
	return nil
}

// forgetPID records that there is no server to end: another process may get its
// number from now on.
func forgetPID(home string) error {
	if err := os.Remove(filepath.Join(home, "pid")); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}
