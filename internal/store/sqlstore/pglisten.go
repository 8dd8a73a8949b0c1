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

	// A connection that listens is silent by nature. It is pinged, so that one
	// whose other end is gone or hangs is noticed and replaced.
	listenPing    = time.Second
	listenSilence = 3 * time.Second

	reconnectLeast = 50 * time.Millisecond
	reconnectMost  = 250 * time.Millisecond
)

// pgListener wakes at notifications of other Stores.
type pgListener struct {
	dsn    string
	self   string // payload of our own notifications
	direct bool   // dsn is an address of its own
	// send notifies on the way that commits take.
	send   func(ctx context.Context, payload string) error
	logger *slog.Logger
	echoes *echoes
}

// err says why notifications do not reach this node; nil if they do, or if nothing
// else is known.
func (l *pgListener) err() error { return l.echoes.err() }

// run listens until ctx ends.
func (l *pgListener) run(ctx context.Context, wake func()) {
	dialer := &listenDialer{conns: map[*listenConn]struct{}{}}
	events := func(event pq.ListenerEventType, err error) {
		switch event {
		case pq.ListenerEventDisconnected, pq.ListenerEventConnectionAttemptFailed:
			if ctx.Err() == nil && l.echoes.setLost(true) {
				l.logger.Warn("the connection on which PostgreSQL tells of changes is lost; looking every second meanwhile", "error", err)
			}
		case pq.ListenerEventConnected, pq.ListenerEventReconnected:
			if l.echoes.setLost(false) {
				l.logger.Info("PostgreSQL tells of changes again")
			}
		}
	}
	listener := pq.NewDialListener(dialer, l.dsn, reconnectLeast, reconnectMost, events)
	var running sync.WaitGroup
	running.Go(func() { // ends with listener
		for ctx.Err() == nil && listener.Listen(notifyChannel) != nil {
			// The server does not let us, for example since it is a standby.
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
		wake()                                    // for what came before it listened
		running.Go(func() { l.watchEchoes(ctx) }) // ends with ctx
		ping(ctx, listener)
	})
	// pq's goroutine blocks unless notifications are taken, so they are taken
	// until it has ended, which closes the channel.
	stop := context.AfterFunc(ctx, func() {
		dialer.close() // whoever waits for the server holds the lock that Close needs
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

// ping makes the server say something now and then.
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

// pingOnce survives that pq panics when the server answers a ping with an error,
// as it does to a ping that somebody cancels there.
func pingOnce(listener *pq.Listener) {
	defer func() { _ = recover() }()
	_ = listener.Ping() // a failure ends the connection, which pq replaces
}

// listenDialer dials connections that end when the server is silent for too
// long, or when the dialer is closed.
type listenDialer struct {
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
	conn, err := dialServer(ctx, network, address)
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

// Read waits for the server no longer than it may be silent.
func (c *listenConn) Read(b []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(listenSilence)); err != nil { //nolint:forbidigo // the network's time
		return 0, err
	}
	return c.Conn.Read(b)
}

// Write does not wait for a server that takes nothing.
func (c *listenConn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(listenSilence)); err != nil { //nolint:forbidigo // the network's time
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
