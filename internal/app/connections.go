package app

import (
	"net"
	"net/http"
	"sync"
	"time"

	"example.com/curfew/internal/inbound"
)

// A connection that has not sent a whole request yet costs its sender nothing,
// and us a goroutine and some kilobytes. Refusing new ones when there are too
// many would let whoever holds the old ones keep everybody else out; so the one
// that has taken longest is closed instead. Honest clients send their headers
// within milliseconds, and those who dribble are always the oldest.
//
// On a server that is short of processors honest ones take longer, through no
// fault of theirs: ten thousand people who sign in at one moment are to be told to
// come again, not cut off. So a connection that came within the last second stays,
// as far as memory allows.

const (
	// mostUnasked is how many connections may be without a request for longer than
	// inbound.Patience, and mostFresh how many at all; mostIdle is how many may be
	// kept alive between two requests. Requests that wait for their bodies have the
	// first two limits as well.
	mostUnasked = 1024
	mostFresh   = 16 * 1024
	mostIdle    = 16 * 1024
)

// connections watches the connections of a server. Its track method is an
// http.Server's ConnState hook.
type connections struct {
	mu      sync.Mutex
	unasked *inbound.AgeList[net.Conn] // accepted, no whole request yet
	idle    *inbound.AgeList[net.Conn] // between two requests
	back    map[net.Conn]bool          // from where they were parked: between two requests as well
	closed  int64                      // by us, to make room
	open    int64
}

func newConnections(unasked, fresh, idle int) *connections {
	return &connections{
		unasked: inbound.NewAgeList[net.Conn](unasked, fresh),
		idle:    inbound.NewAgeList[net.Conn](idle, idle),
		back:    map[net.Conn]bool{},
	}
}

// track follows a connection from state to state.
func (c *connections) track(conn net.Conn, state http.ConnState) {
	if surplus := c.move(conn, state); surplus != nil {
		_ = surplus.Close() // its reader sees that, and the server forgets it
	}
}

func (c *connections) move(conn net.Conn, state http.ConnState) (surplus net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unasked.Remove(conn)
	c.idle.Remove(conn)
	switch state {
	case http.StateNew:
		c.open++
		if c.back[conn] {
			delete(c.back, conn)
			surplus, _ = c.idle.Add(conn, time.Time{})
		} else {
			surplus, _ = c.unasked.Add(conn, time.Now())
		}
	case http.StateIdle:
		surplus, _ = c.idle.Add(conn, time.Time{}) // its age is nothing to go by
	case http.StateHijacked, http.StateClosed:
		c.open--
	case http.StateActive:
	}
	if surplus != nil {
		c.closed++
	}
	return surplus
}

// closeUnasked closes the connections on which nobody asks anything: at the end
// nobody waits for them.
func (c *connections) closeUnasked() {
	c.mu.Lock()
	unasked := append(c.unasked.Members(), c.idle.Members()...)
	c.mu.Unlock()
	for _, conn := range unasked {
		_ = conn.Close()
	}
}

// returning is a listener of connections that were parked.
type returning struct {
	net.Listener
	to *connections
}

// Accept implements net.Listener.
func (r returning) Accept() (net.Conn, error) {
	conn, err := r.Listener.Accept()
	if err == nil {
		r.to.mu.Lock()
		defer r.to.mu.Unlock()
		r.to.back[conn] = true // the server says that it is new next
	}
	return conn, err
}

// counts returns how many connections are open, and how many were closed to make
// room for others.
func (c *connections) counts() (open, closed int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open, c.closed
}
