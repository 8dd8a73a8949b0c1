package feed

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"example.com/curfew/internal/keyring"
	"example.com/curfew/internal/replica"
	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
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
		case <-n.replica.Wanted():
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
	return max(time.Millisecond, min(pollEvery, n.heartbeat.due(n.lease).Sub(n.now())))
}

// turn reads once, for all callers that have asked so far.
func (n *Node) turn(ctx context.Context) {
	before := n.Failure()
	err := n.replica.Serve(func() error {
		var err error
		if now := n.now(); n.Trusted(now) && now.Before(n.heartbeat.due(n.lease)) {
			err = n.read(ctx, token.Lease{})
		} else {
			err = n.sendHeartbeat(ctx)
		}
		if errors.Is(err, replica.ErrStartOver) {
			err = n.sendHeartbeat(ctx) // the restored database may not have this node's row
		}
		return err
	})
	n.logOutage(ctx, before, err)
	n.tidyFollowers()
}

// logOutage logs when the store stops answering, and when it answers again.
func (n *Node) logOutage(ctx context.Context, before, err error) {
	switch {
	case ctx.Err() != nil || (before == nil) == (err == nil):
	case err == nil:
		n.log.InfoContext(ctx, "database reachable again", "epoch", int64(n.Epoch()))
	default:
		n.log.WarnContext(ctx, "database unreachable; sessions are validated from memory until the lease ends, then answered with 503", "lease_left", n.LeaseLeft(n.now()), "error", err)
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
func (n *Node) sendHeartbeat(ctx context.Context) error {
	began := n.now()
	n.heartbeat.tried(began)
	err := n.writeRow(ctx, false)
	if err != nil && (!errors.Is(err, store.ErrDisk) || n.written().Beat == 0) {
		return err
	}
	n.noteDisk(ctx, err)
	if err := n.read(ctx, token.Lease{Start: began, Length: n.lease}); err != nil {
		return err
	}
	n.heartbeat.done(began)
	return nil
}

// noteDisk logs when the disk begins to refuse writes, and when it accepts them
// again.
func (n *Node) noteDisk(ctx context.Context, err error) {
	switch {
	case err != nil && !n.heartbeat.stuck:
		n.log.ErrorContext(ctx, "database not writable; sign-ins and revocations fail, sessions are still validated; check the disk", "error", err)
	case err == nil && n.heartbeat.stuck:
		n.log.InfoContext(ctx, "database writable again")
	}
	n.heartbeat.stuck = err != nil
}

// read brings the view up to the store's clock and gives it the lease, if that is
// not zero.
func (n *Node) read(ctx context.Context, lease token.Lease) error {
	before := n.Epoch()
	r := storeReader{node: n, lease: lease}
	_, err := n.replica.Update(ctx, r.changes)
	if errors.Is(err, replica.ErrStartOver) {
		n.history.clear()
		return err
	}
	var lag time.Duration
	if epoch, now := n.Epoch(), n.now(); err == nil && epoch != before {
		n.history.add(epoch, now)
		if r.revocations > 0 {
			lag = now.Sub(epoch.Time())
		}
	}
	if n.config.OnRead != nil {
		n.config.OnRead(r.revocations, lag, err)
	}
	return err
}

// storeReader reads the changes of the store for one update of the replica.
type storeReader struct {
	node        *Node
	lease       token.Lease
	revocations int // read so far
}

// changes returns the page after a position. The error wraps replica.ErrStartOver if
// the store's clock is below the view.
func (r *storeReader) changes(ctx context.Context, after, view revocation.Epoch) (replica.Changes, error) {
	n := r.node
	asking, cancel := context.WithTimeout(ctx, questionTime)
	c, err := n.store.ChangesAfter(asking, after, pageLimit)
	cancel()
	if err != nil {
		return replica.Changes{}, err
	}
	if c.Clock < view {
		n.log.ErrorContext(ctx, "the database was restored from a backup; reading everything again; run `curfew revoke everyone` unless `curfew restore` was used",
			"view", view.String(), "store", c.Clock.String())
		return replica.Changes{}, replica.ErrStartOver
	}
	r.revocations += len(c.Revocations)
	page := replica.Changes{Epoch: c.Epoch, More: c.More, Lease: r.lease, Clients: c.Clients, Revocations: c.Revocations}
	if in := c.Installation; in != nil {
		page.Installation = installationOf(in)
		if was := n.State().Installation.Issuer; !page.Installation.Continues(was) {
			n.Cache().Apply(c.Revocations...) // what the change has revoked is over here too
			return replica.Changes{}, fmt.Errorf("the database's issuer is now %q, but this node was started for %q; restart this node", in.Issuer, was)
		}
	}
	if c.Settings != nil {
		page.Settings = &c.Settings.InForce
	}
	if c.Keys != nil {
		if page.Keys, err = r.keys(ctx, c.Keys); err != nil {
			return replica.Changes{}, fmt.Errorf("read the signing keys: %w", err)
		}
	}
	return page, nil
}

func (r *storeReader) keys(ctx context.Context, rows []store.Key) (*replica.Keys, error) {
	trusted, err := keyring.Trusted(rows)
	if err != nil {
		return nil, err
	}
	keys := &replica.Keys{}
	if keys.Set, err = token.NewKeySet(trusted...); err != nil {
		return nil, err
	}
	if keys.JSON, err = jwks.Marshal(trusted...); err != nil {
		return nil, err
	}
	for i := range rows {
		keys.Epoch = max(keys.Epoch, rows[i].Epoch)
	}
	if n := r.node; n.config.OnKeys != nil {
		if err := n.config.OnKeys(ctx, rows); err != nil && !errors.Is(err, context.Canceled) {
			n.log.ErrorContext(ctx, "signing keys not loaded; this node may be unable to sign", "error", err)
		}
	}
	return keys, nil
}

// RevokedBefore implements [revocation.Source] for entries that the node's own cache
// has evicted.
func (r *storeReader) RevokedBefore(ctx context.Context, user, session string) (revocation.Answer, error) {
	b, err := r.node.store.RevokedBefore(ctx, user, session)
	if err != nil {
		return revocation.Answer{}, err
	}
	return answerOf(b), nil
}

// answerOf applies the revocation of everyone to the user and the session: rows
// that it outdates may have been pruned, and the reader may not have received it
// yet.
func answerOf(r store.RevokedBefore) revocation.Answer {
	return revocation.Answer{User: max(r.User, r.Everyone), Session: max(r.Session, r.Everyone), AsOf: r.Clock}
}

// installationOf returns the row in the form of the replica. Issuers that are over
// stay in it: validators compare them with their own clocks.
func installationOf(in *store.Installation) *replica.Installation {
	i := &replica.Installation{Issuer: in.Issuer, Audience: in.Audience, Epoch: in.Epoch}
	for _, f := range in.Former {
		if i.Former == nil {
			i.Former = map[string]token.UnixTime{}
		}
		i.Former[f.Issuer] = token.UnixTime(f.Until)
	}
	return i
}

// rowOf is the reverse of installationOf.
func rowOf(i replica.Installation) store.Installation {
	in := store.Installation{Issuer: i.Issuer, Audience: i.Audience, Epoch: i.Epoch}
	for _, name := range slices.Sorted(maps.Keys(i.Former)) {
		in.Former = append(in.Former, store.FormerIssuer{Issuer: name, Until: int64(i.Former[name])})
	}
	return in
}
