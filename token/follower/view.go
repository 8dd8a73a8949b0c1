package follower

import (
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
	// ClientsEpoch is the epoch of the last change of a service client; 0 if it did
	// not change. What was found out about clients before is outdated.
	ClientsEpoch revocation.Epoch
	// Revocations are in no order. Some may be above Epoch, and some may have come
	// before.
	Revocations []revocation.Revocation
}

// state is what the follower knows. Validators read settings, keys and the cache
// without a lock; epoch and lease are published atomically (see Follower).
type state struct {
	mu      sync.Mutex
	view    revocation.Epoch // everything up to here is applied
	start   revocation.Epoch // where questions begin: at view, or at what the snapshot file has
	history int              // counts the times that it started over
	fresh   bool             // it started over, and is not complete again yet
	lease   token.Lease      // the one that ends last
	length  time.Duration    // of the latest lease that was granted

	issuer   string
	audience []string
	rawKeys  json.RawMessage
	clients  revocation.Epoch // of the last change of a client; 0 if not known
	inForce  *settings.InForce
	pending  Update // what changed since Downstream was last told

	// What is kept to hand on, to a file or downstream, and else not at all.
	loaded   []revocation.Revocation // from the snapshot file, until the first answer
	log      *changelog.Log          // nil without a SnapshotFile
	everyone revocation.Epoch
}

// at is where the next round begins.
func (f *Follower) at() (start, view revocation.Epoch, history int) {
	f.state.mu.Lock()
	defer f.state.mu.Unlock()
	return f.state.start, f.state.view, f.state.history
}

// keeps reports whether revocations are handed on, to a file or downstream.
func (f *Follower) keeps() bool { return f.config.SnapshotFile != "" || f.config.Downstream != nil }

// apply merges an answer to a question that was sent at the instant given. round
// is what the whole round has brought, if anybody keeps it.
func (f *Follower) apply(a *answer, round []revocation.Revocation, sent time.Time, history int) error {
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
	if a.more {
		return nil // a row that has moved on may be on a later page
	}
	lease := token.Lease{Start: sent, Length: a.held + a.lease}
	if now := f.now(); lease.Left(now) > s.lease.Left(now) {
		s.lease = lease
	}
	s.length = a.lease
	s.view = max(s.view, a.epoch)
	s.start = s.view
	f.publishLocked(round)
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
	if a.clients != 0 {
		s.clients, s.pending.ClientsEpoch = a.clients, a.clients
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

// publishLocked makes view and lease those that validators go by, after handing
// on what is new. All of it: even what lies above the view may be what has become
// of a row that lay below.
func (f *Follower) publishLocked(round []revocation.Revocation) {
	s := &f.state
	if len(s.loaded) > 0 {
		round = append(s.loaded, round...)
		s.loaded = nil
	}
	if s.log != nil {
		first := s.log.Len() == 0
		s.log.Append(round...)
		if first {
			s.log.Settled() // there is one entry a scope
		}
		for _, r := range round {
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
		u.StartOver, u.Epoch, u.Lease, u.Revocations = s.fresh, s.view, s.lease, round
		d.Update(u)
	}
	s.fresh = false
	f.epoch.Store(int64(s.view))
	lease := s.lease
	f.lease.Store(&lease)
}

// startOver forgets where it was, and trusts nothing before everything has come
// again. Whatever is known of higher epochs stays in the cache.
func (f *Follower) startOver(history int, server string) {
	s := &f.state
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.history != history {
		return // somebody was faster
	}
	s.history++
	s.start, s.view, s.loaded = 0, 0, nil
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
