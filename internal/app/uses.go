package app

import (
	"context"
	"errors"
	"time"

	"example.com/curfew/internal/store"
	"example.com/curfew/internal/uses"
	"example.com/curfew/token"
)

const (
	usesEvery = 5 * time.Second
	// usesBatch is small enough that other writers hardly notice the statement, and
	// that PostgreSQL looks the sessions up instead of reading the whole table.
	usesBatch   = 100
	usesTimeout = 5 * time.Second
)

// noteUse is the OnUse of this node's validator.
func (a *App) noteUse(s *token.Session, at time.Time) {
	a.uses.Add("", uses.Use{Session: s.ID, At: at})
}

// recordUses writes the uses of sessions that this node has noted, and those that
// followers have reported, until ctx ends. A batch that can't be written is lost: the
// next use of its sessions is recorded instead. The others are tried again later.
func (a *App) recordUses(ctx context.Context) error {
	a.uses.Run(ctx, uses.Sender{
		Batch: usesBatch, Every: usesEvery, Timeout: usesTimeout, Send: a.writeUses,
		Again: func(error) bool { return false },
	})
	return nil
}

func (a *App) writeUses(ctx context.Context, batch []uses.Use) error {
	rows := make([]store.Use, len(batch))
	for i, u := range batch {
		rows[i] = store.Use{Session: u.Session, At: u.At.UnixMicro(), Since: u.At.Add(-uses.Interval).UnixMicro()}
	}
	err := a.store.RecordUses(ctx, rows)
	if err != nil && !errors.Is(err, store.ErrUnavailable) { // the rest of the node says that the store is gone
		a.log.WarnContext(ctx, "the last use of sessions was not recorded", "sessions", len(batch), "error", err)
	}
	return err
}
