package sqlstore

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"

	"github.com/pressly/goose/v3"

	"example.com/curfew/internal/store"
)

//go:embed migrations/*.sql
var embedded embed.FS

// migrations are the files of the migrations.
var migrations = func() fs.FS {
	files, err := fs.Sub(embedded, "migrations")
	if err != nil {
		panic(err) // the path is valid
	}
	return files
}()

// versionTable records the migrations that have run. A PostgreSQL database with
// this table is Curfew's.
const versionTable = "curfew_schema"

// provider returns goose's view of the migrations, without those with the names given.
func provider(dialect goose.Dialect, db *sql.DB, without ...string) (*goose.Provider, error) {
	return goose.NewProvider(dialect, db, migrations, goose.WithExcludeNames(without),
		goose.WithTableName(versionTable), goose.WithDisableGlobalRegistry(true), goose.WithAllowOutofOrder(true), goose.WithSlog(slog.New(slog.DiscardHandler)))
}

// checkSchema compares the schema version of a database with the program's. It
// returns the version.
//
// A newer schema is accepted unless it says otherwise: migrations expand the schema,
// and an older program leaves alone what it does not know. So programs of two
// versions work side by side, and the older one can start again. A migration that
// takes away what older programs use makes the table oldest_schema, with the version
// of the oldest schema that a program must know.
func checkSchema(ctx context.Context, db *sql.DB, d *dialect) (version int64, err error) {
	known, err := knownMigrations()
	if err != nil {
		return 0, err
	}
	newest := known[len(known)-1].version
	applied, err := appliedSchema(ctx, db)
	if err != nil {
		return 0, err
	}
	if len(applied) > 0 {
		version = slices.Max(applied)
	}
	missing := slices.ContainsFunc(known, func(m migration) bool { return !m.contracts && !slices.Contains(applied, m.version) })
	switch {
	case version > newest && !missing:
		oldest, err := oldestSchema(ctx, db, d)
		if err == nil && oldest > newest {
			err = fmt.Errorf("%w: its schema has version %d, which requires a program that supports version %d, and this program supports up to %d; use the newer version of Curfew",
				store.ErrNewerSchema, version, oldest, newest)
		}
		return version, err
	case missing:
		return version, fmt.Errorf("%w: its schema version is %d, and this program requires all up to %d; start `curfew serve` of this version first, which migrates it",
			store.ErrOlderSchema, version, newest)
	}
	return version, nil
}

// appliedSchema returns the versions of the migrations that have run, in no order.
func appliedSchema(ctx context.Context, db *sql.DB) (versions []int64, err error) {
	rows, err := db.QueryContext(ctx, `SELECT version_id FROM `+versionTable)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var version int64
		if err := rows.Scan(&version); err != nil {
			return nil, err
		}
		versions = append(versions, version)
	}
	return versions, rows.Err()
}

// oldestSchema returns the version of the oldest schema that a program must know to
// use a database; 0 if any will do.
func oldestSchema(ctx context.Context, db *sql.DB, d *dialect) (int64, error) {
	var tables, oldest int64
	err := db.QueryRowContext(ctx, d.countTables, "oldest_schema").Scan(&tables)
	if err == nil && tables > 0 {
		err = db.QueryRowContext(ctx, `SELECT COALESCE(max(version), 0) FROM oldest_schema`).Scan(&oldest)
	}
	return oldest, err
}

// migration is a migration of this program.
type migration struct {
	name      string
	version   int64
	contracts bool // it takes away what older programs use
}

// knownMigrations returns the migrations of this program by version.
func knownMigrations() ([]migration, error) {
	entries, err := fs.ReadDir(migrations, ".")
	if err != nil {
		return nil, err
	}
	known := make([]migration, 0, len(entries))
	for _, entry := range entries { // sorted by name, which begins with the version
		m := migration{name: entry.Name()}
		text, err := fs.ReadFile(migrations, m.name)
		if err == nil {
			m.version, err = goose.NumericComponent(m.name)
		}
		if err != nil {
			return nil, err
		}
		m.contracts = contracts(string(text))
		known = append(known, m)
	}
	return known, nil
}

// contracts reports whether a migration names the table oldest_schema, except in
// comments.
func contracts(text string) bool {
	for line := range strings.Lines(text) {
		statement, _, _ := strings.Cut(line, "--")
		if strings.Contains(statement, "oldest_schema") {
			return true
		}
	}
	return false
}

// newestSchema returns the version of the newest migration.
func newestSchema() (int64, error) {
	known, err := knownMigrations()
	if err != nil {
		return 0, err
	}
	return known[len(known)-1].version, nil
}

// migrate migrates a database to the newest schema. What contracts the schema runs in
// an empty database only: see [Store.Contract].
func migrate(ctx context.Context, dialect goose.Dialect, db *sql.DB) error {
	known, err := knownMigrations()
	if err != nil {
		return err
	}
	p, err := provider(dialect, db)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	version, err := p.GetDBVersion(ctx)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	var later []string
	for _, m := range known {
		if m.contracts && version > 0 {
			later = append(later, m.name)
		}
	}
	p, err = provider(dialect, db, later...)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	if _, err := p.Up(ctx); err != nil {
		if partial, ok := errors.AsType[*goose.PartialError](err); ok {
			return fmt.Errorf("migrate the schema to version %d: %w", partial.Failed.Source.Version, partial.Err)
		}
		return fmt.Errorf("migrate the schema: %w", err)
	}
	return nil
}

// tellSchema logs that a newer version of Curfew has migrated the database.
func (s *Store) tellSchema(ctx context.Context, log *slog.Logger) error {
	newest, err := newestSchema()
	if err != nil {
		return err
	}
	version, err := checkSchema(ctx, s.read.DB, s.d)
	if err != nil {
		_, err = s.d.explain(ctx, "read the schema version", err)
		return err
	}
	if version > newest {
		log.WarnContext(ctx, "a newer version of Curfew has migrated this database; this version works with it, without the new features",
			"schema", version, "supported", newest)
	}
	return nil
}
