package sqlstore

import (
	"context"

	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
)

const clientColumns = `id, name, capabilities, secret_hash, old_secret_hash, old_secret_until, created_at, deleted, epoch`

type clientRow struct {
	ID             string           `db:"id"`
	Name           string           `db:"name"`
	Capabilities   string           `db:"capabilities"`
	SecretHash     string           `db:"secret_hash"`
	OldSecretHash  string           `db:"old_secret_hash"`
	OldSecretUntil int64            `db:"old_secret_until"`
	CreatedAt      int64            `db:"created_at"`
	Deleted        int64            `db:"deleted"`
	Epoch          revocation.Epoch `db:"epoch"`
}

func (r *clientRow) client() (store.Client, error) {
	capabilities, err := unlist(r.Capabilities)
	return store.Client{
		ID: r.ID, Name: r.Name, Capabilities: capabilities,
		SecretHash: r.SecretHash, OldSecretHash: r.OldSecretHash, OldSecretUntil: r.OldSecretUntil,
		CreatedAt: r.CreatedAt, Deleted: r.Deleted != 0, Epoch: r.Epoch,
	}, err
}

// Client returns a client that was not deleted.
func (q *queries) Client(ctx context.Context, id string) (store.Client, error) {
	var row clientRow
	if err := q.get(ctx, "read a client", &row,
		`SELECT `+clientColumns+` FROM clients WHERE id = ? AND deleted = 0`, id); err != nil {
		return store.Client{}, err
	}
	return row.client()
}

// Clients returns the clients that were not deleted, by name.
func (q *queries) Clients(ctx context.Context) ([]store.Client, error) {
	var rows []clientRow
	if err := q.all(ctx, "read clients", &rows,
		`SELECT `+clientColumns+` FROM clients WHERE deleted = 0 ORDER BY name, id`); err != nil {
		return nil, err
	}
	clients := make([]store.Client, len(rows))
	for i := range rows {
		var err error
		if clients[i], err = rows[i].client(); err != nil {
			return nil, err
		}
	}
	return clients, nil
}

// PutClient inserts or replaces a client.
func (t *tx) PutClient(ctx context.Context, c store.Client) error {
	if err := fits("store a client", c.ID); err != nil {
		return err
	}
	_, err := t.exec(ctx, "store a client", `
		INSERT INTO clients (`+clientColumns+`) VALUES (?,?,?,?,?,?,?,?,?)
		ON CONFLICT (id) DO UPDATE SET name = excluded.name, capabilities = excluded.capabilities,
			secret_hash = excluded.secret_hash, old_secret_hash = excluded.old_secret_hash,
			old_secret_until = excluded.old_secret_until, created_at = excluded.created_at,
			deleted = excluded.deleted, epoch = excluded.epoch`,
		c.ID, c.Name, list(c.Capabilities), c.SecretHash, c.OldSecretHash, c.OldSecretUntil, c.CreatedAt, bit(c.Deleted), int64(c.Epoch))
	return err
}
