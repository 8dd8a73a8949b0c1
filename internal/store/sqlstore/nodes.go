package sqlstore

import (
	"context"

	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
)

const nodeColumns = `id, name, version, started_at, beat, lease_ms, view_epoch, confirmed, followers, waiting, asks, gone, lapsed`

type nodeRow struct {
	ID        string           `db:"id"`
	Name      string           `db:"name"`
	Version   string           `db:"version"`
	StartedAt int64            `db:"started_at"`
	Beat      int64            `db:"beat"`
	LeaseMS   int64            `db:"lease_ms"`
	ViewEpoch revocation.Epoch `db:"view_epoch"`
	Confirmed revocation.Epoch `db:"confirmed"`
	Followers int64            `db:"followers"`
	Waiting   string           `db:"waiting"`
	Asks      revocation.Epoch `db:"asks"`
	Gone      int64            `db:"gone"`
	Lapsed    string           `db:"lapsed"`
}

// Nodes returns all nodes in the order of their start.
func (q *queries) Nodes(ctx context.Context) ([]store.Node, error) {
	var rows []nodeRow
	if err := q.all(ctx, "read the nodes", &rows,
		`SELECT `+nodeColumns+` FROM nodes ORDER BY started_at, id`); err != nil {
		return nil, err
	}
	nodes := make([]store.Node, len(rows))
	for i, r := range rows {
		waiting, err := unlist(r.Waiting)
		if err != nil {
			return nil, err
		}
		lapsed, err := ungroup[store.LapsedFollower](r.Lapsed)
		if err != nil {
			return nil, err
		}
		nodes[i] = store.Node{
			ID: r.ID, Name: r.Name, Version: r.Version, StartedAt: r.StartedAt, Beat: r.Beat, LeaseMS: r.LeaseMS,
			ViewEpoch: r.ViewEpoch, Confirmed: r.Confirmed, Followers: r.Followers, Waiting: waiting, Asks: r.Asks, Left: r.Gone != 0, Lapsed: lapsed,
		}
	}
	return nodes, nil
}

// PutNode inserts or replaces a node. It keeps the mark that pruning has set.
func (t *tx) PutNode(ctx context.Context, n store.Node, wake bool) error {
	const what = "store a node"
	if err := fits(what, n.ID); err != nil {
		return err
	}
	const query = `
		INSERT INTO nodes (` + nodeColumns + `, marked_beat, marked_epoch) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,-1,0)
		ON CONFLICT (id) DO UPDATE SET name = excluded.name, version = excluded.version,
			started_at = excluded.started_at, beat = excluded.beat, lease_ms = excluded.lease_ms,
			view_epoch = excluded.view_epoch, confirmed = excluded.confirmed,
			followers = excluded.followers, waiting = excluded.waiting,
			asks = excluded.asks, gone = excluded.gone, lapsed = excluded.lapsed`
	args := []any{
		n.ID, n.Name, n.Version, n.StartedAt, n.Beat, n.LeaseMS,
		int64(n.ViewEpoch), int64(n.Confirmed), n.Followers, list(n.Waiting), int64(n.Asks), bit(n.Left), group(n.Lapsed),
	}
	if !wake {
		_, err := t.exec(ctx, what, query, args...)
		return err
	}
	t.wake = true
	var woken string
	return t.get(ctx, what, &woken, query+` RETURNING `+t.d.wake, append(args, t.id)...)
}

// DeleteNode removes a node. A missing node is no error.
func (t *tx) DeleteNode(ctx context.Context, id string) error {
	_, err := t.exec(ctx, "remove a node", `DELETE FROM nodes WHERE id = ?`, id)
	return err
}
