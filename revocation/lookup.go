package revocation

import (
	"context"
	"fmt"
)

// A flight is one call to the source, shared by every caller that needs the same
// answer.
type flight struct {
	done    chan struct{}
	cancel  context.CancelFunc
	minAsOf Epoch // the highest epoch applied when it began: the answer must include it

	answer     Answer // set before done is closed, like err and generation
	err        error
	generation uint64 // of the cache when the answer came
	detached   bool   // one of its keys changed during the call; guarded by Cache.mu
}

type flightKey struct{ user, session string }

// lookupTries is the maximum number of calls for one Ask when changes to the same
// user or session overtake the answers.
const lookupTries = 5

// Ask asks the source, stores the answer, and returns the epoch that Known would
// return with it. Call it when [Cache.Known] reports that it is not complete.
// Concurrent calls for the same session share one request. Call it only for tokens
// with a verified signature, so that an attacker cannot fill the cache.
//
// The answer holds for the returned generation (see [Cache.Generation]). If the
// generation has changed since and the cache is still partial, a revocation may
// have come and been evicted.
//
// The error wraps [ErrUnavailable], or is that of ctx.
func (c *Cache) Ask(ctx context.Context, user, session string, rememberMe bool) (before Epoch, generation uint64, err error) {
	key := flightKey{user, session}
	for range lookupTries {
		f, err := c.join(key)
		if err != nil {
			return 0, 0, err
		}
		select {
		case <-ctx.Done():
			return 0, 0, ctx.Err()
		case <-f.done:
		}
		c.mu.Lock()
		detached := f.detached
		c.mu.Unlock()
		if detached {
			continue
		}
		if f.err != nil {
			return 0, 0, f.err
		}
		before, _ = c.Known(user, session, rememberMe)
		return max(before, f.answer.User, f.answer.Session), f.generation, nil
	}
	return 0, 0, fmt.Errorf("%w: it changed %d times during the lookup", ErrUnavailable, lookupTries)
}

// join returns the pending flight for key, or starts one.
func (c *Cache) join(key flightKey) (*flight, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.flights[key]; f != nil {
		return f, nil
	}
	if c.config.Source == nil {
		return nil, fmt.Errorf("%w: the cache is partial and has no source", ErrUnavailable)
	}
	if c.closed {
		return nil, fmt.Errorf("%w: the cache is closed", ErrUnavailable)
	}
	ctx, cancel := context.WithTimeout(c.ctx, c.config.lookupTimeout())
	f := &flight{done: make(chan struct{}), cancel: cancel, minAsOf: c.high}
	c.flights[key] = f
	c.running.Go(func() { c.fly(ctx, key, f) }) // ends with the look-up, or with Close
	return f, nil
}

func (c *Cache) fly(ctx context.Context, key flightKey, f *flight) {
	defer f.cancel()
	c.lookups.Add(1)
	answer, err := c.config.Source.RevokedBefore(ctx, key.user, key.session)

	c.mu.Lock()
	defer c.mu.Unlock()
	defer close(f.done)
	if f.detached {
		return
	}
	delete(c.flights, key)
	switch {
	case err != nil:
		f.err = fmt.Errorf("%w: %w", ErrUnavailable, err)
	case answer.AsOf < f.minAsOf:
		f.err = errBehind(answer.AsOf, f.minAsOf)
	default:
		f.answer, f.generation = answer, c.generation.Load()
		c.rememberLocked(key, answer)
	}
}

// rememberLocked stores an answer, zero or not, so that the next call needs no
// look-up. The answer includes every change to the two keys that was ever applied
// here, and so every evicted one. Changes from before the look-up are included
// because the answer is not older. Changes since then would have detached the
// flight.
func (c *Cache) rememberLocked(key flightKey, a Answer) {
	if c.table.Load() != nil {
		return
	}
	user, _ := peek(c.users, key.user)
	c.addLocked(c.users, key.user, max(user, a.User))
	session, _ := peek(c.sessions, key.session)
	c.addLocked(c.sessions, key.session, max(session, a.Session))
}

// detachLocked invalidates and cancels every pending look-up for the changed
// scopes. Its callers ask again.
func (c *Cache) detachLocked(changes []Revocation) {
	if len(c.flights) == 0 {
		return
	}
	changed := make(map[Scope]bool, len(changes))
	for _, r := range changes {
		changed[r.Scope] = true
	}
	for key, f := range c.flights {
		if changed[User(key.user)] || changed[Session(key.session)] {
			f.detached = true
			f.cancel()
			delete(c.flights, key)
		}
	}
}
