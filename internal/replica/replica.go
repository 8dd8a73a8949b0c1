// Package replica keeps a process's copy of the shared state: settings, keys and
// revocations, up to an epoch, trusted for a lease. Servers, edges and followers use
// it; they differ in the source that they read changes from, which is a store or
// another server.
package replica

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"example.com/curfew/revocation"
	"example.com/curfew/settings"
	"example.com/curfew/token"
)

var (
	// ErrStartOver is returned by a source whose clock is below the requested
	// position: its database was restored from a backup.
	ErrStartOver = errors.New("the database was restored from a backup")
	// ErrClosed means that the replica is closed.
	ErrClosed = errors.New("this view is closed")
)

// Config configures a [Replica].
type Config struct {
	// CacheSize is the capacity of the cache of revocations. Zero means
	// revocation.DefaultCapacity.
	CacheSize int
	// Source answers for revocations that the cache has evicted.
	Source revocation.Source
	// KeepLog keeps a log of the revocations, to pass on.
	KeepLog bool
	// OnPublish, if not nil, is called with every new state, after all of it is
	// enforced here and before the view includes it. Calls do not overlap. It must
	// not call the Replica.
	OnPublish func(State)
	Now       func() time.Time // nil means time.Now
}

// Replica is the write side of a [View]. It is safe for concurrent use.
type Replica struct {
	View
	config Config

	mu sync.Mutex
	// next is the state to publish next. Epoch, Lease and Log are as published, or
	// zero since the replica started over.
	next State
	// position is where an update begins: at next.Epoch, or at the epoch of a
	// loaded file.
	position revocation.Epoch
	closed   bool
	running  sync.WaitGroup
}

// New returns a replica that has no state and trusts nothing.
func New(config Config) *Replica {
	r := &Replica{config: config}
	if r.now = config.Now; r.now == nil {
		r.now = time.Now
	}
	r.cache = revocation.NewCache(revocation.CacheConfig{Capacity: config.CacheSize, Source: config.Source, LookupTimeout: catchUpTime})
	r.rounds = NewCoalescer()
	r.state.Store(&State{})
	return r
}

// Close ends the lease and every pending CatchUp. Later updates return ErrClosed.
// When it returns, everything that the replica started has ended.
func (r *Replica) Close() {
	r.mu.Lock()
	r.closed = true
	r.distrustLocked()
	r.mu.Unlock()
	r.rounds.Close(ErrClosed)
	r.running.Wait()
	r.cache.Close()
}

// Distrust ends the lease.
func (r *Replica) Distrust() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.distrustLocked()
}

func (r *Replica) distrustLocked() {
	r.next.Lease.Length = 0
	published := r.State()
	published.Lease.Length = 0
	r.state.Store(&published)
}

// Current returns the state that a file may keep: its Epoch is 0 while the replica
// starts over.
func (r *Replica) Current() State {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.next
}

// Wanted returns a channel that has a value when a caller of CatchUp waits. The
// goroutine that receives from it then calls Serve.
func (r *Replica) Wanted() <-chan struct{} { return r.rounds.Wanted() }

// Serve runs round for all callers of CatchUp that have begun to wait, and returns
// its error.
func (r *Replica) Serve(round func() error) error {
	p := r.rounds.Begin()
	err := round()
	if err == nil {
		r.failed.Store(nil)
	} else {
		r.failed.Store(&failure{r.now(), err})
	}
	p.End(err)
	return err
}

// Changes is one page of changes after a position.
type Changes struct {
	// Epoch is the source's clock as read before the rows. If More is set, it is the
	// epoch of the last revocation in this page.
	Epoch revocation.Epoch
	More  bool
	// Lease is the lease that comes with the last page. The zero Lease, and a lease
	// that ends before the running one, changes nothing.
	Lease token.Lease

	Installation *Installation     // nil if not newer
	Settings     *settings.InForce // nil if not newer
	Keys         *Keys             // nil if not newer
	Clients      revocation.Epoch  // 0 if not newer or not known
	// Revocations have no order. Some may be above Epoch, because one of them may
	// replace a row that was below Epoch when it was read. Some may be repeated.
	Revocations []revocation.Revocation
}

// Load applies a complete state from a file, without publishing it: nothing is
// trusted before a source has answered. After an error everything is read again.
func (r *Replica) Load(c Changes) error {
	r.cache.Apply(c.Revocations...)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.applySharedLocked(&c); err != nil {
		return err
	}
	r.position = c.Epoch
	if r.config.KeepLog {
		r.next.Log = &Log{}
		r.next.Log.Append(c.Revocations...)
		r.next.Log.settle()
	}
	return nil
}

// update is one walk through the pages.
type update struct {
	history     int
	log         *Log                    // everything, if the walk begins at 0
	revocations []revocation.Revocation // otherwise the changes
}

// Update reads pages until the last one, applies them, and publishes the new state.
// read returns the page after a position; view is the epoch up to which everything
// is enforced here, which may be acknowledged. Updates may overlap: an older answer
// changes nothing that a newer one has set.
//
// If read returns an error that wraps [ErrStartOver], Update resets the position.
// The caller then calls Update again, which reads everything. Until it has
// succeeded nothing is trusted. Revocations with higher epochs stay in force.
// startedOver is true in one of several overlapping updates.
func (r *Replica) Update(ctx context.Context, read func(ctx context.Context, after, view revocation.Epoch) (Changes, error)) (startedOver bool, err error) {
	r.mu.Lock()
	u := update{history: r.next.History}
	after, view := r.position, r.next.Epoch
	r.mu.Unlock()
	if after == 0 && r.config.KeepLog {
		u.log = &Log{}
	}
	for {
		c, err := read(ctx, after, view)
		if err == nil {
			err = r.apply(&u, &c)
		}
		if errors.Is(err, ErrStartOver) {
			return r.startOver(u.history), err
		}
		if err != nil || !c.More {
			return false, err
		}
		after = c.Epoch
	}
}

func (r *Replica) apply(u *update, c *Changes) error {
	// A revocation never becomes outdated, so it is applied in every case.
	r.cache.Apply(c.Revocations...)
	switch {
	case u.log != nil:
		u.log.Append(c.Revocations...)
	case r.config.KeepLog:
		u.revocations = append(u.revocations, c.Revocations...)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		return ErrClosed
	case u.history != r.next.History:
		return ErrStartOver // the answer belongs to an earlier history
	}
	if err := r.applySharedLocked(c); err != nil {
		return err
	}
	if !c.More { // otherwise a row that has moved may be on a later page
		r.publishLocked(u, c)
	}
	return nil
}

// applySharedLocked applies everything but the revocations, unless a newer answer
// was published before.
func (r *Replica) applySharedLocked(c *Changes) error {
	if c.Epoch < r.next.Epoch {
		return nil
	}
	if c.Installation != nil {
		issuers, err := token.NewIssuerSet(c.Installation.Issuer, c.Installation.Former)
		if err != nil {
			return err
		}
		r.next.Installation = *c.Installation
		r.issuers.Set(issuers)
	}
	if c.Settings != nil {
		r.settings.Set(*c.Settings)
		r.next.Settings = r.settings.Current()
	}
	if c.Keys != nil {
		r.keys.Set(c.Keys.Set)
		r.next.Keys = *c.Keys
	}
	if c.Clients != 0 {
		r.next.Clients = c.Clients
	}
	return nil
}

func (r *Replica) publishLocked(u *update, c *Changes) {
	s := &r.next
	if now := r.now(); c.Lease.Left(now) > s.Lease.Left(now) {
		s.Lease = c.Lease
	}
	s.Epoch = max(s.Epoch, c.Epoch)
	r.position = s.Epoch
	if s.Log == nil && u.log != nil {
		u.log.settle() // the source has one entry for each scope
		s.Log = u.log
	} else if s.Log != nil {
		s.Log.Append(u.all()...)
	}
	published := *s
	if r.config.OnPublish != nil {
		r.config.OnPublish(published)
	}
	r.state.Store(&published)
	if s.Log != nil {
		s.Log.tidy(&r.running)
	}
}

// all returns the revocations of the walk.
func (u *update) all() []revocation.Revocation {
	if u.log == nil {
		return u.revocations
	}
	var all []revocation.Revocation
	for p := range u.log.Pages() {
		all = slices.AppendSeq(all, p.All())
	}
	return all
}

// startOver resets the position, and reports whether no other call has done it.
func (r *Replica) startOver(history int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next.History != history {
		return false
	}
	r.next.History++
	r.next.Epoch, r.next.Clients, r.next.Log = 0, 0, nil
	r.position = 0
	r.distrustLocked()
	return true
}
