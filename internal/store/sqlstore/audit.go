package sqlstore

import (
	"context"
	"slices"
	"strings"

	"github.com/jmoiron/sqlx"

	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
)

type auditRow struct {
	ID         int64            `db:"id"`
	At         int64            `db:"at"`
	ActorKind  string           `db:"actor_kind"`
	ActorID    string           `db:"actor_id"`
	ActorName  string           `db:"actor_name"`
	Address    string           `db:"address"`
	RequestID  string           `db:"request_id"`
	Action     string           `db:"action"`
	TargetKind string           `db:"target_kind"`
	TargetID   string           `db:"target_id"`
	TargetName string           `db:"target_name"`
	Reason     string           `db:"reason"`
	Epoch      revocation.Epoch `db:"epoch"`
	Scope      revocation.Kind  `db:"scope"`
	Detail     string           `db:"detail"`
}

func (r *auditRow) entry() store.Audit {
	return store.Audit{
		ID: r.ID, At: r.At,
		Actor:  store.Actor{Kind: r.ActorKind, ID: r.ActorID, Name: r.ActorName, Address: r.Address, RequestID: r.RequestID},
		Action: r.Action, TargetKind: r.TargetKind, TargetID: r.TargetID, TargetName: r.TargetName,
		Reason: r.Reason, Epoch: r.Epoch, Scope: r.Scope, Detail: r.Detail,
	}
}

const auditColumns = `id, at, actor_kind, actor_id, actor_name, address, request_id, action,
	target_kind, target_id, target_name, reason, epoch, scope, detail`

// AppendAudit appends entries in their order.
func (t *tx) AppendAudit(ctx context.Context, entries ...store.Audit) error {
	t.expect(len(entries))
	const width = 14 // the database sets the id
	args := make([]any, 0, width*len(entries))
	for _, e := range entries {
		args = append(args, e.At, e.Actor.Kind, e.Actor.ID, e.Actor.Name, e.Actor.Address, e.Actor.RequestID, e.Action,
			e.TargetKind, e.TargetID, e.TargetName, e.Reason, int64(e.Epoch), string(e.Scope), e.Detail)
	}
	return t.insert(ctx, "append to the audit", `INSERT INTO audit (`+auditColumns+`) VALUES `,
		func(k int) string { return "(" + t.d.auditID(k) + strings.Repeat(",?", width) + ")" }, "", width, args)
}

// conditions collects parts of a WHERE clause.
type conditions struct {
	parts []string
	args  []any
}

func (c *conditions) add(part string, args ...any) {
	c.parts = append(c.parts, part)
	c.args = append(c.args, args...)
}

// addName selects a column that is name, or begins with it if name ends in one of the
// separators. "" selects all.
func (c *conditions) addName(column, name, separators string) {
	switch {
	case name == "":
	case strings.ContainsRune(separators, rune(name[len(name)-1])):
		part, args := prefix(column, name)
		c.add(part, args...)
	default:
		c.add(column+` = ?`, name)
	}
}

func (c *conditions) where() string {
	if len(c.parts) == 0 {
		return ""
	}
	return ` WHERE ` + strings.Join(c.parts, ` AND `)
}

// indexed is a condition that uses an index on the prefix of a column. An empty
// value is not in the index, and selects nothing.
func indexed(column string) string {
	return `(` + column + ` <> '' AND substr(` + column + `, 1, 64) = substr(?, 1, 64) AND ` + column + ` = ?)`
}

// ofSessions is the condition for entries about sessions of a user by id. Earlier
// releases named the session as the target, and not the user.
const ofSessions = `(target_kind = 'session' AND target_id <> '' AND substr(target_id, 1, 64) IN (SELECT id FROM sessions WHERE user_id = ?))`

// Audits returns entries, newest first.
//
// The entries about a user are in several indexes, one for each way to name the
// user. Each index returns its newest entries; the newest of all are among them.
func (q *queries) Audits(ctx context.Context, f store.AuditFilter, limit int) ([]store.Audit, error) {
	var common conditions
	if f.Before > 0 {
		common.add(`id < ?`, f.Before)
	}
	if f.From > 0 {
		common.add(`at >= ?`, f.From)
	}
	if f.To > 0 {
		common.add(`at < ?`, f.To)
	}
	if f.Epoch > 0 {
		common.add(`epoch = ? AND epoch > 0`, int64(f.Epoch))
	}
	if f.Scoped {
		common.add(`scope <> ''`)
	}
	common.addName("action", f.Action, ".")
	common.addName("address", f.Address, ".:")
	if f.Session != "" {
		// Earlier releases named the session as the target, or not at all.
		common.add(`(target_kind = 'session' AND target_id = ? OR `+q.d.find+`(detail, ?) > 0)`, f.Session, `"session":"`+f.Session+`"`)
	}
	if f.Reason != "" {
		common.add(q.d.find+`(lower(reason), lower(?)) > 0`, f.Reason)
	}
	actor := []string{"actor_id", "actor_name"}
	target := []string{"target_id", "target_name"}
	// For each name one column must match, so each combination of columns is a
	// branch.
	branches := []conditions{common}
	for _, name := range []struct {
		value   string
		columns []string
	}{{f.Actor, actor}, {f.Target, target}, {f.Person, append(actor[:2:2], target...)}} {
		if name.value == "" {
			continue
		}
		var next []conditions
		for _, b := range branches {
			for _, column := range name.columns {
				c := conditions{parts: slices.Clip(b.parts), args: slices.Clip(b.args)}
				c.add(indexed(column), name.value, name.value)
				next = append(next, c)
			}
			if name.columns[len(name.columns)-1] == "target_name" {
				c := conditions{parts: slices.Clip(b.parts), args: slices.Clip(b.args)}
				c.add(ofSessions, name.value)
				next = append(next, c)
			}
		}
		branches = next
	}
	if len(branches) == 1 {
		return q.audits(ctx, common.where()+` ORDER BY id DESC LIMIT ?`, append(common.args, limit))
	}
	var ids []string
	var args []any
	for _, b := range branches {
		ids = append(ids, `SELECT id FROM (SELECT id FROM audit`+b.where()+` ORDER BY id DESC LIMIT ?) AS branch`)
		args = append(append(args, b.args...), limit)
	}
	return q.audits(ctx, ` WHERE id IN (`+strings.Join(ids, ` UNION `)+`) ORDER BY id DESC LIMIT ?`, append(args, limit))
}

func (q *queries) audits(ctx context.Context, rest string, args []any) ([]store.Audit, error) {
	var rows []auditRow
	if err := q.all(ctx, "read the audit", &rows, `SELECT `+auditColumns+` FROM audit`+rest, args...); err != nil {
		return nil, err
	}
	entries := make([]store.Audit, len(rows))
	for i := range rows {
		entries[i] = rows[i].entry()
	}
	return entries, nil
}

// AuditBuckets counts entries of the actions since from, in intervals of width µs.
func (q *queries) AuditBuckets(ctx context.Context, from, width int64, actions []string) ([]store.Bucket, error) {
	if len(actions) == 0 || width <= 0 {
		return nil, nil
	}
	var buckets []store.Bucket
	err := q.each(ctx, "count audit entries", func(rows *sqlx.Rows) error {
		var n int64
		var b store.Bucket
		if err := rows.Scan(&n, &b.Action, &b.Known, &b.Count); err != nil {
			return err
		}
		b.Start = from + n*width
		buckets = append(buckets, b)
		return nil
	}, `SELECT (at - ?) / ? AS stretch, action, actor_id <> '', count(*) FROM audit WHERE at >= ? AND action IN `+marks(len(actions))+`
		GROUP BY 1, 2, 3 ORDER BY 1, 2, 3`, append([]any{from, width, from}, anys(actions)...)...)
	return buckets, err
}
