package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"example.com/curfew/internal/fault"
	"example.com/curfew/token"
)

// sessionEvents is GET /v1/session/events: server-sent events (HTML, section 9.2)
// that end with the session. Services in other languages, and pages, learn from it
// at once that a session is over, and need not ask again and again.
//
//	event: ended         data: {"code":"revoked"}      the session is over
//	event: unavailable   data: {"code":"unavailable"}  it can't be determined now: connect again
//
// Comments come in between as heartbeats. The stream extends nothing. It rests on the
// token that it was opened with: after "idle_timeout" and "expired" a client that has
// refreshed the session meanwhile connects again with the newer token.
func sessionEvents(c *call) error {
	raw, _, err := c.tokenOrCookie()
	if err != nil {
		return err
	}
	watch, err := c.Validator.Watch(c.r.Context(), raw, 0)
	if err != nil {
		return err
	}
	defer watch.Stop()
	s := watch.Session()
	c.inbound.User = s.Subject
	if !c.streams.enter(s.Subject) {
		return fmt.Errorf("%w: the user has %d event streams open; close one first", fault.ErrTooMany, maxStreams)
	}
	defer c.streams.leave(s.Subject)

	c.private()
	h := c.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Accel-Buffering", "no") // nginx would wait for more
	c.w.WriteHeader(http.StatusOK)
	if c.r.Method == http.MethodHead {
		return nil
	}
	stream := eventStream{w: c.w, control: http.NewResponseController(c.w), now: c.now}
	_ = stream.control.SetReadDeadline(time.Time{}) // nothing more is read
	ended := watch.Context().Done()
	err = stream.send(fmt.Sprintf("retry: %d\n: watching\n\n", time.Second.Milliseconds()))
	heartbeat := time.NewTimer(c.heartbeat())
	defer heartbeat.Stop()
	for err == nil {
		select {
		case <-ended:
			_ = stream.send(lastEvent(context.Cause(watch.Context()))) // the client is gone if this fails
			return nil
		case <-heartbeat.C:
			err = stream.send(": heartbeat\n\n")
			heartbeat.Reset(c.heartbeat())
		}
	}
	return nil // the client is gone
}

// lastEvent is the last event of a stream; "" if its client has gone.
func lastEvent(cause error) string {
	name := "ended"
	switch reason := token.ReasonOf(cause); {
	case errors.Is(cause, context.Canceled):
		return ""
	case reason == token.ErrUnavailable:
		name = "unavailable"
		fallthrough
	default:
		return fmt.Sprintf("event: %s\ndata: {\"code\":%q}\n\n", name, reason)
	}
}

// eventStream writes to a client that may not read.
type eventStream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	now     func() time.Time
}

func (s eventStream) send(text string) error {
	_ = s.control.SetWriteDeadline(s.now().Add(10 * time.Second)) // in a test there may be no connection
	if _, err := s.w.Write([]byte(text)); err != nil {
		return err
	}
	return s.control.Flush()
}

// heartbeat returns how long to wait before the next heartbeat: less than a third of
// the lease, and less than proxies wait for.
func (a *api) heartbeat() time.Duration {
	lease := 15 * time.Second
	if a.Lease != nil {
		lease = a.Lease()
	}
	return min(max(lease/4, 100*time.Millisecond), 15*time.Second)
}

// maxStreams is how many event streams a user may have open at this node.
const maxStreams = 100

// streams counts the open event streams of each user.
type streams struct {
	mu   sync.Mutex
	open map[string]int
}

// enter reports whether the user may open one more, and counts it if so.
func (s *streams) enter(user string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[user] >= maxStreams {
		return false
	}
	if s.open == nil {
		s.open = map[string]int{}
	}
	s.open[user]++
	return true
}

func (s *streams) leave(user string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[user]--; s.open[user] <= 0 {
		delete(s.open, user)
	}
}
