package sqlstore

import (
	"context"
	"crypto/tls"
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
	"github.com/pressly/goose/v3"

	"example.com/curfew/internal/store"
)

const (
	// Writers wait for each other at the epoch clock. Readers must not wait for
	// them, so each group has its own connections. There are few, so that a server
	// that does not answer gets few queries at once.
	postgresConnections = 8

	// idleConnections is how long an unused connection is kept.
	idleConnections = 5 * time.Minute

	// migrateTimeout is the maximum time to create or migrate the schema: an index of
	// a large table takes minutes.
	migrateTimeout = time.Hour
)

// openTimeout is the maximum time to look at the schema, and to wait for another
// node that is creating it.
var openTimeout = 30 * time.Second

// A pooler in transaction mode gives each transaction any connection: a SET for a
// session is lost, or affects another client. Every transaction therefore sets its
// own settings, until it ends.
const (
	// setDurable makes the server acknowledge a commit only when it is on disk,
	// whatever its default is. remote_apply guarantees more, and stays.
	setDurable = `set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, true),
		set_config('client_min_messages', 'warning', true)`

	// setBounds limits how long a node that hangs in a transaction, or is cut off
	// there, holds the lock of the epoch clock: for seconds only. It also disables
	// the query compiler, which takes longer than any of Curfew's queries.
	setBounds = `set_config('lock_timeout', '1500ms', true), set_config('idle_in_transaction_session_timeout', '5s', true),
		set_config('statement_timeout', '60s', true), set_config('jit', 'off', true)`

	// commitDurable commits only if a transaction is as durable as setDurable
	// requires: otherwise a text that is not a number ends the message before the
	// COMMIT. Weaker than on are off, local and remote_write (which a standby that
	// stops may lose).
	commitDurable = `SELECT CASE WHEN current_setting('synchronous_commit') IN ('on', 'remote_apply') THEN 0
		ELSE CAST('synchronous_commit=' || current_setting('synchronous_commit') AS integer) END; COMMIT`
	weakCommit = "22P02" // invalid_text_representation

	// postgresHints save time and processes of the server, on connections where
	// they take effect. They disable the query compiler, end reads that last for
	// minutes, and let the server notice a lost node before deadPeer lets the node
	// replace the connection. No code depends on them.
	postgresHints = `SET jit = off; SET statement_timeout = '60s';
		SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3; SET tcp_user_timeout = '12s'`
)

func openPostgres(ctx context.Context, c Config) (*Store, error) {
	address, err := parsePostgres(c.URL)
	if err != nil {
		return nil, err
	}
	config, listen := address.config, address
	if c.ListenURL != "" {
		if listen, err = parsePostgres(c.ListenURL); err != nil {
			return nil, fmt.Errorf("--database-listen: %w", err)
		}
	}
	opened := func(err error) error {
		return fmt.Errorf("PostgreSQL database %q on %s: %w", config.Database, place(config), err)
	}
	if err := preparePostgres(ctx, address, c.Create); err != nil {
		return nil, opened(err)
	}
	pool := func() *sqlx.DB {
		db := sqlx.NewDb(sql.OpenDB(&pgConnector{
			config: config, server: address.server, backends: newBackends(postgresConnections),
			hints: postgresHints, local: setDurable + ", " + setBounds,
		}), "postgres")
		db.SetMaxOpenConns(postgresConnections)
		db.SetMaxIdleConns(postgresConnections)
		db.SetConnMaxIdleTime(idleConnections)
		return db
	}
	s := newStore(postgresDialect, pool(), pool())
	listener := &pgListener{
		dsn: listen.dsn, server: listen.server, direct: c.ListenURL != "", self: s.id, send: s.notify,
		logger: c.logger(), echoes: &echoes{heard: make(chan string, 16)},
	}
	s.hub = newHub(listener.run)
	s.watchError = listener.err
	s.backup = func(context.Context, string) error {
		return errors.New("a PostgreSQL database is backed up with PostgreSQL's own tools, for example: pg_dump --format=custom --file=FILE DATABASE")
	}
	s.warn = func(ctx context.Context) []string {
		warnings := s.warnPostgres(ctx)
		if warning := address.warnTLS(); warning != "" {
			warnings = append(warnings, warning)
		}
		if warning := listen.warnTLS(); warning != "" && c.ListenURL != "" {
			warnings = append(warnings, "--database-listen: "+warning)
		}
		return warnings
	}
	return s, nil
}

// notify sends a notification whose loss has no effect on correctness. The payload
// consists of letters, digits and colons.
func (s *Store) notify(ctx context.Context, payload string) error {
	_, err := s.write.ExecContext(ctx, `SELECT set_config('synchronous_commit', 'off', true), pg_notify('`+notifyChannel+`', '`+payload+`')`)
	return err
}

// pgAddress is the parsed URL of a database.
type pgAddress struct {
	config pq.Config
	dsn    string // the URL for pq.Listener, which accepts no Config
	server *serverDialer
}

// parsePostgres reads the URL. Errors never quote it, because it may contain a
// password.
func parsePostgres(text string) (pgAddress, error) {
	a := pgAddress{server: newServerDialer()}
	u, err := url.Parse(text)
	if err != nil {
		return a, errors.New("the address of the database is not a URL; use postgres://USER:PASSWORD@HOST/DATABASE, with %-escapes where a password has special characters")
	}
	query := u.Query()
	bind, err := takeParameters(query, a.server)
	if err != nil {
		return a, fmt.Errorf("the address of the database: %w", err)
	}
	if seconds, err := strconv.Atoi(query.Get("connect_timeout")); err != nil || seconds <= 0 || seconds > 2 {
		query.Set("connect_timeout", "2")
	}
	if !query.Has("application_name") && !query.Has("fallback_application_name") {
		query.Set("fallback_application_name", "curfew")
	}
	u.RawQuery = query.Encode()
	a.config, err = pq.NewConfig(u.String())
	if err == nil && a.config.SSLMode == "" && hasRemoteHost(a.config) {
		// By default lib/pq encrypts and accepts any certificate, so an attacker on
		// the path can read and change everything.
		query.Set("sslmode", string(pq.SSLModeVerifyFull))
		u.RawQuery = query.Encode()
		a.config, err = pq.NewConfig(u.String())
	}
	if err == nil && bind {
		a.server.binder, err = newBinder(&a.config)
		query.Set("sslmode", string(a.config.SSLMode))
		query.Del("sslrootcert")
		u.RawQuery = query.Encode()
	}
	if err != nil {
		return a, fmt.Errorf("the address of the database: %w", err)
	}
	// Parameters are sent with the statement, in one round trip instead of two.
	a.config.BinaryParameters = true
	a.dsn = u.String()
	return a, nil
}

// hasRemoteHost reports whether a server is reached by a network that others may
// use.
func hasRemoteHost(c pq.Config) bool {
	return slices.ContainsFunc(hosts(c), func(h pq.ConfigMultihost) bool {
		address := h.Hostaddr
		if !address.IsValid() {
			if h.Host == "" || h.Host == "localhost" || strings.HasPrefix(h.Host, "/") || strings.HasPrefix(h.Host, "@") {
				return false
			}
			var err error
			if address, err = netip.ParseAddr(strings.Trim(h.Host, "[]")); err != nil {
				return true // a host name
			}
		}
		return !address.Unmap().IsLoopback()
	})
}

// warnTLS returns what an attacker on the path can do, or "" if the connection is
// safe.
func (a pgAddress) warnTLS() string {
	c := a.config
	if !hasRemoteHost(c) || a.server.binder != nil {
		return ""
	}
	const remedy = "; write sslmode=verify-full, with sslrootcert=FILE for a certificate authority of your own"
	switch c.SSLMode {
	case pq.SSLModeDisable, pq.SSLModeAllow, pq.SSLModePrefer:
		return fmt.Sprintf("sslmode=%s: the connection to PostgreSQL may be unencrypted, so an attacker on the network can read and change what passes, password hashes included", c.SSLMode) + remedy
	case pq.SSLModeRequire:
		return "sslmode=require: the certificate of PostgreSQL is not checked against its name, so an attacker on the network can stand in for the server" + remedy
	default:
		return ""
	}
}

// place is the location of a server, for display.
func place(c pq.Config) string {
	if strings.HasPrefix(c.Host, "/") {
		return c.Host
	}
	return fmt.Sprintf("%s:%d", c.Host, c.Port)
}

// schemaLock is the advisory lock for creating or changing the schema, so that
// nodes that start at the same time take turns.
const schemaLock = 0x4375726665770001 // "Curfew", 1

// setPatience lets the transaction wait for the lock as long as openTimeout allows.
// keepAlive holds it for longer. The lock ends with the transaction, or a little
// later if its node is lost.
const setPatience = `set_config('lock_timeout', '0', true), set_config('statement_timeout', '0', true),
	set_config('idle_in_transaction_session_timeout', '35s', true)`

// namesLock is the advisory lock of transactions that name users: see tx.LockNames.
const namesLock = 0x4375726665770002 // "Curfew", 2

// preparePostgres checks the contents of a database. With create it also creates or
// migrates the schema.
func preparePostgres(ctx context.Context, a pgAddress, create bool) error {
	long, cancelLong := context.WithTimeoutCause(ctx, migrateTimeout, errBudget)
	defer cancelLong()
	ctx, cancel := context.WithTimeoutCause(ctx, openTimeout, errBudget)
	defer cancel()
	db := sql.OpenDB(&pgConnector{config: a.config, server: a.server, backends: newBackends(2), local: setDurable})
	db.SetMaxOpenConns(2) // one holds the lock, goose uses the other
	migrating := false
	err := func() error {
		if err := checkPostgres(ctx, db, create); err == nil || !create || !errors.Is(err, errToDo) {
			return err
		}
		locked, err := db.BeginTx(long, nil)
		if err != nil {
			return err
		}
		defer func() { _ = locked.Rollback() }() // this releases the lock
		if _, err := locked.ExecContext(ctx, `SELECT `+setPatience); err != nil {
			return err
		}
		if _, err := locked.ExecContext(ctx, `SELECT pg_advisory_xact_lock($1)`, int64(schemaLock)); err != nil {
			return err
		}
		// Another node may have done it meanwhile.
		if err := checkPostgres(ctx, db, create); !errors.Is(err, errToDo) {
			return err
		}
		if _, err := db.ExecContext(ctx, preludePostgres); err != nil {
			return err
		}
		migrating = true
		return keepAlive(long, locked, func() error { return migrate(long, goose.DialectPostgres, db) })
	}()
	if cerr := db.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		cause, limit := err, ctx
		if migrating {
			limit = long
		}
		_, err = postgresDialect.explain(limit, "open", cause)
		err = markReady(err, cause)
	}
	return err
}

// keepAlive does something while a transaction is idle, and keeps the server from
// ending the transaction.
func keepAlive(ctx context.Context, tx *sql.Tx, do func() error) error {
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() { // ends with do
		defer close(stopped)
		for {
			select {
			case <-done:
				return
			case <-time.After(openTimeout / 3):
				_, _ = tx.ExecContext(ctx, `SELECT`) // if it fails, the lock is lost
			}
		}
	}()
	defer func() {
		close(done)
		<-stopped
	}()
	return do()
}

// preludePostgres provides what the schema needs of PostgreSQL and SQLite has built
// in: bytewise comparison of text, whatever the database's collation is, and audit
// numbers without a lock.
const preludePostgres = `
	DO $$ BEGIN
		IF to_regtype('ctext') IS NULL THEN
			CREATE DOMAIN ctext AS text COLLATE "C";
		END IF;
	END $$;
	CREATE SEQUENCE IF NOT EXISTS audit_ids`

// errToDo means that the schema must be created or migrated.
var errToDo = errors.New("the schema does not exist yet")

// errStandby is no reason to give up: a failover may be under way.
var errStandby = errors.New("the server is a read-only standby; use the primary, or all servers with ?target_session_attrs=read-write")

// checkPostgres checks whether a database is Curfew's and has the newest schema.
func checkPostgres(ctx context.Context, db *sql.DB, create bool) error {
	var encoding string
	var standby, ours bool
	var others int64
	err := db.QueryRowContext(ctx, `
		SELECT current_setting('server_encoding'), pg_is_in_recovery(), to_regclass('`+versionTable+`') IS NOT NULL,
			(SELECT count(*) FROM pg_class WHERE relnamespace = to_regnamespace(current_schema()) AND relkind IN ('r', 'p', 'v', 'm', 'f'))`).
		Scan(&encoding, &standby, &ours, &others)
	switch {
	case err != nil:
		return err
	case encoding != "UTF8":
		return fmt.Errorf("%w: its encoding is %s and must be UTF8; create one with: createdb --encoding=UTF8 --template=template0 NAME", store.ErrForeign, encoding)
	case !ours && others > 0:
		return fmt.Errorf("%w: it has tables of another program and none of Curfew; use a separate database for Curfew: createdb NAME", store.ErrForeign)
	case !ours && !create:
		return fmt.Errorf("%w: the database is empty; start `curfew serve` first, which creates the tables", store.ErrNotFound)
	case standby && create:
		return fmt.Errorf("%w: %w", store.ErrUnavailable, errStandby)
	case !ours:
		return errToDo
	}
	_, err = checkSchema(ctx, db, postgresDialect)
	if create && errors.Is(err, store.ErrOlderSchema) {
		return errToDo
	}
	return err
}

func diagnosePostgres(err error) diagnosis {
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return diagnosis{sentinel: store.ErrUnavailable, text: fmt.Sprintf("the server's certificate is refused: %v; name its certificate authority with ?sslrootcert=FILE, or accept any certificate with ?sslmode=require", e.Err)}
	}
	if errors.Is(err, pq.ErrSSLNotSupported) {
		return diagnosis{sentinel: store.ErrUnavailable, text: "the server does not encrypt connections; turn ssl on in its postgresql.conf, or add ?sslmode=disable to the address if it need not, as on the same machine"}
	}
	var e *pq.Error
	if !errors.As(err, &e) {
		return diagnosis{}
	}
	// Only the message: detail may contain data.
	d := diagnosis{sentinel: store.ErrUnavailable, text: fmt.Sprintf("%s (%s)", e.Message, e.Code)}
	switch e.Code {
	case "23505", "23514": // unique_violation, check_violation
		d.sentinel = store.ErrConflict
	case "40001", "40P01": // serialization_failure, deadlock_detected
		d.again = true
	case "55P03": // lock_not_available
		d.text = "others hold what this waits for"
	case "XX001", "XX002": // data_corrupted, index_corrupted
		d.sentinel = store.ErrCorrupt
	case "3D000": // invalid_catalog_name
		d.text = e.Message + "; make it with: createdb NAME"
	case "42501": // insufficient_privilege
		d.text = e.Message + "; the user must own the database: createdb --owner=USER NAME"
	case "25006": // read_only_sql_transaction
		d.text = "the server is a standby, or read-only"
	case "08P01": // protocol_violation: PgBouncer's code for everything that it refuses
		if strings.Contains(e.Message, "startup parameter") {
			d.text = e.Message + "; a connection pooler refuses it: leave it out of the address, or add it to the pooler's ignore_startup_parameters"
		}
	case "53300": // too_many_connections
		d.text = fmt.Sprintf("the server has no connection left; each node needs %d (max_connections)", 2*postgresConnections+1)
	}
	return d
}

// warnPostgres looks for server settings under which an acknowledged commit can be
// lost.
func (s *Store) warnPostgres(ctx context.Context) []string {
	var row struct {
		Fsync     string `db:"fsync"`
		FullPages string `db:"full_pages"`
		Names     string `db:"names"`
		Replicas  int64  `db:"replicas"`
	}
	if err := s.get(ctx, "look at the server's settings", &row, `
		SELECT current_setting('fsync') AS fsync, current_setting('full_page_writes') AS full_pages,
			current_setting('synchronous_standby_names') AS names,
			(SELECT count(*) FROM pg_stat_replication) AS replicas`); err != nil {
		return []string{fmt.Sprintf("cannot tell whether commits are safe: %v", err)}
	}
	var warnings []string
	if row.Fsync != "on" {
		warnings = append(warnings, "PostgreSQL runs with fsync=off: when its machine stops, revocations that were acknowledged may be lost")
	}
	if row.FullPages != "on" {
		warnings = append(warnings, "PostgreSQL runs with full_page_writes=off: when its machine stops, the database may be damaged")
	}
	if row.Replicas > 0 && row.Names == "" {
		warnings = append(warnings, "PostgreSQL has replicas, none of them synchronous (synchronous_standby_names is empty): a failover may lose the last revocations; after one, run `curfew revoke everyone`")
	}
	return warnings
}
