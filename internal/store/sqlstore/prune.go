package sqlstore

import (
	"context"

	"example.com/curfew/revocation"
)

const (
	failuresKeptFor = 24 * 60 * 60 * micros
	streaksKeptFor  = 30 * failuresKeptFor
	nodesKeptFor    = 7 * 24 * 60 * 60 * micros
)

// Prune removes what can matter to nobody; see store.Writer. It may take longer
// than other writes may.
//
// What has no date to be pruned by goes by the epoch clock, which is close to
// the date, is advanced daily at least, and was so by this very transaction.
// Since it can also have leapt, no node is removed for the clock alone: it must
// not have moved since an earlier pruning that lies a week back. One that has is
// marked anew. (A node that is removed while it lives enters itself again at its
// next beat, but until then no receipt would wait for it.)
func (t *tx) Prune(ctx context.Context, upTo revocation.Epoch, sessions, audit int64) error {
	t.budget.prolong(t.d.long)
	for _, s := range []struct {
		what, query string
		args        []any
	}{
		{"prune revocations",
			`DELETE FROM revocations WHERE kind IN ('user', 'session') AND epoch <= ?`, []any{int64(upTo)}},
		{"prune sessions",
			`DELETE FROM sessions WHERE expires_at < ?`, []any{sessions}},
		{"prune sessions",
			`DELETE FROM sessions WHERE ended_at > 0 AND ended_at < ?`, []any{sessions}},
		{"prune the audit",
			`DELETE FROM audit WHERE at < ?`, []any{audit}},
		{"prune failed sign-ins",
			`DELETE FROM failures WHERE at < (SELECT epoch FROM clock WHERE id = 1) - ?`, []any{failuresKeptFor}},
		{"prune failed sign-ins",
			`DELETE FROM streaks WHERE last_at < (SELECT epoch FROM clock WHERE id = 1) - ?`, []any{streaksKeptFor}},
		{"prune nodes",
			`DELETE FROM nodes WHERE beat = marked_beat AND marked_epoch < (SELECT epoch FROM clock WHERE id = 1) - ?`, []any{nodesKeptFor}},
		{"prune nodes",
			`UPDATE nodes SET marked_beat = beat, marked_epoch = (SELECT epoch FROM clock WHERE id = 1) WHERE beat <> marked_beat`, nil},
	} {
		if _, err := t.exec(ctx, s.what, s.query, s.args...); err != nil {
			return err
		}
	}
	return nil
}
