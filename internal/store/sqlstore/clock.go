package sqlstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
)

// Clock returns the epoch clock.
func (q *queries) Clock(ctx context.Context) (revocation.Epoch, error) {
	var e revocation.Epoch
	err := q.get(ctx, "read the epoch clock", &e, `SELECT epoch FROM clock WHERE id = 1`)
	return e, err
}

// Advance raises the epoch clock; see store.Writer.
func (t *tx) Advance(ctx context.Context, now time.Time) (revocation.Epoch, error) {
	var row struct {
		Epoch revocation.Epoch `db:"epoch"`
		Woken string           `db:"woken"` // unused: waking is a side effect
	}
	if t.holds {
		return 0, errHolds
	}
	at := now.UnixMicro()
	err := t.get(ctx, "advance the epoch clock", &row, `
		UPDATE clock SET epoch = CASE WHEN epoch + 1 > ? THEN epoch + 1 ELSE ? END WHERE id = 1
		RETURNING epoch, `+t.d.wake+` AS woken`, at, at, t.id)
	t.wake = true
	return row.Epoch, err
}

// errHolds is an error of the caller: two transactions that hold the clock and then
// advance it would wait for each other.
var errHolds = errors.New("advance the epoch clock: the transaction holds it without advancing it")

// HoldClock holds the clock; see store.Writer.
func (t *tx) HoldClock(ctx context.Context) error {
	t.holds = true
	if t.d.holdClock == "" {
		return nil
	}
	_, err := t.exec(ctx, "hold the epoch clock", t.d.holdClock)
	return err
}

// PutRevocations raises the revoked-before of scopes.
func (t *tx) PutRevocations(ctx context.Context, revocations ...revocation.Revocation) error {
	const what = "store revocations"
	t.expect(len(revocations))
	// A statement must not contain a row twice. Rows locked in the same order
	// prevent deadlocks.
	sorted := slices.Clone(revocations)
	slices.SortFunc(sorted, func(a, b revocation.Revocation) int {
		return cmp.Or(cmp.Compare(a.Scope.Kind, b.Scope.Kind), cmp.Compare(a.Scope.ID, b.Scope.ID), cmp.Compare(b.Epoch, a.Epoch))
	})
	sorted = slices.CompactFunc(sorted, func(a, b revocation.Revocation) bool { return a.Scope == b.Scope })
	args := make([]any, 0, 3*len(sorted))
	for _, r := range sorted {
		if !r.Scope.Valid() {
			return fmt.Errorf("%s: %w: %q is no scope", what, store.ErrConflict, r.Scope.Kind)
		}
		if err := fits(what, r.Scope.ID); err != nil {
			return err
		}
		args = append(args, string(r.Scope.Kind), r.Scope.ID, int64(r.Epoch))
	}
	return t.insert(ctx, what, `INSERT INTO revocations (kind, id, epoch) VALUES `, same("(?,?,?)"),
		` ON CONFLICT (kind, id) DO UPDATE SET epoch = excluded.epoch WHERE excluded.epoch > revocations.epoch`,
		3, args)
}

// same is for rows of queries.insert with the same text.
func same(row string) func(int) string { return func(int) string { return row } }

// RevokedBefore reads everything in one statement, which sees one state: the clock
// and every commit up to it.
func (q *queries) RevokedBefore(ctx context.Context, user, session string) (store.RevokedBefore, error) {
	var row struct {
		Clock      revocation.Epoch `db:"clock"`
		Everyone   revocation.Epoch `db:"everyone"`
		Remembered revocation.Epoch `db:"remembered"`
		User       revocation.Epoch `db:"of_user"`
		Session    revocation.Epoch `db:"of_session"`
	}
	err := q.get(ctx, "read revocations", &row, `
		SELECT epoch AS clock,
			COALESCE((SELECT epoch FROM revocations WHERE kind = 'everyone' AND id = ''), 0) AS everyone,
			COALESCE((SELECT epoch FROM revocations WHERE kind = 'remembered' AND id = ''), 0) AS remembered,
			COALESCE((SELECT epoch FROM revocations WHERE kind = 'user' AND id = ?), 0) AS of_user,
			COALESCE((SELECT epoch FROM revocations WHERE kind = 'session' AND id = ?), 0) AS of_session
		FROM clock WHERE id = 1`, user, session)
	return store.RevokedBefore(row), err
}

// RevocationsOf returns the revocations of everyone, of remembered, and of the
// users and sessions given.
func (q *queries) RevocationsOf(ctx context.Context, users, sessions []string) ([]revocation.Revocation, error) {
	// No user or session has the id "". It keeps the lists from being empty, which
	// PostgreSQL refuses.
	args := slices.Concat([]any{""}, anys(users), []any{""}, anys(sessions))
	return q.revocations(ctx, 2+len(users)+len(sessions), `
		SELECT kind, id, epoch FROM revocations WHERE kind IN ('everyone', 'remembered') AND id = ''
		UNION ALL SELECT kind, id, epoch FROM revocations WHERE kind = 'user' AND id IN `+marks(1+len(users))+`
		UNION ALL SELECT kind, id, epoch FROM revocations WHERE kind = 'session' AND id IN `+marks(1+len(sessions)), args...)
}

// CountRevocations returns the number of revocations of users and sessions.
func (q *queries) CountRevocations(ctx context.Context) (int64, error) {
	var n int64
	err := q.get(ctx, "count revocations", &n, `SELECT count(*) FROM revocations WHERE kind IN ('user', 'session')`)
	return n, err
}
