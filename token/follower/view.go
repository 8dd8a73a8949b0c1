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

// Downstream is for programs that serve the feed to other followers, as `curfew
// edge` does.
type Downstream interface {
	// Update receives each change, after all of it is enforced here and before the
	// view includes it. Calls do not overlap. Update must not call the Follower.
	Update(Update)
	// Confirmed returns the epoch that may be acknowledged to the server while the
	// follower's own view is at view: at most view, and at most what every live
	// follower downstream has acknowledged. behind is the number of these
	// followers. It is called for each request and must not call the Follower.
	Confirmed(view revocation.Epoch) (confirmed revocation.Epoch, behind int64)
}

// Update is the change between two epochs of a view.
type Update struct {
	// StartOver reports that the server's store began another history. The update
	// then contains the complete state and not only the changes.
	StartOver bool
	Epoch     revocation.Epoch
	Lease     token.Lease       // the lease of the view from now on
	Issuer    string            // "" if it did not change
	Audience  []string          // nil if it did not change
	Settings  *settings.InForce // nil if they did not change
	Keys      json.RawMessage   // a JWK Set; nil if it did not change
	// ClientsEpoch is the epoch of the last change of a service client; 0 if no
	// client changed. Cached answers about clients from before are out of date.
	ClientsEpoch revocation.Epoch
	// Revocations have no order. Some may be above Epoch, and some may be repeated.
	Revocations []revocation.Revocation
}

// state is the follower's copy of the shared state. Validators read settings, keys
// and the cache without a lock; epoch and lease are published atomically (see
// Follower).
type state struct {
	mu      sync.Mutex
	view    revocation.Epoch // every change up to here is applied
	start   revocation.Epoch // where polls begin: at view, or at the epoch of the snapshot file
	history int              // number of restarts after a restored backup
	fresh   bool             // it started over and is not complete yet
	lease   token.Lease      // the lease that ends last
	length  time.Duration    // length of the latest granted lease

	issuer   string
	audience []string
	rawKeys  json.RawMessage
	clients  revocation.Epoch // epoch of the last change of a client; 0 if not known
	inForce  *settings.InForce
	pending  Update // changes since the last call of Downstream

	// Kept only to pass on: to a file or downstream.
	loaded   []revocation.Revocation // from the snapshot file, until the first answer
	log      *changelog.Log          // nil without a SnapshotFile
	everyone revocation.Epoch
}

// at returns where the next round begins.
func (f *Follower) at() (start, view revocation.Epoch, history int) {
	f.state.mu.Lock()
	defer f.state.mu.Unlock()
	return f.state.start, f.state.view, f.state.history
}

// keeps reports whether revocations are passed on to a file or downstream.
func (f *Follower) keeps() bool { return f.config.SnapshotFile != "" || f.config.Downstream != nil }

// apply merges the answer to a request that was sent at sent. round contains the
// revocations of the whole round, if they are passed on.
func (f *Follower) apply(a *answer, round []revocation.Revocation, sent time.Time, history int) error {
	s := &f.state
	s.mu.Lock()
	defer s.mu.Unlock()
	// Revocations never become stale, so they are applied in every case.
	f.cache.Apply(a.revocations...)
	if f.closed.Load() {
		return ErrClosed
	}
	if history != s.history {
		return errStartOver // the answer belongs to another history than the request
	}
	if err := f.applySharedLocked(a); err != nil {
		return err
	}
	if a.more {
		return nil // a row that has moved may be on a later page
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

// applySharedLocked applies issuer, settings and keys, unless a newer answer was
// applied before.
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
		return fmt.Errorf("%w: to %q from %q; if this is intended, restart the program", ErrIssuer, a.issuer, *was)
	}
	if want := f.config.Audience; want != "" && !slices.Contains(a.audience, want) {
		return fmt.Errorf("%w: it issues for %q, but Config.Audience is %q", ErrAudience, a.audience, want)
	}
	return nil
}

// publishLocked passes on the changes and then publishes view and lease to
// validators. It passes on every revocation: one above the view may replace a row
// that was below it.
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
			s.log.Settled() // there is one entry for each scope
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

// startOver resets the position. Nothing is trusted before the complete state has
// arrived again. Revocations with higher epochs stay in the cache.
func (f *Follower) startOver(history int, server string) {
	s := &f.state
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.history != history {
		return // another call has done it
	}
	s.history++
	s.start, s.view, s.loaded = 0, 0, nil
	s.fresh = true
	if s.log != nil {
		s.log = &changelog.Log{}
	}
	f.distrustLocked()
	f.log.Error("the server's database was restored from a backup; no session is accepted until everything has been read again", "server", server)
	f.event(Event{Kind: StartedOver, Server: server})
}

func (f *Follower) distrustLocked() {
	f.state.lease = token.Lease{}
	f.lease.Store(&token.Lease{})
}
