// Package pgtest gives tests a real PostgreSQL of their own.
//
// [DSN] is for tests that want a database: the first call in a test process
// starts one server, every call makes a fresh empty database on it. [Copy] fills it.
// [Start] is for tests that want a server to stop, kill, hang and fail over.
//
// Servers listen on a Unix socket in a directory of their own, so that they
// meet neither each other nor a PostgreSQL that happens to run on the machine.
// They end, and their directories go, when the test process ends, however it
// ends: kill -9 included (see guard.go). The package leaves no goroutine
// running and sleeps in system calls only, so that goleak and synctest bubbles
// do not notice it.
//
// A machine without PostgreSQL fails the test and says what to install. It is
// never a reason to skip: what only one of two engines was tried with is not
// tested.
package pgtest

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"sync/atomic"
	"testing"
)

// shared is the server behind DSN. It lives as long as the process, and the
// guard ends it. err is kept so that every test names the cause, rather than
// only the first one to ask.
var shared struct {
	sync.Mutex
	server *Server
	err    error
}

// databases numbers the databases of DSN, so that no two tests share a name.
var databases atomic.Int64

// DSN returns a postgres:// URL of a fresh, empty database on this process's
// own server, which the first call starts. The database goes with the test,
// connections that are still open in it notwithstanding.
//
// The server's fsync is off: a test of durability uses [Start].
func DSN(tb testing.TB) string {
	tb.Helper()
	server, err := sharedServer()
	if err != nil {
		tb.Fatalf("pgtest: %v", err)
	}
	return server.databaseFor(tb, "template1")
}

// Copy is [DSN] with a database that prepare has filled. prepare runs once in a test
// process, for the first call, and leaves no connection open; all calls pass the same.
// Each database is a copy of what it made.
func Copy(tb testing.TB, prepare func(dsn string) error) string {
	tb.Helper()
	server, err := sharedServer()
	if err != nil {
		tb.Fatalf("pgtest: %v", err)
	}
	const original = "curfew_original"
	prepared.once.Do(func() {
		if prepared.err = server.CreateDatabase(original); prepared.err == nil {
			prepared.err = prepare(server.DSN(original))
		}
	})
	if prepared.err != nil {
		tb.Fatalf("pgtest: %v", prepared.err)
	}
	return server.databaseFor(tb, original)
}

// prepared is the outcome of the prepare of [Copy].
var prepared struct {
	once sync.Once
	err  error
}

// databaseFor makes a copy of a database, which the end of the test removes, and
// returns its URL.
func (s *Server) databaseFor(tb testing.TB, template string) string {
	tb.Helper()
	name := fmt.Sprintf("curfew_%d", databases.Add(1))
	if err := s.copyDatabase(template, name); err != nil {
		tb.Fatalf("pgtest: %v", err)
	}
	tb.Cleanup(func() {
		if err := s.DropDatabase(name); err != nil {
			tb.Errorf("pgtest: %v", err)
		}
	})
	return s.DSN(name)
}

func sharedServer() (*Server, error) {
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil && shared.err == nil {
		shared.server, shared.err = open(Options{
			// Every table that a test makes is gone within seconds.
			// And no test waits a second for deadlocks to be found.
			Settings: map[string]string{"autovacuum": "off", "deadlock_timeout": "50ms"},
		})
	}
	return shared.server, shared.err
}

// Dump returns a database of [DSN] as SQL, without what belongs to its server.
func Dump(tb testing.TB, dsn string) string {
	tb.Helper()
	server, err := sharedServer()
	if err == nil {
		var dump string
		if dump, err = server.run(nil, "pg_dump", "--no-owner", "--no-privileges", "--inserts", dsn); err == nil {
			// Commands of psql that only newer ones know.
			return regexp.MustCompile(`(?m)^\\.*\n`).ReplaceAllString(dump, "") + "\n"
		}
	}
	tb.Fatalf("pgtest: %v", err)
	return ""
}

// Load runs SQL as [Dump] returns it, whatever its length, in a database of [DSN].
func Load(tb testing.TB, dsn, sql string) {
	tb.Helper()
	server, err := sharedServer()
	if err == nil {
		file := filepath.Join(tb.TempDir(), "load.sql")
		if err = os.WriteFile(file, []byte(sql), 0o600); err == nil {
			_, err = server.run(nil, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-o", os.DevNull, "-f", file, dsn)
		}
	}
	if err != nil {
		tb.Fatalf("pgtest: %v", err)
	}
}
