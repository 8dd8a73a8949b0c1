package main

import (
	"strings"
	"syscall"
	"testing"

	"example.com/curfew/internal/await"
)

// A node that is stopped while it waits for PostgreSQL ends with exit code 0, as any
// node that is stopped. The service manager is told what it waits for.
func TestStopBeforeTheDatabaseIsThere(t *testing.T) {
	dir := t.TempDir()
	socket, next := serviceManager(t)
	p := &serverProcess{
		dir: dir, out: dir + "/out", log: dir + "/log",
		args: []string{"--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--database", "postgres://127.0.0.1:1/curfew?sslmode=disable"},
		env:  append(curfewEnvironment(func(string) string { return "" }), "NOTIFY_SOCKET="+socket, "CURFEW_KEY_ENCRYPTION_KEY=MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="),
	}
	if err := p.start(serverProgram(t)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	await.Until(t, "the server waits", func() bool { return p.logs("waiting for it") })
	if got := next(); !strings.HasPrefix(got, "STATUS=Opening the database\nEXTEND_TIMEOUT_USEC=") {
		t.Errorf("the service manager is told %q at first", got)
	}
	if got := next(); !strings.HasPrefix(got, "STATUS=Waiting for the database; gives up in ") {
		t.Errorf("the service manager is told %q while the server waits", got)
	}
	if err := p.signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.wait(await.Limit); err != nil {
		t.Errorf("ended with %v, want exit code 0\n%s", err, p.read(p.log))
	}
	if !p.logs("shut down before the database was available") {
		t.Errorf("the log does not say why it ended:\n%s", p.read(p.log))
	}
}
