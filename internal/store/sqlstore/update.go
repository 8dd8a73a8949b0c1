package sqlstore

import (
	"context"
	"math/rand/v2"
	"time"

	"example.com/curfew/internal/store"
)

// tx is a transaction that may write.
type tx struct {
	*queries
	budget *budget
	id     string // of the Store, for the watchers that it wakes
	wake   bool   // wake the watchers at the commit
	holds  bool   // HoldClock was called
	names  bool   // holds the lock of names
}

var _ store.Tx = (*tx)(nil)

// Ten thousand rows take a healthy database one or two seconds, and a busy machine
// longer. This time is therefore no sign that the database does not answer.
const (
	manyRows = 1000
	manyTake = 30 * time.Second
)

// expect extends the time of an Update that is about to write many rows.
func (t *tx) expect(rows int) {
	if rows >= manyRows {
		t.budget.prolong(manyTake)
	}
}

// tries is how often Update runs a transaction that the database aborts in favour
// of another.
const tries = 8

// Update runs write in a transaction; see store.Store. It must not be called
// within another Update: SQLite has one writer, and it would wait for itself.
func (s *Store) Update(ctx context.Context, write func(store.Tx) error) error {
	b := newBudget(ctx, s.d.budget)
	defer b.end()
	for try := 1; ; try++ {
		again, err := s.try(b, write)
		if err == nil || !again || try == tries {
			return err
		}
		// The preferred transaction needs a moment, and two aborted ones must not
		// meet again.
		select {
		case <-b.ctx.Done():
			return err
		case <-time.After(time.Duration(rand.Int64N(int64(try) * int64(5*time.Millisecond)))): //nolint:gosec // no secret
		}
	}
}

// try runs write in one transaction. again means that a retry may succeed and that
// nothing has been written.
func (s *Store) try(b *budget, write func(store.Tx) error) (again bool, err error) {
	sqlTx, err := s.write.BeginTxx(b.ctx, s.d.transaction)
	if err != nil {
		again, err = s.d.explain(b.ctx, "begin a transaction", err)
		return again, err
	}
	over := false
	defer func() {
		if !over { // write failed or panicked
			_ = sqlTx.Rollback() // if it fails, the connection is lost, and the transaction with it
		}
	}()
	t := &tx{budget: b, id: s.id, queries: &queries{d: s.d, on: sqlTx, within: b.join, again: &again}}
	if err := write(t); err != nil {
		return again, err
	}
	over = true
	err = sqlTx.Commit()
	if t.wake {
		// Also if the outcome is unknown: the commit may have happened.
		s.hub.wake()
	}
	if err != nil {
		var definite bool
		definite, err = s.d.explain(b.ctx, "commit", err)
		return again || definite, err
	}
	return false, nil
}
