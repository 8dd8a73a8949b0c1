package app

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"example.com/curfew/internal/await"
	"example.com/curfew/internal/inbound"
)

// fakeConn is a connection of which only the end is of interest.
type fakeConn struct {
	net.Conn
	name   string
	closed bool
}

func (c *fakeConn) Close() error { c.closed = true; return nil }

func TestTheOldestConnectionWithoutARequestGoes(t *testing.T) {
	c := newConnections(2, 2, 3)
	conns := make([]*fakeConn, 6)
	for i := range conns {
		conns[i] = &fakeConn{name: fmt.Sprint(i)}
	}
	closed := func(want ...int) {
		t.Helper()
		for i, conn := range conns {
			expected := false
			for _, w := range want {
				expected = expected || w == i
			}
			if conn.closed != expected {
				t.Errorf("connection %d: closed %v, want %v", i, conn.closed, expected)
			}
		}
	}
	c.track(conns[0], http.StateNew)
	c.track(conns[1], http.StateNew)
	closed()
	c.track(conns[2], http.StateNew) // one more than two: the oldest goes
	closed(0)
	c.track(conns[0], http.StateClosed)
	c.track(conns[1], http.StateActive) // has asked: is out of danger
	c.track(conns[3], http.StateNew)
	c.track(conns[4], http.StateNew)
	closed(0, 2)
	c.track(conns[2], http.StateClosed)
	if open, displaced := c.counts(); open != 3 || displaced != 2 {
		t.Errorf("%d open, %d displaced; want 3 and 2", open, displaced)
	}

	// Idle connections are counted apart; the one idle for longest is closed.
	c.track(conns[1], http.StateIdle)
	c.track(conns[3], http.StateActive)
	c.track(conns[3], http.StateIdle)
	c.track(conns[1], http.StateActive)
	c.track(conns[1], http.StateIdle) // now later than 3
	c.track(conns[4], http.StateActive)
	c.track(conns[4], http.StateIdle)
	c.track(conns[5], http.StateNew)
	closed(0, 2)
	c.track(conns[5], http.StateActive)
	c.track(conns[5], http.StateIdle)
	closed(0, 2, 3)

	// At the end those without a request are not waited for: 1 has one.
	c.track(conns[0], http.StateNew)
	conns[0].closed = false
	c.track(conns[1], http.StateActive)
	c.closeNewConns()
	closed(0, 2, 3, 4, 5)
}

// A parked connection counts as idle, not as new; later requests on the same
// connection count as usual.
func TestConnectionsThatWereParked(t *testing.T) {
	c := newConnections(1, 1, 2)
	fresh, parked := &fakeConn{name: "fresh"}, &fakeConn{name: "parked"}
	c.track(fresh, http.StateNew)
	c.track(parked, http.StateHijacked) // elsewhere it was new and active before
	c.comesBack(parked)
	c.track(parked, http.StateNew)
	if fresh.closed || c.newConns.Len() != 1 || c.idle.Len() != 1 || len(c.back) != 0 {
		t.Errorf("the fresh connection is closed: %v; %d unasked, %d idle, %d coming back", fresh.closed, c.newConns.Len(), c.idle.Len(), len(c.back))
	}
	c.track(parked, http.StateActive)
	c.track(parked, http.StateClosed)
	c.track(parked, http.StateNew) // another, at the same place in memory
	if !fresh.closed {
		t.Error("it counts as parked for ever")
	}
	c.closeNewConns()
	if !parked.closed {
		t.Error("at the end it stays open")
	}
}

// A connection of the last second stays, up to the limit that memory sets.
func TestFreshConnectionsStay(t *testing.T) {
	began := time.Now()
	for _, test := range []struct {
		after      time.Duration
		held, most int
		goes       bool
	}{
		{inbound.Patience - 1, 2, 5, false},
		{inbound.Patience, 2, 5, false},
		{inbound.Patience + 1, 2, 5, true},
		{inbound.Patience + 1, 1, 5, false}, // no more than the two that may be old
		{0, 3, 5, false},
		{0, 4, 5, false},
		{0, 5, 5, true},
	} {
		a := inbound.NewAgeList[net.Conn](2, test.most)
		first := &fakeConn{name: "first"}
		for i := range test.held {
			c := first
			if i > 0 {
				c = &fakeConn{}
			}
			if _, over := a.Add(c, began); over {
				t.Fatalf("%+v: connection %d has no room", test, i)
			}
		}
		surplus, _ := a.Add(&fakeConn{name: "last"}, began.Add(test.after))
		switch {
		case test.goes && surplus != net.Conn(first):
			t.Errorf("%+v: the first stays", test)
		case !test.goes && surplus != nil:
			t.Errorf("%+v: one goes", test)
		}
	}
}

// Many slow connections do not keep out clients that send requests.
func TestDribblersStarveNobody(t *testing.T) {
	c := newConnections(8, 8, 8)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "good")
	}))
	server.Config.ConnState = c.track
	server.Config.ReadHeaderTimeout = time.Minute
	server.Start()
	defer server.Close()
	var dribbling []net.Conn
	for range 100 {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHo"); err != nil {
			t.Fatal(err)
		}
		dribbling = append(dribbling, conn)
		if len(dribbling)%10 == 0 {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			answer, err := server.Client().Do(r)
			if err != nil {
				t.Fatalf("among %d that dribble: %v", len(dribbling), err)
			}
			answer.Body.Close()
			server.Client().CloseIdleConnections()
		}
	}
	// The first ones have been closed, the last ones have not.
	ended := func(conn net.Conn) bool {
		_ = conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		_, err := conn.Read(make([]byte, 1))
		timeout, ok := err.(net.Error)
		return !ok || !timeout.Timeout()
	}
	await.Until(t, "the oldest connection is closed", func() bool { return ended(dribbling[0]) })
	if ended(dribbling[len(dribbling)-1]) {
		t.Error("the latest connection has been closed")
	}
}

// Every limit is set: a server without one can be held up for ever.
func TestServerHasEveryLimit(t *testing.T) {
	s := newServer(http.NotFoundHandler(), newConnections(1, 1, 1), false, NewLogger(io.Discard, "json", 0))
	if s.ReadHeaderTimeout <= 0 || s.ReadTimeout <= 0 || s.WriteTimeout <= 0 || s.IdleTimeout <= 0 || s.MaxHeaderBytes != 32<<10 || s.ConnState == nil || s.ErrorLog == nil {
		t.Errorf("a limit is missing: %+v", s)
	}
}
