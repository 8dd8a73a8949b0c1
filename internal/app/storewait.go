package app

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"example.com/curfew/internal/config"
	"example.com/curfew/internal/store"
)

// The pauses between two attempts to open the database: each is twice as long as
// the one before.
const (
	minPause = 250 * time.Millisecond
	maxPause = 5 * time.Second
)

// waitForStore opens the database. A PostgreSQL server that is not there yet is
// waited for until DatabaseWait is over. Meanwhile, and when opening takes long, the
// listener answers: see [starting]. Errors that an operator must mend end the wait at once.
func (a *App) waitForStore(ctx context.Context) (store.Store, error) {
	// Migrations may take long, too: the service manager and the probes of a container
	// must not end what only takes time.
	defer a.manager.busy(ctx, "Opening the database")()
	defer time.AfterFunc(extendInterval, a.begin).Stop()
	began := a.now()
	away := false // the server was away at an earlier attempt
	for pause := minPause; ; pause = min(2*pause, maxPause) {
		s, err := openStore(ctx, a.config.Store, true, a.log)
		if err == nil {
			if away {
				a.log.InfoContext(ctx, "the database is available", "waited", a.now().Sub(began).Round(time.Millisecond))
			}
			return s, nil
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%w while it opened the database: %w", ErrStopped, err)
		}
		// The setup of a new server may create the database only after the server
		// is up. A database that a running server does not have is a mistake.
		pending := errors.Is(err, store.ErrNotReady) || away && errors.Is(err, store.ErrNoDatabase)
		if !pending || a.config.DatabaseWait <= 0 {
			return nil, err
		}
		left := a.config.DatabaseWait - a.now().Sub(began)
		if left <= 0 {
			return nil, fmt.Errorf("%w; gave up after %s (--database-wait)", err, config.FormatDuration(a.config.DatabaseWait))
		}
		away = true
		a.begin()
		a.manager.status(ctx, "Waiting for the database; gives up in "+left.Round(time.Second).String())
		a.log.WarnContext(ctx, "the database is not available; waiting for it", "error", err, "left", left.Round(time.Second))
		select {
		case <-time.After(min(pause/2+rand.N(pause/2), left)): // #nosec G404 -- only spreads work
		case <-ctx.Done():
		}
	}
}

// ErrStopped means that the context of Open ended.
var ErrStopped = errors.New("stopped")
