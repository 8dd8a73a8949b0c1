// Package feed keeps a node's view of the shared state current, and serves it to
// followers: the change feed of the contract, section 6.
//
// A [Node] reads the store; an [Edge] follows a server. Both answer followers from
// a hub, and both know which follower has confirmed which epoch.
package feed

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"example.com/curfew/internal/replica"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
	"example.com/curfew/token"
)

// DefaultLease is the default lease of a view.
const DefaultLease = 15 * time.Second

// The bounds of a lease.
const (
	MinLease = 2 * time.Second
	MaxLease = time.Hour
)

// Margin returns the time added to a lease of the given length before it counts as
// over, for clocks of different speed: a fifteenth, at least 1 s.
func Margin(lease time.Duration) time.Duration { return max(time.Second, lease/15) }

const (
	// questionTime is the maximum time of one query to the store, and of every call
	// that waits for one.
	questionTime = 2 * time.Second
	// pollEvery is the maximum time between two reads of the store's clock.
	pollEvery = time.Second
	// pageLimit is the number of revocations per read.
	pageLimit = 10_000
)

// Config configures a [Node]. Store is required.
type Config struct {
	Store store.Store
	// Name is the display name of this node: host:port.
	Name    string
	Version string
	// Lease is how long the view is trusted without an answer of the store. Zero
	// means DefaultLease; other values are from MinLease to MaxLease.
	Lease time.Duration
	// Margin is added to every lease of another process before it counts as over.
	// Zero means the result of the function Margin.
	Margin time.Duration
	// CacheSize is the capacity of the cache of revocations. Zero means
	// revocation.DefaultCapacity.
	CacheSize int
	// OnKeys, if not nil, is called with all rows of keys whenever they have
	// changed, before the view includes them. It must not wait for the view.
	OnKeys func(context.Context, []store.Key) error
	// OnRead, if not nil, is called after each query to the store with the number
	// of new revocations, the age of the newest, and the error. It must return
	// quickly.
	OnRead func(revocations int, lag time.Duration, err error)
	Now    func() time.Time // nil means time.Now
	Logger *slog.Logger     // nil discards
}

func (c *Config) lease() time.Duration {
	if c.Lease == 0 {
		return DefaultLease
	}
	return c.Lease
}

func (c *Config) margin() time.Duration {
	if c.Margin == 0 {
		return Margin(c.lease())
	}
	return c.Margin
}

// Node keeps this process's view of the store current, and serves it to
// followers. It is safe for concurrent use.
type Node struct {
	config Config
	store  store.Store
	log    *slog.Logger
	id     string

	*replica.View
	*hub
	replica   *replica.Replica
	peers     *peers
	heartbeat heartbeat
	history   history

	loops   sync.WaitGroup // the goroutines that stop ends
	stop    context.CancelFunc
	closing sync.Once
}

// Open registers the node in the store, reads everything, and keeps the view
// current until Close. The store must have an installation.
func Open(ctx context.Context, config Config) (*Node, error) {
	if l := config.lease(); l < MinLease || l > MaxLease {
		return nil, fmt.Errorf("feed: lease %v is out of range; use %v to %v", l, MinLease, MaxLease)
	}
	n := &Node{config: config, store: config.Store, log: config.Logger, id: rand.Text()}
	now := config.Now
	if now == nil {
		now = time.Now
	}
	if n.log == nil {
		n.log = slog.New(slog.DiscardHandler)
	}
	n.replica = replica.New(replica.Config{
		CacheSize: config.CacheSize, Source: &storeReader{node: n}, KeepLog: true,
		OnPublish: func(s replica.State) { n.publish(s) }, Now: config.Now,
	})
	n.View = &n.replica.View
	n.hub = newHub(now, config.lease(), config.margin(), n.CatchUp)
	n.peers = newPeers(n.store, now, n.id)
	n.heartbeat.row = store.Node{ID: n.id, Name: config.Name, Version: config.Version, StartedAt: n.now().UnixMicro(), LeaseMS: n.lease.Milliseconds()}

	err := n.sendHeartbeat(ctx)
	switch {
	case err != nil:
		err = fmt.Errorf("feed: first read of the store: %w", err)
	case n.Installation().Issuer == "":
		err = fmt.Errorf("feed: %w: the database has no installation yet", store.ErrNotFound)
	}
	if err != nil {
		n.replica.Close()
		_ = n.deleteRow() // if it stays, it lapses like that of a node that was killed
		return nil, err
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	n.stop = stop
	n.loops.Go(func() { n.follow(running) })     // ends with stop
	n.loops.Go(func() { n.watchPeers(running) }) // ends with stop
	return n, nil
}

// Close ends the view and all pending polls, and unregisters the node. When it
// returns, everything that Open started has ended.
func (n *Node) Close() error {
	var err error
	n.closing.Do(func() {
		n.stop()
		n.replica.Close()
		n.Drain()
		n.loops.Wait()
		if err = n.unregister(); errors.Is(err, store.ErrUnavailable) {
			err = n.unregister() // a lost connection says nothing of the next one
		}
	})
	return err
}

// ID returns the random name of this process among the nodes.
func (n *Node) ID() string { return n.id }

// Installation returns issuer and audience.
func (n *Node) Installation() store.Installation { return rowOf(n.State().Installation) }

// Validator returns a validator on this view. audience must be one of the
// installation's; "" means its first. observe and used are Observe and OnUse of
// [token.Config]; each may be nil. The caller must close the validator.
func (n *Node) Validator(audience string, observe func(token.Reason, time.Duration), used func(*token.Session, time.Time)) (*token.Validator, error) {
	return n.NewValidator(token.Config{Audience: audience, Observe: observe, OnUse: used, Now: n.config.Now})
}

// RevokedBefore answers a follower whose cache is partial.
func (n *Node) RevokedBefore(ctx context.Context, user, session string) (wire.RevokedBefore, error) {
	ctx, cancel := context.WithTimeout(ctx, questionTime)
	defer cancel()
	a, err := (&storeReader{node: n}).RevokedBefore(ctx, user, session)
	if err != nil {
		return wire.RevokedBefore{}, replica.Unavailable(err)
	}
	left := n.LeaseLeft(n.now()).Truncate(time.Millisecond)
	if left <= 0 {
		return wire.RevokedBefore{}, replica.Unavailable(errNoLease)
	}
	return wire.RevokedBefore{User: int64(a.User), Session: int64(a.Session), Epoch: int64(a.AsOf), LeaseMS: left.Milliseconds()}, nil
}

// Applied merges revocations that this process has just committed, so that this
// node refuses at once. It then reads on for its followers.
func (n *Node) Applied(revocations ...revocation.Revocation) {
	n.Cache().Apply(revocations...)
	n.Request()
}

// AppliedUpTo reads until the view contains what this process has committed at
// epoch. The error wraps [token.ErrUnavailable].
func (n *Node) AppliedUpTo(ctx context.Context, epoch revocation.Epoch) error {
	if n.Epoch() >= epoch {
		return nil
	}
	return n.CatchUp(ctx)
}

var _ token.View = (*Node)(nil)
