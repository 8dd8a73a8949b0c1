package uses

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// maxPending is the maximum number of sessions of one source in a [Set], about 2 MB.
const maxPending = 16 << 10

// Set holds uses that have not been sent on yet: for each session the latest. A nil
// Set drops every use. It is safe for concurrent use.
type Set struct {
	wake chan struct{} // has a value if there may be something to send

	mu            sync.Mutex
	pending       map[string]pending // by session
	count         map[string]int     // of pending, by source
	sent, dropped int64
}

type pending struct {
	at     time.Time
	source string
}

// NewSet returns an empty set.
func NewSet() *Set {
	return &Set{wake: make(chan struct{}, 1), pending: map[string]pending{}, count: map[string]int{}}
}

// Add adds uses that a source reports: "" is this process, and other sources are
// clients. While a source has as many sessions in the set as it may have, further ones
// are dropped. The sessions of one source take no room from others.
func (s *Set) Add(source string, uses ...Use) {
	if s == nil || len(uses) == 0 {
		return
	}
	s.mu.Lock()
	for _, u := range uses {
		s.add(source, u)
	}
	s.mu.Unlock()
	s.notify()
}

// notify makes Run flush.
func (s *Set) notify() {
	select {
	case s.wake <- struct{}{}:
	default: // it has a value
	}
}

func (s *Set) add(source string, u Use) {
	p, known := s.pending[u.Session]
	switch {
	case known:
		if u.At.After(p.at) {
			p.at = u.At
			s.pending[u.Session] = p
		}
	case s.count[source] >= maxPending:
		s.dropped++
	default:
		s.pending[u.Session] = pending{u.At, source}
		s.count[source]++
	}
}

// Counts returns the number of uses that were sent on, and of those that were
// dropped because there was no room or because they could not be sent on.
func (s *Set) Counts() (sent, dropped int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent, s.dropped
}

// take removes and returns at most n uses, in no order, and their sources.
func (s *Set) take(n int) (taken []Use, sources []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for session, p := range s.pending {
		if len(taken) == n {
			break
		}
		taken, sources = append(taken, Use{session, p.at}), append(sources, p.source)
		delete(s.pending, session)
		if s.count[p.source]--; s.count[p.source] == 0 {
			delete(s.count, p.source)
		}
	}
	return taken, sources
}

// done counts a batch: as sent, or as dropped.
func (s *Set) done(n int, sent bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sent {
		s.sent += int64(n)
	} else {
		s.dropped += int64(n)
	}
}

// Sender sends uses on. All fields are required.
type Sender struct {
	Batch int           // maximum number of uses in a batch
	Every time.Duration // minimum time between two flushes
	// Timeout limits one call of Send.
	Timeout time.Duration
	// Send sends one batch on.
	Send func(ctx context.Context, batch []Use) error
	// Again reports whether a batch whose Send failed is sent again later. Otherwise
	// it is dropped.
	Again func(error) bool
}

const (
	// gather is the maximum time from the first use until it is sent on, if the last
	// flush is long enough ago. Uses that arrive in that time go along.
	gather = time.Second
	// lastFlush is the maximum time of the flush when the process ends.
	lastFlush = time.Second
)

// Run sends the uses of the set on until ctx ends, and then once more, for a second
// at most. A set has one Run.
func (s *Set) Run(ctx context.Context, to Sender) {
	for s.waits(ctx) && pause(ctx, rand.N(gather)) { //nolint:gosec // only spreads work
		s.flush(ctx, to)
		if !pause(ctx, to.Every) {
			break
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastFlush)
	defer cancel()
	s.flush(last, to)
}

// waits returns true when there may be something to send, false when ctx ends.
func (s *Set) waits(ctx context.Context) bool {
	select {
	case <-s.wake:
		return true
	case <-ctx.Done():
		return false
	}
}

// pause waits for d. It returns false if ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// flush sends everything on, one batch after the other. It stops at an error: the
// rest waits for the next flush.
func (s *Set) flush(ctx context.Context, to Sender) {
	for {
		batch, sources := s.take(to.Batch)
		if len(batch) == 0 {
			return
		}
		limited, cancel := context.WithTimeout(ctx, to.Timeout)
		err := to.Send(limited, batch)
		cancel()
		switch {
		case err == nil:
			s.done(len(batch), true)
			continue
		case ctx.Err() != nil || to.Again(err):
			for i, u := range batch {
				s.Add(sources[i], u)
			}
		default:
			s.done(len(batch), false)
			s.notify() // for the rest
		}
		return
	}
}
