package session

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
)

// A call is one revoking call as it reaches the store: who must exist, what is
// revoked, and what the audit will say. It takes one epoch.
type call struct {
	users   []string // ids that must exist, or nothing happens
	session string   // id of a session row that must exist and belong to users[0]; "" for none
	end     string   // id of a session whose row is marked as ended; "" for none
	scopes  []revocation.Scope
	entries []store.Audit // Epoch and At are filled in, and TargetName for users

	done      chan struct{}
	epoch     revocation.Epoch
	committed time.Time
	err       error
}

// group commits calls that come at the same time in one transaction: one fsync
// and one NOTIFY for all of them. Nobody waits for company: what comes while a
// commit is under way goes into the next.
type group struct {
	service *Service
	running sync.WaitGroup

	mu      sync.Mutex
	waiting []*call
	busy    bool // a goroutine is committing; it takes what is waiting before it ends
}

const (
	mostCalls     = 256              // in one transaction
	commitTimeout = 30 * time.Second // of one transaction; callers wait no longer than their context
)

// commit returns when the call is on disk and applied to this node's view. If ctx
// ends first the outcome is unknown.
func (g *group) commit(ctx context.Context, c *call) error {
	c.done = make(chan struct{})
	g.mu.Lock()
	g.waiting = append(g.waiting, c)
	if !g.busy {
		g.busy = true
		g.running.Go(g.run) // ends when nothing waits
	}
	g.mu.Unlock()
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return fmt.Errorf("%w: gave up waiting for the commit, which may or may not have happened: %w", store.ErrUnavailable, ctx.Err())
	}
}

func (g *group) run() {
	for {
		g.mu.Lock()
		n := min(len(g.waiting), mostCalls)
		if n == 0 {
			g.busy = false
			g.mu.Unlock()
			return
		}
		batch := g.waiting[:n:n]
		g.waiting = g.waiting[n:]
		g.mu.Unlock()
		g.write(batch)
	}
}

// write commits a batch, applies it to the view, and lets the callers go.
func (g *group) write(batch []*call) {
	ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
	defer cancel()
	var revoked []revocation.Revocation
	err := g.service.store.Update(ctx, func(tx store.Tx) (err error) {
		revoked, err = g.service.writeCalls(ctx, tx, batch)
		return err
	})
	committed := g.service.now()
	if err == nil {
		g.service.config.View.Applied(revoked...)
	}
	for _, c := range batch {
		c.committed = committed
		if err != nil {
			c.err = err
		}
		close(c.done)
	}
}

// errUnknownUsers names users that do not exist. It wraps store.ErrNotFound.
type errUnknownUsers struct{ ids []string }

func (e *errUnknownUsers) Error() string {
	if len(e.ids) == 1 {
		return fmt.Sprintf("no user has the id %q", e.ids[0])
	}
	return fmt.Sprintf("%d of the users do not exist; the first is %q", len(e.ids), e.ids[0])
}

func (e *errUnknownUsers) Unwrap() error { return store.ErrNotFound }

// UnknownUsers returns the ids of the users that did not exist, if that is what
// err is about.
func UnknownUsers(err error) []string {
	var e *errUnknownUsers
	if errors.As(err, &e) {
		return e.ids
	}
	return nil
}

// writeCalls writes a batch. A call whose users do not exist gets its error and
// writes nothing; the others go on. All reading comes before the first write of
// revocations.
func (s *Service) writeCalls(ctx context.Context, tx store.Tx, batch []*call) ([]revocation.Revocation, error) {
	now := s.now()
	first, err := tx.Advance(ctx, now)
	if err != nil {
		return nil, err
	}
	names, err := existing(ctx, tx, batch)
	if err != nil {
		return nil, err
	}
	next := first
	var revoked []revocation.Revocation
	var entries []store.Audit
	for _, c := range batch {
		c.err = nil // Update may run this more than once
		if c.err = check(ctx, tx, c, names); isNotFound(c.err) {
			continue
		} else if c.err != nil {
			return nil, c.err
		}
		c.epoch = next
		next++
		for _, scope := range c.scopes {
			revoked = append(revoked, revocation.Revocation{Scope: scope, Epoch: c.epoch})
		}
		for _, e := range c.entries {
			e.At, e.Epoch = now.UnixMicro(), c.epoch
			if e.TargetKind == "user" {
				e.TargetName = names[e.TargetID]
			}
			entries = append(entries, e)
		}
	}
	if last := next - 1; last > first {
		// The clock stands at first: asked for the date of last, it goes there.
		if _, err := tx.Advance(ctx, last.Time()); err != nil {
			return nil, err
		}
	}
	if err := tx.PutRevocations(ctx, revoked...); err != nil {
		return nil, err
	}
	for _, c := range batch {
		if c.err == nil && c.end != "" {
			if err := tx.EndSession(ctx, c.end, now.UnixMicro()); err != nil {
				return nil, err
			}
		}
	}
	return revoked, tx.AppendAudit(ctx, entries...)
}

// existing returns the names of those users of the batch that exist, by id.
func existing(ctx context.Context, tx store.Tx, batch []*call) (map[string]string, error) {
	var ids []string
	for _, c := range batch {
		ids = append(ids, c.users...)
	}
	names := make(map[string]string, len(ids))
	if len(ids) == 0 {
		return names, nil
	}
	users, err := tx.UsersNamed(ctx, ids, nil)
	if err != nil {
		return nil, err
	}
	for _, u := range users {
		names[u.ID] = u.Name
	}
	return names, nil
}

func check(ctx context.Context, tx store.Tx, c *call, names map[string]string) error {
	var unknown []string
	for _, id := range c.users {
		if _, ok := names[id]; !ok {
			unknown = append(unknown, id)
		}
	}
	if len(unknown) > 0 {
		return &errUnknownUsers{unknown}
	}
	if c.session == "" {
		return nil
	}
	row, err := tx.Session(ctx, c.session)
	if err == nil && row.UserID != c.users[0] {
		err = store.ErrNotFound
	}
	if isNotFound(err) {
		return fmt.Errorf("%w: the user has no session with that id", store.ErrNotFound)
	}
	return err
}
