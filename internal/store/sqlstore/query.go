package sqlstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jmoiron/sqlx"

	"example.com/curfew/internal/store"
)

// queries reads through a pool of connections or within a transaction. Its methods
// implement store.Reader.
type queries struct {
	d  *dialect
	on sqlx.ExtContext

	// within returns ctx with the time limits of a statement.
	within func(ctx context.Context) (context.Context, context.CancelFunc)

	// again is set when a statement fails with an error that a retry of the whole
	// transaction may avoid. nil outside a transaction.
	again *bool
}

// reader returns queries of which each is a separate read.
func reader(d *dialect, pool *sqlx.DB) *queries {
	return &queries{d: d, on: pool, within: timeout(d.budget)}
}

func timeout(d time.Duration) func(ctx context.Context) (context.Context, context.CancelFunc) {
	return func(ctx context.Context) (context.Context, context.CancelFunc) {
		return context.WithTimeoutCause(ctx, d, errBudget)
	}
}

// patient returns queries that may take longer, for reads of every row that only a
// user waits for. Within a transaction no query may.
func (q *queries) patient() *queries {
	if q.again != nil {
		return q
	}
	p := *q
	p.within = timeout(3 * q.d.budget)
	return &p
}

// get reads one row into dest, or returns store.ErrNotFound. The argument what
// names the operation for errors, without data.
func (q *queries) get(ctx context.Context, what string, dest any, query string, args ...any) error {
	ctx, cancel := q.within(ctx)
	defer cancel()
	return q.failed(ctx, what, sqlx.GetContext(ctx, q.on, dest, q.text(query), storable(args)...))
}

// all reads rows into dest, a pointer to a slice.
func (q *queries) all(ctx context.Context, what string, dest any, query string, args ...any) error {
	ctx, cancel := q.within(ctx)
	defer cancel()
	return q.failed(ctx, what, sqlx.SelectContext(ctx, q.on, dest, q.text(query), storable(args)...))
}

// each reads rows one by one.
func (q *queries) each(ctx context.Context, what string, scan func(*sqlx.Rows) error, query string, args ...any) error {
	ctx, cancel := q.within(ctx)
	defer cancel()
	rows, err := q.on.QueryxContext(ctx, q.text(query), storable(args)...)
	if err != nil {
		return q.failed(ctx, what, err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return q.failed(ctx, what, err)
		}
	}
	return q.failed(ctx, what, rows.Err())
}

// exec returns the number of rows that were written.
func (q *queries) exec(ctx context.Context, what, query string, args ...any) (int64, error) {
	ctx, cancel := q.within(ctx)
	defer cancel()
	result, err := q.on.ExecContext(ctx, q.text(query), storable(args)...)
	if err != nil {
		return 0, q.failed(ctx, what, err)
	}
	n, err := result.RowsAffected()
	return n, q.failed(ctx, what, err)
}

// Per statement: SQLite allows 32 766 parameters, PostgreSQL 65 535.
const maxParameters = 30_000

// insert runs "INSERT INTO … VALUES row, row, … end" as often as the number of
// parameters requires. row returns the k-th (from 1) row of a statement, and must
// be cheap; args contains width parameters for each row.
func (q *queries) insert(ctx context.Context, what, into string, row func(k int) string, end string, width int, args []any) error {
	for len(args) > 0 {
		n := min(len(args), maxParameters/width*width)
		var b strings.Builder
		b.WriteString(into)
		for k := range n / width {
			if k > 0 {
				b.WriteByte(',')
			}
			b.WriteString(row(k + 1))
		}
		b.WriteString(end)
		if _, err := q.exec(ctx, what, b.String(), args[:n]...); err != nil {
			return err
		}
		args = args[n:]
	}
	return nil
}

func (q *queries) text(query string) string { return sqlx.Rebind(q.d.bind, query) }

// marks returns "(?,?,…)" with n parameters.
func marks(n int) string {
	if n == 0 {
		return "()"
	}
	return "(" + strings.Repeat("?,", n-1) + "?)"
}

// chunks calls do with successive parts of values that fit into one statement.
func chunks(values []string, do func([]string) error) error {
	const most = 2000 // the planners of both engines take longer than the rows do beyond that
	for len(values) > 0 {
		n := min(len(values), most)
		if err := do(values[:n]); err != nil {
			return err
		}
		values = values[n:]
	}
	return nil
}

func anys(values []string) []any {
	out := make([]any, len(values))
	for i, v := range values {
		out[i] = v
	}
	return out
}

// storable returns strings that both engines can store and compare. PostgreSQL
// refuses NUL and invalid UTF-8, and untrusted text (a User-Agent, a request id)
// must not make a write fail. Reads and writes both use it, so a written value is
// found again.
func storable(args []any) []any {
	for i, a := range args {
		if s, ok := a.(string); ok {
			args[i] = storableText(s)
		}
	}
	return args
}

func storableText(s string) string {
	const replacement = string(utf8.RuneError)
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, replacement)
	}
	if strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(s, "\x00", replacement)
	}
	return s
}

// maxKey is the maximum length of a key in bytes. PostgreSQL's indexes hold at most
// 2704 bytes.
const maxKey = 1024

// fits returns an error for keys that are too long to store.
func fits(what string, keys ...string) error {
	for _, key := range keys {
		if len(key) > maxKey {
			return fmt.Errorf("%s: %w: a key of %d bytes, and %d is the most", what, store.ErrConflict, len(key), maxKey)
		}
	}
	return nil
}

// shortKey returns key, or an equivalent of limited length if it is too long.
func shortKey(key string) string {
	if len(key) <= maxKey {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// list is a list of strings as a JSON array.
func list(values []string) string {
	if len(values) == 0 {
		return "[]"
	}
	clean := make([]string, len(values))
	for i, v := range values {
		clean[i] = storableText(v)
	}
	b, err := json.Marshal(clean)
	if err != nil {
		panic(err) // strings cannot fail
	}
	return string(b)
}

// unlist is the inverse of list. An empty list is nil.
func unlist(text string) ([]string, error) { return ungroup[string](text) }

// group returns values as a JSON array, "[]" for none.
func group[T any](values []T) string {
	b, err := json.Marshal(append([]T{}, values...))
	if err != nil {
		panic(err) // texts and numbers cannot fail
	}
	return storableText(string(b))
}

// ungroup is the inverse of group; nil for none.
func ungroup[T any](text string) (values []T, err error) {
	if text == "[]" {
		return nil, nil
	}
	if err := json.Unmarshal([]byte(text), &values); err != nil {
		return nil, fmt.Errorf("%w: a list is not JSON: %w", store.ErrCorrupt, err)
	}
	return values, nil
}

func bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// micros is the number of µs in a second.
const micros = int64(time.Second / time.Microsecond)
