package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
)

// A call is one revoking call for the store: its caller, the rows that must exist,
// the revocations and the audit entries. It takes one epoch.
type call struct {
	caller authz.Caller
	need   authz.Need // what the call requires of its caller
	// byToken means that there is no caller to check: the proof is the token of the
	// session that ends, even if it has timed out.
	byToken bool

	users   []string // ids that must exist, or nothing happens
	session string   // id of a session row that must exist and belong to users[0]; "" for none
	end     string   // id of a session whose row is marked as ended; "" for none
	scopes  []revocation.Scope
	entries []store.Audit // Epoch and At are filled in, and TargetName for users
	// receipt is stored with the call, unless it is nil. Epoch and CommittedAt are
	// filled in, and what ended if scopes are of users or of one session.
	receipt *store.Receipt

	done      chan struct{}
	epoch     revocation.Epoch
	committed time.Time
	err       error
}

// group commits concurrent calls in one transaction, with one fsync and one NOTIFY
// for all of them.
type group struct {
	service *Service
	batches batches[*call]
}

// commitTimeout is that of one transaction; callers wait no longer than their context.
const commitTimeout = 30 * time.Second

// commit returns when the call is on disk and applied to this node's view. If ctx
// ends first, the outcome is unknown.
func (g *group) commit(ctx context.Context, c *call) error {
	c.done = make(chan struct{})
	g.batches.add(c, g.write)
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return fmt.Errorf("%w: commit not confirmed in time; it may or may not have happened: %w", store.ErrUnavailable, ctx.Err())
	}
}

// write commits a batch, applies it to the view, and releases the callers.
func (g *group) write(batch []*call) {
	ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
	defer cancel()
	var revoked []revocation.Revocation
	var callers []authz.Caller
	var users []string
	for _, c := range batch {
		if !c.byToken {
			callers = append(callers, c.caller)
		}
		users = append(users, c.users...)
	}
	err := g.service.store.UpdateBatch(ctx, callers, users, func(b *authz.Batch) (err error) {
		revoked, err = g.service.writeCalls(ctx, b, batch)
		return err
	})
	committed := g.service.now()
	if errors.Is(err, errAllRefused) {
		err = nil
	} else if err == nil {
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
		return fmt.Sprintf("user %q does not exist", e.ids[0])
	}
	return fmt.Sprintf("%d users do not exist; the first id is %q", len(e.ids), e.ids[0])
}

func (e *errUnknownUsers) Unwrap() error { return store.ErrNotFound }

// UnknownUsersError returns the error of users that do not exist. It wraps
// store.ErrNotFound.
func UnknownUsersError(ids []string) error { return &errUnknownUsers{ids} }

// UnknownUsers returns the ids of the missing users if err is an error of
// [UnknownUsersError], else nil.
func UnknownUsers(err error) []string {
	if e, ok := errors.AsType[*errUnknownUsers](err); ok {
		return e.ids
	}
	return nil
}

// errAllRefused rolls back a transaction with nothing to write, so that refused
// callers do not advance the clock.
var errAllRefused = errors.New("every call of the batch was refused")

// writeCalls writes a batch. A call gets its error and writes nothing if its users
// do not exist, or if its caller may no longer make it, which may be due to an
// earlier call of the batch. The other calls continue. All reads come before the
// first write of revocations.
func (s *Service) writeCalls(ctx context.Context, b *authz.Batch, batch []*call) ([]revocation.Revocation, error) {
	now := s.now()
	next := b.Epoch
	var revoked []revocation.Revocation
	var entries []store.Audit
	for _, c := range batch {
		c.err = nil // Update may run this more than once
		if c.err = decide(b, c); c.err != nil {
			continue
		}
		var ended store.Session
		if ended, c.err = check(ctx, b, c); isNotFound(c.err) {
			continue
		} else if c.err != nil {
			return nil, c.err
		}
		c.epoch = next
		next++
		for _, scope := range c.scopes {
			revoked = append(revoked, revocation.Revocation{Scope: scope, Epoch: c.epoch})
		}
		b.Revoke(revoked[len(revoked)-len(c.scopes):]...)
		for _, e := range c.entries {
			e.At, e.Epoch = now.UnixMicro(), c.epoch
			if c.session != "" {
				authz.AboutSession(&e, ended, "")
			}
			if u, ok := b.Found(e.TargetID); ok && e.TargetKind == targetUser {
				e.TargetName = u.Name
			}
			entries = append(entries, e)
		}
	}
	if next == b.Epoch {
		return nil, errAllRefused
	}
	if last := next - 1; last > b.Epoch {
		// The clock stands at the first: asked for the date of last, it goes there.
		if _, err := b.Advance(ctx, last.Time()); err != nil {
			return nil, err
		}
	}
	if err := s.addReceipts(ctx, b, batch, now); err != nil {
		return nil, err
	}
	if err := b.PutRevocations(ctx, revoked...); err != nil {
		return nil, err
	}
	for _, c := range batch {
		if c.err == nil && c.end != "" {
			if err := b.EndSession(ctx, c.end, now.UnixMicro()); err != nil {
				return nil, err
			}
		}
	}
	return revoked, b.AppendAudit(ctx, entries...)
}

// decide decides the caller of a call.
func decide(b *authz.Batch, c *call) error {
	if c.byToken {
		return nil
	}
	_, err := b.Decide(c.caller, c.need)
	return err
}

// check returns an error if a row that the call requires does not exist, and the
// session's row if it requires one.
func check(ctx context.Context, b *authz.Batch, c *call) (store.Session, error) {
	var unknown []string
	for _, id := range c.users {
		if _, ok := b.Found(id); !ok {
			unknown = append(unknown, id)
		}
	}
	if len(unknown) > 0 {
		return store.Session{}, &errUnknownUsers{unknown}
	}
	if c.session == "" {
		return store.Session{}, nil
	}
	row, err := b.Session(ctx, c.session)
	if err == nil && row.UserID != c.users[0] {
		err = store.ErrNotFound
	}
	if isNotFound(err) {
		err = fmt.Errorf("%w: the user has no session with that id", store.ErrNotFound)
	}
	return row, err
}
