package pgtest

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// PoolMode is when PgBouncer gives a server's connection to another client.
type PoolMode string

// The pool modes of PgBouncer that Curfew is used with.
const (
	PoolSessions     PoolMode = "session"     // when the client leaves
	PoolTransactions PoolMode = "transaction" // when a transaction ends
)

// Bouncer is a PgBouncer in front of a [Server], with PgBouncer's own defaults
// except for the pool mode and the number of clients. Its clients come over a Unix
// socket in a directory of its own; it trusts every client that reaches the socket.
type Bouncer struct{ *daemon }

// bouncerPort is only part of the socket's name.
const bouncerPort = 6432

// Bouncer starts a PgBouncer in front of s, which the end of the test ends.
func (s *Server) Bouncer(tb testing.TB, mode PoolMode) *Bouncer {
	tb.Helper()
	return forTest(tb, "PgBouncer", func() (*Bouncer, error) { return s.openBouncer(mode) })
}

func (s *Server) openBouncer(mode PoolMode) (*Bouncer, error) {
	program, err := findBouncer()
	if err != nil {
		return nil, err
	}
	d, err := newDaemon("PgBouncer", "", s.owner) // PgBouncer refuses root too
	if err != nil {
		return nil, err
	}
	config, socket := filepath.Join(d.home, "pgbouncer.ini"), filepath.Join(d.home, ".s.PGSQL."+strconv.Itoa(bouncerPort))
	return begin(&Bouncer{d},
		func() error {
			return d.writeFile(config, fmt.Sprintf(`[databases]
* = host=%s port=%d user=%s
[pgbouncer]
pool_mode = %s
unix_socket_dir = %s
listen_port = %d
auth_type = any
max_client_conn = 1000
`, s.home, s.port, superuser, mode, d.home, bouncerPort))
		},
		func() error { return d.launch(program, config) },
		func() error {
			return d.waitReady(func() bool {
				// The socket is there before it is listened to, the log's line after.
				log, _ := os.ReadFile(d.LogFile())
				_, err := os.Stat(socket)
				return err == nil && strings.Contains(string(log), "process up")
			})
		})
}

// findBouncer returns the program. Debian keeps it out of a user's PATH.
func findBouncer() (string, error) {
	for _, name := range []string{"pgbouncer", "/usr/sbin/pgbouncer"} {
		if program, err := exec.LookPath(name); err == nil {
			return program, nil
		}
	}
	return "", errors.New("these tests need a real PgBouncer, and there is none in PATH nor in /usr/sbin: " +
		"`apt-get install pgbouncer` (`make test` does it)")
}

// DSN returns a URL of a database of the server by way of the pooler.
func (b *Bouncer) DSN(database string) string {
	query := url.Values{"host": {b.home}, "user": {superuser}, "sslmode": {"disable"}, "port": {strconv.Itoa(bouncerPort)}}
	return (&url.URL{Scheme: "postgres", Path: "/" + database, RawQuery: query.Encode()}).String()
}

// close ends PgBouncer, with all connections, and removes its directory.
func (b *Bouncer) close() error {
	var err error
	if b.PID() != 0 {
		err = errors.Join(b.signal(syscall.SIGTERM), b.waitEnd("at once"))
	}
	return errors.Join(err, b.guard.release())
}
