// Package sqlstore stores Curfew's state in SQLite or PostgreSQL. Both engines have
// one schema, one text for each statement and one implementation. The real
// differences are in type dialect and in how a database is opened, watched and
// copied.
package sqlstore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"example.com/curfew/internal/store"
)

// Config configures [Open].
type Config struct {
	// URL is "sqlite:PATH", or "postgres://…" or "postgresql://…" as libpq accepts
	// it. It may contain a password and is never logged.
	URL string

	// ListenURL is the address, as in URL, of the PostgreSQL server for
	// notifications of changes by other nodes. It must reach the primary of URL and
	// the same database, and must not go through a connection pooler in transaction
	// mode. "" means URL. SQLite does not use it.
	ListenURL string

	// Create creates a new database if there is none, and migrates an old one. Only
	// `curfew serve` sets it. Without it a missing or empty database is an error.
	Create bool

	// Budget is the maximum time of one read, or of one whole Update, before it fails
	// with [store.ErrUnavailable]. Zero means what the caller of a server can wait
	// for: 1.6 s with PostgreSQL, and with SQLite, where writers of other processes
	// are waited for, 30 s.
	Budget time.Duration

	// Version is the version of this program, as its node reports it. With Create, a
	// migration that takes away what older versions use waits until no node of another
	// version is alive.
	Version string

	// Logger receives a message when a connection is lost or found again. nil means
	// slog.Default().
	Logger *slog.Logger
}

func (c Config) logger() *slog.Logger {
	if c.Logger == nil {
		return slog.Default()
	}
	return c.Logger
}

// Open checks that a database is Curfew's and intact, and opens it. Errors are one
// line and say what to do. They wrap
//
//	store.ErrNotFound     there is no database, and Create is not set
//	store.ErrForeign      it is not a database of Curfew
//	store.ErrNewerSchema  a newer version of Curfew has migrated it, and taken away what this one uses
//	store.ErrOlderSchema  it must be migrated, and Create is not set
//	store.ErrCorrupt      it is damaged
//	store.ErrLocked       another process has locked it
//	store.ErrUnavailable  it cannot be reached, read or written
//
// The caller must close the store. ctx limits only Open; the store stays open when
// ctx ends.
func Open(ctx context.Context, c Config) (store.Store, error) {
	s, err := open(ctx, c)
	if err != nil {
		return nil, err
	}
	if c.Budget > 0 {
		s.setBudget(c.Budget)
	}
	if !c.Create {
		return s, nil
	}
	if err := s.tellSchema(ctx, c.logger()); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.version = c.Version
	if err := s.Contract(ctx, c.logger()); err != nil {
		return nil, errors.Join(fmt.Errorf("contract the schema: %w", err), s.Close())
	}
	if err := s.checkNames(ctx, c.logger()); err != nil {
		return nil, errors.Join(fmt.Errorf("compare the names of users: %w", err), s.Close())
	}
	if err := s.indexUsers(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("index the names of users: %w", err), s.Close())
	}
	return s, nil
}

func open(ctx context.Context, c Config) (*Store, error) {
	if path, ok := strings.CutPrefix(c.URL, "sqlite:"); ok {
		return openSQLite(ctx, path, c)
	}
	if strings.HasPrefix(c.URL, "postgres://") || strings.HasPrefix(c.URL, "postgresql://") {
		return openPostgres(ctx, c)
	}
	return nil, errors.New("the database is neither sqlite:PATH nor postgres://…")
}

// Store is an open database.
type Store struct {
	*queries // each read is separate, on the read pool
	d        *dialect
	id       string   // of this Store, random: tells its own notifications from others'
	write    *sqlx.DB // SQLite: a single connection, separate from the readers' pool, which would otherwise wait
	read     *sqlx.DB
	hub      *hub
	backup   func(ctx context.Context, file string) error
	warn     func(ctx context.Context) []string

	watchError func() error // nil: Watch always works

	version string // of this program; see Contract
	contracting
}

var _ store.Store = (*Store)(nil)

func newStore(d *dialect, write, read *sqlx.DB) *Store {
	return &Store{queries: reader(d, read), d: d, id: rand.Text(), write: write, read: read}
}

// setBudget replaces the dialect's budget. No call of s may be in progress.
func (s *Store) setBudget(d time.Duration) {
	changed := *s.d
	changed.budget = d
	s.d = &changed
	s.queries.d, s.queries.within = &changed, timeout(d)
}

// Pools returns the pools of connections, for their metrics.
func (s *Store) Pools() map[string]*sql.DB {
	return map[string]*sql.DB{"read": s.read.DB, "write": s.write.DB}
}

// Engine returns "sqlite" or "postgres".
func (s *Store) Engine() string { return s.d.engine }

// Watch returns a channel that receives a value soon after something may have
// changed; see store.Store.
func (s *Store) Watch(ctx context.Context) <-chan struct{} { return s.hub.watch(ctx) }

// WatchError says why Watch misses what other processes change; see store.Store.
func (s *Store) WatchError() error {
	if s.watchError == nil {
		return nil
	}
	return s.watchError()
}

// Backup writes a consistent copy to a new file. PostgreSQL has tools of its own
// for that; the error names them.
func (s *Store) Backup(ctx context.Context, file string) error { return s.backup(ctx, file) }

// Warnings returns settings of the database under which an acknowledged write can
// be lost, for the operator's start-up log.
func (s *Store) Warnings(ctx context.Context) []string { return s.warn(ctx) }

// Close ends all watching and closes the connections, those in use as soon as they
// are free. The store cannot be used afterwards.
func (s *Store) Close() error {
	s.hub.close()
	// The writer of SQLite is closed last, because the last connection moves the
	// write-ahead log into the database.
	if err := errors.Join(s.read.Close(), s.write.Close()); err != nil {
		return fmt.Errorf("close the database: %w", err)
	}
	return nil
}
