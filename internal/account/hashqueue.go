package account

import (
	"container/list"
	"context"
	"fmt"
	"math"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
)

// hashQueue limits the number of concurrent password hashes, and the number of
// requests that wait for one. Each hash takes memory and a processor, so further
// requests are refused at once instead of waiting long.
//
// A request takes a place before it costs the store anything, then a turn. Places
// are divided so that one attacker cannot take all of them: an account has a share,
// a network has a share, and some places are reserved for users at an address where
// they have signed in before. Requests from known and from unknown origins get
// turns alternately.
type hashQueue struct {
	maxRunning int
	limits     queueLimits

	mu       sync.Mutex // guards what follows, and the fields of places
	running  int
	places   int // taken: running and waiting
	unknown  int // of them taken by requests from an unknown origin
	accounts map[string]int
	networks map[string]int // of requests from an unknown origin
	waiting  [2]list.List   // of *waiter: from an unknown origin, from a known one
	next     int            // which of the two has the next turn, if both wait
	turns    uint64         // given so far
}

// queueLimits are numbers of places.
type queueLimits struct {
	all, unknown, account, network int
}

func newQueueLimits(running, waiting int) queueLimits {
	all := running + waiting
	unknown := max(1, all-all/4)
	return queueLimits{all: all, unknown: unknown, account: max(2, all/8), network: max(1, unknown/2)}
}

func newHashQueue(running, waiting int) *hashQueue {
	return &hashQueue{
		maxRunning: running, limits: newQueueLimits(running, waiting),
		accounts: map[string]int{}, networks: map[string]int{},
	}
}

// origin says whose share a place counts against. The zero origin belongs to no
// account: a caller who is signed in sets a new password.
type origin struct {
	account string // whose share it counts against; "" for none
	network string
	unknown bool // the account has not signed in from here before
}

// place is a place in the queue. Call leave once.
type place struct {
	queue *hashQueue
	of    origin
}

type waiter struct {
	granted chan struct{} // closed when it is its turn
}

// The errors for an account, or for unknown origins of a network, that has used its
// share of the queue. They wrap ErrBusy.
var (
	errShare        = fmt.Errorf("%w: too many sign-ins of this account are waiting", ErrBusy)
	errNetworkShare = fmt.Errorf("%w: too many sign-ins from this network are waiting", ErrBusy)
)

// enter takes a place in the queue. Its error wraps ErrBusy.
func (q *hashQueue) enter(o origin) (*place, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case o.account != "" && q.accounts[o.account] >= q.limits.account:
		return nil, errShare
	case o.unknown && q.networks[o.network] >= q.limits.network:
		return nil, errNetworkShare
	case q.places >= q.limits.all, o.unknown && q.unknown >= q.limits.unknown:
		return nil, ErrBusy
	}
	q.count(o, 1)
	return &place{queue: q, of: o}, nil
}

// count adds n places of an origin. The caller holds the mutex.
func (q *hashQueue) count(o origin, n int) {
	q.places += n
	if o.account != "" {
		addTo(q.accounts, o.account, n)
	}
	if o.unknown {
		q.unknown += n
		addTo(q.networks, o.network, n)
	}
}

func addTo(counts map[string]int, key string, n int) {
	if counts[key] += n; counts[key] == 0 {
		delete(counts, key)
	}
}

func (p *place) leave() {
	p.queue.mu.Lock()
	defer p.queue.mu.Unlock()
	p.queue.count(p.of, -1)
}

// move assigns the place to another origin, after the store has said where the
// attempt comes from. If the error is errShare, the place stays.
func (p *place) move(to origin) error {
	q := p.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if to == p.of {
		return nil
	}
	if to.account != p.of.account && q.accounts[to.account] >= q.limits.account {
		return errShare
	}
	q.count(p.of, -1)
	p.of = to
	q.count(to, 1)
	return nil
}

// turn waits until the place may hash, and returns a function that ends the turn.
func (p *place) turn(ctx context.Context) (over func(), err error) {
	q := p.queue
	over = sync.OnceFunc(q.release)
	q.mu.Lock()
	if q.running < q.maxRunning { // then none waits
		q.running++
		q.turns++
		q.mu.Unlock()
		return over, nil
	}
	line := &q.waiting[1]
	if p.of.unknown {
		line = &q.waiting[0]
	}
	w := &waiter{granted: make(chan struct{})}
	e := line.PushBack(w)
	q.mu.Unlock()
	select {
	case <-w.granted:
		return over, nil
	case <-ctx.Done():
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	select {
	case <-w.granted: // at the same moment
		return over, nil
	default:
		line.Remove(e)
		return nil, fmt.Errorf("%w: %w", ErrBusy, ctx.Err())
	}
}

// release ends a turn and gives it to the next waiter.
func (q *hashQueue) release() {
	q.mu.Lock()
	defer q.mu.Unlock()
	line := &q.waiting[q.next]
	if line.Len() == 0 {
		line = &q.waiting[1-q.next]
	} else {
		q.next = 1 - q.next
	}
	first := line.Front()
	if first == nil {
		q.running--
		return
	}
	line.Remove(first)
	q.turns++
	w, _ := first.Value.(*waiter)
	close(w.granted)
}

// HashQueue returns the number of running hashes, of waiting requests, and of turns
// since the process started.
func (s *Service) HashQueue() (running, waiting int, turns uint64) {
	s.hashes.mu.Lock()
	defer s.hashes.mu.Unlock()
	return s.hashes.running, max(0, s.hashes.places-s.hashes.running), s.hashes.turns
}

// hash hashes a new password.
func (s *Service) hash(ctx context.Context, password string) (hash string, err error) {
	place, err := s.hashes.enter(origin{})
	if err != nil {
		return "", err
	}
	defer place.leave()
	over, err := place.turn(ctx)
	if err != nil {
		return "", err
	}
	defer over()
	return hashPassword(password, s.config.hashMemoryKiB()), nil
}

// maxHashes returns how many concurrent hashes processors and memory allow. If
// there are two or more processors, one stays free for users who are signed in.
// Three quarters of the memory stay free for everything else.
func maxHashes(processors int, memory uint64, eachKiB uint32) int {
	byMemory := min(memory/4/(uint64(eachKiB)<<10), math.MaxInt32)
	return max(1, min(processors-1, int(byMemory))) // bounded by the line above
}

// memory returns how many bytes this process may use: the lowest known limit of the
// Go runtime, the container and the machine.
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
	if least == math.MaxInt64 { // no limit is known
		return 1 << 30
	}
	return least
}
