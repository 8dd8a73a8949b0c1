package sqlstore

import (
	"context"

	"github.com/jmoiron/sqlx"

	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
)

// ChangesAfter returns the changes with an epoch above after; see
// store.ClockReader.
//
// The clock is read first. A transaction with an epoch up to that reading has
// committed before it, because the row lock of the clock is held until the commit.
// Every later statement therefore sees it. The answer may also contain later
// commits: since there is no upper bound, it is safe to stop at that reading.
func (q *queries) ChangesAfter(ctx context.Context, after revocation.Epoch, limit int) (store.Changes, error) {
	if limit <= 0 {
		limit = 10_000
	}
	var at struct {
		Clock        revocation.Epoch `db:"clock"`
		Installation revocation.Epoch `db:"installation"`
		Settings     revocation.Epoch `db:"settings"`
		Keys         revocation.Epoch `db:"signing_keys"`
		Clients      revocation.Epoch `db:"clients"`
	}
	if err := q.get(ctx, "read the epoch clock", &at, `
		SELECT epoch AS clock,
			COALESCE((SELECT epoch FROM installation WHERE id = 1), 0) AS installation,
			COALESCE((SELECT epoch FROM settings WHERE id = 1), 0) AS settings,
			COALESCE((SELECT max(epoch) FROM signing_keys), 0) AS signing_keys,
			COALESCE((SELECT max(epoch) FROM clients), 0) AS clients
		FROM clock WHERE id = 1`); err != nil {
		return store.Changes{}, err
	}
	changes := store.Changes{Epoch: at.Clock, Clock: at.Clock, Clients: at.Clients}
	if at.Clock <= after {
		return changes, nil
	}
	if at.Installation > after {
		in, err := q.Installation(ctx)
		if err != nil {
			return store.Changes{}, err
		}
		changes.Installation = &in
	}
	if at.Settings > after {
		in, err := q.Settings(ctx)
		if err != nil {
			return store.Changes{}, err
		}
		changes.Settings = &in
	}
	if at.Keys > after {
		keys, err := q.Keys(ctx)
		if err != nil {
			return store.Changes{}, err
		}
		changes.Keys = keys
	}
	return changes, q.revocationsAfter(ctx, after, limit, &changes)
}

// revocationsAfter fills in a page of revocations. A page never splits an epoch: it
// ends between two epochs, or grows by the rest of one.
func (q *queries) revocationsAfter(ctx context.Context, after revocation.Epoch, limit int, changes *store.Changes) error {
	page, err := q.revocations(ctx, limit, `
		SELECT kind, id, epoch FROM revocations WHERE epoch > ? ORDER BY epoch LIMIT ?`, int64(after), limit+1)
	if err != nil {
		return err
	}
	if len(page) > limit {
		last, beyond := page[limit-1].Epoch, page[limit].Epoch
		page = page[:limit]
		changes.More, changes.Epoch = true, last
		if beyond == last {
			begin := len(page)
			for begin > 0 && page[begin-1].Epoch == last {
				begin--
			}
			whole, err := q.revocations(ctx, limit, `SELECT kind, id, epoch FROM revocations WHERE epoch = ?`, int64(last))
			if err != nil {
				return err
			}
			page = append(page[:begin], whole...)
			// A row may have moved to a later epoch after it was counted.
			var more int64
			if err := q.get(ctx, "read revocations", &more,
				`SELECT count(*) FROM (SELECT 1 FROM revocations WHERE epoch > ? LIMIT 1) AS beyond`, int64(last)); err != nil {
				return err
			}
			if more == 0 {
				changes.More, changes.Epoch = false, changes.Clock
			}
		}
	}
	changes.Revocations = page
	return nil
}

func (q *queries) revocations(ctx context.Context, room int, query string, args ...any) ([]revocation.Revocation, error) {
	var page []revocation.Revocation
	err := q.each(ctx, "read revocations", func(rows *sqlx.Rows) error {
		if page == nil {
			page = make([]revocation.Revocation, 0, room)
		}
		var r revocation.Revocation
		if err := rows.Scan(&r.Scope.Kind, &r.Scope.ID, &r.Epoch); err != nil {
			return err
		}
		page = append(page, r)
		return nil
	}, query, args...)
	return page, err
}
