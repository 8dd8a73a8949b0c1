package session

// Queued returns how many revoking calls wait for the commit under way to end, and
// whether one is under way.
func (s *Service) Queued() (queued int, committing bool) {
	s.group.mu.Lock()
	defer s.group.mu.Unlock()
	return len(s.group.waiting), s.group.busy
}
