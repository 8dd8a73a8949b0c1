package sqlstore

import (
	"database/sql"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
)

// dialect is everything that differs between the engines once a database is
// open. All other SQL is the same text.
type dialect struct {
	engine string
	bind   int // of sqlx: how ? is written

	// budget is how long one reading, or one whole Update, may take before it
	// counts as unavailable; long is the same for those that are known to be long.
	budget, long time.Duration

	transaction *sql.TxOptions

	// least is the function that returns the least of its arguments.
	least string

	// lockRow ends a SELECT that holds the row until the transaction ends.
	lockRow string

	// holdClock is a statement that keeps other transactions from advancing the
	// clock until this one ends. "" where writers take turns anyway.
	holdClock string

	// lockNames is a statement that lets one transaction at a time give a name to a
	// user, until it ends. "" where writers take turns anyway.
	lockNames string

	// wake is an expression for a RETURNING clause that wakes the watchers of
	// other processes at the commit. Its parameter says who wakes them.
	wake string

	// auditID is an expression for the id of the k-th (from 1) of the rows that
	// one INSERT appends to the audit.
	auditID func(k int) string

	// diagnose tells what an error of the driver means.
	diagnose func(error) diagnosis
}

// diagnosis is what an error of a driver means.
type diagnosis struct {
	sentinel error // one of package store; nil if the error is not the driver's
	text     string
	again    bool // the transaction was given up for the sake of another: try again
}

var sqliteDialect = &dialect{
	engine: "sqlite",
	bind:   sqlx.QUESTION,
	// Much longer than busy_timeout: a database that another process has locked
	// is to be reported as that, and writers take turns.
	budget: 6 * busyTimeout,
	long:   5 * time.Minute,
	least:  "min",
	wake:   "?", // PRAGMA data_version does it
	// Writers of a database take turns, so nobody else counts at the same time.
	auditID:  func(k int) string { return fmt.Sprintf("(SELECT COALESCE(max(id), 0) FROM audit) + %d", k) },
	diagnose: diagnoseSQLite,
}

var postgresDialect = &dialect{
	engine: "postgres",
	bind:   sqlx.DOLLAR,
	budget: 1600 * time.Millisecond, // so that whoever asked is told within 2 s
	long:   time.Minute,
	// After Advance a transaction must see what was committed until then, so
	// every statement needs a snapshot of its own, whatever the server's default.
	transaction: &sql.TxOptions{Isolation: sql.LevelReadCommitted},
	least:       "least",
	lockRow:     " FOR UPDATE",
	// In this mode those that hold the clock do not wait for each other, and those
	// that came later wait for those that wait to advance it: no stream of the
	// former keeps a revocation out.
	holdClock: "LOCK TABLE clock IN SHARE MODE",
	lockNames: fmt.Sprintf("SELECT pg_advisory_xact_lock(%d)", namesLock),
	wake:      "pg_notify('" + notifyChannel + "', ?)::text",
	auditID:   func(int) string { return "nextval('audit_ids')" },
	diagnose:  diagnosePostgres,
}
