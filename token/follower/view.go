package follower

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"example.com/curfew/internal/changelog"
	"example.com/curfew/revocation"
	"example.com/curfew/settings"
	"example.com/curfew/token"
)

// Downstream is for programs that serve the feed onwards, as `curfew edge` does.
type Downstream interface {
	// Update is told what changed, when all of it is enforced here and before the
	// view says that it has it. One call at a time; it must not call the Follower.
	Update(Update)
	// Confirmed returns what may be confirmed to the server while this follower's
	// own view stands at view: no more than that, nor than what any live follower
	// downstream has confirmed. behind is the number of these. It is called when a
	// question is sent, and must not call the Follower.
	Confirmed(view revocation.Epoch) (confirmed revocation.Epoch, behind int64)
}

// Update is what changed between two epochs of a view.
type Update struct {
	// StartOver: the server's store began another history. What follows is all
	// there is, rather than what is new.
	StartOver bool
	Epoch     revocation.Epoch
	Lease     token.Lease       // of the view, from now on
	Issuer    string            // "" if it did not change
	Audience  []string          // nil if it did not change
	Settings  *settings.InForce // nil if they did not change
	Keys      json.RawMessage   // a JWK Set; nil if it did not change
	// Revocations are ascending by epoch.
	Revocations []revocation.Revocation
}

// state is what the follower knows. Validators read settings, keys and the cache
// without a lock; epoch and lease are published atomically (see Follower).
type state struct {
	mu       sync.Mutex
	position revocation.Epoch // everything up to here has come, some of it perhaps on a page with more
	view     revocation.Epoch // everything up to here is applied
	history  int              // counts the times that it started over
	fresh    bool             // it started over, and is not complete again yet
	lease    token.Lease      // the one that ends last
	length   time.Duration    // of the latest lease that was granted

	issuer   string
	audience []string
	rawKeys  json.RawMessage
	inForce  *settings.InForce
	pending  Update // what changed since Downstream was last told

	// What is kept to hand on, to a file or downstream, and else not at all.
	staged   []revocation.Revocation // above view
	log      *changelog.Log          // up to view; nil without a SnapshotFile
	everyone revocation.Epoch
}

// at is where the next question starts.
func (f *Follower) at() (position, view revocation.Epoch, history int) {
	f.state.mu.Lock()
	defer f.state.mu.Unlock()
	return f.state.position, f.state.view, f.state.history
}

// apply merges an answer to a question that was sent at the instant given.
func (f *Follower) apply(a *answer, sent time.Time, history int) error {
	s := &f.state
	s.mu.Lock()
	defer s.mu.Unlock()
	// Revocations are the one thing that never goes stale.
	f.cache.Apply(a.revocations...)
	if f.closed.Load() {
		return ErrClosed
	}
	if history != s.history {
		return errStartOver // asked before, answered after: it is about another history
	}
	if err := f.applySharedLocked(a); err != nil {
		return err
	}
	f.stageLocked(a)
	s.position = max(s.position, a.epoch)
	if a.more {
		return nil // a row that has moved on may be on a later page
	}
	lease := token.Lease{Start: sent, Length: a.held + a.lease}
	if now := f.now(); lease.Left(now) > s.lease.Left(now) {
		s.lease = lease
	}
	s.length = a.lease
	s.view = max(s.view, a.epoch)
	f.publishLocked()
	return nil
}

// applySharedLocked takes over issuer, settings and keys, unless an answer that
// knows more has come before.
func (f *Follower) applySharedLocked(a *answer) error {
	s := &f.state
	if a.epoch < s.view {
		return nil
	}
	if a.issuer != "" {
		if err := f.checkInstallation(a); err != nil {
			f.distrustLocked()
			return err
		}
		s.issuer, s.audience = a.issuer, a.audience
		s.pending.Issuer, s.pending.Audience = a.issuer, a.audience
	}
	if a.settings != nil {
		f.settings.Set(*a.settings)
		s.inForce = f.settings.Current()
		s.pending.Settings = s.inForce
	}
	if a.keys != nil {
		f.keys.Set(a.keys)
		s.rawKeys = a.rawKeys
		s.pending.Keys = a.rawKeys
	}
	return nil
}

func (f *Follower) checkInstallation(a *answer) error {
	if was := f.issuer.Load(); was != nil && *was != a.issuer {
		return fmt.Errorf("%w: %q, and it was %q: start the program again if that is right", ErrIssuer, a.issuer, *was)
	}
	if want := f.config.Audience; want != "" && !slices.Contains(a.audience, want) {
		return fmt.Errorf("%w: it issues for %q, and Config.Audience is %q", ErrAudience, a.audience, want)
	}
	return nil
}

// stageLocked keeps revocations for whoever they are handed on to.
func (f *Follower) stageLocked(a *answer) {
	s := &f.state
	if s.log == nil && f.config.Downstream == nil {
		return
	}
	for _, r := range a.revocations {
		if r.Epoch > s.view {
			s.staged = append(s.staged, r)
		}
	}
}

// publishLocked makes view and lease those that validators go by, after handing
// on what is new.
func (f *Follower) publishLocked() {
	s := &f.state
	ready := s.takeStaged()
	if s.log != nil {
		s.log.Append(ready...)
		for _, r := range ready {
			if r.Scope.Kind == revocation.KindEveryone {
				s.everyone = max(s.everyone, r.Epoch)
			}
		}
		if s.log.Due() {
			s.log = s.log.Compacted(s.everyone)
		}
	}
	if d := f.config.Downstream; d != nil {
		u := s.pending
		s.pending = Update{}
		u.StartOver, u.Epoch, u.Lease, u.Revocations = s.fresh, s.view, s.lease, ready
		d.Update(u)
	}
	s.fresh = false
	f.epoch.Store(int64(s.view))
	lease := s.lease
	f.lease.Store(&lease)
}

// takeStaged returns what the view includes by now, ascending and without
// doubles, and keeps the rest.
func (s *state) takeStaged() []revocation.Revocation {
	if len(s.staged) == 0 {
		return nil
	}
	slices.SortStableFunc(s.staged, func(a, b revocation.Revocation) int {
		return cmp.Or(cmp.Compare(a.Epoch, b.Epoch), cmp.Compare(a.Scope.Kind, b.Scope.Kind), cmp.Compare(a.Scope.ID, b.Scope.ID))
	})
	s.staged = slices.Compact(s.staged)
	n, _ := slices.BinarySearchFunc(s.staged, s.view+1, func(r revocation.Revocation, e revocation.Epoch) int { return cmp.Compare(r.Epoch, e) })
	ready := s.staged[:n:n]
	s.staged = slices.Clone(s.staged[n:])
	return ready
}

// startOver forgets the position, and trusts nothing before everything has come
// again. Whatever is known of higher epochs stays in the cache.
func (f *Follower) startOver(history int, server string) {
	s := &f.state
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.history != history {
		return // somebody was faster
	}
	s.history++
	s.position, s.view, s.staged = 0, 0, nil
	s.fresh = true
	if s.log != nil {
		s.log = &changelog.Log{}
	}
	f.distrustLocked()
	f.log.Error("the server's store was restored from a backup: starting over; nothing is accepted until everything has come again", "server", server)
	f.event(Event{Kind: StartedOver, Server: server})
}

func (f *Follower) distrustLocked() {
	f.state.lease = token.Lease{}
	f.lease.Store(&token.Lease{})
}
