package sqlstore

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/bits"
	"strings"

	"github.com/jmoiron/sqlx"

	"example.com/curfew/internal/store"
)

// copyTable is a table that is copied.
type copyTable struct {
	name     string
	columns  []string
	progress func(table string, done, total int64)
}

// tableSum is the number of rows of a table, and a checksum that does not depend on
// their order.
type tableSum struct {
	rows int64
	hash [4]uint64
}

// add adds a row. The sum of the hashes of the rows is the checksum: rows are
// distinct, since every table has a primary key.
func (s *tableSum) add(row []any) error {
	h := sha256.New()
	for _, value := range row {
		switch value := value.(type) {
		case int64:
			_, _ = fmt.Fprintf(h, "n%d;", value) // a hash takes everything
		case string:
			_, _ = fmt.Fprintf(h, "t%d:%s;", len(value), value)
		default:
			return fmt.Errorf("%w: a value is neither a number nor text: %T", store.ErrCorrupt, value)
		}
	}
	sum := h.Sum(nil)
	carry := uint64(0)
	for i := range s.hash {
		s.hash[i], carry = bits.Add64(s.hash[i], binary.LittleEndian.Uint64(sum[8*i:]), carry)
	}
	s.rows++
	return nil
}

// batch is the number of rows of one INSERT.
const batch = 500

// copy copies the rows and returns the checksum of the source. Rows that a migration
// has put into the new table are replaced; if there are others, the destination is
// in use.
func (t copyTable) copy(ctx context.Context, from, to *copyEnd) (tableSum, error) {
	fail := func(what string, err error) (tableSum, error) {
		_, err = to.d.explain(ctx, what+" the table "+t.name, err)
		return tableSum{}, err
	}
	var there int64
	if t.name == "clock" {
		// Its row is part of the schema. A clock that runs belongs to a database in use.
		if err := to.tx.GetContext(ctx, &there, `SELECT count(*) FROM clock WHERE epoch > 0`); err != nil {
			return fail("read", err)
		}
	} else if err := to.tx.GetContext(ctx, &there, `SELECT count(*) FROM `+t.name); err != nil {
		return fail("read", err)
	}
	if there > 0 {
		return tableSum{}, errFilled
	}
	if _, err := to.tx.ExecContext(ctx, `DELETE FROM `+t.name); err != nil {
		return fail("empty", err)
	}
	var pending []any
	flush := func() error {
		if len(pending) == 0 {
			return nil
		}
		rows := strings.Repeat(","+marks(len(t.columns)), len(pending)/len(t.columns))[1:]
		_, err := to.tx.ExecContext(ctx, sqlx.Rebind(to.d.bind, `INSERT INTO `+t.name+` (`+strings.Join(t.columns, ", ")+`) VALUES `+rows), pending...)
		pending = pending[:0]
		return err
	}
	sum, err := t.sum(ctx, from, func(row []any) error {
		pending = append(pending, row...)
		if len(pending) < min(batch*len(t.columns), maxParameters/len(t.columns)*len(t.columns)) {
			return nil
		}
		return flush()
	})
	if err == nil {
		err = flush()
	}
	if err != nil {
		return fail("write", err)
	}
	return sum, nil
}

// sum reads the rows and returns their checksum. If do is not nil it is called with
// each row, and progress is reported.
func (t copyTable) sum(ctx context.Context, e *copyEnd, do func(row []any) error) (tableSum, error) {
	var sum tableSum
	fail := func(err error) (tableSum, error) {
		_, err = e.d.explain(ctx, "read the table "+t.name, err)
		return tableSum{}, err
	}
	var total int64
	if do != nil && t.progress != nil {
		if err := e.tx.GetContext(ctx, &total, `SELECT count(*) FROM `+t.name); err != nil {
			return fail(err)
		}
	}
	rows, err := e.tx.QueryxContext(ctx, `SELECT `+strings.Join(t.columns, ", ")+` FROM `+t.name)
	if err != nil {
		return fail(err)
	}
	defer rows.Close()
	for rows.Next() {
		row, err := rows.SliceScan()
		if err != nil {
			return fail(err)
		}
		for i := range row {
			if text, ok := row[i].([]byte); ok {
				row[i] = string(text)
			}
		}
		if err := sum.add(row); err != nil {
			return sum, fmt.Errorf("read the table %s: %w", t.name, err)
		}
		if do == nil {
			continue
		}
		if err := do(row); err != nil {
			return sum, err
		}
		if t.progress != nil && (sum.rows%10_000 == 0 || sum.rows == total) {
			t.progress(t.name, sum.rows, total)
		}
	}
	if err := rows.Err(); err != nil {
		return fail(err)
	}
	return sum, nil
}
