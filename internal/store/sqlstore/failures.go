package sqlstore

import (
	"context"
	"errors"
	"slices"

	"example.com/curfew/internal/store"
)

// Failures returns the failed sign-ins counted under key since the instant given.
func (q *queries) Failures(ctx context.Context, key string, since int64) (int64, error) {
	var n int64
	err := q.get(ctx, "count failed sign-ins", &n,
		`SELECT CAST(COALESCE(sum(count), 0) AS bigint) FROM failures WHERE subject = ? AND at >= ?`, shortKey(key), since)
	return n, err
}

// AddFailure counts one failed sign-in under each key.
func (t *tx) AddFailure(ctx context.Context, at int64, keys ...string) error {
	short := make([]string, len(keys))
	for i, key := range keys {
		short[i] = storableText(shortKey(key))
	}
	slices.Sort(short)
	var args []any
	for _, key := range slices.Compact(short) {
		args = append(args, key, at)
	}
	return t.insert(ctx, "note a failed sign-in", `INSERT INTO failures (subject, at, count) VALUES `, same("(?,?,1)"),
		` ON CONFLICT (subject, at) DO UPDATE SET count = failures.count + 1`, 2, args)
}

// Streak returns the consecutive failed sign-ins under key.
func (q *queries) Streak(ctx context.Context, key string) (store.Streak, error) {
	var row struct {
		Count  int64 `db:"count"`
		LastAt int64 `db:"last_at"`
	}
	err := q.get(ctx, "read a streak of failed sign-ins", &row, `SELECT count, last_at FROM streaks WHERE subject = ?`, shortKey(key))
	if errors.Is(err, store.ErrNotFound) {
		err = nil
	}
	return store.Streak(row), err
}

// AddStreak adds one failed sign-in to the streak under key.
func (t *tx) AddStreak(ctx context.Context, at int64, key string) error {
	_, err := t.exec(ctx, "note a streak of failed sign-ins", `
		INSERT INTO streaks (subject, count, last_at) VALUES (?,1,?)
		ON CONFLICT (subject) DO UPDATE SET count = streaks.count + 1,
			last_at = CASE WHEN streaks.last_at < excluded.last_at THEN excluded.last_at ELSE streaks.last_at END`,
		storableText(shortKey(key)), at)
	return err
}

// EndStreak ends the streaks under the keys.
func (t *tx) EndStreak(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		if _, err := t.exec(ctx, "end a streak of failed sign-ins", `DELETE FROM streaks WHERE subject = ?`, shortKey(key)); err != nil {
			return err
		}
	}
	return nil
}
