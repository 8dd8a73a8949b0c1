package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
)

// Copying configures [Copy].
type Copying struct {
	// From and To are URLs as in [Config].
	From, To string
	// Stopped are the rows of nodes that are known to have ended. If From has any
	// other, the error is [store.ErrLocked].
	Stopped []store.Node
	Now     time.Time
	// Audit is the entry for the audit of the copy. At and Epoch are filled in.
	Audit store.Audit
	// Progress, if not nil, is called now and then with the number of rows of a table
	// that are copied, and of all its rows.
	Progress func(table string, done, total int64)
}

// Copied is the result of [Copy].
type Copied struct {
	Tables int
	Rows   int64
	Epoch  revocation.Epoch // the clock of the copy
}

// Copy copies a database into an empty one, of the same engine or the other. A SQLite
// file must not exist; a PostgreSQL database must be empty, or hold Curfew's tables
// without rows. The source is locked for writing, and does not change. Everything is
// read back and compared by count and checksum before one commit, or one rename,
// makes it visible. The clock of the copy is above that of the source and Now.
//
// The rows of nodes are not copied: they belong to processes.
//
// Errors wrap store.ErrConflict (the destination is not empty), ErrLocked (the source
// is in use), ErrCorrupt (the copy differs from the source) and the errors of [Open].
// The destination is then unchanged, except that an empty PostgreSQL database may
// have Curfew's tables, without rows.
func Copy(ctx context.Context, c Copying) (result Copied, err error) {
	source, err := openSource(ctx, c)
	if err != nil {
		return result, fmt.Errorf("the source: %w", err)
	}
	defer func() { err = errors.Join(err, source.close()) }()
	write := func(ctx context.Context, into *copyEnd) (err error) {
		result, err = c.fill(ctx, source, into)
		return err
	}
	if path, ok := strings.CutPrefix(c.To, "sqlite:"); ok {
		err = toSQLite(ctx, path, write)
	} else {
		err = toPostgres(ctx, c.To, write)
	}
	return result, err
}

// copyEnd is one of the two databases of a copy, in a transaction.
type copyEnd struct {
	d     *dialect
	tx    *sqlx.Tx
	close func() error
	// tables has the columns of each table, sorted by name.
	tables map[string][]string
}

// uncopied are the tables that are not copied.
var uncopied = []string{versionTable, "nodes"}

// begin begins the transaction and reads the names of all tables and columns.
func begin(ctx context.Context, d *dialect, db *sql.DB) (*copyEnd, error) {
	driver := "sqlite"
	if d == postgresDialect {
		driver = "postgres"
	}
	tx, err := sqlx.NewDb(db, driver).BeginTxx(ctx, d.transaction)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	e := &copyEnd{d: d, tx: tx, tables: map[string][]string{}, close: func() error {
		_ = tx.Rollback() // what is not committed is not wanted
		return db.Close()
	}}
	var columns []struct {
		Table  string `db:"table"`
		Column string `db:"column"`
	}
	if err := tx.SelectContext(ctx, &columns, d.columns); err != nil {
		return nil, errors.Join(err, e.close())
	}
	for _, c := range columns {
		if !slices.Contains(uncopied, c.Table) {
			e.tables[c.Table] = append(e.tables[c.Table], c.Column)
		}
	}
	return e, nil
}

func openSource(ctx context.Context, c Copying) (*copyEnd, error) {
	e, err := func() (*copyEnd, error) {
		if path, ok := strings.CutPrefix(c.From, "sqlite:"); ok {
			return sourceSQLite(ctx, path)
		}
		return sourcePostgres(ctx, c.From)
	}()
	if err != nil {
		return nil, err
	}
	if err := e.onlyStopped(ctx, c.Stopped); err != nil {
		return nil, errors.Join(err, e.close())
	}
	return e, nil
}

// sourceSQLite opens a file and takes its write lock.
func sourceSQLite(ctx context.Context, path string) (*copyEnd, error) {
	if _, err := existingFile(path); err != nil {
		return nil, err
	}
	if err := checkSQLite(ctx, path, checkHeader); err != nil {
		return nil, err
	}
	if err := checkSQLite(ctx, path, checkWhole); err != nil {
		return nil, err
	}
	db, err := openSQLitePool(sqliteDSN(path, "rw", url.Values{"_txlock": {"immediate"}}), 1)
	if err != nil {
		return nil, err
	}
	if err := exactSchema(ctx, db.DB, sqliteDialect); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	e, err := begin(ctx, sqliteDialect, db.DB)
	if err != nil {
		_, err = sqliteDialect.explain(ctx, "lock it", err)
	}
	return e, err
}

// setCopying lets a transaction take as long as it needs, except for locks, which
// only processes that should have been stopped can hold.
const setCopying = `set_config('lock_timeout', '5s', true), set_config('statement_timeout', '0', true),
	set_config('idle_in_transaction_session_timeout', '0', true), set_config('jit', 'off', true)`

func copyPool(a pgAddress) *sql.DB {
	db := sql.OpenDB(&pgConnector{config: a.config, server: a.server, backends: newBackends(1), local: setDurable + ", " + setCopying})
	db.SetMaxOpenConns(1)
	return db
}

// sourcePostgres opens a database and locks all its tables against writing.
func sourcePostgres(ctx context.Context, address string) (*copyEnd, error) {
	a, err := parsePostgres(address)
	if err != nil {
		return nil, err
	}
	if err := preparePostgres(ctx, a, false); err != nil {
		return nil, err
	}
	db := copyPool(a)
	if err := exactSchema(ctx, db, postgresDialect); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	e, err := begin(ctx, postgresDialect, db)
	if err == nil {
		names := append(slices.Sorted(maps.Keys(e.tables)), uncopied...)
		if _, err = e.tx.ExecContext(ctx, `LOCK TABLE `+strings.Join(names, ", ")+` IN SHARE MODE`); err != nil {
			err = errors.Join(err, e.close())
		}
	}
	if err != nil {
		_, err = postgresDialect.explain(ctx, "lock it", err)
		return nil, err
	}
	return e, nil
}

// exactSchema checks that the schema is the newest that this program knows: what a
// newer one has besides would be lost.
func exactSchema(ctx context.Context, db *sql.DB, d *dialect) error {
	newest, err := newestSchema()
	if err != nil {
		return err
	}
	version, err := checkSchema(ctx, db, d)
	if err == nil && version != newest {
		err = fmt.Errorf("%w: its schema version is %d, and this program would copy only what it knows (%d); use the newer version of Curfew", store.ErrNewerSchema, version, newest)
	}
	if err != nil {
		_, err = d.explain(ctx, "open", err)
	}
	return err
}

// onlyStopped checks that the source has no nodes but those given.
func (e *copyEnd) onlyStopped(ctx context.Context, stopped []store.Node) error {
	var rows []struct {
		ID   string `db:"id"`
		Name string `db:"name"`
		Beat int64  `db:"beat"`
	}
	if err := e.tx.SelectContext(ctx, &rows, `SELECT id, name, beat FROM nodes WHERE gone = 0`); err != nil {
		_, err = e.d.explain(ctx, "read the nodes", err)
		return err
	}
	for _, row := range rows {
		if !slices.ContainsFunc(stopped, func(n store.Node) bool { return n.ID == row.ID && n.Beat == row.Beat }) {
			return fmt.Errorf("%w: the node %s is running on it; stop all servers first", store.ErrLocked, row.Name)
		}
	}
	return nil
}

// toSQLite makes a file, has it filled, and puts it in place.
func toSQLite(ctx context.Context, path string, fill func(context.Context, *copyEnd) error) error {
	at := func(err error) error { return fmt.Errorf("the destination %s: %w", path, err) }
	exists := fmt.Errorf("%w: the file already exists; choose another name", store.ErrConflict)
	if _, err := existingFile(path); !errors.Is(err, store.ErrNotFound) {
		return at(exists)
	}
	err := inPlace(path, false, func(temporary string) error {
		return initSQLite(ctx, temporary, func(db *sql.DB) error {
			e, err := begin(ctx, sqliteDialect, db)
			if err != nil {
				return err
			}
			if err := fill(ctx, e); err != nil {
				return errors.Join(err, e.tx.Rollback())
			}
			return e.tx.Commit()
		})
	})
	switch {
	case errors.Is(err, fs.ErrExist):
		return at(exists)
	case err != nil:
		return at(err)
	}
	return nil
}

// toPostgres makes the schema if there is none, and has the tables filled in one
// transaction.
func toPostgres(ctx context.Context, address string, fill func(context.Context, *copyEnd) error) error {
	a, err := parsePostgres(address)
	if err != nil {
		return fmt.Errorf("the destination: %w", err)
	}
	err = func() (err error) {
		db := copyPool(a)
		// A database of an older version must not be migrated only to be refused.
		var ours, rows int64
		err = db.QueryRowContext(ctx, postgresDialect.countTables, "installation").Scan(&ours)
		if err == nil && ours > 0 {
			err = db.QueryRowContext(ctx, `SELECT count(*) FROM installation`).Scan(&rows)
		}
		if cerr := db.Close(); err == nil {
			err = cerr
		}
		if err == nil && rows > 0 {
			return errFilled
		}
		if err != nil {
			_, err = postgresDialect.explain(ctx, "open", err)
			return err
		}
		if err := preparePostgres(ctx, a, true); err != nil {
			return err
		}
		e, err := begin(ctx, postgresDialect, copyPool(a))
		if err != nil {
			_, err = postgresDialect.explain(ctx, "open", err)
			return err
		}
		defer func() { err = errors.Join(err, e.close()) }()
		names := append(slices.Sorted(maps.Keys(e.tables)), uncopied...)
		if _, err := e.tx.ExecContext(ctx, `LOCK TABLE `+strings.Join(names, ", ")+` IN ACCESS EXCLUSIVE MODE`); err != nil {
			_, err = postgresDialect.explain(ctx, "lock it", err)
			return err
		}
		if err := fill(ctx, e); err != nil {
			return err
		}
		if err = e.tx.Commit(); err != nil {
			_, err = postgresDialect.explain(ctx, "commit", err)
		}
		return err
	}()
	if err != nil {
		return fmt.Errorf("the destination, PostgreSQL database %q on %s: %w", a.config.Database, place(a.config), err)
	}
	return nil
}

var errFilled = fmt.Errorf("%w: it has data of Curfew; copy into an empty database", store.ErrConflict)

// fill copies all tables, compares them, and makes the copy the continuation of the
// source.
func (c Copying) fill(ctx context.Context, from, to *copyEnd) (Copied, error) {
	result := Copied{Tables: len(from.tables)}
	if !maps.EqualFunc(from.tables, to.tables, slices.Equal) {
		return result, fmt.Errorf("%w: the schemas of source and copy differ; start `curfew serve` once on the source, which completes its migrations", store.ErrCorrupt)
	}
	for _, name := range slices.Sorted(maps.Keys(from.tables)) {
		t := copyTable{name: name, columns: from.tables[name], progress: c.Progress}
		want, err := t.copy(ctx, from, to)
		if err != nil {
			return result, err
		}
		got, err := t.sum(ctx, to, nil)
		if err != nil {
			return result, err
		}
		if got != want {
			return result, fmt.Errorf("%w: the table %s differs: %d rows with checksum %x were read from the source, and %d with %x from the copy", store.ErrCorrupt, name, want.rows, want.hash, got.rows, got.hash)
		}
		result.Rows += want.rows
	}
	if to.d == postgresDialect {
		if _, err := to.tx.ExecContext(ctx, `SELECT setval('audit_ids', GREATEST((SELECT COALESCE(max(id), 0) FROM audit), 1))`); err != nil {
			_, err = to.d.explain(ctx, "number the audit", err)
			return result, err
		}
	}
	b := newBudget(ctx, to.d.long)
	defer b.end()
	t := &tx{budget: b, id: "copy", queries: &queries{d: to.d, on: to.tx, within: b.join}}
	var err error
	if result.Epoch, err = t.Advance(ctx, c.Now); err != nil {
		return result, err
	}
	entry := c.Audit
	entry.At, entry.Epoch = c.Now.UnixMicro(), result.Epoch
	return result, t.AppendAudit(ctx, entry)
}
