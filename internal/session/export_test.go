package session

import (
	"context"

	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
)

// Queued returns how many revoking calls wait for the commit under way to end, and
// whether one is under way.
func (s *Service) Queued() (queued int, committing bool) {
	s.group.batches.mu.Lock()
	defer s.group.batches.mu.Unlock()
	return len(s.group.batches.waiting), s.group.batches.busy
}

// Begin begins a session of a user that has authenticated as how says, other than with
// the stored password. epoch is a reading of the epoch clock from before the
// authentication began: a revocation since then also ends this session.
func (s *Service) Begin(ctx context.Context, u store.User, epoch revocation.Epoch, rememberMe bool, how Authentication, from authz.Origin) (Issued, error) {
	first, err := s.begin(ctx, epoch, u, rememberMe, how)
	if err != nil {
		return Issued{}, err
	}
	return s.keepSignIn(ctx, first, from)
}
