// Package upstream follows a Curfew server: it keeps a replica of the server's
// state current through the server's change feed. It is what an edge and
// [example.com/curfew/token/follower] have in common.
package upstream

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"example.com/curfew/internal/replica"
	"example.com/curfew/revocation"
	"example.com/curfew/token"
)

// Follower follows a server. It is safe for concurrent use.
type Follower struct {
	config  Config
	servers []*url.URL
	client  *http.Client
	now     func() time.Time
	log     *slog.Logger
	id      string

	*replica.View
	replica   *replica.Replica
	validator *token.Validator
	current   atomic.Int64          // index of the server that answered last
	granted   atomic.Int64          // length of the latest granted lease in ns
	failed    atomic.Pointer[error] // of the last poll; nil if it succeeded
	reporter  reporter

	closed    atomic.Bool
	running   sync.WaitGroup
	stop      context.CancelFunc
	closeIdle func()
}

// Open follows the server and returns after the first complete transfer. It returns
// an error at once for problems that do not go away by themselves: wrong
// credentials, an audience that the server does not know, or a redirect. It retries
// an unreachable server until Config.StartTimeout or ctx ends.
//
// If the server refuses, the error wraps [ErrCredentials], [ErrForbidden] or
// [ErrAudience]. ctx limits only Open. Call Close to stop the follower.
func Open(ctx context.Context, config Config) (*Follower, error) {
	servers, err := config.check()
	if err != nil {
		return nil, err
	}
	f := &Follower{config: config, servers: servers, now: config.Now, log: config.Logger, id: randomID()}
	if f.now == nil {
		f.now = time.Now
	}
	if f.log == nil {
		f.log = slog.New(slog.DiscardHandler)
	}
	f.client, f.closeIdle = config.client()
	f.reporter = newReporter(f)
	shared := replica.Config{CacheSize: config.CacheSize, Source: f, KeepLog: config.SnapshotFile != "", Now: config.Now}
	if d := config.Downstream; d != nil {
		shared.KeepLog, shared.OnPublish = true, d.Publish
	}
	f.replica = replica.New(shared)
	f.View = &f.replica.View
	if config.SnapshotFile != "" {
		f.loadSnapshot()
	}
	if err := f.begin(ctx); err != nil {
		f.replica.Close()
		f.closeIdle()
		return nil, err
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	f.stop = stop
	f.running.Go(func() { f.follow(running) })        // ends with stop
	f.running.Go(func() { f.serveCatchUps(running) }) // ends with stop
	f.running.Go(func() { f.reporter.run(running) })  // ends with stop
	if config.SnapshotFile != "" {
		f.running.Go(func() { f.keepSnapshot(running) }) // ends with stop
	}
	return f, nil
}

// warnEvery is the minimum time between two log lines about servers that do not
// answer at the start.
const warnEvery = 30 * time.Second

// begin gets the complete state and creates the validator.
func (f *Follower) begin(ctx context.Context) error {
	if d := f.config.startTimeout(); d > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d)
		defer cancel()
	}
	var last error
	var warned time.Time
	for tries := 0; ; tries++ {
		server := f.servers[tries%len(f.servers)]
		err := f.round(ctx, server, 0, firstReadTimeout)
		if err == nil {
			f.current.Store(int64(tries % len(f.servers)))
			break
		}
		if ctx.Err() == nil || last == nil {
			last = fmt.Errorf("follower: %s: %w", server.Host, err)
		}
		if now := f.now(); !permanent(err) && (warned.IsZero() || now.Sub(warned) >= warnEvery) {
			warned = now
			f.log.WarnContext(ctx, "get the state from a server: failed; trying again until it is there", "server", server.Host, "error", err)
		}
		if permanent(err) || !pause(ctx, backoff(tries/len(f.servers), nil)) {
			return last
		}
	}
	s := f.State()
	if s.Installation.Issuer == "" || s.Keys.JSON == nil {
		return fmt.Errorf("follower: %w: it names no issuer or no keys", errNotCurfew)
	}
	var err error
	f.validator, err = f.NewValidator(token.Config{
		Audience: f.config.Audience, UnknownKeyInterval: f.config.UnknownKeyInterval,
		Observe: f.config.Observe, OnUse: f.reporter.note, Now: f.config.Now,
	})
	return err
}

// Close stops the follower. From then on every token is refused as unavailable, and
// the contexts of all watched sessions end. When Close returns, everything that
// Open started has ended. A second call does nothing. The error is that of writing
// SnapshotFile.
func (f *Follower) Close() error {
	if f.closed.Swap(true) {
		return nil
	}
	f.stop()
	f.replica.Close()
	f.validator.Close()
	f.running.Wait()
	f.closeIdle()
	if f.config.SnapshotFile != "" {
		return f.saveSnapshot()
	}
	return nil
}

// Validator returns the validator. Every call returns the same one.
func (f *Follower) Validator() *token.Validator { return f.validator }

// Status is the state of a follower at one instant, for example for a health page.
type Status struct {
	Server    string           // the host that answered last
	Epoch     revocation.Epoch // of the view
	Trusted   bool             // whether the validator can accept tokens
	LeaseLeft time.Duration
	Cache     revocation.Stats
	Err       error // why the last request failed; nil if it succeeded
}

// Status returns the current state of the follower.
func (f *Follower) Status() Status {
	now := f.now()
	s := Status{
		Server: f.servers[f.current.Load()].Host, Epoch: f.Epoch(), Trusted: f.Trusted(now), LeaseLeft: f.LeaseLeft(now), Cache: f.Cache().Stats(),
	}
	if e := f.failed.Load(); e != nil {
		s.Err = *e
	}
	if f.closed.Load() {
		s.Err = ErrClosed
	}
	return s
}

func (f *Follower) event(e Event) {
	if f.config.OnEvent != nil {
		f.config.OnEvent(e)
	}
}

var _ token.View = (*Follower)(nil)
