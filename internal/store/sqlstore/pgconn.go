package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/lib/pq"
)

// pgConnector creates connections of lib/pq that honour contexts, at most as many
// as the server has slots for.
type pgConnector struct {
	config   pq.Config
	server   *serverDialer
	backends *backends
	// hints are statements that a new connection runs first. No code may depend on
	// them: behind a pooler the next statement may run on another connection.
	hints string
	// local sets the settings of a transaction: a list of calls of set_config.
	local string
}

// Connect implements driver.Connector. If a new connection is lost at once, the
// server was stopping or starting, so Connect tries once more.
func (c *pgConnector) Connect(ctx context.Context) (driver.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, made, err := c.connect(ctx)
	if err != nil && made && ctx.Err() == nil && isLost(err) {
		conn, _, err = c.connect(ctx)
	}
	if err != nil && ctx.Err() != nil && !errors.Is(err, errNoBackend) {
		err = fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	if err != nil {
		return nil, err
	}
	return conn, nil
}

// connect also reports whether a server accepted the connection.
func (c *pgConnector) connect(ctx context.Context) (conn *pgConn, made bool, err error) {
	config := c.config.Clone()
	config.ConnectTimeout = connectTimeout / time.Duration(1+len(config.Multi))
	connector, err := pq.NewConnectorConfig(config)
	if err != nil {
		return nil, false, err
	}
	if err := c.backends.take(ctx); err != nil {
		return nil, false, err
	}
	dialer := newLinkDialer(ctx, c.server, c.backends)
	connector.Dialer(dialer)
	inner, err := connector.Connect(ctx)
	dialer.finish()
	if err != nil {
		c.backends.free()
		return nil, dialer.last != nil, err
	}
	dialer.last.use() // this also keeps the slot
	whole, ok := inner.(pqConn)
	if !ok {
		return nil, true, errors.Join(fmt.Errorf("lib/pq's %T is not what it was", inner), inner.Close())
	}
	conn = &pgConn{pqConn: whole, link: dialer.last, local: c.local}
	pq.SetNoticeHandler(inner, func(notice *pq.Error) { conn.notice = notice })
	if c.hints != "" {
		if _, err := conn.ExecContext(ctx, c.hints, nil); err != nil {
			_ = conn.Close()
			return nil, true, err
		}
	}
	return conn, true, nil
}

// isLost reports whether an error means that a connection is lost.
func isLost(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, driver.ErrBadConn)
}

// Driver implements driver.Connector.
func (c *pgConnector) Driver() driver.Driver { return &pq.Driver{} }

// Close implements io.Closer for database/sql, which calls it with DB.Close.
func (c *pgConnector) Close() error {
	c.backends.close()
	return nil
}

// pqConn is the used part of a connection of lib/pq.
type pqConn interface {
	driver.Conn
	driver.Tx
	driver.ExecerContext
	driver.QueryerContext
	driver.NamedValueChecker
	driver.SessionResetter
	driver.Validator
}

// pgConn is a connection on which an operation that outlasts its context is
// cancelled on the server. Its link is then cut, so that the caller does not wait
// for the cancellation.
type pgConn struct {
	pqConn
	link   *link
	local  string
	notice *pq.Error // the server's last notice; set while a statement runs
}

// cancelStart is the maximum time for lib/pq to begin a cancellation request.
const cancelStart = time.Second

// arm returns a context for lib/pq, which asks the server for the cancellation when
// ctx ends. The link is then cut. disarm is as in link.arm.
func (c *pgConn) arm(ctx context.Context) (inner context.Context, disarm func()) {
	if ctx.Done() == nil {
		return ctx, func() {}
	}
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	over := make(chan struct{})
	disarmLink := c.link.arm(ctx, func() {
		cancel()
		timer := time.NewTimer(cancelStart)
		defer timer.Stop()
		select {
		case <-c.link.dialer.asking:
		case <-over: // it was answered in time
		case <-timer.C:
		}
	})
	return inner, func() {
		select {
		case <-over:
		default:
			close(over)
		}
		disarmLink()
		cancel()
	}
}

// QueryContext implements driver.QueryerContext. Rows are read on demand, so the
// link stays armed until they are closed.
func (c *pgConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	inner, disarm := c.arm(ctx)
	rows, err := c.pqConn.QueryContext(inner, query, args)
	if err != nil {
		disarm()
		return nil, c.lost(err)
	}
	return &pgRows{Rows: rows, disarm: disarm}, nil
}

// ExecContext implements driver.ExecerContext.
func (c *pgConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	inner, disarm := c.arm(ctx)
	defer disarm()
	return c.pqConn.ExecContext(inner, query, args)
}

// BeginTx implements driver.ConnBeginTx. It sends the transaction's settings with
// its begin in one message.
func (c *pgConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	begin := "BEGIN"
	switch sql.IsolationLevel(opts.Isolation) {
	case sql.LevelDefault:
	case sql.LevelReadCommitted:
		begin += " ISOLATION LEVEL READ COMMITTED"
	default:
		return nil, fmt.Errorf("isolation level %v is not supported", sql.IsolationLevel(opts.Isolation))
	}
	if opts.ReadOnly {
		begin += " READ ONLY"
	} else {
		begin += " READ WRITE"
	}
	c.notice = nil
	_, err := c.ExecContext(ctx, begin+"; SELECT "+c.local, nil)
	switch {
	case err != nil:
		err = c.lost(err)
		c.link.sever() // the transaction may have begun
		return nil, err
	case c.notice != nil:
		c.link.sever() // the connection was in a transaction already
		return nil, driver.ErrBadConn
	}
	return &pgTx{conn: c, ctx: ctx}, nil
}

// lost returns driver.ErrBadConn for a connection that was lost before its use,
// because the server was restarted: database/sql then takes another. Reads and the
// begin of a transaction can be repeated.
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

// Close implements driver.Conn. lib/pq sends a terminate message. It does not
// matter whether the server receives it, so Close does not wait.
func (c *pgConn) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
	defer cancel()
	defer c.link.arm(ctx, nil)()
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

// pgTx is a transaction that ends with the context of its begin.
type pgTx struct {
	conn *pgConn
	ctx  context.Context // database/sql gives Commit none
}

var (
	errWeakCommit   = errors.New("synchronous_commit is neither on nor remote_apply in the transaction, so it was not committed: a trigger or a connection pooler changes it")
	errUnsureCommit = errors.New("the commit is not known to be safe")
)

// Commit implements driver.Tx. It returns an error if synchronous_commit would let
// the server answer before the commit is on disk, or if the server sends a warning:
// that it no longer waits for a standby because the wait was cancelled, or that it
// does not know the transaction.
func (t *pgTx) Commit() error {
	t.conn.notice = nil
	_, err := t.conn.ExecContext(t.ctx, commitDurable, nil)
	var answer *pq.Error
	switch {
	case errors.As(err, &answer):
		// The transaction may still be open, or may have failed.
		_ = t.Rollback()
		if answer.Code == weakCommit {
			return fmt.Errorf("%w (%s)", errWeakCommit, answer.Message)
		}
		return err
	case err != nil:
		return err
	case t.conn.link.isCut():
		return errUnsureCommit // the commit may have been answered because it was cancelled
	case t.conn.notice != nil:
		return fmt.Errorf("%w: %s", errUnsureCommit, t.conn.notice.Message)
	}
	return nil
}

// Rollback implements driver.Tx. After the end of the context it does not wait for
// an answer: the server rolls back when it finds the connection closed.
func (t *pgTx) Rollback() error {
	defer t.conn.link.arm(t.ctx, nil)()
	return t.conn.pqConn.Rollback()
}
