package account

import (
	"context"
	"fmt"
	"math"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

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

// turn waits until the caller, who has entered, may hash, and returns what ends
// that.
func (q *hashQueue) turn(ctx context.Context) (over func(), err error) {
	select {
	case q.slots <- struct{}{}:
		return sync.OnceFunc(func() { <-q.slots }), nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrBusy, ctx.Err())
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
	over, err := s.hashes.turn(ctx)
	if err != nil {
		return "", err
	}
	defer over()
	return hashPassword(password, s.config.hashMemoryKiB()), nil
}

// mostHashes returns how many hashes processors and memory allow at a time. One
// processor is left to those who are signed in already, if there are two, and
// three quarters of the memory to everything else.
func mostHashes(processors int, memory uint64, eachKiB uint32) int {
	byMemory := min(memory/4/(uint64(eachKiB)<<10), math.MaxInt32)
	return max(1, min(processors-1, int(byMemory))) //nolint:gosec // bounded by the line above
}

// memory returns how many bytes this process may use, as far as anybody says: the
// Go runtime's limit, the container's, the machine's.
func memory() uint64 {
	least := uint64(math.MaxInt64)
	if limit := debug.SetMemoryLimit(-1); limit > 0 {
		least = min(least, uint64(limit))
	}
	if text, err := os.ReadFile("/sys/fs/cgroup/memory.max"); err == nil {
		if n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64); err == nil { // else it says "max"
			least = min(least, n)
		}
	}
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		var kib uint64
		if _, err := fmt.Sscanf(string(text), "MemTotal: %d kB", &kib); err == nil {
			least = min(least, kib<<10)
		}
	}
	if least == math.MaxInt64 { // nobody says
		return 1 << 30
	}
	return least
}
