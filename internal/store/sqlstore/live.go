package sqlstore

import (
	"context"

	"github.com/jmoiron/sqlx"

	"example.com/curfew/internal/store"
	"example.com/curfew/settings"
)

// leeway is token.Leeway in seconds: how far in the future a token may be dated.
const leeway = 60

// inTime returns the condition for a session row s to satisfy the time rules.
//
// They are the rules of token.Validator, which counts in whole seconds. The rows
// have µs, so each bound is moved to the start of a second: now ≥ began + D, in
// seconds, holds for every began_at below (now − D + 1) s.
func inTime(l store.Live) (where string, args []any) {
	now := floorDiv(l.Now, micros)
	in := l.Settings
	return `s.ended_at = 0
		AND s.expires_at >= ?
		AND s.began_at >= ? AND s.began_at < ?
		AND s.last_seen_at < ?
		AND (s.epoch >= ? OR s.began_at >= ?)
		AND (s.remember_me = 1 OR s.last_seen_at >= ? AND (s.epoch >= ? OR s.last_seen_at >= ?))`,
		[]any{
			(now + 1) * micros,
			(now - settings.Seconds(in.MaximumSessionDuration) + 1) * micros, (now + leeway + 1) * micros,
			(now + leeway + 1) * micros,
			in.MaximumFloorEpoch, (int64(in.MaximumFloor) + 1) * micros,
			(now - settings.Seconds(in.SessionTimeout) + 1) * micros,
			in.IdleFloorEpoch, (int64(in.IdleFloor) + 1) * micros,
		}
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// unrevoked is the condition for a session row s not to be revoked, and its key to
// be trusted still.
const unrevoked = `
	s.epoch >= COALESCE((SELECT epoch FROM revocations WHERE kind = 'everyone' AND id = ''), 0)
	AND (s.remember_me = 0 OR s.epoch >= COALESCE((SELECT epoch FROM revocations WHERE kind = 'remembered' AND id = ''), 0))
	AND s.epoch >= COALESCE((SELECT r.epoch FROM revocations AS r WHERE r.kind = 'user' AND r.id = s.user_id), 0)
	AND s.epoch >= COALESCE((SELECT r.epoch FROM revocations AS r WHERE r.kind = 'session' AND r.id = s.id), 0)
	AND NOT EXISTS (SELECT 1 FROM signing_keys AS k WHERE k.id = s.key_id AND k.state = '` + store.KeyRetired + `')`

// living returns the condition for a session row s to be a live session.
func living(l store.Live) (where string, args []any) {
	where, args = inTime(l)
	return where + ` AND ` + unrevoked, args
}

// LiveSessions returns a user's live sessions, the latest first.
func (q *queries) LiveSessions(ctx context.Context, user string, live store.Live) ([]store.Session, error) {
	where, args := living(live)
	var rows []sessionRow
	if err := q.all(ctx, "read live sessions", &rows, `
		SELECT `+sessionColumns+` FROM sessions AS s WHERE s.user_id = ? AND `+where+`
		ORDER BY s.began_at DESC, s.id`, append([]any{user}, args...)...); err != nil {
		return nil, err
	}
	return sessionsOf(rows), nil
}

func sessionsOf(rows []sessionRow) []store.Session {
	sessions := make([]store.Session, len(rows))
	for i := range rows {
		sessions[i] = rows[i].session()
	}
	return sessions
}

// SurplusSessions returns the live sessions of a user that are older than the keep
// newest. The first conditions are those of the index sessions_open, so that a user
// who constantly revokes and begins sessions costs only as much as the open
// sessions.
func (q *queries) SurplusSessions(ctx context.Context, user string, live store.Live, keep, limit int) ([]store.Session, error) {
	where, args := living(live)
	var rows []sessionRow
	err := q.all(ctx, "read surplus sessions", &rows, `
		SELECT `+sessionColumns+` FROM sessions AS s
		WHERE s.user_id = ? AND s.epoch >= COALESCE((SELECT epoch FROM revocations WHERE kind = 'user' AND id = ?), 0) AND `+where+`
		ORDER BY s.began_at DESC, s.id LIMIT ? OFFSET ?`, append(append([]any{user, user}, args...), limit, keep)...)
	return sessionsOf(rows), err
}

// CountLive counts live sessions; user "" means all users, keyID "" all keys.
func (q *queries) CountLive(ctx context.Context, live store.Live, user, keyID string) (store.Counts, error) {
	where, args := living(live)
	if user != "" {
		where, args = where+` AND s.user_id = ?`, append(args, user)
	}
	if keyID != "" {
		where, args = where+` AND s.key_id = ?`, append(args, keyID)
	}
	return q.counts(ctx, where, args)
}

// CountEnding counts the sessions that are live under now but not under next; see
// store.SessionReader.
func (q *queries) CountEnding(ctx context.Context, now, next store.Live) (store.Counts, error) {
	where, args := living(now)
	then, more := inTime(next)
	if now.Settings.RememberMeEnabled && !next.Settings.RememberMeEnabled {
		then = `s.remember_me = 0 AND ` + then // disabling it revokes those
	}
	return q.counts(ctx, where+` AND NOT (`+then+`)`, append(args, more...))
}

func (q *queries) counts(ctx context.Context, where string, args []any) (store.Counts, error) {
	var row struct {
		Sessions int64 `db:"sessions"`
		Users    int64 `db:"users"`
	}
	err := q.patient().get(ctx, "count live sessions", &row, `
		SELECT CAST(COALESCE(sum(n), 0) AS bigint) AS sessions, count(*) AS users
		FROM (SELECT count(*) AS n FROM sessions AS s WHERE `+where+` GROUP BY s.user_id) AS of_users`, args...)
	return store.Counts(row), err
}

// CountLiveByUser counts the live sessions of each of the users given.
func (q *queries) CountLiveByUser(ctx context.Context, live store.Live, users []string) (map[string]int64, error) {
	counts := make(map[string]int64, len(users))
	where, args := living(live)
	err := chunks(users, func(users []string) error {
		return q.each(ctx, "count live sessions", func(rows *sqlx.Rows) error {
			var user string
			var n int64
			if err := rows.Scan(&user, &n); err != nil {
				return err
			}
			counts[user] = n
			return nil
		}, `SELECT s.user_id, count(*) FROM sessions AS s WHERE s.user_id IN `+marks(len(users))+` AND `+where+` GROUP BY s.user_id`,
			append(anys(users), args...)...)
	})
	return counts, err
}
