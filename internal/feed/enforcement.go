package feed

import (
	"context"
	"time"

	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
)

// Enforcement says on how many validators a revocation is in force.
type Enforcement struct {
	// Validators are the nodes and followers with a lease, and those in Lapsed.
	// Confirmed is how many of them have confirmed.
	Validators, Confirmed int64
	// Waiting names those with a lease that have not confirmed; at most 20, never nil.
	Waiting []string
	// Lapsed are those whose leases ran out before they confirmed: at most 20 of the
	// followers of each node.
	Lapsed []store.Lapse
	// EffectiveEverywhere means that no validator accepts what was revoked, as was
	// found at the time At.
	EffectiveEverywhere bool
	At                  time.Time
	// EffectiveBy is the instant after which no validator can still accept what was
	// revoked, whatever fails.
	EffectiveBy time.Time
	// Unreadable means that the other nodes could not be read: they are counted as
	// they were last read, if ever, and EffectiveEverywhere is false.
	Unreadable bool
}

// ClosedBy returns what put the revocation in force everywhere: store.ByConfirmation
// or store.ByLease.
func (e Enforcement) ClosedBy() string {
	if len(e.Lapsed) > 0 {
		return store.ByLease
	}
	return store.ByConfirmation
}

// Enforcement reports how many validators enforce everything up to epoch, after
// waiting at most wait for all of them. committed is the time at which the commit
// returned; zero if it is not known. A call with a wait, and one long after the
// commit (zero), make the other nodes report at once. A call that neither waits nor
// comes later does not, because each report is a write.
//
// An error means that the nodes could not be read. The results so far are returned
// with it.
func (n *Node) Enforcement(ctx context.Context, epoch revocation.Epoch, committed time.Time, wait time.Duration) (Enforcement, error) {
	later := committed.IsZero()
	if later {
		committed = n.committedBy(epoch)
	}
	// A node's own commit is not enough for it to count: it still answers followers
	// from its view until the view has the epoch.
	behind := n.AppliedUpTo(ctx, epoch)
	moved, stop := n.watch()
	defer stop()
	own := func() summary {
		has, t := n.count(epoch)
		return summary{name: n.config.Name, lease: n.lease, has: has, counts: t}
	}
	ask := func(context.Context) error {
		n.peers.ask(epoch)
		return n.peers.reads.Join().Wait(ctx) // the loop also writes the row
	}
	read := func(ctx context.Context) error {
		if err := behind; err != nil {
			behind = nil // a retry may succeed, but this call has used its time
			return err
		}
		return n.peers.reads.Join().Wait(ctx)
	}
	e, err := n.peers.enforcement(ctx, epoch, committed, wait, own, moved, ask, read)
	if later && !e.EffectiveEverywhere && n.peers.ask(epoch) {
		// A caller that looks at a receipt looks again. Without a request the nodes
		// would report with their next heartbeat, up to a quarter of a lease later.
		n.peers.reads.Join()
	}
	return e, err
}

// committedBy returns an instant by which epoch was committed.
func (n *Node) committedBy(epoch revocation.Epoch) time.Time {
	if at, ok := n.history.by(epoch); ok {
		return at
	}
	return n.now()
}

// summary is the contribution of this process.
type summary struct {
	name   string
	lease  time.Duration // 0: it has no view and does not count
	has    bool          // this process enforces the epoch
	counts counts        // its followers
}

// rereadEvery is the interval of reading the nodes while a receipt waits, in case a
// wake-up was missed.
const rereadEvery = 250 * time.Millisecond

func (p *peers) enforcement(ctx context.Context, epoch revocation.Epoch, committed time.Time, wait time.Duration,
	own func() summary, moved <-chan struct{}, ask, read func(context.Context) error,
) (Enforcement, error) {
	began := p.now()
	// The nodes are read after the commit. A node that registers later reads the
	// commit before it trusts its view.
	err := p.within(ctx, read)
	nodes, changed := p.live(p.now())
	var by time.Time
	known, asked := false, false
	for {
		now := p.now()
		if !known {
			// No node grants more than the maximum lease of any node registered
			// now, and no node renews a lease without having read the change.
			by, known = committed.Add(maxLease(nodes, own())), err == nil
		}
		e := enforcement(epoch, nodes, own())
		e.addLapsed(p.lapsed(now, epoch, committed))
		e.EffectiveBy, e.At = by.UTC(), now.UTC()
		if err != nil {
			e.EffectiveEverywhere, e.Unreadable = false, true // there may be unknown nodes
		}
		if !e.EffectiveEverywhere && err == nil && now.After(by) {
			// Every earlier lease has run out.
			for _, name := range e.Waiting {
				e.Lapsed = append(e.Lapsed, store.Lapse{Name: name, At: by.UnixMicro()})
			}
			e.EffectiveEverywhere, e.Waiting = true, []string{}
		}
		left := wait - now.Sub(began)
		if e.EffectiveEverywhere || left <= 0 || ctx.Err() != nil {
			return e, err
		}
		if !asked && len(nodes) > 0 {
			asked = true
			err = p.within(ctx, ask)
			nodes, changed = p.live(p.now())
			continue
		}
		timer := time.NewTimer(max(time.Millisecond, min(left, rereadEvery, by.Sub(now)+time.Millisecond)))
		select {
		case <-changed:
		case <-moved:
			time.Sleep(crowdPause)
		case <-timer.C:
			err = p.within(ctx, read)
		case <-ctx.Done():
		}
		timer.Stop()
		nodes, changed = p.live(p.now())
	}
}

func (p *peers) within(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, questionTime)
	defer cancel()
	return do(ctx)
}

// longest returns the maximum lease of any node, with its margin.
func maxLease(nodes []peer, own summary) time.Duration {
	lease := own.lease
	for _, n := range nodes {
		lease = max(lease, time.Duration(n.LeaseMS)*time.Millisecond)
	}
	if lease == 0 {
		return 0
	}
	return lease + Margin(lease)
}

// enforcement adds up the states of the nodes for the epoch.
func enforcement(epoch revocation.Epoch, nodes []peer, own summary) Enforcement {
	e := Enforcement{Waiting: []string{}}
	lapsed := func(followers []store.LapsedFollower) {
		for _, f := range followers {
			if f.Confirmed < epoch && epoch <= f.View {
				e.addLapsed([]lapse{{store.Lapse{Name: f.Name, At: f.At}, f.Validators}})
			}
		}
	}
	add := func(followers, confirmed int64, waiting ...string) {
		e.Validators += followers
		e.Confirmed += confirmed
		e.Waiting = append(e.Waiting, waiting...)
	}
	if own.lease > 0 {
		if own.has {
			add(1, 1)
		} else {
			add(1, 0, own.name)
		}
		add(own.counts.followers, own.counts.confirmed, own.counts.waiting...)
		lapsed(own.counts.lapsed)
	}
	names := map[string]int{own.name: 1}
	for _, n := range nodes {
		names[n.Name]++
	}
	for _, n := range nodes {
		lapsed(n.Lapsed)
		name := n.label(names[n.Name] > 1)
		switch {
		case n.Confirmed >= epoch:
			add(1+n.Followers, 1+n.Followers)
		case n.ViewEpoch >= epoch:
			add(1+n.Followers, max(1, 1+n.Followers-int64(len(n.Waiting))), n.Waiting...)
		default:
			add(1+n.Followers, 0, name)
		}
		if n.Confirmed < epoch && n.ViewEpoch >= epoch && len(n.Waiting) == 0 {
			e.Waiting = append(e.Waiting, name) // its row does not name the followers that it waits for
			e.Confirmed = min(e.Confirmed, e.Validators-1)
		}
	}
	e.EffectiveEverywhere = len(e.Waiting) == 0
	if len(e.Waiting) > maxNamed {
		e.Waiting = e.Waiting[:maxNamed]
	}
	return e
}

func (e *Enforcement) addLapsed(lapsed []lapse) {
	for _, l := range lapsed {
		e.Lapsed = append(e.Lapsed, l.Lapse)
		e.Validators += l.validators
	}
}

// lapse is a validator whose lease ran out before it confirmed. validators is how
// many it stands for.
type lapse struct {
	store.Lapse
	validators int64
}

// Observe is [Node.Enforcement] for a process without a view: a command that
// has committed to the store itself.
func Observe(ctx context.Context, s store.Store, epoch revocation.Epoch, committed time.Time, wait time.Duration, now func() time.Time) (Enforcement, error) {
	observer := newObserver(s, now)
	defer observer.close()
	return observer.enforcement(ctx, epoch, committed, wait)
}
