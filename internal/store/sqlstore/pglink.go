package sqlstore

import (
	"context"
	"net"
	"sync"
	"syscall"
	"time"
)

// connectTimeout is the maximum time to dial a PostgreSQL server and start the
// session. Several hosts share it.
const connectTimeout = 1500 * time.Millisecond

// deadPeer is the maximum time without an acknowledgement from the server, of data
// or of keepalives, before TCP closes the connection.
const deadPeer = 15 * time.Second

// serverDialer dials servers.
type serverDialer struct {
	keepAlive   net.KeepAliveConfig
	userTimeout time.Duration
	binder      *binder // nil: lib/pq encrypts and authenticates
}

func newServerDialer() *serverDialer {
	return &serverDialer{
		keepAlive:   net.KeepAliveConfig{Enable: true, Idle: deadPeer / 3, Interval: deadPeer / 3, Count: 2},
		userTimeout: deadPeer,
	}
}

// session dials a server for a session.
func (d *serverDialer) session(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := d.dial(ctx, network, address)
	if encrypted, ok := conn.(*tlsConn); ok && err == nil {
		return &boundConn{tlsConn: encrypted, binder: d.binder}, nil
	}
	return conn, err
}

// dial dials a server, and encrypts the connection if lib/pq is not to do that.
func (d *serverDialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := net.Dialer{
		KeepAliveConfig: d.keepAlive,
		Control: func(network, _ string, raw syscall.RawConn) error {
			return setUserTimeout(network, raw, d.userTimeout)
		},
	}
	conn, err := dialer.DialContext(ctx, network, address)
	if err != nil || d.binder == nil {
		return conn, err
	}
	encrypted, err := d.binder.encrypt(ctx, address, conn)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return &tlsConn{Conn: encrypted, raw: conn}, nil
}

// link is a network connection that another goroutine can cut. lib/pq waits without
// limit for a server that hangs. Cutting the link ends every wait at once. The
// connection cannot be used after that.
type link struct {
	net.Conn
	dialer *linkDialer

	mu     sync.Mutex
	cut    bool
	closed bool
	used   bool // by a connection of lib/pq that occupies a slot of the pool
}

var longAgo = time.Unix(1, 0)

func (l *link) sever() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = true
	if !l.closed {
		_ = l.Conn.SetDeadline(longAgo)
	}
}

func (l *link) isCut() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cut
}

// SetDeadline is called by lib/pq around the start of the session. It must not
// restore a cut link.
func (l *link) SetDeadline(t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut {
		return nil
	}
	return l.Conn.SetDeadline(t)
}

// SetWriteDeadline is called by TLS around its close message.
func (l *link) SetWriteDeadline(t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut {
		return nil
	}
	return l.Conn.SetWriteDeadline(t)
}

// use marks the link as used by a connection of lib/pq. Its slot is freed when the
// server has closed the link.
func (l *link) use() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.used = true
}

// Close implements net.Conn. No goroutine reads from the link any more.
func (l *link) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return net.ErrClosed
	}
	l.closed = true
	if !l.used {
		return l.Conn.Close()
	}
	// A pooler drops a client that disconnects, and ignores a cancellation for a
	// client that it does not know. It must receive the request first.
	l.dialer.backends.end(l.Conn, l.dialer.waitForCancel)
	return nil
}

// arm cuts the link when ctx ends, after calling first if it is not nil. The
// returned function disarms it. When that has returned, the link is cut or will not
// be.
func (l *link) arm(ctx context.Context, first func()) (disarm func()) {
	cut := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		if first != nil {
			first()
		}
		l.sever()
		close(cut)
	})
	return sync.OnceFunc(func() {
		if !stop() {
			<-cut
		}
	})
}

// linkDialer dials for one connection of lib/pq. While the connection is being
// created, it dials links armed with ctx, because the context that lib/pq passes to
// a dialer ends before the start of the session. Later, lib/pq dials to ask the
// server to cancel the connection's operation.
type linkDialer struct {
	server   *serverDialer
	backends *backends
	ctx      context.Context // of one call of Connect
	last     *link           // the link that the connection uses
	arms     []func()

	made      chan struct{} // closed when the connection is ready
	asking    chan struct{} // closed when lib/pq dials for the cancellation
	asked     chan struct{} // closed when the server has received the request, or cannot
	startOnce sync.Once
	endOnce   sync.Once
}

func newLinkDialer(ctx context.Context, server *serverDialer, b *backends) *linkDialer {
	return &linkDialer{
		server: server, backends: b, ctx: ctx,
		made: make(chan struct{}), asking: make(chan struct{}), asked: make(chan struct{}),
	}
}

func (d *linkDialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	select {
	case <-d.made:
		return d.dialCancel(ctx, network, address)
	default:
	}
	conn, err := d.server.session(ctx, network, address)
	if err != nil {
		return nil, err
	}
	d.last = &link{Conn: conn, dialer: d}
	d.arms = append(d.arms, d.last.arm(d.ctx, nil))
	return d.last, nil
}

// finish disarms all links. From then on lib/pq dials only to cancel.
func (d *linkDialer) finish() {
	for _, disarm := range d.arms {
		disarm()
	}
	close(d.made)
}

func (d *linkDialer) dialCancel(ctx context.Context, network, address string) (net.Conn, error) {
	d.startOnce.Do(func() { close(d.asking) })
	conn, err := d.server.dial(ctx, network, address)
	if err == nil && !d.backends.track(conn) {
		_ = conn.Close()
		err = net.ErrClosed
	}
	if err != nil {
		d.endOnce.Do(func() { close(d.asked) })
		return nil, err
	}
	return &cancelLink{Conn: conn, dialer: d}, nil
}

// waitForCancel waits until a requested cancellation has reached the server. lib/pq
// gives up after connectTimeout.
func (d *linkDialer) waitForCancel() {
	select {
	case <-d.asking:
		<-d.asked
	default:
	}
}

// Dial and DialTimeout complete pq.Dialer. lib/pq uses DialContext instead.
func (d *linkDialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

func (d *linkDialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return d.DialContext(ctx, network, address)
}

// cancelLink is the connection on which lib/pq asks for a cancellation. lib/pq
// closes it after the server has, which is when the server has handled the request.
type cancelLink struct {
	net.Conn
	dialer *linkDialer
}

// Close implements net.Conn.
func (c *cancelLink) Close() error {
	c.dialer.backends.forget(c.Conn)
	err := c.Conn.Close()
	c.dialer.endOnce.Do(func() { close(c.dialer.asked) })
	return err
}
