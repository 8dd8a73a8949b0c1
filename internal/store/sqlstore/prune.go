package sqlstore

import (
	"context"

	"example.com/curfew/revocation"
)

const (
	failuresKeptFor = 24 * 60 * 60 * micros
	streaksKeptFor  = 30 * failuresKeptFor
	nodesKeptFor    = 7 * 24 * 60 * 60 * micros
	logoutsKeptFor  = 60 * 60 * micros
)

// Prune removes rows that can no longer affect a decision; see store.Writer. It may
// take longer than other writes.
//
// Rows without a date are pruned by the epoch clock, which is close to the wall
// clock and is advanced at least daily, also by this transaction. The clock can
// also have jumped forward, so it is not enough for removing a node. The node's row
// must also not have moved since an earlier pruning at least a week ago. A node
// that has moved is marked again. (A live node that is removed registers itself
// again at its next heartbeat, but until then no receipt would wait for it.)
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
		{"prune receipts",
			`DELETE FROM receipts WHERE committed_at < ?`, []any{audit}},
		{"prune failed sign-ins",
			`DELETE FROM failures WHERE at < (SELECT epoch FROM clock WHERE id = 1) - ?`, []any{failuresKeptFor}},
		{"prune failed sign-ins",
			`DELETE FROM streaks WHERE last_at < (SELECT epoch FROM clock WHERE id = 1) - ?`, []any{streaksKeptFor}},
		{"prune provider sessions",
			`DELETE FROM provider_sessions WHERE NOT EXISTS (SELECT 1 FROM sessions WHERE sessions.id = provider_sessions.session_id)`, nil},
		{"prune ended provider sessions",
			`DELETE FROM ended_provider_sessions WHERE ended_at < (SELECT epoch FROM clock WHERE id = 1) - ?`, []any{logoutsKeptFor}},
		{"prune logout tokens",
			`DELETE FROM logout_tokens WHERE seen_at < (SELECT epoch FROM clock WHERE id = 1) - ?`, []any{logoutsKeptFor}},
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
