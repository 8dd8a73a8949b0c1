// Package follower validates sessions in your own service. It follows a Curfew
// server, receives revocations, settings and keys within milliseconds, and provides
// a [token.Validator] that does no I/O.
//
//	curfew, err := follower.Open(ctx, follower.Config{
//		Server: "https://curfew.example", ClientID: "billing", ClientSecret: secret, Audience: "billing",
//	})
//	…
//	defer curfew.Close()
//	mux.Handle("/invoices/", bearer.Require(curfew.Validator())(invoices))
//
// If no server answers for the length of a lease, the validator refuses every token
// as "unavailable" (503). It never guesses.
package follower

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"example.com/curfew/internal/changelog"
	"example.com/curfew/revocation"
	"example.com/curfew/settings"
	"example.com/curfew/token"
)

// Follower follows a server. It implements [token.View] and is safe for concurrent
// use.
type Follower struct {
	config  Config
	servers []*url.URL
	client  *http.Client
	now     func() time.Time
	log     *slog.Logger
	id      string

	settings  settings.Value
	keys      token.Keys
	cache     *revocation.Cache
	validator *token.Validator

	epoch   atomic.Int64
	lease   atomic.Pointer[token.Lease]
	issuer  atomic.Pointer[string] // the issuer of the validator
	state   state
	current atomic.Int64 // index of the server that answered last
	failed  atomic.Pointer[failure]
	catch   *passes

	closed    atomic.Bool
	running   sync.WaitGroup
	stop      context.CancelFunc
	closeIdle func()
}

type failure struct {
	at  time.Time
	err error
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
	f := &Follower{config: config, servers: servers, now: config.Now, log: config.Logger, id: randomID(), catch: newPasses()}
	if f.now == nil {
		f.now = time.Now
	}
	if f.log == nil {
		f.log = slog.New(slog.DiscardHandler)
	}
	f.client, f.closeIdle = config.client()
	f.cache = config.cache(f)
	if config.SnapshotFile != "" {
		f.state.log = &changelog.Log{}
		f.loadSnapshot()
	}
	if err := f.begin(ctx); err != nil {
		f.cache.Close()
		f.closeIdle()
		return nil, err
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	f.stop = stop
	f.running.Go(func() { f.follow(running) })        // ends with stop
	f.running.Go(func() { f.serveCatchUps(running) }) // ends with stop
	if config.SnapshotFile != "" {
		f.running.Go(func() { f.keepSnapshot(running) }) // ends with stop
	}
	return f, nil
}

// begin gets the complete state and creates the validator.
func (f *Follower) begin(ctx context.Context) error {
	if d := f.config.startTimeout(); d > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d)
		defer cancel()
	}
	var last error
	for tries := 0; ; tries++ {
		server := f.servers[tries%len(f.servers)]
		err := f.round(ctx, server, 0, firstPatience)
		if err == nil {
			f.current.Store(int64(tries % len(f.servers)))
			break
		}
		if ctx.Err() == nil || last == nil {
			last = fmt.Errorf("follower: %s: %w", server.Host, err)
		}
		if permanent(err) || !pause(ctx, backoff(tries/len(f.servers), nil)) {
			return last
		}
	}
	f.state.mu.Lock()
	issuer, audience, keys := f.state.issuer, f.config.Audience, f.state.rawKeys
	if audience == "" && len(f.state.audience) > 0 {
		audience = f.state.audience[0]
	}
	f.state.mu.Unlock()
	if issuer == "" || keys == nil {
		return fmt.Errorf("follower: %w: it names no issuer or no keys", errNotCurfew)
	}
	f.issuer.Store(&issuer)
	var err error
	f.validator, err = token.NewValidator(token.Config{
		Issuer: issuer, Audience: audience, Keys: &f.keys, Settings: &f.settings,
		Revocations: f.cache, View: f, UnknownKeyInterval: f.config.UnknownKeyInterval,
		Observe: f.config.Observe, Now: f.config.Now,
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
	f.state.mu.Lock()
	f.distrustLocked()
	f.state.mu.Unlock()
	f.validator.Close()
	f.stop()
	f.running.Wait()
	f.cache.Close()
	f.closeIdle()
	if f.config.SnapshotFile != "" {
		return f.saveSnapshot()
	}
	return nil
}

// Validator returns the validator. Every call returns the same one.
func (f *Follower) Validator() *token.Validator { return f.validator }

// Epoch returns the epoch up to which every change has been applied.
func (f *Follower) Epoch() revocation.Epoch { return revocation.Epoch(f.epoch.Load()) }

// Trusted reports whether the lease of the view is running at now.
func (f *Follower) Trusted(now time.Time) bool {
	l := f.lease.Load()
	return l != nil && l.Running(now)
}

// Keys returns the trusted keys of the view.
func (f *Follower) Keys() token.KeySource { return &f.keys }

// Settings returns the settings in force in the view.
func (f *Follower) Settings() settings.Source { return &f.settings }

// Cache returns the cache of revocations.
func (f *Follower) Cache() *revocation.Cache { return f.cache }

// Installation returns the issuer and the audiences of the server.
func (f *Follower) Installation() (issuer string, audience []string) {
	f.state.mu.Lock()
	defer f.state.mu.Unlock()
	return f.state.issuer, f.state.audience
}

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
		Server: f.servers[f.current.Load()].Host, Epoch: f.Epoch(), Trusted: f.Trusted(now), Cache: f.cache.Stats(),
	}
	if l := f.lease.Load(); l != nil {
		s.LeaseLeft = max(0, l.Left(now))
	}
	if e := f.failed.Load(); e != nil {
		s.Err = e.err
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

// unavailable makes err wrap [token.ErrUnavailable].
func unavailable(err error) error {
	if errors.Is(err, token.ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", token.ErrUnavailable, err)
}

var _ token.View = (*Follower)(nil)
