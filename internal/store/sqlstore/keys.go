package sqlstore

import (
	"context"

	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
)

const keyColumns = `id, algorithm, state, public_jwk, sealed, created_at, activated_at, retiring_at, retire_at, retired_at, epoch`

type keyRow struct {
	ID          string           `db:"id"`
	Algorithm   string           `db:"algorithm"`
	State       string           `db:"state"`
	PublicJWK   string           `db:"public_jwk"`
	Sealed      string           `db:"sealed"`
	CreatedAt   int64            `db:"created_at"`
	ActivatedAt int64            `db:"activated_at"`
	RetiringAt  int64            `db:"retiring_at"`
	RetireAt    int64            `db:"retire_at"`
	RetiredAt   int64            `db:"retired_at"`
	Epoch       revocation.Epoch `db:"epoch"`
}

// Keys returns all keys, the oldest first.
func (q *queries) Keys(ctx context.Context) ([]store.Key, error) {
	var rows []keyRow
	if err := q.all(ctx, "read the signing keys", &rows,
		`SELECT `+keyColumns+` FROM signing_keys ORDER BY created_at, id`); err != nil {
		return nil, err
	}
	keys := make([]store.Key, len(rows))
	for i, r := range rows {
		keys[i] = store.Key(r)
	}
	return keys, nil
}

// PutKey inserts or replaces a key.
func (t *tx) PutKey(ctx context.Context, k store.Key) error {
	if err := fits("store a signing key", k.ID); err != nil {
		return err
	}
	_, err := t.exec(ctx, "store a signing key", `
		INSERT INTO signing_keys (`+keyColumns+`) VALUES (?,?,?,?,?,?,?,?,?,?,?)
		ON CONFLICT (id) DO UPDATE SET algorithm = excluded.algorithm, state = excluded.state,
			public_jwk = excluded.public_jwk, sealed = excluded.sealed, created_at = excluded.created_at,
			activated_at = excluded.activated_at, retiring_at = excluded.retiring_at,
			retire_at = excluded.retire_at, retired_at = excluded.retired_at, epoch = excluded.epoch`,
		k.ID, k.Algorithm, k.State, k.PublicJWK, k.Sealed,
		k.CreatedAt, k.ActivatedAt, k.RetiringAt, k.RetireAt, k.RetiredAt, int64(k.Epoch))
	return err
}
