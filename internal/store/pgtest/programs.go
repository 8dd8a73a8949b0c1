package pgtest

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lib/pq"
)

// Exec runs SQL in the database postgres through psql and returns what it
// prints: one row a line, columns divided by |. It stops at the first error.
func (s *Server) Exec(sql string) (string, error) {
	return s.ExecIn("postgres", sql)
}

// ExecIn is [Server.Exec] in another database.
func (s *Server) ExecIn(database, sql string) (string, error) {
	return s.psql(s.DSN(database), sql)
}

func (s *Server) psql(dsn, sql string) (string, error) {
	return s.run(nil, "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql, dsn)
}

// CreateDatabase makes an empty database.
func (s *Server) CreateDatabase(name string) error { return s.copyDatabase("template1", name) }

// copyDatabase makes a database like another, to which nothing is connected.
func (s *Server) copyDatabase(original, name string) error {
	statement := "CREATE DATABASE " + quoteName(name) + " TEMPLATE " + quoteName(original)
	version, err := os.ReadFile(filepath.Join(s.data, "PG_VERSION"))
	if err != nil {
		return err
	}
	if strings.TrimSpace(string(version)) >= "15" {
		// Newer servers write a copy to the log of changes too, unless they are told
		// to copy files as the older ones do.
		statement += " STRATEGY file_copy"
	}
	return s.execute(statement)
}

// DropDatabase removes a database and ends whatever is connected to it.
func (s *Server) DropDatabase(name string) error {
	return s.execute("DROP DATABASE IF EXISTS " + quoteName(name) + " WITH (FORCE)")
}

// execute runs one statement in the database postgres, and starts no goroutine for it.
// Most tests need two, and a connection takes a quarter of the time of psql.
func (s *Server) execute(statement string) (err error) {
	connector, err := pq.NewConnector(s.DSN("postgres"))
	if err != nil {
		return err
	}
	connection, err := connector.Connect(context.Background())
	if err != nil {
		return fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	defer func() { err = errors.Join(err, connection.Close()) }()
	if _, err := connection.(driver.ExecerContext).ExecContext(context.Background(), statement, nil); err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	return nil
}

// Promote makes a standby of [Server.Standby] the primary.
func (s *Server) Promote() error {
	_, err := s.Exec("SELECT pg_promote()")
	return err
}

func quoteName(name string) string {
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

// run runs one of PostgreSQL's programs to its end and returns what it prints,
// trimmed. An error carries what it says.
func (s *Server) run(as *credential, program string, arguments ...string) (string, error) {
	return s.runProgram(as, filepath.Join(s.binaries, program), arguments...)
}

// runProgram is run for any program.
func (s *Server) runProgram(as *credential, program string, arguments ...string) (string, error) {
	// No deadline, since in a synctest bubble it would come at once; a test
	// that hangs on a paused server is ended by the tests' own.
	command := exec.CommandContext(context.Background(), program, arguments...)
	command.Env = environment()
	command.Dir = s.home
	runAs(command, as)
	var said, complaint strings.Builder
	command.Stdout, command.Stderr = &said, &complaint
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", filepath.Base(program), err, strings.TrimSpace(complaint.String()))
	}
	return strings.TrimSpace(said.String()), nil
}

// environment is this process's own without what the person at the keyboard
// has set for their own PostgreSQL, in one language and one time zone.
func environment() []string {
	own := slices.DeleteFunc(os.Environ(), func(entry string) bool {
		return strings.HasPrefix(entry, "PG") || strings.HasPrefix(entry, "LC_") || strings.HasPrefix(entry, "LANG")
	})
	return append(own, "LC_ALL=C", "TZ=UTC")
}

// configure appends our settings, then the caller's, to postgresql.conf, where
// the last line for a name counts.
func (s *Server) configure(options Options) error {
	settings := []string{
		setting("port", fmt.Sprint(s.port)),
		setting("unix_socket_directories", s.home),
		setting("listen_addresses", ""),
		setting("max_connections", "200"),
		// Kept in the data directory, it goes with it; a killed server would
		// leave it in /dev/shm otherwise.
		setting("dynamic_shared_memory_type", "mmap"),
	}
	if options.TCP {
		settings = append(settings, setting("listen_addresses", "127.0.0.1"))
	}
	if options.Certificate != "" {
		certificate, key := filepath.Join(s.home, "server.crt"), filepath.Join(s.home, "server.key")
		if err := errors.Join(s.writeFile(certificate, options.Certificate), s.writeFile(key, options.PrivateKey)); err != nil {
			return fmt.Errorf("configure PostgreSQL: %w", err)
		}
		settings = append(settings, setting("ssl", "on"), setting("ssl_cert_file", certificate), setting("ssl_key_file", key))
	}
	if !options.Fsync {
		settings = append(settings, setting("fsync", "off"), setting("full_page_writes", "off"))
	}
	for name, value := range options.Settings {
		settings = append(settings, setting(name, value))
	}
	name := filepath.Join(s.data, "postgresql.conf")
	file, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("configure PostgreSQL: %w", err)
	}
	_, err = file.WriteString("\n" + strings.Join(settings, "\n") + "\n")
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("configure PostgreSQL: %w", err)
	}
	return nil
}

func setting(name, value string) string {
	return name + " = '" + strings.ReplaceAll(value, "'", "''") + "'"
}
