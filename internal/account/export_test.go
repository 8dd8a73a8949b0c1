package account

import "context"

// OccupyHashes takes n turns to hash, and returns what gives them back.
func (s *Service) OccupyHashes(n int) (release func(), err error) {
	var overs []func()
	for range n {
		over, err := (&place{queue: s.hashes}).turn(context.Background())
		if err != nil {
			return nil, err
		}
		overs = append(overs, over)
	}
	return func() {
		for _, over := range overs {
			over()
		}
	}, nil
}

var MostHashes = maxHashes

// ReadableHash reports whether a stored hash would be compared with anything.
func ReadableHash(text string) bool {
	_, err := parseHash(text)
	return err == nil
}

func HashOf(password string) string { return hashPassword(password, owaspMemory) }

// Gates returns how many keys have attempts under way or waiting.
func (s *Service) Gates() int {
	s.tries.mu.Lock()
	defer s.tries.mu.Unlock()
	return len(s.tries.gates)
}

// Waiters returns how many wait for their turn to hash.
func (s *Service) Waiters() int {
	s.hashes.mu.Lock()
	defer s.hashes.mu.Unlock()
	return s.hashes.waiting[0].Len() + s.hashes.waiting[1].Len()
}

// Places returns how many places of the hash queue are taken.
func (s *Service) Places() int {
	s.hashes.mu.Lock()
	defer s.hashes.mu.Unlock()
	return s.hashes.places
}
