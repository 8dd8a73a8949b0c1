package session

import (
	"context"
	"fmt"
	"time"

	"example.com/curfew/internal/feed"
	"example.com/curfew/internal/store"
)

// closing is a receipt that is about to be closed.
type closing struct {
	open store.Receipt
	what store.Closing
	done chan struct{} // closed when row and err are set
	row  store.Receipt
	err  error
}

// close stores that the revocation of a receipt is in force everywhere, and returns
// the receipt as stored: another process may have closed it first. Concurrent calls
// share a transaction. It commits as durably as a revocation, though that doubles the
// time of a revocation that waits for its receipt: a receipt that was shown as closed
// must not change, and after a crash other validators have leases than before.
func (s *Service) close(ctx context.Context, r store.Receipt, e feed.Enforcement) (store.Receipt, error) {
	c := &closing{
		open: r, done: make(chan struct{}),
		what: store.Closing{
			// Clocks of two nodes may differ.
			ClosedAt: max(e.At.UnixMicro(), r.CommittedAt), ClosedBy: e.ClosedBy(),
			Validators: e.Validators, Confirmed: e.Confirmed, Lapsed: e.Lapsed,
			EffectiveBy: max(e.EffectiveBy.UnixMicro(), r.CommittedAt),
		},
	}
	s.closings.add(c, s.closeReceipts)
	select {
	case <-c.done:
		return c.row, c.err
	case <-ctx.Done():
		return store.Receipt{}, fmt.Errorf("%w: receipt not closed in time: %w", store.ErrUnavailable, ctx.Err())
	}
}

func (s *Service) closeReceipts(batch []*closing) {
	ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
	defer cancel()
	err := s.store.UpdateWithoutCaller(ctx, func(tx store.Tx) (err error) {
		for _, c := range batch {
			if c.row, err = tx.CloseReceipt(ctx, c.open.Epoch, c.what); err != nil && !isNotFound(err) {
				return err
			}
			c.err = err // a receipt that was pruned meanwhile keeps no other open
		}
		return nil
	})
	for _, c := range batch {
		if err != nil {
			c.err = err
		}
		if c.err == nil && c.row.Closing.ClosedAt == c.what.ClosedAt && s.config.Closed != nil {
			s.config.Closed(c.what.ClosedBy, time.Duration(c.what.ClosedAt-c.row.CommittedAt)*time.Microsecond)
		}
		close(c.done)
	}
}

const (
	// receiptsEvery is the interval at which a node looks at open receipts.
	receiptsEvery = time.Second
	// otherNodes is the age of receipts at which a node looks at those that other
	// processes have written. The process of a revocation notices first when it is in
	// force, and a look makes all nodes report.
	otherNodes = 2 * receiptsEvery
	// maxOpen is the number of open receipts looked at in one round.
	maxOpen = 100
)

// WakeReceipts makes CloseReceipts look at open receipts at once. It never blocks.
func (s *Service) WakeReceipts() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// CloseReceipts closes receipts when their revocations are in force everywhere,
// whether or not a caller looks at them, until ctx ends. Every server runs it; of two
// that close a receipt the first wins.
func (s *Service) CloseReceipts(ctx context.Context) error {
	timer := time.NewTimer(receiptsEvery)
	defer timer.Stop()
	for {
		own := false
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
			own = true
		case <-timer.C:
		}
		more, err := s.closeOpen(ctx, own)
		if err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "open receipts could not be read; they are read again", "error", err)
		}
		if more && err == nil && own {
			s.WakeReceipts() // which were left open are waited for in the next round
		}
		timer.Reset(receiptsEvery)
	}
}

// closeOpen looks at the open receipts, and waits up to receiptsEvery for the oldest.
// It reports whether any are left. Young ones are left to their own process unless
// own is set.
func (s *Service) closeOpen(ctx context.Context, own bool) (left bool, err error) {
	limited, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	rows, err := s.store.OpenReceipts(limited, maxOpen)
	if err != nil {
		return false, err
	}
	wait := receiptsEvery
	for _, row := range rows {
		if !own && s.now().Sub(time.UnixMicro(row.CommittedAt)) < otherNodes {
			continue
		}
		e, err := s.config.View.Enforcement(limited, row.Epoch, time.Time{}, wait)
		if err != nil {
			return true, err
		}
		wait = 0
		if !e.EffectiveEverywhere {
			left = true
			continue
		}
		if _, err := s.close(limited, row, e); err != nil {
			return true, err
		}
	}
	return left, nil
}
