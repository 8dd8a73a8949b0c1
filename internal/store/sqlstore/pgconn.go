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

// pgConnector makes connections of lib/pq that honour contexts, and no more of
// them at a time than the server has slots for.
type pgConnector struct {
	config   pq.Config
	backends *backends
	// hints are statements that a new connection runs first. Nothing may rely on
	// them: behind a pooler the next statement may run on another connection.
	hints string
	// local sets the settings of a transaction: a list of calls of set_config.
	local string
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
	if err != nil && ctx.Err() != nil && !errors.Is(err, errNoBackend) {
		err = fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	if err != nil {
		return nil, err
	}
	return conn, nil
}

// connect reports also whether there was a server that took the connection.
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
	dialer := newLinkDialer(ctx, c.backends)
	connector.Dialer(dialer)
	inner, err := connector.Connect(ctx)
	dialer.finish()
	if err != nil {
		c.backends.free()
		return nil, dialer.last != nil, err
	}
	dialer.last.use() // and with it the slot
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

// isLost reports whether an error says that a connection is gone.
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

// pqConn is what we use of a connection of lib/pq.
type pqConn interface {
	driver.Conn
	driver.Tx
	driver.ExecerContext
	driver.QueryerContext
	driver.NamedValueChecker
	driver.SessionResetter
	driver.Validator
}

// pgConn is a connection on which what takes longer than its context is cancelled
// at the server. Its link is cut then, so that the caller does not wait for that.
type pgConn struct {
	pqConn
	link   *link
	local  string
	notice *pq.Error // the last of the server; set while a statement runs
}

// cancelStart is how long lib/pq may take to begin to ask for a cancellation. It
// begins at once, but for a machine that is short of processors.
const cancelStart = time.Second

// arm returns a context for lib/pq, which asks the server for the cancellation
// when ctx ends. The link is cut then. disarm is as in link.arm.
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
		case <-over: // it was answered after all
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

// QueryContext implements driver.QueryerContext. The rows come as they are read,
// so the link stays armed until they are closed.
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

// BeginTx implements driver.ConnBeginTx. The settings of the transaction go with
// its beginning, in one message.
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

// pgTx is a transaction that ends with the context it was begun with.
type pgTx struct {
	conn *pgConn
	ctx  context.Context //nolint:containedctx // database/sql gives Commit none
}

var (
	errWeakCommit   = errors.New("synchronous_commit is neither on nor remote_apply in the transaction, so it was not committed: a trigger or a connection pooler changes it")
	errUnsureCommit = errors.New("the commit is not known to be safe")
)

// Commit implements driver.Tx. It fails when synchronous_commit would let the
// server answer before the commit is on disk, and when the server warns: of a
// commit that it does not wait for a standby to have, since its wait was
// cancelled, or of a transaction that it does not know.
func (t *pgTx) Commit() error {
	t.conn.notice = nil
	_, err := t.conn.ExecContext(t.ctx, commitDurable, nil)
	var answer *pq.Error
	switch {
	case errors.As(err, &answer):
		// The transaction may still be open, and have failed.
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

// Rollback implements driver.Tx. When the context has ended, no answer of the
// server is waited for; it rolls back when it finds the connection gone.
func (t *pgTx) Rollback() error {
	defer t.conn.link.arm(t.ctx, nil)()
	return t.conn.pqConn.Rollback()
}
