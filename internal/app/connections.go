package app

import (
	"net"
	"net/http"
	"sync"
	"time"

	"example.com/curfew/internal/inbound"
)

// A connection that has not sent a whole request yet costs its sender nothing, and
// the server a goroutine and some kilobytes. If the server refused new connections
// when there are too many, an attacker with many open ones would keep all other
// clients out. So it closes the connection that has taken longest instead. Honest
// clients send their headers within milliseconds, so the slow ones of an attacker
// are always the oldest.
//
// On a busy server honest clients take longer too: ten thousand people who sign in
// at once must be told to try again, not cut off. So a connection that came within
// the last second stays, as far as memory allows.

const (
	// maxNewConns is how many connections may be without a request for longer than
	// inbound.Patience, and maxFresh how many at all; maxIdle is how many may be
	// kept alive between two requests. Requests that wait for their bodies have the
	// first two limits as well.
	maxNewConns = 1024
	maxFresh    = 16 * 1024
	maxIdle     = 16 * 1024
)

// connections watches the connections of a server. Its track method is an
// http.Server's ConnState hook.
type connections struct {
	mu       sync.Mutex
	newConns *inbound.AgeList[net.Conn] // accepted, no whole request yet
	idle     *inbound.AgeList[net.Conn] // between two requests
	back     map[net.Conn]bool          // from where they were parked: between two requests as well
	closed   int64                      // by us, to make room
	open     int64
}

func newConnections(newConns, fresh, idle int) *connections {
	return &connections{
		newConns: inbound.NewAgeList[net.Conn](newConns, fresh),
		idle:     inbound.NewAgeList[net.Conn](idle, idle),
		back:     map[net.Conn]bool{},
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
	c.newConns.Remove(conn)
	c.idle.Remove(conn)
	switch state {
	case http.StateNew:
		c.open++
		if c.back[conn] {
			delete(c.back, conn)
			surplus, _ = c.idle.Add(conn, time.Time{})
		} else {
			surplus, _ = c.newConns.Add(conn, time.Now())
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

// closeNewConns closes the connections without a request under way, so that shutting
// down does not wait for them.
func (c *connections) closeNewConns() {
	c.mu.Lock()
	newConns := append(c.newConns.Members(), c.idle.Members()...)
	c.mu.Unlock()
	for _, conn := range newConns {
		_ = conn.Close()
	}
}

// comesBack notes a connection that was parked: the server says that it is new
// next.
func (c *connections) comesBack(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.back[conn] = true
}

// counts returns how many connections are open, and how many were closed to make
// room for others.
func (c *connections) counts() (open, closed int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open, c.closed
}
