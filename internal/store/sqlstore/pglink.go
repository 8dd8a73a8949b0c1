package sqlstore

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/lib/pq"
)

// connectTimeout bounds dialling and greeting a PostgreSQL server; of several
// hosts, each gets its share of it.
const connectTimeout = 1500 * time.Millisecond

// link is a network connection that can be cut from outside. lib/pq waits for a
// server that hangs for ever: what it does about a context that ends is to dial
// another connection and ask for the cancellation there. Cutting the link ends
// every wait at once. The connection cannot be used after that.
type link struct {
	net.Conn

	mu  sync.Mutex
	cut bool
}

var longAgo = time.Unix(1, 0)

func (l *link) sever() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = true
	_ = l.Conn.SetDeadline(longAgo)
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

// arm has the link cut when ctx ends. The function it returns disarms it; when
// that has returned, the link is cut or will not be.
func (l *link) arm(ctx context.Context) (disarm func()) {
	cut := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		l.sever()
		close(cut)
	})
	var once sync.Once
	return func() {
		once.Do(func() {
			if !stop() {
				<-cut
			}
		})
	}
}

// linkDialer dials links that are armed with ctx. The context that lib/pq hands
// to a dialer is over when it has dialled, before the greeting.
type linkDialer struct {
	ctx  context.Context //nolint:containedctx // of one call of Connect
	last *link           // the one that the connection came to use
	arms []func()
}

func (d *linkDialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	d.last = &link{Conn: conn}
	d.arms = append(d.arms, d.last.arm(d.ctx))
	return d.last, nil
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

// pgConnector makes connections of lib/pq that honour contexts.
type pgConnector struct {
	config pq.Config
	setup  string // statements that a new connection runs first
}

// Connect implements driver.Connector. A connection that is gone as soon as it is
// made met a server that goes down or comes up, and is tried for once more.
func (c *pgConnector) Connect(ctx context.Context) (driver.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, made, err := c.connect(ctx)
	if err != nil && made && ctx.Err() == nil && isLost(err) {
		conn, _, err = c.connect(ctx)
	}
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	if err != nil {
		return nil, err
	}
	return conn, nil
}

// connect reports also whether there was somebody who took the connection.
func (c *pgConnector) connect(ctx context.Context) (conn *pgConn, made bool, err error) {
	config := c.config.Clone()
	config.ConnectTimeout = connectTimeout / time.Duration(1+len(config.Multi))
	connector, err := pq.NewConnectorConfig(config)
	if err != nil {
		return nil, false, err
	}
	dialer := &linkDialer{ctx: ctx}
	connector.Dialer(dialer)
	defer func() {
		for _, disarm := range dialer.arms {
			disarm()
		}
	}()
	inner, err := connector.Connect(ctx)
	if err != nil {
		return nil, dialer.last != nil, err
	}
	whole, ok := inner.(pqConn)
	if !ok {
		return nil, true, errors.Join(fmt.Errorf("lib/pq's %T is not what it was", inner), inner.Close())
	}
	conn = &pgConn{pqConn: whole, link: dialer.last}
	if c.setup != "" {
		if _, err := conn.ExecContext(ctx, c.setup, nil); err != nil {
			_ = conn.Close()
			return nil, true, err
		}
	}
	return conn, true, nil
}

// isLost reports whether an error says that a connection is gone.
func isLost(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, driver.ErrBadConn)
}

// Driver implements driver.Connector.
func (c *pgConnector) Driver() driver.Driver { return &pq.Driver{} }

// pqConn is what we use of a connection of lib/pq.
type pqConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ExecerContext
	driver.QueryerContext
	driver.NamedValueChecker
	driver.SessionResetter
	driver.Validator
}

// pgConn is a connection whose link is cut when the context of what it does
// ends. lib/pq gets contexts that do not end, so it starts no goroutines.
type pgConn struct {
	pqConn
	link *link
}

// QueryContext implements driver.QueryerContext. The rows come as they are read,
// so the link stays armed until they are closed.
func (c *pgConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	disarm := c.link.arm(ctx)
	rows, err := c.pqConn.QueryContext(context.WithoutCancel(ctx), query, args)
	if err != nil {
		disarm()
		return nil, c.lost(err)
	}
	return &pgRows{Rows: rows, disarm: disarm}, nil
}

// ExecContext implements driver.ExecerContext.
func (c *pgConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	defer c.link.arm(ctx)()
	return c.pqConn.ExecContext(context.WithoutCancel(ctx), query, args)
}

// BeginTx implements driver.ConnBeginTx.
func (c *pgConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	defer c.link.arm(ctx)()
	inner, err := c.pqConn.BeginTx(context.WithoutCancel(ctx), opts)
	if err != nil {
		return nil, c.lost(err)
	}
	return &pgTx{inner: inner, conn: c, ctx: ctx}, nil
}

// lost says driver.ErrBadConn for a connection that turned out to be gone before
// it was used, since the server was restarted: database/sql then takes another.
// Reading, and beginning a transaction, can be done twice.
func (c *pgConn) lost(err error) error {
	if !c.link.isCut() && isLost(err) {
		return driver.ErrBadConn
	}
	return err
}

// ResetSession implements driver.SessionResetter.
func (c *pgConn) ResetSession(ctx context.Context) error {
	if c.link.isCut() {
		return driver.ErrBadConn
	}
	return c.pqConn.ResetSession(ctx)
}

// IsValid implements driver.Validator.
func (c *pgConn) IsValid() bool { return !c.link.isCut() && c.pqConn.IsValid() }

// Close implements driver.Conn. lib/pq says goodbye to the server. Whether that
// is there to hear it does not matter, and must not be waited for.
func (c *pgConn) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
	defer cancel()
	defer c.link.arm(ctx)()
	_ = c.pqConn.Close()
	return nil
}

type pgRows struct {
	driver.Rows
	disarm func()
}

// Close implements driver.Rows.
func (r *pgRows) Close() error {
	defer r.disarm()
	return r.Rows.Close()
}

// pgTx is a transaction that ends with the context it was begun with.
type pgTx struct {
	inner driver.Tx
	conn  *pgConn
	ctx   context.Context //nolint:containedctx // database/sql gives Commit none
}

// Commit implements driver.Tx.
func (t *pgTx) Commit() error {
	defer t.conn.link.arm(t.ctx)()
	return t.inner.Commit()
}

// Rollback implements driver.Tx. When the context has ended there is nobody to
// wait for the server's answer; it rolls back when it finds the connection gone.
func (t *pgTx) Rollback() error {
	defer t.conn.link.arm(t.ctx)()
	return t.inner.Rollback()
}
