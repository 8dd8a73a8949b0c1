package account

import (
	"context"
	"encoding/json"
	"errors"
	"sync"

	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
)

// A FirstPassword is the password that the first start gave the first account, while the
// account still has it.
type FirstPassword struct {
	User store.User
	// Generated means that the start generated it. Otherwise an operator set it, or a
	// release that did not record it created the account.
	Generated bool
	// File is where the start wrote it, as host:path; "" if it wrote no file.
	File string
}

// firstRecord is the member of the audit entry that created the first account.
type firstRecord struct {
	Generated bool   `json:"generated"`
	File      string `json:"file,omitempty"`
}

// firstRecordName is the name of the member in the detail of the entry.
const firstRecordName = "first_password"

// firstAccount is what a process remembers about the first account: every page of the
// overview asks.
type firstAccount struct {
	mu    sync.Mutex
	over  bool          // it has another password, or its record is gone: for good
	entry store.Audit   // that created it; zero until it was found
	hash  string        // of the password, when the audit log had no change of it
	from  FirstPassword // what the entry says, without the user
}

// FirstPassword returns the first password, or nil if it cannot be used to sign in: the
// password was changed or removed, the user is disabled or deleted, or passwords are
// switched off. It is also nil when the audit entry of the account's creation was deleted
// because of its age. The caller must be an administrator.
func (s *Service) FirstPassword(ctx context.Context, c authz.Caller) (*FirstPassword, error) {
	if err := c.MayAdminister(); err != nil {
		return nil, err
	}
	f := &s.first
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over {
		return nil, nil //nolint:nilnil // see above
	}
	if f.entry.ID == 0 {
		if err := s.findFirst(ctx); err != nil || f.over {
			return nil, err
		}
	}
	u, err := s.store.User(ctx, f.entry.TargetID)
	if errors.Is(err, store.ErrNotFound) {
		f.over = true
		return nil, nil //nolint:nilnil // see above
	}
	if err != nil || u.Disabled || u.PasswordHash == "" {
		return nil, err
	}
	if f.hash != u.PasswordHash { // changed, or hashed anew at a sign-in
		changes, err := s.store.Audits(ctx, store.AuditFilter{Target: u.ID, Action: wire.ActionUserPassword}, 1)
		if err != nil {
			return nil, err
		}
		if f.over = len(changes) > 0; f.over {
			return nil, nil //nolint:nilnil // see above
		}
		f.hash = u.PasswordHash
	}
	if err := PasswordsOn(ctx, s.store); err != nil {
		if errors.Is(err, ErrPasswordsOff) {
			err = nil
		}
		return nil, err
	}
	found := f.from
	found.User = u
	return &found, nil
}

// findFirst looks for the entry that created the first account. Nothing but Bootstrap
// creates a user as the system.
func (s *Service) findFirst(ctx context.Context) error {
	entries, err := s.store.Audits(ctx, store.AuditFilter{Target: firstName, Action: wire.ActionUserCreate}, recentlyCreated)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Actor.Kind != store.ActorSystem || e.TargetName != firstName {
			continue
		}
		var said map[string]json.RawMessage
		var record firstRecord
		if json.Unmarshal([]byte(e.Detail), &said) == nil && said[firstRecordName] != nil {
			_ = json.Unmarshal(said[firstRecordName], &record) // else there is no record
		}
		s.first.entry, s.first.from = e, FirstPassword{Generated: record.Generated, File: record.File}
		return nil
	}
	s.first.over = true
	return nil
}

// recentlyCreated is how many users with the name of the first account are looked at:
// after it was deleted or renamed, others can have had the name.
const recentlyCreated = 100
