package sqlstore

import (
	"context"
	"fmt"
	"strings"

	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
)

type receiptRow struct {
	Epoch       revocation.Epoch `db:"epoch"`
	Scope       string           `db:"scope"`
	ScopeID     string           `db:"scope_id"`
	UserID      string           `db:"user_id"`
	UserName    string           `db:"user_name"`
	ActorKind   string           `db:"actor_kind"`
	ActorID     string           `db:"actor_id"`
	ActorName   string           `db:"actor_name"`
	Reason      string           `db:"reason"`
	Users       int64            `db:"users"`
	Sessions    int64            `db:"sessions"`
	Named       int64            `db:"named"`
	CommittedAt int64            `db:"committed_at"`
	ClosedAt    int64            `db:"closed_at"`
	ClosedBy    string           `db:"closed_by"`
	Validators  int64            `db:"validators"`
	Confirmed   int64            `db:"confirmed"`
	Lapsed      string           `db:"lapsed"`
	EffectiveBy int64            `db:"effective_by"`
}

func (r *receiptRow) receipt() (store.Receipt, error) {
	lapsed, err := ungroup[store.Lapse](r.Lapsed)
	return store.Receipt{
		Epoch: r.Epoch, Scope: r.Scope, ScopeID: r.ScopeID, UserID: r.UserID, UserName: r.UserName,
		Actor: store.Actor{Kind: r.ActorKind, ID: r.ActorID, Name: r.ActorName}, Reason: r.Reason,
		Users: r.Users, Sessions: r.Sessions, Named: r.Named, CommittedAt: r.CommittedAt,
		Closing: store.Closing{
			ClosedAt: r.ClosedAt, ClosedBy: r.ClosedBy, Validators: r.Validators, Confirmed: r.Confirmed,
			Lapsed: lapsed, EffectiveBy: r.EffectiveBy,
		},
	}, err
}

const receiptColumns = `epoch, scope, scope_id, user_id, user_name, actor_kind, actor_id, actor_name, reason,
	users, sessions, named, committed_at, closed_at, closed_by, validators, confirmed, lapsed, effective_by`

// AddReceipts adds open receipts.
func (t *tx) AddReceipts(ctx context.Context, receipts ...store.Receipt) error {
	const what = "add receipts"
	const width = 13
	args := make([]any, 0, width*len(receipts))
	for _, r := range receipts {
		if err := fits(what, r.UserID, r.ScopeID); err != nil {
			return err
		}
		args = append(args, int64(r.Epoch), r.Scope, r.ScopeID, r.UserID, r.UserName, r.Actor.Kind, r.Actor.ID, r.Actor.Name, r.Reason,
			r.Users, r.Sessions, r.Named, r.CommittedAt)
	}
	row := "(?" + strings.Repeat(",?", width-1) + ",0,'',0,0,'[]',0)"
	return t.insert(ctx, what, `INSERT INTO receipts (`+receiptColumns+`) VALUES `, func(int) string { return row }, "", width, args)
}

// CloseReceipt closes a receipt unless it is closed, and returns it.
func (t *tx) CloseReceipt(ctx context.Context, epoch revocation.Epoch, c store.Closing) (store.Receipt, error) {
	if _, err := t.exec(ctx, "close a receipt", `
		UPDATE receipts SET closed_at = ?, closed_by = ?, validators = ?, confirmed = ?, lapsed = ?, effective_by = ?
		WHERE epoch = ? AND closed_at = 0`,
		c.ClosedAt, c.ClosedBy, c.Validators, c.Confirmed, group(c.Lapsed), c.EffectiveBy, int64(epoch)); err != nil {
		return store.Receipt{}, err
	}
	return t.Receipt(ctx, epoch)
}

// Receipt returns one receipt.
func (q *queries) Receipt(ctx context.Context, epoch revocation.Epoch) (store.Receipt, error) {
	var row receiptRow
	if err := q.get(ctx, "read a receipt", &row, `SELECT `+receiptColumns+` FROM receipts WHERE epoch = ?`, int64(epoch)); err != nil {
		return store.Receipt{}, err
	}
	return row.receipt()
}

// OpenReceipts returns the oldest receipts that are not closed.
func (q *queries) OpenReceipts(ctx context.Context, limit int) ([]store.Receipt, error) {
	return q.receipts(ctx, ` WHERE closed_at = 0 ORDER BY epoch LIMIT ?`, []any{limit})
}

// Receipts returns receipts, newest first.
//
// The audit has an entry for every user whose sessions a receipt is about, and for
// its actor, and has indexes for them.
func (q *queries) Receipts(ctx context.Context, f store.ReceiptFilter, limit int) ([]store.Receipt, error) {
	var c conditions
	if f.Before > 0 {
		c.add(`epoch < ?`, int64(f.Before))
	}
	if f.From > 0 {
		c.add(`committed_at >= ?`, f.From)
	}
	if f.To > 0 {
		c.add(`committed_at < ?`, f.To)
	}
	if f.Text != "" {
		c.add(`lower(reason) LIKE ? ESCAPE '!'`, "%"+strings.NewReplacer("!", "!!", "%", "!%", "_", "!_").Replace(store.EmailKey(f.Text))+"%")
	}
	for _, by := range []struct{ value, id, name string }{
		{f.User, "target_id", "target_name"}, {f.By, "actor_id", "actor_name"},
	} {
		if by.value == "" {
			continue
		}
		c.add(fmt.Sprintf(`epoch IN (SELECT epoch FROM audit WHERE epoch > 0 AND %s UNION SELECT epoch FROM audit WHERE epoch > 0 AND %s)`,
			indexed(by.id), indexed(by.name)), by.value, by.value, by.value, by.value)
	}
	return q.receipts(ctx, c.where()+` ORDER BY epoch DESC LIMIT ?`, append(c.args, limit))
}

func (q *queries) receipts(ctx context.Context, rest string, args []any) ([]store.Receipt, error) {
	var rows []receiptRow
	if err := q.all(ctx, "read receipts", &rows, `SELECT `+receiptColumns+` FROM receipts`+rest, args...); err != nil {
		return nil, err
	}
	receipts := make([]store.Receipt, len(rows))
	for i := range rows {
		var err error
		if receipts[i], err = rows[i].receipt(); err != nil {
			return nil, err
		}
	}
	return receipts, nil
}
