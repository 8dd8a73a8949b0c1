package session

import (
	"context"
	"fmt"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/token"
)

// live returns the conditions of a live session now, under the settings in the
// store.
func (s *Service) live(ctx context.Context) (store.Live, error) {
	return authz.LiveAt(ctx, s.store, s.now())
}

// Live is a live session of a user.
type Live struct {
	store.Session
	Current bool // it is the caller's own
}

// List returns the live sessions of a user, the latest first.
func (s *Service) List(ctx context.Context, c authz.Caller, userID string) ([]Live, error) {
	if err := c.MayRevoke(userID); err != nil {
		return nil, err
	}
	if _, err := s.store.User(ctx, userID); err != nil {
		return nil, err
	}
	live, err := s.live(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := s.store.LiveSessions(ctx, userID, live)
	if err != nil {
		return nil, err
	}
	out := make([]Live, len(rows))
	for i, r := range rows {
		out[i] = Live{Session: r, Current: c.Session != nil && c.Session.ID == r.ID}
	}
	return out, nil
}

// CountLive counts the live sessions of a user ("" for all) whose latest token
// was signed with a key ("" for all).
func (s *Service) CountLive(ctx context.Context, c authz.Caller, userID, keyID string) (store.Counts, error) {
	err := c.MayAdminister()
	if userID != "" {
		err = c.MayRevoke(userID)
	}
	if err != nil {
		return store.Counts{}, err
	}
	live, err := s.live(ctx)
	if err != nil {
		return store.Counts{}, err
	}
	return s.store.CountLive(ctx, live, userID, keyID)
}

// CountLiveByUser counts the live sessions of each of the users given.
func (s *Service) CountLiveByUser(ctx context.Context, c authz.Caller, users []string) (map[string]int64, error) {
	if err := c.MayEditUsers(); err != nil {
		return nil, err
	}
	live, err := s.live(ctx)
	if err != nil {
		return nil, err
	}
	return s.store.CountLiveByUser(ctx, live, users)
}

// LiveOver returns how many sessions were live at each of n instants, the first
// at from, by the settings in force now.
func (s *Service) LiveOver(ctx context.Context, c authz.Caller, from time.Time, width time.Duration, n int) ([]int64, error) {
	if err := c.MayAdminister(); err != nil {
		return nil, err
	}
	live, err := s.live(ctx)
	if err != nil {
		return nil, err
	}
	return s.store.LiveOver(ctx, live, from.UnixMicro(), width.Microseconds(), n)
}

// FindPerson returns what to look for in the audit and among receipts: the id of the user that a text
// names (see [account.Service.FindUsers]), under which the audit has everything that
// concerns the user, whatever the name was then. user is false if the text names no
// user now: it is returned without a prefix, and may name a client, or a user of the
// past.
func (s *Service) FindPerson(ctx context.Context, c authz.Caller, text string) (person string, user bool, err error) {
	if err := c.MayAdminister(); err != nil {
		return "", false, err
	}
	found, _, err := s.config.Accounts.FindUsers(ctx, c, []string{text})
	if err != nil || len(found) == 0 {
		return account.Handle(text), false, err
	}
	return found[0].ID, true, nil
}

// DeletedUser returns the audit entry of the deletion of the user with an id. The error
// is store.ErrNotFound if the audit log has none.
func (s *Service) DeletedUser(ctx context.Context, c authz.Caller, id string) (store.Audit, error) {
	if err := c.MayEditUsers(); err != nil {
		return store.Audit{}, err
	}
	entries, err := s.store.Audits(ctx, store.AuditFilter{Target: id, Action: wire.ActionUserDelete}, 1)
	switch {
	case err != nil:
		return store.Audit{}, err
	case len(entries) == 0 || entries[0].TargetID != id:
		return store.Audit{}, fmt.Errorf("%w: there is no record of the user %q", store.ErrNotFound, id)
	}
	return entries[0], nil
}

// ErrUnknownPerson returns the error of a filter that selects nothing because no user
// has the name that it gives, as FindPerson found. It wraps store.ErrNotFound.
func ErrUnknownPerson(text string) error {
	return fmt.Errorf("%w: no user has the name, id or email address %q, and nothing that the other filters select has it; a deleted user is found by id, a client by name or id", store.ErrNotFound, text)
}

// Audit returns entries of the audit, newest first.
func (s *Service) Audit(ctx context.Context, c authz.Caller, f store.AuditFilter, limit int) ([]store.Audit, error) {
	if err := c.MayAdminister(); err != nil {
		return nil, err
	}
	if f.Session != "" && !token.ValidSessionID(f.Session) {
		return nil, account.InvalidField("session", "must be a session id: 22 letters, digits, hyphens and underscores")
	}
	return s.store.Audits(ctx, f, limit)
}

// AuditBuckets counts entries of the actions since from in stretches of width.
func (s *Service) AuditBuckets(ctx context.Context, c authz.Caller, from time.Time, width time.Duration, actions ...string) ([]store.Bucket, error) {
	if err := c.MayAdminister(); err != nil {
		return nil, err
	}
	return s.store.AuditBuckets(ctx, from.UnixMicro(), width.Microseconds(), actions)
}
