package sqlstore

import (
	"context"
	"database/sql"
	"net/url"
	"os"
	"time"

	"example.com/curfew/internal/fileperm"
)

// pollSQLite wakes when another connection, of any process, has changed the file:
// PRAGMA data_version then differs from the value that the same connection saw.
func pollSQLite(ctx context.Context, path string, wake func()) {
	var conn *sql.Conn
	db, err := openSQLitePool(sqliteDSN(path, "rw", url.Values{"_query_only": {"1"}}), 1)
	if err != nil {
		return // the same name has been opened before
	}
	defer func() { _ = db.Close() }()
	ticker := time.NewTicker(sqlitePollInterval)
	defer ticker.Stop()
	var seen int64
	for {
		var version int64
		var err error
		if conn == nil {
			conn, err = db.Conn(ctx)
		}
		if err == nil {
			err = conn.QueryRowContext(ctx, `PRAGMA data_version`).Scan(&version)
		}
		switch {
		case err == nil && version != seen: // also the first time, and after an error
			seen = version
			wake()
		case err != nil:
			seen = 0
			if conn != nil {
				_ = conn.Close()
				conn = nil
			}
		}
		select {
		case <-ctx.Done():
			if conn != nil {
				_ = conn.Close()
			}
			return
		case <-ticker.C:
		}
	}
}

func warnSQLite(path string) []string {
	info, err := os.Stat(path)
	if err != nil {
		return nil
	}
	warning, err := fileperm.Check(path, info)
	switch {
	case err != nil:
		return []string{err.Error()}
	case warning != "":
		return []string{warning}
	}
	return nil
}
