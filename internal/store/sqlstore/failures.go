package sqlstore

import (
	"context"
	"slices"
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
