package pgtest

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"example.com/curfew/internal/testnet"
)

// superuser is the role that every connection of ours uses.
const superuser = "postgres"

// Options says what a server of [Start] is to be like. The zero value is a
// fast server on a Unix socket, with PostgreSQL's own defaults otherwise.
type Options struct {
	// DataDir is a directory in which the data directory is made: a small
	// tmpfs for a test of a full disk. Empty means the temporary directory.
	DataDir string

	// TCP makes the server listen on a free port of 127.0.0.1 too, so that a
	// proxy can stand between; see [Server.Addr] and [Server.DSNVia].
	TCP bool

	// Certificate and PrivateKey are in PEM. With them the server takes TLS
	// connections over TCP.
	Certificate, PrivateKey string

	// Fsync makes commits reach the disk. False is faster and loses nothing
	// when the server is killed, only when the machine is.
	Fsync bool

	// Settings are further lines of postgresql.conf, by name. They win over ours.
	Settings map[string]string
}

// Server is one PostgreSQL server with a data directory of its own. Its
// methods are safe for concurrent use: one goroutine may resume what another
// waits to see stopped.
type Server struct {
	*daemon

	binaries string
	data     string
	password string // for TCP; the socket needs none
	port     int
	tcp      bool

	life sync.Mutex // held while the server is started or stopped
}

// Start starts a server with a data directory of its own, which the end of the
// test ends and removes. It fails the test if it cannot.
func Start(tb testing.TB, options Options) *Server {
	tb.Helper()
	return forTest(tb, "PostgreSQL", func() (*Server, error) { return open(options) })
}

// open makes a cluster and starts it.
func open(options Options) (*Server, error) {
	s, err := prepare(options)
	if err != nil {
		return nil, err
	}
	return begin(s,
		s.fill,
		func() error { return s.configure(options) },
		s.Start)
}

// cluster is a server that never runs: initdb made its data directory, and the servers
// of this process begin with copies of it. A copy takes a tenth of the time.
var cluster = sync.OnceValues(func() (*Server, error) {
	s, err := prepare(Options{})
	if err != nil {
		return nil, err
	}
	password := filepath.Join(s.home, "password")
	return begin(s,
		func() error { return s.writeFile(password, s.password) },
		func() error {
			_, err := s.run(s.owner, "initdb", "-D", s.data, "-U", superuser, "--no-sync", "--no-instructions",
				"--encoding=UTF8", "--locale=C", "--auth-local=trust", "--auth-host=scram-sha-256", "--pwfile="+password)
			return err
		})
})

// fill makes the data directory.
func (s *Server) fill() error {
	original, err := cluster()
	if err != nil {
		return err
	}
	s.password = original.password
	_, err = s.runProgram(s.owner, "cp", "-Rp", original.data+"/.", s.data)
	return err
}

// prepare finds the programs, makes the directories and starts the guard over them.
// The caller fills the data directory.
func prepare(options Options) (*Server, error) {
	binaries, err := findBinaries(debianBinaries)
	if err != nil {
		return nil, err
	}
	owner, err := serverUser()
	if err != nil {
		return nil, err
	}
	port := 5432
	if options.TCP {
		if port, err = freePort(); err != nil {
			return nil, err
		}
	}
	data := ""
	if options.DataDir != "" {
		if data, err = makeDir(options.DataDir, owner); err != nil {
			return nil, err
		}
	}
	d, err := newDaemon("PostgreSQL", data, owner)
	if err != nil {
		return nil, err
	}
	if data == "" {
		data = filepath.Join(d.home, "data")
	}
	return &Server{daemon: d, binaries: binaries, data: data, password: rand.Text(), port: port, tcp: options.TCP}, nil
}

// freePort returns a port that was free a moment ago. Another process may take it
// before PostgreSQL does; the test then fails with PostgreSQL's own message.
func freePort() (int, error) {
	address, err := testnet.FreeAddress()
	if err != nil {
		return 0, fmt.Errorf("look for a free port: %w", err)
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(port)
}

// close ends the server and removes its directories.
func (s *Server) close() error {
	return errors.Join(s.end(), s.guard.release())
}

// DSN returns a URL of the database over the Unix socket.
func (s *Server) DSN(database string) string {
	query := url.Values{"host": {s.home}, "user": {superuser}, "sslmode": {"disable"}}
	if s.port != 5432 {
		query.Set("port", strconv.Itoa(s.port))
	}
	return (&url.URL{Scheme: "postgres", Path: "/" + database, RawQuery: query.Encode()}).String()
}

// DSNVia returns a URL of the database over TCP, by way of address: the
// server's own [Server.Addr], or a proxy's in front of it.
func (s *Server) DSNVia(address, database string) string {
	return (&url.URL{
		Scheme: "postgres", User: url.UserPassword(superuser, s.password),
		Host: address, Path: "/" + database, RawQuery: "sslmode=disable",
	}).String()
}

// Addr returns the server's TCP address, "" unless [Options].TCP asked for one.
func (s *Server) Addr() string {
	if !s.tcp {
		return ""
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port))
}

// Port returns the port: TCP's, and the one in the socket's name.
func (s *Server) Port() int { return s.port }
