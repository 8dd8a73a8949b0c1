package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"example.com/curfew/internal/config"
	"example.com/curfew/internal/keyring"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/store/sqlstore"
	"example.com/curfew/internal/wire"
)

// Copied is the result of [Copy].
type Copied struct {
	sqlstore.Copied
	// KeyFile is the file with the key-encryption key of the source; "" if the key was
	// given otherwise.
	KeyFile string
	// KeyChecked: the key-encryption key opens the signing keys.
	KeyChecked bool
}

// Copying configures [Copy].
type Copying struct {
	// Progress is called now and then with the number of rows of a table that are
	// copied, and of all its rows. Nil: it is not called.
	Progress func(table string, done, total int64)
	// Note is called with what the copy waits for. Nil: it is not called.
	Note func(text string)
	Now  func() time.Time // nil means time.Now
}

// Copy copies a database into an empty one, of the same engine or the other. No
// server may run on the source: see [sqlstore.Copy].
func Copy(ctx context.Context, cfg config.Copy, c Copying) (copied Copied, err error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Note == nil {
		c.Note = func(string) {}
	}
	if path, ok := cfg.Database.SQLitePath(); ok {
		lock, err := lockDatabase(path)
		if err != nil {
			return copied, err
		}
		defer func() { err = errors.Join(err, lock.Release()) }()
	}
	stopped, err := copied.examine(ctx, cfg.Store, c)
	if err != nil {
		return copied, err
	}
	detail, err := json.Marshal(map[string]string{"from": cfg.Database.String(), "to": cfg.To.String()})
	if err != nil {
		return copied, err
	}
	copied.Copied, err = sqlstore.Copy(ctx, sqlstore.Copying{
		From: string(cfg.Database), To: string(cfg.To), Stopped: stopped, Now: c.Now(), Progress: c.Progress,
		Audit: store.Audit{
			Actor: store.Actor{Kind: store.ActorCLI, Name: operator()}, Action: wire.ActionCopy, TargetKind: "settings", Detail: string(detail),
		},
	})
	return copied, err
}

// examine checks the source: it is initialized, the key-encryption key is the right
// one if it is known, and no node runs. It returns the rows of nodes that have ended
// without removing them.
func (c *Copied) examine(ctx context.Context, cfg config.Store, how Copying) (stopped []store.Node, err error) {
	s, err := openStore(ctx, cfg, false, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if _, err := s.Installation(ctx); errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("%s: the database is not initialized; there is nothing to copy", cfg.Database)
	} else if err != nil {
		return nil, err
	}
	if cfg.KeyEncryptionKey == nil {
		c.KeyFile = cfg.Database.KeyFile()
	}
	if c.KeyChecked = cfg.KeyEncryptionKey != nil || c.KeyFile != ""; c.KeyChecked {
		kek, err := keyEncryptionKey(ctx, s, cfg, false)
		if err == nil {
			_, err = keyring.Open(ctx, keyring.Config{Store: s, KEK: kek, Now: how.Now})
		}
		if err != nil {
			return nil, fmt.Errorf("the copy would be of no use without its signing keys: %w", err)
		}
	}
	return stoppedNodes(ctx, s, how.Note)
}

// stoppedNodes returns the rows of nodes, none of which is alive. A node that was
// killed has left its row. It is taken for alive until its row has not moved for a
// whole lease.
func stoppedNodes(ctx context.Context, s store.Store, note func(string)) ([]store.Node, error) {
	before, err := runningRows(ctx, s)
	if err != nil || len(before) == 0 {
		return nil, err
	}
	lease := time.Duration(0)
	for _, n := range before {
		lease = max(lease, time.Duration(n.LeaseMS)*time.Millisecond)
	}
	note(fmt.Sprintf("the database has a row of the node %s; waiting %s to see whether it has ended", before[0].Name, config.FormatDuration(lease)))
	end := time.After(lease)
	for {
		over := false
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-end:
			over = true
		case <-time.After(250 * time.Millisecond):
		}
		now, err := runningRows(ctx, s)
		if err != nil {
			return nil, err
		}
		for _, n := range now {
			if !slices.ContainsFunc(before, func(b store.Node) bool { return b.ID == n.ID && b.Beat == n.Beat }) {
				return nil, fmt.Errorf("%w: the node %s; stop all servers first", ErrInUse, n.Name)
			}
		}
		if over {
			return now, nil
		}
	}
}

// runningRows returns the rows of nodes that have not said that they ended.
func runningRows(ctx context.Context, s store.Store) ([]store.Node, error) {
	nodes, err := s.Nodes(ctx)
	return slices.DeleteFunc(nodes, func(n store.Node) bool { return n.Left }), err
}
