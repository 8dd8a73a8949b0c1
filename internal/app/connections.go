package app

import (
	"container/list"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// A connection that has not sent a whole request yet costs its sender nothing,
// and us a goroutine and some kilobytes. Refusing new ones when there are too
// many would let whoever holds the old ones keep everybody else out; so the one
// that has taken longest is closed instead. Honest clients send their headers
// within milliseconds, and those who dribble are always the oldest.
//
// On a server that is short of processors honest ones take longer, through no
// fault of theirs: ten thousand people who sign in at one moment are to be told to
// come again, not cut off. So whoever came within the last second stays, as far as
// memory allows.

const (
	// mostUnasked is how many connections may be without a request for longer than
	// patience, and mostFresh how many at all; mostIdle is how many may be kept
	// alive between two requests.
	mostUnasked = 1024
	mostFresh   = 16 * 1024
	mostIdle    = 16 * 1024

	patience = time.Second
)

// connections watches the connections of a server. Its track method is an
// http.Server's ConnState hook.
type connections struct {
	mu      sync.Mutex
	unasked ageing            // accepted, no whole request yet
	idle    ageing            // between two requests
	back    map[net.Conn]bool // from where they were parked: between two requests as well
	closed  int64             // by us, to make room
	open    int64
}

// ageing is a set of connections in the order in which they came.
type ageing struct {
	old, most int       // how many above patience, and how many at all
	order     list.List // of aged, the oldest first
	at        map[net.Conn]*list.Element
}

type aged struct {
	conn  net.Conn
	since time.Time
}

func newConnections(unasked, fresh, idle int) *connections {
	return &connections{
		unasked: ageing{old: unasked, most: fresh, at: map[net.Conn]*list.Element{}},
		idle:    ageing{old: idle, most: idle, at: map[net.Conn]*list.Element{}},
		back:    map[net.Conn]bool{},
	}
}

// add takes a connection in and returns the one that must go for it, or nil.
func (a *ageing) add(c net.Conn, now time.Time) (surplus net.Conn) {
	a.at[c] = a.order.PushBack(aged{c, now})
	oldest, _ := a.order.Front().Value.(aged)
	if len(a.at) <= a.old || len(a.at) <= a.most && now.Sub(oldest.since) <= patience {
		return nil
	}
	a.remove(oldest.conn)
	return oldest.conn
}

func (a *ageing) remove(c net.Conn) {
	if e, ok := a.at[c]; ok {
		a.order.Remove(e)
		delete(a.at, c)
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
	c.unasked.remove(conn)
	c.idle.remove(conn)
	switch state {
	case http.StateNew:
		c.open++
		if c.back[conn] {
			delete(c.back, conn)
			surplus = c.idle.add(conn, time.Time{})
		} else {
			surplus = c.unasked.add(conn, time.Now())
		}
	case http.StateIdle:
		surplus = c.idle.add(conn, time.Time{}) // its age is nothing to go by
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
	unasked := slices.AppendSeq(slices.Collect(maps.Keys(c.unasked.at)), maps.Keys(c.idle.at))
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
