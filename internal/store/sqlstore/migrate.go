package sqlstore

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/pressly/goose/v3"

	"example.com/curfew/internal/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

// versionTable records the migrations that have run. A PostgreSQL database with
// this table is Curfew's.
const versionTable = "curfew_schema"

func provider(dialect goose.Dialect, db *sql.DB) (*goose.Provider, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(dialect, db, files,
		goose.WithTableName(versionTable), goose.WithDisableGlobalRegistry(true), goose.WithSlog(slog.New(slog.DiscardHandler)))
}

// checkSchema compares the schema version of a database with the program's.
func checkSchema(version int64) error {
	newest, err := newestSchema()
	if err != nil {
		return err
	}
	switch {
	case version > newest:
		return fmt.Errorf("%w: its schema version is %d, and this program supports up to %d; use the newer version of Curfew", store.ErrNewerSchema, version, newest)
	case version < newest:
		return fmt.Errorf("%w: its schema version is %d, and this program requires %d; start `curfew serve` of this version first, which migrates it",
			store.ErrOlderSchema, version, newest)
	}
	return nil
}

// schemaVersion returns the version of a database that has a version table.
func schemaVersion(ctx context.Context, db *sql.DB) (int64, error) {
	var version int64
	err := db.QueryRowContext(ctx, `SELECT COALESCE(max(version_id), 0) FROM `+versionTable).Scan(&version)
	return version, err
}

// newestSchema returns the version of the newest migration.
func newestSchema() (int64, error) {
	entries, err := fs.ReadDir(migrations, "migrations")
	if err != nil {
		return 0, err
	}
	return goose.NumericComponent(entries[len(entries)-1].Name())
}

// migrate migrates a database to the newest schema.
func migrate(ctx context.Context, dialect goose.Dialect, db *sql.DB) error {
	p, err := provider(dialect, db)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	if _, err := p.Up(ctx); err != nil {
		var partial *goose.PartialError
		if errors.As(err, &partial) {
			return fmt.Errorf("migrate the schema to version %d: %w", partial.Failed.Source.Version, partial.Err)
		}
		return fmt.Errorf("migrate the schema: %w", err)
	}
	return nil
}
