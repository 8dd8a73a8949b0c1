package upstream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"time"

	"example.com/curfew/internal/replica"
	"example.com/curfew/revocation"
)

const (
	// catchUpTime is the maximum time of a request that a caller waits for.
	catchUpTime = 2 * time.Second
	// firstReadTimeout is the maximum silence of a server before its lease is known.
	firstReadTimeout = 5 * time.Second
	// maxWait is the maximum wait that a poll asks for. The server answers
	// after a third of its lease if that is less. Some proxies end requests after a
	// minute.
	maxWait = 50 * time.Second
	// maxSilence is the maximum delay of an answer after that wait.
	maxSilence   = 5 * time.Second
	firstBackoff = 250 * time.Millisecond
	maxBackoff   = 2 * time.Second
	// refusedBackoff is the backoff for permanent errors.
	refusedBackoff = 5 * time.Second
)

// follow polls for changes, one request after the other.
func (f *Follower) follow(ctx context.Context) {
	failures := 0
	for ctx.Err() == nil {
		i := int(f.current.Load())
		server := f.servers[i]
		wait, readTimeout := f.pollTimes()
		err := f.round(ctx, server, wait, readTimeout)
		if ctx.Err() != nil {
			return
		}
		f.note(server, err)
		if err == nil {
			failures = 0
			continue
		}
		f.current.CompareAndSwap(int64(i), int64((i+1)%len(f.servers)))
		// The next server is tried soon, but not by all followers at the same
		// instant.
		pause(ctx, backoff(failures/len(f.servers), err))
		failures++
	}
}

// pollTimes returns how long the server may hold the next poll, and the maximum
// silence, which is a little longer. A server that has lost its store grants only
// the rest of its lease, and holds polls for longer when the store is back. While
// the view is not trusted, the poll asks for an immediate answer.
func (f *Follower) pollTimes() (wait, readTimeout time.Duration) {
	length := time.Duration(f.granted.Load())
	if length <= 0 {
		return 0, firstReadTimeout
	}
	silence := min(max(time.Second, length/6), maxSilence)
	if !f.Trusted(f.now()) {
		return 0, catchUpTime + silence
	}
	third := min(length/3, maxWait)
	wait = (third + time.Second - 1).Truncate(time.Second) // the wait is sent in whole seconds
	return wait, max(third+silence, wait+time.Second/2)
}

// backoff grows with the number of times that every server has failed. All of it
// has jitter.
func backoff(failures int, err error) time.Duration {
	limit := min(firstBackoff<<min(failures, 10), maxBackoff)
	if permanent(err) {
		limit = refusedBackoff
	}
	return limit/4 + rand.N(limit*3/4) //nolint:gosec // to spread load, not to be unpredictable
}

// pause waits for d. It returns false if ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// note stores the result for Status, and logs when it changes.
func (f *Follower) note(server *url.URL, err error) {
	was := f.failed.Load()
	if err == nil {
		if was != nil {
			f.log.Info("server reachable again", "server", server.Host, "epoch", int64(f.Epoch()))
		}
		f.failed.Store(nil)
		return
	}
	if was == nil || (*was).Error() != err.Error() {
		f.log.Warn("server unreachable; sessions are validated from memory until the lease ends, then refused as unavailable", "server", server.Host, "error", err)
	}
	f.failed.Store(&err)
}

// round polls until an answer has no more pages and everything is applied. After an
// error a round begins again, because pages from before and after the restore of a
// backup do not form a complete state.
func (f *Follower) round(ctx context.Context, server *url.URL, wait, readTimeout time.Duration) error {
	read := func(ctx context.Context, after, view revocation.Epoch) (replica.Changes, error) {
		confirmed, behind := f.confirmed(view)
		a, err := f.sendPoll(ctx, server, poll{after: after, confirmed: confirmed, behind: behind, wait: wait, readTimeout: readTimeout})
		if err == nil {
			err = a.fits(after)
		}
		if err == nil && a.Installation != nil {
			err = f.checkInstallation(a.Installation)
		}
		if err != nil {
			return replica.Changes{}, err
		}
		if !a.More {
			f.granted.Store(int64(a.lease))
		}
		return a.Changes, nil
	}
	for again := false; ; again = true {
		startedOver, err := f.replica.Update(ctx, read)
		if startedOver {
			f.log.Error("the server's database was restored from a backup; no session is accepted until everything has been read again", "server", server.Host)
			f.event(Event{Kind: EventStartedOver, Server: server.Host})
		}
		if again || !errors.Is(err, replica.ErrStartOver) {
			return err
		}
	}
}

// checkInstallation returns an error, and ends the lease, if the server is not the
// installation of the validator.
func (f *Follower) checkInstallation(in *replica.Installation) error {
	if was := f.State().Installation.Issuer; !in.Continues(was) {
		f.replica.Distrust()
		return fmt.Errorf("%w: to %q from %q; if this is intended, restart the program", ErrIssuer, in.Issuer, was)
	}
	if want := f.config.Audience; want != "" && !slices.Contains(in.Audience, want) {
		f.replica.Distrust()
		return fmt.Errorf("%w: it issues for %q, but Config.Audience is %q", ErrAudience, in.Audience, want)
	}
	return nil
}

// fits returns an error if the answer is not possible for a request from position.
func (a *answer) fits(position revocation.Epoch) error {
	switch {
	case a.More && a.Epoch <= position:
		return fmt.Errorf("%w: the pages repeat", errNotCurfew)
	case a.More:
		return nil
	case a.Epoch < position:
		return fmt.Errorf("%w: its epoch is below the requested one", errNotCurfew)
	case a.lease <= 0:
		return fmt.Errorf("%w: it grants no lease", errNotCurfew)
	}
	return nil
}

// confirmed returns the epoch that may be acknowledged, and the number of followers
// behind this one.
func (f *Follower) confirmed(view revocation.Epoch) (revocation.Epoch, int64) {
	if d := f.config.Downstream; d != nil {
		confirmed, behind := d.Confirmed(view)
		return min(confirmed, view), behind
	}
	return view, 0
}

// Report sends the current acknowledgement of Downstream at once, without waiting
// for the answer to the pending poll.
func (f *Follower) Report() { f.Request() }

// serveCatchUps sends one request for all waiting callers.
func (f *Follower) serveCatchUps(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.replica.Wanted():
		}
		_ = f.replica.Serve(func() error { // the callers get the error
			asking, cancel := context.WithTimeout(ctx, catchUpTime)
			defer cancel()
			return f.anyServer(asking, func(ctx context.Context, server *url.URL, readTimeout time.Duration) error {
				return f.round(ctx, server, 0, readTimeout)
			})
		})
	}
}

// anyServer tries the servers in turn within the deadline of ctx, beginning with
// the server that answered last.
func (f *Follower) anyServer(ctx context.Context, try func(context.Context, *url.URL, time.Duration) error) error {
	var err error
	first := int(f.current.Load())
	for i := range f.servers {
		at := (first + i) % len(f.servers)
		readTimeout := catchUpTime
		if len(f.servers) > 1 {
			readTimeout = catchUpTime / 2 // leaves time for another server
		}
		if err = try(ctx, f.servers[at], readTimeout); err == nil {
			f.current.CompareAndSwap(int64(first), int64(at))
			return nil
		}
		if ctx.Err() != nil {
			return err
		}
	}
	return err
}
