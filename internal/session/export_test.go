package session

// Queued returns how many revoking calls wait for the commit under way to end, and
// whether one is under way.
func (s *Service) Queued() (queued int, committing bool) {
	s.group.batches.mu.Lock()
	defer s.group.batches.mu.Unlock()
	return len(s.group.batches.waiting), s.group.batches.busy
}
