package account

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"
	"sync/atomic"

	"golang.org/x/crypto/argon2"
)

// The bounds of a password, in bytes. It is never cut.
const (
	ShortestPassword = 12
	LongestPassword  = 1024
)

// The parameters of argon2id: OWASP's Password Storage Cheat Sheet, 19 MiB and
// two passes.
const (
	hashMemory  = 19 * 1024 // KiB
	hashTime    = 2
	hashThreads = 1
	hashLength  = 32
	saltLength  = 16
)

func checkPassword(field, password string) error {
	switch n := len(password); {
	case n < ShortestPassword:
		return InvalidField(field, "must have at least %d bytes, this one has %d", ShortestPassword, n)
	case n > LongestPassword:
		return InvalidField(field, "must have at most %d bytes, this one has %d", LongestPassword, n)
	}
	return nil
}

// hashPassword returns the argon2id hash in the form of the PHC string format.
func hashPassword(password string) string {
	salt := make([]byte, saltLength)
	rand.Read(salt) // never fails
	hash := argon2.IDKey([]byte(password), salt, hashTime, hashMemory, hashThreads, hashLength)
	enc := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version,
		hashMemory, hashTime, hashThreads, enc.EncodeToString(salt), enc.EncodeToString(hash))
}

// passwordMatches compares a password with a hash that hashPassword has made,
// perhaps with other parameters. A hash that it cannot read matches nothing.
func passwordMatches(hash, password string) bool {
	parts := strings.Split(hash, "$")
	if len(parts) != 6 || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return false
	}
	var memory, time uint32
	var threads uint8
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &memory, &time, &threads); err != nil || time == 0 || threads == 0 {
		return false
	}
	salt, err := base64.RawStdEncoding.DecodeString(parts[4])
	if err != nil {
		return false
	}
	want, err := base64.RawStdEncoding.DecodeString(parts[5])
	if err != nil || len(want) < 16 {
		return false
	}
	got := argon2.IDKey([]byte(password), salt, time, memory, threads, uint32(len(want))) //nolint:gosec // a short hash
	return subtle.ConstantTimeCompare(got, want) == 1
}

// hashQueue bounds how many passwords are hashed at a time, and how many wait.
// Each hash takes memory and a processor; the rest is turned away at once rather
// than late.
type hashQueue struct {
	slots   chan struct{}
	most    int64 // running and waiting
	tickets atomic.Int64
}

func newHashQueue(running, waiting int) *hashQueue {
	return &hashQueue{slots: make(chan struct{}, running), most: int64(running + waiting)}
}

// enter takes a place in the queue, or fails with ErrBusy.
func (q *hashQueue) enter() error {
	if q.tickets.Add(1) > q.most {
		q.tickets.Add(-1)
		return ErrBusy
	}
	return nil
}

func (q *hashQueue) leave() { q.tickets.Add(-1) }

// run runs hash, which takes a while, when it is its turn. The caller has entered.
func (q *hashQueue) run(ctx context.Context, hash func()) error {
	select {
	case q.slots <- struct{}{}:
		defer func() { <-q.slots }()
		hash()
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrBusy, ctx.Err())
	}
}

// HashQueue returns how many passwords are being hashed, and how many wait.
func (s *Service) HashQueue() (running, waiting int) {
	running = len(s.hashes.slots)
	return running, max(0, int(s.hashes.tickets.Load())-running)
}

// hash hashes a new password.
func (s *Service) hash(ctx context.Context, password string) (hash string, err error) {
	if err := s.hashes.enter(); err != nil {
		return "", err
	}
	defer s.hashes.leave()
	err = s.hashes.run(ctx, func() { hash = hashPassword(password) })
	return hash, err
}
