package sqlstore

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
)

const sessionColumns = `id, user_id, remember_me, epoch, key_id, device, address, began_at, last_seen_at, last_used_at, expires_at, ended_at, begun_by,
	authenticated_at, acr, session_expiry`

type sessionRow struct {
	ID         string           `db:"id"`
	UserID     string           `db:"user_id"`
	RememberMe int64            `db:"remember_me"`
	Epoch      revocation.Epoch `db:"epoch"`
	KeyID      string           `db:"key_id"`
	Device     string           `db:"device"`
	Address    string           `db:"address"`
	BeganAt    int64            `db:"began_at"`
	LastSeenAt int64            `db:"last_seen_at"`
	LastUsedAt int64            `db:"last_used_at"`
	ExpiresAt  int64            `db:"expires_at"`
	EndedAt    int64            `db:"ended_at"`
	BegunBy    string           `db:"begun_by"`

	AuthenticatedAt int64  `db:"authenticated_at"`
	ACR             string `db:"acr"`
	SessionExpiry   int64  `db:"session_expiry"`
}

func (r *sessionRow) session() store.Session {
	return store.Session{
		ID: r.ID, UserID: r.UserID, RememberMe: r.RememberMe != 0, Epoch: r.Epoch, KeyID: r.KeyID,
		Device: r.Device, Address: r.Address, BegunBy: r.BegunBy,
		BeganAt: r.BeganAt, LastSeenAt: r.LastSeenAt, LastUsedAt: r.LastUsedAt, ExpiresAt: r.ExpiresAt, EndedAt: r.EndedAt,
		AuthenticatedAt: r.AuthenticatedAt, ACR: r.ACR, SessionExpiry: r.SessionExpiry,
	}
}

// Session returns a session row, whether the session is live or not.
func (q *queries) Session(ctx context.Context, id string) (store.Session, error) {
	var row sessionRow
	if err := q.get(ctx, "read a session", &row, `SELECT `+sessionColumns+` FROM sessions WHERE id = ?`, id); err != nil {
		return store.Session{}, err
	}
	return row.session(), nil
}

// SessionsNamed returns the session rows with the given ids.
func (q *queries) SessionsNamed(ctx context.Context, ids []string) ([]store.Session, error) {
	var sessions []store.Session
	err := chunks(ids, func(ids []string) error {
		var rows []sessionRow
		err := q.all(ctx, "read sessions", &rows, `SELECT `+sessionColumns+` FROM sessions WHERE id IN `+marks(len(ids)), anys(ids)...)
		for i := range rows {
			sessions = append(sessions, rows[i].session())
		}
		return err
	})
	return sessions, err
}

// KnownAddress reports whether the user has begun a session from the network of the
// address since the given time.
func (q *queries) KnownAddress(ctx context.Context, user, address string, since int64) (bool, error) {
	const what = "look for an address"
	network := store.Network(address)
	var n int64
	err := q.get(ctx, what, &n, `
		SELECT count(*) FROM (SELECT 1 FROM sessions WHERE user_id = ? AND network = ? AND began_at >= ? LIMIT 1) AS known`,
		user, network, since)
	if err != nil || n > 0 && network != "" {
		return n > 0, err
	}
	// Rows from before the column existed, and rows that an older node writes.
	var addresses []string
	err = q.all(ctx, what, &addresses, `
		SELECT DISTINCT address FROM sessions WHERE user_id = ? AND network = '' AND began_at >= ?`, user, since)
	return slices.ContainsFunc(addresses, func(a string) bool { return store.Network(a) == network }), err
}

// InsertSession adds a session row.
func (t *tx) InsertSession(ctx context.Context, s store.Session) error {
	const what = "add a session"
	if err := fits(what, s.ID, s.UserID, s.KeyID); err != nil {
		return err
	}
	n, err := t.exec(ctx, what, `
		INSERT INTO sessions (`+sessionColumns+`, network) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING`,
		s.ID, s.UserID, bit(s.RememberMe), int64(s.Epoch), s.KeyID, s.Device, s.Address,
		s.BeganAt, s.LastSeenAt, s.LastUsedAt, s.ExpiresAt, s.EndedAt, s.BegunBy,
		s.AuthenticatedAt, s.ACR, s.SessionExpiry, store.Network(s.Address))
	if err == nil && n == 0 {
		return fmt.Errorf("%s: %w: the id is taken", what, store.ErrConflict)
	}
	return err
}

// RefreshSession raises LastSeenAt, LastUsedAt and ExpiresAt, each if it is later, and
// sets KeyID unless a later refresh is stored. Refreshes may arrive in any order.
func (t *tx) RefreshSession(ctx context.Context, id string, seen, expires int64, keyID string) error {
	_, err := t.exec(ctx, "note a refresh", `
		UPDATE sessions SET
			key_id = CASE WHEN last_seen_at <= ? THEN ? ELSE key_id END,
			last_seen_at = CASE WHEN last_seen_at < ? THEN ? ELSE last_seen_at END,
			last_used_at = CASE WHEN last_used_at < ? THEN ? ELSE last_used_at END,
			expires_at = CASE WHEN expires_at < ? THEN ? ELSE expires_at END
		WHERE id = ?`, seen, keyID, seen, seen, seen, seen, expires, expires, id)
	return err
}

// RecordUses raises LastUsedAt of sessions; see store.Store. Rows are locked in the
// order of their ids, and only those that no other transaction writes: a refresh that
// is under way counts as a use, too. SQLite does not change the order of a cross
// join, so it looks up each session instead of reading the whole table.
func (s *Store) RecordUses(ctx context.Context, uses []store.Use) error {
	if len(uses) == 0 {
		return nil
	}
	args := make([]any, 0, 3*len(uses))
	for _, u := range uses {
		args = append(args, u.Session, u.At, u.Since)
	}
	const row = "(CAST(? AS text), CAST(? AS bigint), CAST(? AS bigint))"
	writer := reader(s.d, s.write)
	_, err := writer.exec(ctx, "record uses of sessions", `
		WITH used (id, at, since) AS (VALUES `+row+strings.Repeat(","+row, len(uses)-1)+`)
		UPDATE sessions SET last_used_at = used.at FROM used
		WHERE sessions.id = used.id AND sessions.id IN (
			SELECT s.id FROM used CROSS JOIN sessions AS s
			WHERE s.id = used.id AND s.ended_at = 0 AND s.last_used_at < used.since AND `+s.d.commitWeakly+`
			ORDER BY s.id`+s.d.skipLocked+`)`, args...)
	return err
}

// EndSession sets EndedAt unless it is set.
func (t *tx) EndSession(ctx context.Context, id string, at int64) error {
	_, err := t.exec(ctx, "end a session", `UPDATE sessions SET ended_at = ? WHERE id = ? AND ended_at = 0`, at, id)
	return err
}

// AuthenticateSession sets AuthenticatedAt and ACR unless a later authentication is
// stored.
func (t *tx) AuthenticateSession(ctx context.Context, id string, at int64, acr string) error {
	_, err := t.exec(ctx, "note an authentication", `
		UPDATE sessions SET authenticated_at = ?, acr = ? WHERE id = ? AND authenticated_at <= ?`, at, acr, id, at)
	return err
}

// MoveSession sets the epoch.
func (t *tx) MoveSession(ctx context.Context, id string, epoch revocation.Epoch) error {
	_, err := t.exec(ctx, "move a session", `UPDATE sessions SET epoch = ? WHERE id = ?`, int64(epoch), id)
	return err
}
