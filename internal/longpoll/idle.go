package longpoll

import (
	"net"
	"sync"
	"time"
)

// Idle returns a listener whose connections may be idle when they come back from a
// [Parking]. It stands below TLS.
func Idle(l net.Listener) net.Listener { return idleListener{l} }

type idleListener struct{ net.Listener }

// Accept implements net.Listener.
func (l idleListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if tcp, ok := conn.(*net.TCPConn); ok && err == nil {
		return &idleConn{TCPConn: tcp}, nil
	}
	return conn, err
}

// idleConn is a connection that may come back to the server. The server takes it
// for a new one then, and would close it unless the next request came within the
// ReadHeaderTimeout: a follower on a busy machine would send its poll to a
// connection that is being closed. Until the first byte it may be idle, as every
// connection between two requests. From then on the server's timeout holds.
type idleConn struct {
	*net.TCPConn

	mu     sync.Mutex
	idle   time.Duration // how long it may be idle; zero unless it is
	header time.Duration // the server's timeout
}

// resume lets a connection be idle before the next request.
func resume(conn net.Conn, idle time.Duration) {
	if encrypted, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = encrypted.NetConn()
	}
	if c, ok := conn.(*idleConn); ok {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.idle, c.header = idle, 0
	}
}

// SetReadDeadline implements net.Conn.
func (c *idleConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if left := time.Until(t); c.idle > 0 && left > 0 { // else the server interrupts a read
		c.header = left
		t = time.Now().Add(max(left, c.idle))
	}
	return c.TCPConn.SetReadDeadline(t)
}

// Read implements net.Conn.
func (c *idleConn) Read(b []byte) (int, error) {
	n, err := c.TCPConn.Read(b)
	if n > 0 {
		c.begin()
	}
	return n, err
}

// begin ends the idle time: a byte of the next request has come.
func (c *idleConn) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.idle == 0 {
		return
	}
	c.idle = 0
	if c.header > 0 {
		_ = c.TCPConn.SetReadDeadline(time.Now().Add(c.header)) // if it fails, reading does
	}
}

// limitedWriter writes to a connection, and gives up when the other side has not
// read for the time given. What its buffers take is written whatever the time is:
// on a busy machine a deadline may be over before the first write, though nothing
// waits for the client.
type limitedWriter struct {
	conn   net.Conn
	within time.Duration
	began  time.Time // zero until something had to wait
}

// Write implements io.Writer.
func (w *limitedWriter) Write(b []byte) (int, error) {
	n := 0
	if w.began.IsZero() {
		var err error
		if n, err = writeNow(w.conn, b); err != nil || n == len(b) {
			return n, err
		}
		w.began = time.Now()
		if err := w.conn.SetWriteDeadline(w.began.Add(w.within)); err != nil {
			return n, err
		}
	}
	more, err := w.conn.Write(b[n:])
	return n + more, err
}
