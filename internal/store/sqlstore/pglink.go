package sqlstore

import (
	"context"
	"net"
	"sync"
	"syscall"
	"time"
)

// connectTimeout bounds dialling and greeting a PostgreSQL server; of several
// hosts, each gets its share of it.
const connectTimeout = 1500 * time.Millisecond

// deadPeer is how long a server may acknowledge nothing, neither data nor
// keepalives, before TCP gives the connection up.
const deadPeer = 15 * time.Second

// dialServer dials a server.
func dialServer(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: deadPeer / 3, Interval: deadPeer / 3, Count: 2},
		Control: func(network, _ string, raw syscall.RawConn) error {
			return setUserTimeout(network, raw, deadPeer)
		},
	}
	return dialer.DialContext(ctx, network, address)
}

// link is a network connection that can be cut from outside. lib/pq waits for a
// server that hangs for ever. Cutting the link ends every wait at once. The
// connection cannot be used after that.
type link struct {
	net.Conn
	dialer *linkDialer

	mu     sync.Mutex
	cut    bool
	closed bool
	used   bool // by a connection of lib/pq, to which a slot of the pool belongs
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

// SetDeadline is called by lib/pq around the greeting. It must not mend a link.
func (l *link) SetDeadline(t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut {
		return nil
	}
	return l.Conn.SetDeadline(t)
}

// SetWriteDeadline is called by TLS around its farewell.
func (l *link) SetWriteDeadline(t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut {
		return nil
	}
	return l.Conn.SetWriteDeadline(t)
}

// use says that a connection of lib/pq uses the link. Its slot is freed when the
// server has closed the link.
func (l *link) use() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.used = true
}

// Close implements net.Conn. Who reads from the link has stopped by then.
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
	// A pooler forgets a client that leaves, and a cancellation asked for by one
	// that it does not know. It must have the request first.
	l.dialer.backends.end(l.Conn, l.dialer.waitForCancel)
	return nil
}

// arm has the link cut when ctx ends, after a call of first unless that is nil.
// The function it returns disarms it; when that has returned, the link is cut or
// will not be.
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

// linkDialer dials for one connection of lib/pq. While that is being made, it
// dials links that are armed with ctx: the context that lib/pq hands to a dialer
// is over when it has dialled, before the greeting. Later, lib/pq dials to ask the
// server to cancel what the connection does.
type linkDialer struct {
	backends *backends
	ctx      context.Context //nolint:containedctx // of one call of Connect
	last     *link           // the one that the connection came to use
	arms     []func()

	made      chan struct{} // closed when the connection is made
	asking    chan struct{} // closed when lib/pq dials to ask for the cancellation
	asked     chan struct{} // closed when the server has got the request, or cannot
	startOnce sync.Once
	endOnce   sync.Once
}

func newLinkDialer(ctx context.Context, b *backends) *linkDialer {
	return &linkDialer{
		backends: b, ctx: ctx,
		made: make(chan struct{}), asking: make(chan struct{}), asked: make(chan struct{}),
	}
}

func (d *linkDialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	select {
	case <-d.made:
		return d.dialCancel(ctx, network, address)
	default:
	}
	conn, err := dialServer(ctx, network, address)
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
	conn, err := dialServer(ctx, network, address)
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

// waitForCancel waits until a cancellation that was asked for has reached the
// server. lib/pq gives up after connectTimeout.
func (d *linkDialer) waitForCancel() {
	select {
	case <-d.asking:
		<-d.asked
	default:
	}
}

// Dial and DialTimeout complete pq.Dialer; with DialContext there they are not used.
func (d *linkDialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

func (d *linkDialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return d.DialContext(ctx, network, address)
}

// cancelLink is the connection on which lib/pq asks for a cancellation. lib/pq
// closes it when the server has, which is when the server has seen to it.
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
