package account

import "context"

// OccupyHashes takes n turns to hash, and returns what gives them back.
func (s *Service) OccupyHashes(n int) (release func(), err error) {
	var overs []func()
	for range n {
		over, err := s.hashes.turn(context.Background())
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

var MostHashes = mostHashes

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
