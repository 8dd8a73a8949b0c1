package sqlstore

import (
	"context"
	"math"

	"github.com/jmoiron/sqlx"

	"example.com/curfew/internal/store"
)

// never is later than every end of a session.
const never = math.MaxInt64

// LiveOver returns how many sessions were live at each of n instants; see
// store.SessionReader.
//
// A session is live from its beginning to the first of its ends, so it is enough to
// count beginnings and ends between two instants. An epoch is also a date: that of
// the revocation.
func (q *queries) LiveOver(ctx context.Context, live store.Live, from, width int64, n int) ([]int64, error) {
	if n <= 0 || width <= 0 {
		return nil, nil
	}
	change := make([]int64, n+1)
	// The index of the first instant at or after a date. Dates before the first
	// instant count from the first; dates after the last do not count.
	first := func(date string) string {
		return `CASE WHEN ` + date + ` <= ? THEN 0 WHEN ` + date + ` > ? THEN ? ELSE (` + date + ` - ? + ? - 1) / ? END`
	}
	instants := []any{from, from + width*int64(n-1), int64(n), from, width, width}
	in := live.Settings
	args := []any{
		in.MaximumSessionDuration.Microseconds(), int64(never), in.SessionTimeout.Microseconds(), int64(never),
		int64(never), int64(never), int64(never), int64(never), int64(never), from,
	}
	query := `WITH lives AS (
		SELECT s.began_at, ` + q.d.least + `(
			s.expires_at, s.began_at + ?,
			CASE WHEN s.remember_me = 1 THEN ? ELSE s.last_seen_at + ? END,
			CASE WHEN s.ended_at = 0 THEN ? ELSE s.ended_at END,
			COALESCE((SELECT epoch FROM revocations WHERE kind = 'everyone' AND id = '' AND epoch > s.epoch), ?),
			COALESCE((SELECT epoch FROM revocations WHERE kind = 'remembered' AND id = '' AND epoch > s.epoch AND s.remember_me = 1), ?),
			COALESCE((SELECT epoch FROM revocations AS r WHERE r.kind = 'user' AND r.id = s.user_id AND r.epoch > s.epoch), ?),
			COALESCE((SELECT epoch FROM revocations AS r WHERE r.kind = 'session' AND r.id = s.id AND r.epoch > s.epoch), ?),
			COALESCE((SELECT retired_at FROM signing_keys AS k WHERE k.id = s.key_id AND k.state = '` + store.KeyRetired + `'), ?)
		) AS over_at
		FROM sessions AS s WHERE s.expires_at > ?)
	SELECT ` + first("began_at") + ` AS instant, count(*) FROM lives WHERE over_at > began_at GROUP BY 1
	UNION ALL
	SELECT ` + first("over_at") + `, -count(*) FROM lives WHERE over_at > began_at GROUP BY 1`
	args = append(append(args, instants...), instants...)
	err := q.patient().each(ctx, "count live sessions over time", func(rows *sqlx.Rows) error {
		var instant, count int64
		if err := rows.Scan(&instant, &count); err != nil {
			return err
		}
		change[instant] += count
		return nil
	}, query, args...)
	if err != nil {
		return nil, err
	}
	counts := change[:n]
	for i := 1; i < n; i++ {
		counts[i] += counts[i-1]
	}
	return counts, nil
}
