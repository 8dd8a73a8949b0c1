package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
)

// Restoring configures [Restore].
type Restoring struct {
	From string // the backup, a file
	To   string // the database, "sqlite:PATH"
	// Keep is the new file name of an existing database. If it is empty, the
	// existing database is lost with Replace, and the error is store.ErrConflict
	// without it.
	Keep    string
	Replace bool
	// Now is the current time. The epoch clock continues from it, or from the clock
	// of the backup or of the replaced database, whichever is latest.
	Now time.Time
	// Audit is the entry for the audit, whose actor and reason the receipt has as well.
	// At, Epoch, Scope and Target are filled in.
	Audit store.Audit
}

// Restore replaces a database by a backup.
//
// The backup does not contain the revocations after it, so Restore revokes
// everyone. Everything that followers copy gets the new epoch, because their
// settings and keys may be newer than the restored ones. Both happen before one
// rename puts the backup in place.
//
// The rows of nodes are those of the replaced database: a server that has just ended
// has granted leases, and receipts wait until these have run out. If they can't be
// read, the rows of the backup stay.
//
// Errors wrap store.ErrNotFound (no backup), ErrForeign, ErrCorrupt and
// ErrNewerSchema (of the backup), ErrConflict (there is a database and neither Keep
// nor Replace is set, or a file with the name Keep exists as well), ErrLocked (a
// server has it open) or ErrUnavailable. The database is then unchanged.
func Restore(ctx context.Context, r Restoring) error {
	to, ok := strings.CutPrefix(r.To, "sqlite:")
	if !ok {
		return errors.New("a PostgreSQL database is restored with PostgreSQL's own tools, for example pg_restore; run `curfew revoke everyone` afterwards, before anything else")
	}
	if err := checkBackup(ctx, r.From); err != nil {
		return fmt.Errorf("%s: %w", r.From, err)
	}
	at := func(err error) error { return fmt.Errorf("%s: %w", to, err) }
	there, err := os.Lstat(to)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return at(fmt.Errorf("%w: %w", store.ErrUnavailable, errors.Unwrap(err)))
	case !there.Mode().IsRegular():
		return at(fmt.Errorf("%w: it is not a regular file", store.ErrForeign))
	case sameFile(r.From, there):
		return at(fmt.Errorf("%w: this is the backup itself", store.ErrConflict))
	case r.Keep == "" && !r.Replace:
		return at(fmt.Errorf("%w: a database exists and would be lost; move it away, or allow that it is replaced (--replace)", store.ErrConflict))
	}
	var hold *holding
	if there != nil {
		if hold, err = holdSQLite(ctx, to); err != nil {
			return at(err)
		}
		defer hold.release()
	}
	err = inPlace(to, true, func(temporary string) error {
		if err := vacuumInto(ctx, r.From, temporary); err != nil {
			return err
		}
		if err := restart(ctx, temporary, r, hold); err != nil {
			return err
		}
		if there != nil && r.Keep != "" {
			if err := keep(to, r.Keep); err != nil {
				return err
			}
		}
		// A write-ahead log belongs to the file for which it was written.
		for _, suffix := range []string{"-wal", "-shm", "-journal"} {
			if err := os.Remove(to + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return at(err)
	}
	return nil
}

// keep gives a database a second name. A write-ahead log exists only if the
// database could not be read; it may still be useful for a recovery.
func keep(path, name string) error {
	for _, suffix := range []string{"-wal", "-journal", ""} {
		err := os.Link(path+suffix, name+suffix)
		switch {
		case err == nil, suffix != "" && errors.Is(err, fs.ErrNotExist):
		case errors.Is(err, fs.ErrExist):
			return fmt.Errorf("%w: keep it as %s: that file already exists; move it away, or allow that it is replaced (--replace)", store.ErrConflict, name)
		default:
			return fmt.Errorf("%w: keep it as %s: %w; move it away, or allow that it is replaced (--replace)", store.ErrUnavailable, name, errors.Unwrap(err))
		}
	}
	return nil
}

func sameFile(path string, other fs.FileInfo) bool {
	info, err := os.Stat(path)
	return err == nil && os.SameFile(info, other)
}

// checkBackup reads a backup from beginning to end.
func checkBackup(ctx context.Context, path string) error {
	if _, err := existingFile(path); errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("%w: there is no such file", store.ErrNotFound)
	} else if err != nil {
		return err
	}
	return checkSQLite(ctx, path, checkWhole)
}

// holding is a database that no other process has open.
type holding struct {
	epoch   revocation.Epoch
	nodes   []store.Node // what is needed of them to wait for the leases that they granted
	known   bool         // nodes could be read
	release func()
}

// holdSQLite checks that no other process has a database open, prevents others from
// opening it, and reads its clock and nodes if they are readable.
func holdSQLite(ctx context.Context, path string) (*holding, error) {
	db, err := openSQLitePool(sqliteDSN(path, "rw", url.Values{"_busy_timeout": {"500"}}), 1)
	if err != nil {
		return nil, err
	}
	h := &holding{release: func() { _ = db.Close() }}
	inUse := fmt.Errorf("%w: it is open in another process; stop the server first", store.ErrLocked)
	var mode string
	conn, err := db.Conn(ctx)
	if err == nil {
		h.release = func() {
			_ = conn.Close()
			_ = db.Close()
		}
		// A process that has a database in WAL mode open, idle or not, keeps it in
		// that mode.
		if _, err = conn.ExecContext(ctx, `PRAGMA journal_mode = DELETE`); err == nil {
			_, err = conn.ExecContext(ctx, `BEGIN EXCLUSIVE`)
		}
		// A server that started in between has set it back, and is not kept out.
		if err == nil {
			err = conn.QueryRowContext(ctx, `PRAGMA journal_mode`).Scan(&mode)
		}
		if err == nil && mode == "delete" {
			// The clock of a foreign or damaged database does not count.
			_ = conn.QueryRowContext(ctx, `SELECT epoch FROM clock WHERE id = 1`).Scan(&h.epoch)
			h.nodes, h.known = nodesHeld(ctx, conn)
		}
	}
	if c := code(err); c == sqlite3.SQLITE_BUSY || c == sqlite3.SQLITE_LOCKED || err == nil && mode != "delete" {
		h.release()
		return nil, inUse
	}
	if err != nil {
		// This damage is the reason to replace it. SQLite cannot lock a file that
		// it cannot read, but a server may have read it before the damage.
		h.release()
		h.release = func() {}
		if heldElsewhere(path) {
			return nil, inUse
		}
	}
	return h, nil
}

// nodesHeld reads the nodes of a database of any schema version. known is false if
// it is foreign or damaged.
func nodesHeld(ctx context.Context, conn *sql.Conn) (nodes []store.Node, known bool) {
	rows, err := conn.QueryContext(ctx, `SELECT id, name, version, started_at, beat, lease_ms, followers FROM nodes WHERE gone = 0`)
	if err != nil {
		return nil, false
	}
	defer rows.Close()
	for rows.Next() {
		var n store.Node
		if err := rows.Scan(&n.ID, &n.Name, &n.Version, &n.StartedAt, &n.Beat, &n.LeaseMS, &n.Followers); err != nil {
			return nil, false
		}
		nodes = append(nodes, n)
	}
	return nodes, rows.Err() == nil
}

// restart prepares a copy of a backup for use: see Restore. replaced is nil if there
// was no database.
func restart(ctx context.Context, path string, r Restoring, replaced *holding) (err error) {
	if replaced == nil {
		replaced = &holding{}
	}
	s, err := connectSQLite(ctx, path, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return s.Update(ctx, func(tx store.Tx) error {
		now := r.Now
		if next := (replaced.epoch + 1).Time(); next.After(now) {
			now = next
		}
		epoch, err := tx.Advance(ctx, now)
		if err != nil {
			return err
		}
		if err := republish(ctx, tx, epoch); err != nil {
			return err
		}
		if err := replaced.keepNodes(ctx, tx); err != nil {
			return err
		}
		if err := tx.PutRevocations(ctx, revocation.Revocation{Scope: revocation.Everyone(), Epoch: epoch}); err != nil {
			return err
		}
		entry := r.Audit
		entry.At = r.Now.UnixMicro()
		// The backup does not have the sessions that began after it.
		actor := entry.Actor
		actor.Address, actor.RequestID = "", ""
		if err := tx.AddReceipts(ctx, store.Receipt{
			Epoch: epoch, Scope: string(revocation.KindEveryone), Actor: actor, Reason: entry.Reason, CommittedAt: entry.At,
			Users: store.NotCounted, Sessions: store.NotCounted,
		}); err != nil {
			return err
		}
		entry.TargetKind, entry.Scope, entry.Epoch = string(revocation.KindEveryone), revocation.KindEveryone, epoch
		return tx.AppendAudit(ctx, entry)
	})
}

// republish gives everything that followers copy a new epoch.
func republish(ctx context.Context, tx store.Tx, epoch revocation.Epoch) error {
	in, err := tx.Settings(ctx)
	if err == nil {
		in.Epoch = epoch
		err = tx.PutSettings(ctx, in)
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	installation, err := tx.Installation(ctx)
	if err == nil {
		installation.Epoch = epoch
		err = tx.PutInstallation(ctx, installation)
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	keys, err := tx.Keys(ctx)
	if err != nil {
		return err
	}
	for _, k := range keys {
		k.Epoch = epoch
		if err := tx.PutKey(ctx, k); err != nil {
			return err
		}
	}
	return nil
}

// keepNodes replaces the nodes of the backup by those of the replaced database, as
// rows that have confirmed nothing.
func (h *holding) keepNodes(ctx context.Context, tx store.Tx) error {
	if !h.known {
		return nil
	}
	old, err := tx.Nodes(ctx)
	if err != nil {
		return err
	}
	for _, n := range old {
		if err := tx.DeleteNode(ctx, n.ID); err != nil {
			return err
		}
	}
	for _, n := range h.nodes {
		if err := tx.PutNode(ctx, n, false); err != nil {
			return err
		}
	}
	return nil
}
