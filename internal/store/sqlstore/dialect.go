package sqlstore

import (
	"database/sql"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
)

// dialect contains all differences between the engines once a database is open. All
// other SQL has the same text.
type dialect struct {
	engine string
	bind   int // of sqlx: the form of ?

	// budget is the maximum time of one read, or of one whole Update, before it
	// counts as unavailable. long is the same for operations that are known to be
	// long.
	budget, long time.Duration

	transaction *sql.TxOptions

	// least is the SQL function that returns the minimum of its arguments.
	least string

	// find is the SQL function that returns the position of its second argument in its
	// first; 0 if it is not there.
	find string

	// lockRow is the end of a SELECT that locks the row until the transaction ends.
	lockRow string

	// skipLocked is the end of a SELECT from s that locks the rows until the
	// transaction ends, and leaves out those that another transaction has locked.
	skipLocked string

	// commitWeakly is a condition that is true, and that lets the commit of its
	// statement return before it is on disk, if the engine can.
	commitWeakly string

	// holdClock is a statement that prevents other transactions from advancing the
	// clock until this one ends. "" if the engine has one writer at a time.
	holdClock string

	// lockNames is a statement that lets only one transaction at a time give a name
	// to a user, until it ends. "" if the engine has one writer at a time.
	lockNames string

	// wake is an expression for a RETURNING clause that wakes the watchers of other
	// processes at the commit. Its parameter is the sender.
	wake string

	// countTables is a SELECT of the number of tables with the name that is its
	// parameter.
	countTables string

	// columns is a SELECT of all columns of all tables, as "table" and "column", sorted
	// by name.
	columns string

	// auditID is an expression for the id of the k-th (from 1) of the rows that
	// one INSERT appends to the audit.
	auditID func(k int) string

	// diagnose returns the meaning of an error of the driver.
	diagnose func(error) diagnosis
}

// diagnosis is the meaning of a driver's error.
type diagnosis struct {
	sentinel error // a sentinel of package store; nil if the error is not the driver's
	text     string
	again    bool // the database aborted the transaction in favour of another: try again
}

var sqliteDialect = &dialect{
	engine: "sqlite",
	bind:   sqlx.QUESTION,
	// Much longer than busy_timeout: the error should say that another process has
	// locked the database, and there is one writer at a time.
	budget:       6 * busyTimeout,
	long:         5 * time.Minute,
	least:        "min",
	find:         "instr",
	commitWeakly: "1 = 1",
	wake:         "?", // PRAGMA data_version does it
	countTables:  "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?",
	columns: `SELECT t.name AS "table", c.name AS "column" FROM sqlite_master t JOIN pragma_table_info(t.name) c
		WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%' ORDER BY 1, 2`,
	// The database has one writer at a time, so no other transaction counts at the
	// same time.
	auditID:  func(k int) string { return fmt.Sprintf("(SELECT COALESCE(max(id), 0) FROM audit) + %d", k) },
	diagnose: diagnoseSQLite,
}

var postgresDialect = &dialect{
	engine: "postgres",
	bind:   sqlx.DOLLAR,
	budget: 1600 * time.Millisecond, // so that the caller gets an answer within 2 s
	long:   time.Minute,
	// After Advance a transaction must see every earlier commit, so each statement
	// needs its own snapshot, whatever the server's default is.
	transaction:  &sql.TxOptions{Isolation: sql.LevelReadCommitted},
	least:        "least",
	find:         "strpos",
	lockRow:      " FOR UPDATE",
	skipLocked:   " FOR UPDATE OF s SKIP LOCKED",
	commitWeakly: "(SELECT set_config('synchronous_commit', 'off', true)) = 'off'",
	// In this mode the transactions that hold the clock do not wait for each other,
	// but later ones wait for a transaction that waits to advance the clock. A
	// stream of holders therefore cannot delay a revocation without end.
	holdClock:   "LOCK TABLE clock IN SHARE MODE",
	lockNames:   fmt.Sprintf("SELECT pg_advisory_xact_lock(%d)", namesLock),
	countTables: "SELECT count(*) FROM pg_class WHERE relnamespace = to_regnamespace(current_schema()) AND relkind = 'r' AND relname = $1",
	columns: `SELECT c.relname::text AS "table", a.attname::text AS "column" FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
		WHERE c.relnamespace = to_regnamespace(current_schema()) AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
		ORDER BY c.relname::text COLLATE "C", a.attname::text COLLATE "C"`,
	wake:     "pg_notify('" + notifyChannel + "', ?)::text",
	auditID:  func(int) string { return "nextval('audit_ids')" },
	diagnose: diagnosePostgres,
}
