package main

import (
	"fmt"
	"testing"

	"example.com/curfew/internal/store/pgtest"
)

// caller is the testing.TB that package pgtest asks for: this program is no test,
// but wants the same server, which ends with the process whatever happens.
type caller struct {
	testing.TB // nil: only the methods below are called
	failure    error
	cleanups   []func()
}

func (*caller) Helper() {}

func (c *caller) Cleanup(f func()) { c.cleanups = append(c.cleanups, f) }

func (c *caller) Errorf(format string, args ...any) { c.failure = fmt.Errorf(format, args...) }

// Fatalf ends start below.
func (c *caller) Fatalf(format string, args ...any) {
	c.Errorf(format, args...)
	panic(c)
}

// postgres is a PostgreSQL server of this run's own, as it is in production: what
// it has acknowledged is on disk.
type postgres struct {
	*pgtest.Server
	caller *caller
}

func startPostgres() (p *postgres, err error) {
	c := &caller{}
	defer func() {
		if r := recover(); r != nil {
			if r != c {
				panic(r)
			}
			err = c.failure
		}
	}()
	server := pgtest.Start(c, pgtest.Options{Fsync: true, Settings: map[string]string{
		"shared_buffers": "256MB", "max_connections": "200", "max_wal_size": "4GB",
	}})
	return &postgres{Server: server, caller: c}, nil
}

func (p *postgres) close() error {
	for _, f := range p.caller.cleanups {
		f()
	}
	return p.caller.failure
}

// database makes a database and returns its URL. The first call starts a server.
func (b *bench) database(name string) (string, error) {
	if b.postgres == nil {
		var err error
		if b.postgres, err = startPostgres(); err != nil {
			return "", err
		}
	}
	if err := b.postgres.CreateDatabase(name); err != nil {
		return "", err
	}
	return b.postgres.DSN(name), nil
}

func (b *bench) close() error {
	if b.postgres == nil {
		return nil
	}
	return b.postgres.close()
}
