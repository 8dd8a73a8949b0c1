package uses

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// Use is a session that was used at an instant.
type Use struct {
	Session string
	At      time.Time
}

// maxPending is the maximum number of sessions of one source in a [Set], about 2 MB.
const maxPending = 16 << 10

// Set holds uses that have not been sent on yet. For each session it has the latest.
// The zero value is ready to use, and a nil Set drops every use. It is safe for
// concurrent use.
type Set struct {
	mu      sync.Mutex
	pending map[string]pending // by session
	count   map[string]int     // of pending, by source
	dropped int64
}

type pending struct {
	at     time.Time
	source string
}

// Add adds uses that a source reports: "" is this process, and other sources are
// clients. A source that has filled its share adds no further sessions until some
// have been sent on, and takes no room from others.
func (s *Set) Add(source string, uses ...Use) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pending == nil {
		s.pending, s.count = map[string]pending{}, map[string]int{}
	}
	for _, u := range uses {
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
}

// Dropped returns the number of uses that found no room, or that could not be sent on.
func (s *Set) Dropped() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dropped
}

// take removes and returns at most n uses, in no order.
func (s *Set) take(n int) (taken []Use, from []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for session, p := range s.pending {
		if len(taken) == n {
			break
		}
		taken, from = append(taken, Use{session, p.at}), append(from, p.source)
		delete(s.pending, session)
		if s.count[p.source]--; s.count[p.source] == 0 {
			delete(s.count, p.source)
		}
	}
	return taken, from
}

// drop counts uses that are lost.
func (s *Set) drop(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropped += int64(n)
}

// Sender sends a batch of uses on.
type Sender struct {
	// Batch is the maximum number of uses in a batch. Required.
	Batch int
	// Send sends one batch on. Required.
	Send func(ctx context.Context, batch []Use) error
	// Again reports whether a batch whose Send failed is sent again later. Else it is
	// dropped.
	Again func(error) bool
	// Failed, if not nil, is called with the result of every flush that had something
	// to send; nil for one that succeeded.
	Failed func(error)
}

const (
	// flushEvery is the interval between two flushes.
	flushEvery = 5 * time.Second
	// lastFlush is the maximum time of the flush when the process ends.
	lastFlush = time.Second
)

// Run sends the uses of the set on every few seconds until ctx ends, and then once
// more, for a second at most.
func (s *Set) Run(ctx context.Context, to Sender) {
	timer := time.NewTimer(rand.N(flushEvery)) //nolint:gosec // only spreads work
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastFlush)
			defer cancel()
			s.flush(last, to)
			return
		case <-timer.C:
		}
		s.flush(ctx, to)
		timer.Reset(flushEvery)
	}
}

// flush sends everything on, one batch after the other. It stops at an error: the
// uses wait for the next flush.
func (s *Set) flush(ctx context.Context, to Sender) {
	for {
		batch, from := s.take(to.Batch)
		if len(batch) == 0 {
			return
		}
		err := to.Send(ctx, batch)
		if to.Failed != nil {
			to.Failed(err)
		}
		if err == nil {
			continue
		}
		if to.Again(err) {
			for i, u := range batch {
				s.Add(from[i], u)
			}
		} else {
			s.drop(len(batch))
		}
		return
	}
}
