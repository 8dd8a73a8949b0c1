package sqlstore

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/lib/pq"
)

const (
	notifyChannel = "curfew"

	// A listening connection is silent. It is pinged, so that a lost or hanging
	// server is noticed and the connection is replaced.
	listenPing    = time.Second
	listenSilence = 3 * time.Second

	reconnectLeast = 50 * time.Millisecond
	reconnectMost  = 250 * time.Millisecond
)

// pgListener wakes at notifications of other Stores.
type pgListener struct {
	dsn    string
	server *serverDialer
	self   string // payload of this Store's notifications
	direct bool   // dsn is a separate address for listening
	// send sends a notification on the same way as commits.
	send   func(ctx context.Context, payload string) error
	logger *slog.Logger
	echoes *echoes
}

// err returns why notifications do not reach this node; nil if they do, or if the
// reason is unknown.
func (l *pgListener) err() error { return l.echoes.err() }

// run listens until ctx ends.
func (l *pgListener) run(ctx context.Context, wake func()) {
	dialer := &listenDialer{server: l.server, conns: map[*listenConn]struct{}{}}
	events := func(event pq.ListenerEventType, err error) {
		switch event {
		case pq.ListenerEventDisconnected, pq.ListenerEventConnectionAttemptFailed:
			if ctx.Err() == nil && l.echoes.setLost(true) {
				l.logger.Warn("change notifications from PostgreSQL interrupted; polling for changes every second until they are back", "error", err)
			}
		case pq.ListenerEventConnected, pq.ListenerEventReconnected:
			if l.echoes.setLost(false) {
				l.logger.Info("change notifications from PostgreSQL restored")
			}
		}
	}
	listener := pq.NewDialListener(dialer, l.dsn, reconnectLeast, reconnectMost, events)
	var running sync.WaitGroup
	running.Go(func() { // ends with listener
		for ctx.Err() == nil && listener.Listen(notifyChannel) != nil {
			// The server refuses, for example because it is a standby.
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
		wake()                                    // for changes before it listened
		running.Go(func() { l.watchEchoes(ctx) }) // ends with ctx
		ping(ctx, listener)
	})
	// pq's goroutine blocks unless its notifications are received, so they are
	// received until it has ended, which closes the channel.
	stop := context.AfterFunc(ctx, func() {
		dialer.close() // a goroutine that waits for the server holds the lock that Close needs
		_ = listener.Close()
	})
	defer stop()
	for n := range listener.Notify {
		switch {
		case n == nil: // connected anew
			wake()
		case l.echoes.hear(n.Extra), n.Extra == l.self:
		default:
			wake()
		}
	}
	running.Wait()
}

// ping makes the server answer periodically.
func ping(ctx context.Context, listener *pq.Listener) {
	ticker := time.NewTicker(listenPing)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			pingOnce(listener)
		}
	}
}

// pingOnce recovers from the panic of pq when the server answers a ping with an
// error, for example after the ping was cancelled on the server.
func pingOnce(listener *pq.Listener) {
	defer func() { _ = recover() }()
	_ = listener.Ping() // a failure ends the connection, which pq replaces
}

// listenDialer dials connections that end when the server is silent for too long,
// or when the dialer is closed.
type listenDialer struct {
	server *serverDialer

	mu     sync.Mutex
	conns  map[*listenConn]struct{}
	closed bool
}

type listenConn struct {
	net.Conn
	dialer *listenDialer
}

// Dial implements pq.Dialer.
func (d *listenDialer) Dial(network, address string) (net.Conn, error) {
	return d.DialTimeout(network, address, connectTimeout)
}

// DialTimeout implements pq.Dialer.
func (d *listenDialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), min(timeout, connectTimeout))
	defer cancel()
	conn, err := d.server.session(ctx, network, address)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	c := &listenConn{Conn: conn, dialer: d}
	d.conns[c] = struct{}{}
	return c, nil
}

func (d *listenDialer) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	for c := range d.conns {
		_ = c.Conn.Close()
	}
}

// Read waits for the server for the maximum silence.
func (c *listenConn) Read(b []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(listenSilence)); err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}

// Write does not wait for a server that reads nothing.
func (c *listenConn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(listenSilence)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// Close implements net.Conn.
func (c *listenConn) Close() error {
	c.dialer.mu.Lock()
	delete(c.dialer.conns, c)
	c.dialer.mu.Unlock()
	return c.Conn.Close()
}
