package app_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"database/sql"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/console"
	"example.com/curfew/internal/feed"
	"example.com/curfew/internal/httpapi"
	"example.com/curfew/internal/keyring"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/store/migrated"
	"example.com/curfew/internal/store/sqlstore"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
	"example.com/curfew/settings"
	"example.com/curfew/token"
)

const (
	issuer      = "http://curfew.test"
	password    = "violet-anchor-73-lantern"
	newPassword = "meadow-copper-58-sparrow"
)

var trusted = authz.Caller{Trusted: true, Actor: store.Actor{Kind: store.ActorCLI}}

// deployment is two nodes on one database. Requests wait at held while sessions
// are ended at ending, which is held itself or the other node.
type deployment struct {
	*testing.T
	held, other, ending *node
	raw                 *sql.DB // the database as it is, for dump
	root                string  // token of an administrator who ends sessions
	rootName            string
	hash                string     // of password
	bystander           store.User // is revoked where only the receipt matters
	made                int        // numbers the objects that are made
}

// node is one server: API and console over the same services.
type node struct {
	*testing.T
	store     store.Store // not held up by the gate
	gate      *gate
	ring      *keyring.Ring
	feed      *feed.Node
	accounts  *account.Service
	validator *token.Validator
	blocker   *blocker
	server    *httptest.Server

	mu       sync.Mutex
	lanes    map[int]http.Handler
	watches  map[int]chan struct{}
	sessions []*session.Service // of the lanes
}

// deploy opens a deployment on an empty database: SQLite if the URL is "".
func deploy(t *testing.T, database string) *deployment {
	t.Helper()
	d := &deployment{T: t}
	driver, source := "postgres", database
	if database == "" {
		database = migrated.SQLite(t)
		driver, source = "sqlite", "file:"+strings.TrimPrefix(database, "sqlite:")+"?_pragma=busy_timeout(10000)"
	}
	d.held = openNode(t, database, true)
	d.other = openNode(t, database, false)
	var err error
	d.raw, err = sql.Open(driver, source)
	d.must(err)
	t.Cleanup(func() { _ = d.raw.Close() })
	admin, err := d.held.accounts.FindUser(t.Context(), "admin")
	d.must(err)
	d.rootName, d.hash = admin.Name, admin.PasswordHash
	d.bystander = d.user("bystander")
	return d
}

func openNode(t *testing.T, database string, first bool) *node {
	t.Helper()
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	n := &node{T: t, lanes: map[int]http.Handler{}, watches: map[int]chan struct{}{}, blocker: newBlocker()}
	var err error
	n.store, err = sqlstore.Open(ctx, sqlstore.Config{URL: database, Create: true})
	must(err)
	t.Cleanup(func() { must(n.store.Close()) })
	n.gate = &gate{Store: n.store, arrived: make(chan struct{}, 1024)}
	if first {
		must(n.store.Update(ctx, func(tx store.Tx) error {
			epoch, err := tx.Advance(ctx, time.Now())
			in := settings.InForce{Settings: settings.Default(), Epoch: epoch}
			return errors.Join(err,
				tx.PutInstallation(ctx, store.Installation{Issuer: issuer, Audience: []string{issuer}, Epoch: epoch}),
				tx.PutSettings(ctx, store.Settings{InForce: in, LongestMaximum: settings.Seconds(in.MaximumSessionDuration)}))
		}))
	}
	n.ring, err = keyring.Open(ctx, keyring.Config{Store: n.gate, KEK: make([]byte, 32), ReauthenticateWithin: within, Applied: func(ctx context.Context, epoch revocation.Epoch) error {
		if n.feed == nil {
			return nil
		}
		return n.feed.AppliedUpTo(ctx, epoch)
	}})
	must(err)
	must(n.ring.Init(ctx, trusted))
	n.feed, err = feed.Open(ctx, feed.Config{Store: n.store, Name: "node", OnKeys: n.ring.Sync})
	must(err)
	t.Cleanup(func() { must(n.feed.Close()) })
	n.accounts, err = account.New(account.Config{
		Store: n.gate, ReauthenticateWithin: within, Applied: n.feed.Applied, HashMemoryKiB: 8, MaxHashes: 1, MaxQueue: 1024, Logger: slog.New(n.blocker),
	})
	must(err)
	if first {
		_, err = n.accounts.Bootstrap(ctx, password, nil)
		must(err)
	}
	n.validator, err = n.feed.Validator(issuer, nil, nil)
	must(err)
	t.Cleanup(func() {
		for _, s := range n.sessions {
			s.Close()
		}
	})
	n.server = httptest.NewServer(n)
	t.Cleanup(n.server.Close)
	return n
}

// laneHeader chooses the services that answer a request; watchHeader has the body
// watched.
const (
	laneHeader  = "X-Test-Lane"
	watchHeader = "X-Test-Watch"
)

// ServeHTTP hands a request to its lane. Revocations that come at the same time
// share a transaction in one session.Service, and only the first of them would be
// seen at the gate: so each request that is held has a service of its own.
func (n *node) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	lane, _ := strconv.Atoi(r.Header.Get(laneHeader)) // 0 without
	n.mu.Lock()
	handler, watch := n.lanes[lane], n.watches[lane]
	if handler == nil {
		handler = n.newLane()
		n.lanes[lane] = handler
	}
	n.mu.Unlock()
	if r.Header.Get(watchHeader) != "" {
		r.Body = &watchedBody{ReadCloser: r.Body, left: r.ContentLength, last: watch}
	}
	handler.ServeHTTP(w, r)
}

func (n *node) newLane() http.Handler {
	sessions := session.New(session.Config{
		Store: n.gate, ReauthenticateWithin: within, Accounts: n.accounts, Ring: n.ring, View: n.feed, Installation: n.feed.Installation(),
		MinimumTimeout: time.Second,
	})
	n.sessions = append(n.sessions, sessions)
	pages, err := console.New(console.Config{
		Sessions: sessions, Accounts: n.accounts, Ring: n.ring, Node: n.feed, Validator: n.validator,
		MinimumTimeout: time.Second, Timeout: 5 * maxWait,
	})
	if err != nil {
		panic(err) // our own configuration
	}
	handler, err := httpapi.New(httpapi.Config{
		Sessions: sessions, Accounts: n.accounts, Ring: n.ring, Feed: n.feed, Validator: n.validator,
		Keys: n.feed.Keys(), Settings: n.feed.Settings(), Issuer: issuer, Rest: pages, Timeout: 5 * maxWait,
	})
	if err != nil {
		panic(err) // as above
	}
	return handler
}

// gate is a store at whose door writes can be made to wait.
type gate struct {
	store.Store
	arrived chan struct{} // one value for each write that waits

	mu       sync.Mutex
	open     chan struct{} // lets a write through, or all once closed; nil: none waits
	rehearse bool          // what waits has run once already, and was rolled back
	pass     int           // how many writes pass before the others wait
}

// shut makes writes wait: next lets one go on, and open all. Writes that come after
// the first call of either do not wait. With rehearse, each runs once before it
// waits, and is rolled back, as after a deadlock.
func (g *gate) shut(rehearse bool) (next, open func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c := make(chan struct{})
	g.open, g.rehearse, g.pass = c, rehearse, 0
	noneWaits := func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.open = nil
	}
	return func() { noneWaits(); c <- struct{}{} }, sync.OnceFunc(func() { noneWaits(); close(c) })
}

// letPass lets the next n writes pass a gate that is shut.
func (g *gate) letPass(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pass = n
}

var errRehearsal = errors.New("this was only a rehearsal")

func (g *gate) Update(ctx context.Context, write func(store.Tx) error) error {
	g.mu.Lock()
	open, rehearse := g.open, g.rehearse
	if open != nil && g.pass > 0 {
		g.pass--
		open = nil
	}
	g.mu.Unlock()
	if open == nil {
		return g.Store.Update(ctx, write)
	}
	if rehearse {
		err := g.Store.Update(ctx, func(tx store.Tx) error {
			if err := write(tx); err != nil {
				return err
			}
			return errRehearsal
		})
		if !errors.Is(err, errRehearsal) {
			return err
		}
	}
	g.arrived <- struct{}{}
	<-open
	return g.Store.Update(ctx, write)
}

// blocker is a log that blocks the sign-in of the user "blocker" in the middle of
// checking the password: that user's hash cannot be read, which is logged while
// the check has its turn in the queue.
type blocker struct {
	mu      sync.Mutex
	armed   chan struct{} // closed to let it go on; nil: nothing is blocked
	blocked chan struct{} // one value for each that has been blocked
}

func newBlocker() *blocker { return &blocker{blocked: make(chan struct{}, 1)} }

func (b *blocker) Enabled(context.Context, slog.Level) bool { return true }
func (b *blocker) WithAttrs([]slog.Attr) slog.Handler       { return b }
func (b *blocker) WithGroup(string) slog.Handler            { return b }

func (b *blocker) Handle(_ context.Context, r slog.Record) error {
	b.mu.Lock()
	armed := b.armed
	b.mu.Unlock()
	if armed != nil && strings.HasPrefix(r.Message, "check password: the stored hash") {
		b.blocked <- struct{}{}
		<-armed
	}
	return nil
}

// arm blocks until the returned function is called.
func (b *blocker) arm() (release func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	armed := make(chan struct{})
	b.armed = armed
	return sync.OnceFunc(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.armed = nil
		close(armed)
	})
}

func (d *deployment) must(err error) {
	d.Helper()
	if err != nil {
		d.Fatal(err)
	}
}

// name returns a name that nothing has yet.
func (d *deployment) name(kind string) string {
	d.made++
	return kind + "-" + strconv.Itoa(d.made)
}

// user makes a user whose password is password.
func (d *deployment) user(kind string, permissions ...string) store.User {
	d.Helper()
	return d.userWith(d.hash, kind, permissions...)
}

func (d *deployment) userWith(hash, kind string, permissions ...string) store.User {
	d.Helper()
	name := d.name(kind)
	slices.Sort(permissions)
	u := store.User{
		ID: "id-of-" + name, Name: name, NameKey: name, Email: name + "@curfew.test", Permissions: append([]string{}, permissions...),
		PasswordHash: hash, CreatedAt: time.Now().UnixMicro(),
	}
	d.must(d.other.store.Update(d.Context(), func(tx store.Tx) error { return tx.InsertUser(d.Context(), u) }))
	return u
}

// signIn begins a session at a node, as a user does.
func (d *deployment) signIn(n *node, name string, rememberMe bool) string {
	d.Helper()
	a := n.send(jsonRequest("POST", "/v1/sessions", "", fmt.Sprintf(`{"username":%q,"password":%q,"remember_me":%v}`, name, password, rememberMe)))
	var issued wire.Issued
	a.into(http.StatusCreated, &issued)
	return issued.Token
}

// administrator returns the token of an administrator at the node where sessions
// are ended.
func (d *deployment) administrator() string {
	d.Helper()
	if _, err := d.ending.validator.Validate(d.Context(), d.root); err != nil { // some of the attempts end it
		d.root = d.signIn(d.ending, d.rootName, false)
	}
	return d.root
}

// administer makes a request as an administrator at the node where sessions are
// ended.
func (d *deployment) administer(want int, method, path, body string, header ...string) answer {
	d.Helper()
	q := jsonRequest(method, path, d.administrator(), body)
	q.header = append(q.header, header...)
	a := d.ending.send(q)
	if a.status != want {
		d.Fatalf("%s %s: %d %s, want %d", method, path, a.status, a.body, want)
	}
	return a
}

// revoke makes a revocation, and returns when it is effective everywhere.
func (d *deployment) revoke(path, body string) {
	d.Helper()
	a := d.administer(http.StatusCreated, http.MethodPost, path, body, "Prefer", "wait=5")
	var r wire.Receipt
	a.into(http.StatusCreated, &r)
	if !r.Enforcement.EffectiveEverywhere {
		d.Fatalf("%s: not effective everywhere: %s", path, a.body)
	}
}

// everywhere returns when all that has been committed is effective everywhere. Not
// every change has a receipt; but epochs are in order, so that of a later
// revocation serves as well.
func (d *deployment) everywhere() {
	d.Helper()
	d.revoke("/v1/users/"+d.bystander.ID+"/revocations", `{"reason":"to have a receipt"}`)
}

// key imports a signing key that verifies at once, and returns it.
func (d *deployment) key() *token.SigningKey {
	d.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	d.must(err)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	d.must(err)
	row, err := d.other.ring.Import(d.Context(), trusted, d.name("key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	d.must(err)
	d.must(d.held.feed.CatchUp(d.Context())) // an unknown key is asked for once an interval only
	key, err := token.NewSigningKey(row.ID, private)
	d.must(err)
	return key
}

// remint signs a session anew: with another key, if one is given, and as it would
// be if it had begun some time ago.
func (d *deployment) remint(raw string, key *token.SigningKey, ago time.Duration) string {
	d.Helper()
	s, err := d.held.validator.Validate(d.Context(), raw)
	d.must(err)
	if key == nil {
		key, err = d.held.ring.Signing(d.Context())
		d.must(err)
	}
	began := s.IssuedAt.Time().Add(-ago)
	s.IssuedAt, s.LastRefresh = token.UnixTime(began.Unix()), 0
	if s.AuthTime != 0 {
		s.AuthTime = s.IssuedAt
	}
	raw, err = token.Mint(key, s.Refreshed(began, settings.Default()))
	d.must(err)
	us := ago.Microseconds()
	_, err = d.raw.ExecContext(d.Context(), fmt.Sprintf(
		`UPDATE sessions SET began_at = began_at - %d, last_seen_at = last_seen_at - %d, authenticated_at = %d WHERE id = '%s'`, us, us, int64(s.AuthTime)*1e6, s.ID)) // #nosec G201 -- numbers, and an id of our own
	d.must(err)
	return raw
}

// sessionOf returns the session of a token.
func (d *deployment) sessionOf(raw string) *token.Session {
	d.Helper()
	s, err := d.held.validator.Validate(d.Context(), raw)
	d.must(err)
	return s
}

// These tables change without a request: nodes write some of them, and failed
// sign-ins the others.
var notDumped = []string{"clock", "nodes", "goose_db_version", "failures", "streaks"}

// dump returns everything that is in the database, a line for each row. It runs for
// hundreds of requests, so it formats nothing.
func (d *deployment) dump() []string {
	d.Helper()
	tables := map[string]string{
		"postgres": `SELECT tablename FROM pg_tables WHERE schemaname = 'public'`,
		"sqlite":   `SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'`,
	}
	var lines []string
	var line bytes.Buffer
	for _, table := range d.column(tables[d.held.store.Engine()]) {
		if slices.Contains(notDumped, table) {
			continue
		}
		where := ""
		if table == "audit" {
			where = ` WHERE action <> '` + wire.ActionSignInFailed + `'`
		}
		rows, err := d.raw.QueryContext(d.Context(), `SELECT * FROM `+table+where) // #nosec G202 -- names of our own tables
		d.must(err)
		names, err := rows.Columns()
		d.must(err)
		values := make([]any, len(names))
		for i := range values {
			values[i] = new(sql.NullString)
		}
		for rows.Next() {
			d.must(rows.Scan(values...))
			line.Reset()
			line.WriteString(table + ":")
			for i, name := range names {
				line.WriteString(" " + name + "=")
				line.WriteString(values[i].(*sql.NullString).String)
			}
			lines = append(lines, line.String())
		}
		d.must(errors.Join(rows.Err(), rows.Close()))
	}
	if len(lines) < 10 {
		d.Fatalf("a dump of %d lines proves nothing: %q", len(lines), lines)
	}
	slices.Sort(lines)
	return lines
}

func (d *deployment) column(query string) (values []string) {
	d.Helper()
	rows, err := d.raw.QueryContext(d.Context(), query)
	d.must(err)
	for rows.Next() {
		var v string
		d.must(rows.Scan(&v))
		values = append(values, v)
	}
	d.must(errors.Join(rows.Err(), rows.Close()))
	return values
}

// difference returns what two sorted lists do not have in common.
func difference(before, after []string) (lines []string) {
	for len(before) > 0 || len(after) > 0 {
		switch {
		case len(after) == 0 || len(before) > 0 && before[0] < after[0]:
			lines, before = append(lines, "- "+before[0]), before[1:]
		case len(before) == 0 || after[0] < before[0]:
			lines, after = append(lines, "+ "+after[0]), after[1:]
		default:
			before, after = before[1:], after[1:]
		}
	}
	return lines
}

// postgres returns the URL of an empty database.
func postgres(t *testing.T) string { return migrated.Postgres(t) }

// form encodes names and values.
func form(fields ...string) string {
	f := url.Values{}
	for i := 0; i+1 < len(fields); i += 2 {
		f.Add(fields[i], fields[i+1])
	}
	return f.Encode()
}
