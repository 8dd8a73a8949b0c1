package follower

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"sync"
	"time"

	"example.com/curfew/revocation"
)

const (
	// catchUpTime is the maximum time of a request that a caller waits for.
	catchUpTime = 2 * time.Second
	// firstPatience is the maximum silence of a server before its lease is known.
	firstPatience = 5 * time.Second
	// longestWait is the maximum wait that a poll asks for. The server answers
	// after a third of its lease if that is less. Some proxies end requests after a
	// minute.
	longestWait = 50 * time.Second
	// longestSilence is the maximum delay of an answer after that wait.
	longestSilence = 5 * time.Second
	// failFast is how long a failure is returned to new callers without another
	// request.
	failFast = 100 * time.Millisecond

	firstBackoff   = 250 * time.Millisecond
	longestBackoff = 2 * time.Second
	// refusedBackoff is the backoff for permanent errors.
	refusedBackoff = 5 * time.Second
)

// follow polls for changes, one request after the other.
func (f *Follower) follow(ctx context.Context) {
	failures := 0
	for ctx.Err() == nil {
		i := int(f.current.Load())
		server := f.servers[i]
		wait, patience := f.patience()
		err := f.round(ctx, server, wait, patience)
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

// patience returns how long the server may hold the next poll, and the maximum
// silence, which is a little longer. A server that has lost its store grants only
// the rest of its lease, and holds polls for longer when the store is back. While
// the view is not trusted, the poll asks for an immediate answer.
func (f *Follower) patience() (wait, patience time.Duration) {
	f.state.mu.Lock()
	length := f.state.length
	f.state.mu.Unlock()
	if length <= 0 {
		return 0, firstPatience
	}
	silence := min(max(time.Second, length/6), longestSilence)
	if !f.Trusted(f.now()) {
		return 0, catchUpTime + silence
	}
	third := min(length/3, longestWait)
	wait = (third + time.Second - 1).Truncate(time.Second) // the wait is sent in whole seconds
	return wait, max(third+silence, wait+time.Second/2)
}

// backoff grows with the number of times that every server has failed. All of it
// has jitter.
func backoff(failures int, err error) time.Duration {
	most := min(firstBackoff<<min(failures, 10), longestBackoff)
	if permanent(err) {
		most = refusedBackoff
	}
	return most/4 + rand.N(most*3/4) //nolint:gosec // to spread load, not to be unpredictable
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
	if was == nil || was.err.Error() != err.Error() {
		f.log.Warn("server unreachable; sessions are validated from memory until the lease ends, then refused as unavailable", "server", server.Host, "error", err)
	}
	f.failed.Store(&failure{f.now(), err})
}

// round polls until an answer has no more pages and everything is applied. After an
// error a round begins again, because pages from before and after the restore of a
// backup do not form a complete state.
func (f *Follower) round(ctx context.Context, server *url.URL, wait, patience time.Duration) error {
	at, view, history := f.at()
	var round []revocation.Revocation
	for startedOver := false; ; {
		confirmed, behind := f.confirmed(view)
		a, sent, err := f.ask(ctx, server, question{
			after: at, confirmed: confirmed, behind: behind, wait: wait, patience: patience,
		})
		if err == nil {
			err = a.fits(at)
		}
		if err == nil {
			if f.keeps() {
				round = append(round, a.revocations...)
			}
			err = f.apply(a, round, sent, history)
		}
		if errors.Is(err, errStartOver) && !startedOver {
			f.startOver(history, server.Host)
			startedOver, round = true, nil
			at, view, history = f.at()
			continue
		}
		if err != nil || !a.more {
			return err
		}
		at = a.epoch
	}
}

// fits returns an error if the answer is not possible for a request from position.
func (a *answer) fits(position revocation.Epoch) error {
	switch {
	case a.more && a.epoch <= position:
		return fmt.Errorf("%w: the pages repeat", errNotCurfew)
	case a.more:
		return nil
	case a.epoch < position:
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

// CatchUp asks a server. It returns nil only if the view includes every change up
// to the epoch clock as the server read it after the call began. It takes at most 2
// s. Errors wrap [token.ErrUnavailable].
func (f *Follower) CatchUp(ctx context.Context) error {
	if e := f.catch.last(); e != nil && f.now().Sub(e.at) < failFast {
		return unavailable(e.err)
	}
	ctx, cancel := context.WithTimeout(ctx, catchUpTime)
	defer cancel()
	if f.closed.Load() {
		return unavailable(ErrClosed)
	}
	if err := f.catch.join().wait(ctx); err != nil {
		return unavailable(err)
	}
	return nil
}

// Report sends the current acknowledgement of Downstream at once, without waiting
// for the answer to the pending poll.
func (f *Follower) Report() { f.catch.join() }

// serveCatchUps sends one request for all waiting callers.
func (f *Follower) serveCatchUps(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			f.catch.begin().end(ErrClosed)
			return
		case <-f.catch.kick:
		}
		p := f.catch.begin()
		asking, cancel := context.WithTimeout(ctx, catchUpTime)
		err := f.anyServer(asking, func(ctx context.Context, server *url.URL, patience time.Duration) error {
			return f.round(ctx, server, 0, patience)
		})
		cancel()
		f.catch.ended(err, f.now())
		p.end(err)
	}
}

// anyServer tries the servers in turn within the deadline of ctx, beginning with
// the one that answered last.
func (f *Follower) anyServer(ctx context.Context, try func(context.Context, *url.URL, time.Duration) error) error {
	var err error
	first := int(f.current.Load())
	for i := range f.servers {
		at := (first + i) % len(f.servers)
		patience := catchUpTime
		if len(f.servers) > 1 {
			patience = catchUpTime / 2 // leaves time for another server
		}
		if err = try(ctx, f.servers[at], patience); err == nil {
			f.current.CompareAndSwap(int64(first), int64(at))
			return nil
		}
		if ctx.Err() != nil {
			return err
		}
	}
	return err
}

// passes lets callers wait for a piece of work that begins after their call. All
// callers before its begin share it.
type passes struct {
	kick chan struct{} // has a value when a caller waits

	mu     sync.Mutex
	next   *pass
	failed *failure // the failure of the last pass, if any
}

type pass struct {
	done chan struct{}
	err  error // set before done is closed
}

func newPasses() *passes {
	return &passes{kick: make(chan struct{}, 1), next: &pass{done: make(chan struct{})}}
}

// join requests the next pass and returns it.
func (p *passes) join() *pass {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case p.kick <- struct{}{}:
	default:
	}
	return p.next
}

// begin starts the next pass and returns it.
func (p *passes) begin() *pass {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.next
	p.next = &pass{done: make(chan struct{})}
	return now
}

func (p *passes) ended(err error, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed = nil
	if err != nil {
		p.failed = &failure{at, err}
	}
}

func (p *passes) last() *failure {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failed
}

func (p *pass) end(err error) {
	p.err = err
	close(p.done)
}

func (p *pass) wait(ctx context.Context) error {
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return ctx.Err()
	}
}
