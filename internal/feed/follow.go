package feed

import (
	"context"
	"errors"
	"fmt"
	"time"

	"example.com/curfew/internal/keyring"
	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
	"example.com/curfew/settings"
	"example.com/curfew/token"
	"example.com/curfew/token/jwks"
)

// follow keeps the view current: it reads after every wake-up, for every caller
// that asks, and once a second. It sends four heartbeats in a lease.
func (n *Node) follow(ctx context.Context) {
	wake := n.store.Watch(ctx)
	timer := time.NewTimer(pollEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case _, open := <-wake:
			if !open {
				wake = nil // the store was closed; it is still read, and returns the error
			}
		case <-n.reads.kick:
		case <-timer.C:
		}
		if ctx.Err() != nil {
			return
		}
		n.turn(ctx)
		timer.Reset(n.pause())
	}
}

// pause returns the time until the next work.
func (n *Node) pause() time.Duration {
	return max(time.Millisecond, min(pollEvery, n.beats.due(n.lease).Sub(n.now())))
}

// turn reads once, for all callers that have asked so far.
func (n *Node) turn(ctx context.Context) {
	p := n.reads.begin()
	var err error
	if now := n.now(); n.Trusted(now) && now.Before(n.beats.due(n.lease)) {
		err = n.read(ctx, token.Lease{})
	} else {
		err = n.beat(ctx)
	}
	n.fail(ctx, err)
	p.end(err)
	n.hub.tidy()
}

func (n *Node) fail(ctx context.Context, err error) {
	switch was := n.failed.Load(); {
	case ctx.Err() != nil:
	case err == nil:
		if was != nil {
			n.log.InfoContext(ctx, "database reachable again", "epoch", int64(n.Epoch()))
		}
		n.failed.Store(nil)
	default:
		if was == nil {
			n.log.WarnContext(ctx, "database unreachable; sessions are validated from memory until the lease ends, then answered with 503", "lease_left", n.left(n.now()), "error", err)
		}
		n.failed.Store(&failure{at: n.now(), err: err})
	}
}

// beat writes the node's row, then reads the changes. The lease runs from the start
// of the heartbeat. Either a process that reads the nodes after a commit finds this
// row, or this node's read comes after that commit.
//
// If only the disk refuses writes, the existing row is enough while it does not
// change: see store.ErrDisk. A revocation can then only come from a command beside
// this server, which is the only one. The command first sees the row after its
// commit, and waits for the end of every earlier lease. With several servers,
// another one could already have given up the row.
func (n *Node) beat(ctx context.Context) error {
	began := n.now()
	n.beats.tried(began)
	err := n.writeRow(ctx, false)
	if err != nil && (!errors.Is(err, store.ErrDisk) || n.written().Beat == 0) {
		return err
	}
	n.noteDisk(ctx, err)
	if err := n.read(ctx, token.Lease{Start: began, Length: n.lease}); err != nil {
		return err
	}
	n.beats.done(began)
	return nil
}

// noteDisk logs when the disk begins to refuse writes, and when it accepts them
// again.
func (n *Node) noteDisk(ctx context.Context, err error) {
	switch {
	case err != nil && !n.beats.stuck:
		n.log.ErrorContext(ctx, "database not writable; sign-ins and revocations fail, sessions are still validated; check the disk", "error", err)
	case err == nil && n.beats.stuck:
		n.log.InfoContext(ctx, "database writable again")
	}
	n.beats.stuck = err != nil
}

// read brings the view up to the store's clock and gives it the lease, if that is
// not zero.
func (n *Node) read(ctx context.Context, lease token.Lease) error {
	count, lag, err := n.readChanges(ctx, lease)
	if n.config.OnRead != nil {
		n.config.OnRead(count, lag, err)
	}
	return err
}

func (n *Node) readChanges(ctx context.Context, lease token.Lease) (count int, lag time.Duration, err error) {
	u := update{lease: lease}
	from := n.Epoch()
	if from == 0 {
		u.startLog()
	}
	for at := from; ; {
		c, err := n.changesAfter(ctx, at)
		if err != nil {
			return count, 0, err
		}
		if c.Clock < from {
			// Log it, and start from the beginning. Revocations with higher epochs
			// are kept, but nothing is answered from them before everything has
			// been read.
			n.log.ErrorContext(ctx, "the database was restored from a backup; reading everything again; run `curfew revoke everyone` unless `curfew restore` was used",
				"view", from.String(), "store", c.Clock.String())
			n.distrust()
			u = update{lease: lease, startOver: true}
			u.startLog()
			from, at = 0, 0
			n.history.clear()
			continue
		}
		if err := n.take(ctx, c, &u); err != nil {
			return count, 0, err
		}
		count += len(c.Revocations)
		if !c.More {
			u.epoch = c.Epoch
			break
		}
		at = c.Epoch
	}
	if n.installation.Load() == nil {
		return count, 0, nil // Open reports it
	}
	if u.startOver || u.epoch > n.Epoch() {
		if lag = n.now().Sub(u.epoch.Time()); count == 0 {
			lag = 0
		}
		n.history.add(u.epoch, n.now())
	}
	n.epoch.Store(int64(u.epoch))
	if lease != (token.Lease{}) {
		n.view.lease.Store(&lease)
	}
	n.hub.publish(u)
	return count, lag, nil
}

func (n *Node) changesAfter(ctx context.Context, after revocation.Epoch) (store.Changes, error) {
	ctx, cancel := context.WithTimeout(ctx, questionTime)
	defer cancel()
	return n.store.ChangesAfter(ctx, after, pageLimit)
}

// take applies one answer of the store to the state that validators read, and
// records it for the followers.
func (n *Node) take(ctx context.Context, c store.Changes, u *update) error {
	next := n.hub.shared // only this goroutine writes it
	if u.shared != nil {
		next = *u.shared
	}
	if c.Installation != nil || c.Settings != nil || c.Keys != nil || c.Clients != next.clients {
		if err := n.takeShared(ctx, c, &next); err != nil {
			return err
		}
		u.shared = &next
	}
	n.cache.Apply(c.Revocations...)
	// Also those above the clock: one of them may replace a row that was below the
	// clock when it was read.
	u.take(c.Revocations)
	return nil
}

func (n *Node) takeShared(ctx context.Context, c store.Changes, next *shared) error {
	next.clients = c.Clients
	if in := c.Installation; in != nil {
		if old := n.installation.Load(); old != nil && old.Issuer != in.Issuer {
			return fmt.Errorf("the database's issuer is now %q, but this node was started for %q; restart this node", in.Issuer, old.Issuer)
		}
		n.installation.Store(in)
		next.issuer, next.audience, next.installation = in.Issuer, in.Audience, in.Epoch
	}
	if c.Settings != nil {
		n.settings.Set(c.Settings.InForce)
		next.settings = n.settings.Current()
	}
	if c.Keys == nil {
		return nil
	}
	keys, err := keyring.Trusted(c.Keys)
	if err != nil {
		return fmt.Errorf("read the signing keys: %w", err)
	}
	set, err := token.NewKeySet(keys...)
	if err != nil {
		return fmt.Errorf("read the signing keys: %w", err)
	}
	if next.keys, err = jwks.Marshal(keys...); err != nil {
		return fmt.Errorf("read the signing keys: %w", err)
	}
	next.keysEpoch = 0
	for _, k := range c.Keys {
		next.keysEpoch = max(next.keysEpoch, k.Epoch)
	}
	n.keys.Set(set)
	if n.config.OnKeys != nil {
		if err := n.config.OnKeys(ctx, c.Keys); err != nil && !errors.Is(err, context.Canceled) {
			n.log.ErrorContext(ctx, "signing keys not loaded; this node may be unable to sign", "error", err)
		}
	}
	return nil
}

var _ settings.Source = (*settings.Value)(nil)
