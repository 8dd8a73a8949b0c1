package httpapi

import (
	"context"
	"sync"

	"example.com/curfew/internal/session"
	"example.com/curfew/internal/webcookie"
	"example.com/curfew/token"
)

// renew passes on a renewed cookie when one is due, and returns the session of the
// token in it, else s. The session may be found to have ended by that, since a
// refresh asks the store; that it cannot be renewed for another reason is no reason
// to refuse it.
func (c *call) renew(s *token.Session) (*token.Session, error) {
	in := c.Settings.Current().Settings
	if c.Sessions == nil || !webcookie.Due(s, in, c.now()) {
		return s, nil
	}
	issued, err := c.refresh.do(c.ctx, s, c.Sessions.Refresh)
	switch reason := token.ReasonOf(err); {
	case err == nil:
		c.Jar.Set(c.w, issued.Token, issued.Session, issued.InForce.Settings, c.now())
		return &issued.Session, nil
	case reason == token.ErrUnavailable || reason == token.ErrMalformed:
		return s, nil
	}
	return nil, err
}

// refreshGroup makes one refresh for the many requests that a page makes with
// the same cookie at a time.
type refreshGroup struct {
	mu      sync.Mutex
	running map[refreshKey]*refreshing // guarded by mu
}

type refreshKey struct {
	session string
	last    token.UnixTime
}

type refreshing struct {
	done   chan struct{}
	issued session.Issued
	err    error
}

func (g *refreshGroup) do(ctx context.Context, s *token.Session, refresh func(context.Context, *token.Session) (session.Issued, error)) (session.Issued, error) {
	key := refreshKey{s.ID, s.LastRefresh}
	g.mu.Lock()
	if one := g.running[key]; one != nil {
		g.mu.Unlock()
		select {
		case <-one.done:
			return one.issued, one.err
		case <-ctx.Done():
			return session.Issued{}, token.ErrUnavailable
		}
	}
	if g.running == nil {
		g.running = map[refreshKey]*refreshing{}
	}
	one := &refreshing{done: make(chan struct{}), err: token.ErrUnavailable}
	g.running[key] = one
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		delete(g.running, key)
		g.mu.Unlock()
		close(one.done)
	}()
	// The first caller may hang up; the others still wait for the answer.
	shared := context.WithoutCancel(ctx)
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		shared, cancel = context.WithDeadline(shared, deadline)
		defer cancel()
	}
	one.issued, one.err = refresh(shared, s)
	return one.issued, one.err
}
