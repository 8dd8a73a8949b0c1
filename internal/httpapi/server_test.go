package httpapi

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/await"
	"example.com/curfew/internal/feed"
	"example.com/curfew/internal/inbound"
	"example.com/curfew/internal/keyring"
	"example.com/curfew/internal/metrics"
	"example.com/curfew/internal/oidc"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/store/migrated"
	"example.com/curfew/internal/store/sqlstore"
	"example.com/curfew/internal/webcookie"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
	"example.com/curfew/settings"
	"example.com/curfew/token"
	"example.com/curfew/token/tokentest"
)

const (
	issuer        = "http://curfew.test"
	otherAudience = "billing"
	password      = "correct horse battery staple"

	// cheapHash is the memory in KiB for the hash of a password: nothing here depends
	// on its cost.
	cheapHash = 64
)

// server is a running server with everything behind it that a real one has.
type server struct {
	*testing.T
	url       string
	handler   http.Handler
	store     store.Store
	accounts  *account.Service
	ring      *keyring.Ring
	node      *feed.Node
	sessions  *session.Service
	metrics   *metrics.Metrics
	registry  *prometheus.Registry
	validator *token.Validator
	client    *http.Client // holds every request and answer against openapi.yaml
	logged    *syncBuffer
	secrets   *syncBuffer // one a line: what must not be logged
	ready     *atomic.Pointer[error]
	admin     store.User
	provider  *fakeProvider
}

// fakeProvider answers every discovery with the same metadata, or an error.
type fakeProvider struct {
	metadata oidc.Metadata
	err      error
}

func (p *fakeProvider) Discover(context.Context, string) (oidc.Metadata, error) {
	return p.metadata, p.err
}

// option changes how a server is started.
type option func(*Config, *setup)

type setup struct {
	database string
	lease    time.Duration
	level    slog.Level
	routes   []Route
	maxQueue int  // of the hash queue; an account has an eighth
	join     bool // another node has made the installation
}

// keepSecret says what must not be logged.
func (s *server) keepSecret(secret string) { _, _ = s.secrets.Write([]byte(secret + "\n")) }

// keptSecret fails the test if a token, a password or a secret is in the log.
func (s *server) keptSecret() {
	logged := s.logged.String()
	for _, secret := range append(strings.Fields(s.secrets.String()), password, "eyJhbGci") {
		if at := strings.Index(logged, secret); at >= 0 {
			s.Errorf("%q is in the log: …%s…", secret, logged[max(0, at-200):min(len(logged), at+200)])
		}
	}
}

func onPostgres(t *testing.T) option {
	return func(_ *Config, s *setup) { s.database = migrated.Postgres(t) }
}

// inDetail logs at level debug, so that no request takes the short way.
func inDetail(_ *Config, s *setup) { s.level = slog.LevelDebug }

// behindProxy makes every peer a trusted proxy.
func behindProxy(c *Config, _ *setup) {
	c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")}
	c.UnknownReturns = &inbound.UnknownReturns{}
	c.Returns.Hosts = []string{"app.curfew.test"}
}

var trusted = authz.Caller{Trusted: true, Actor: store.Actor{Kind: store.ActorCLI}}

// start starts a server on a database of its own: SQLite unless told otherwise.
func start(t *testing.T, options ...option) *server {
	t.Helper()
	s := &server{provider: &fakeProvider{}, T: t, logged: &syncBuffer{}, secrets: &syncBuffer{}, ready: &atomic.Pointer[error]{}}
	config := Config{
		Issuer: issuer, Returns: webcookie.Returns{Issuer: issuer},
		Timeout: await.Limit, // machines that run tests are slow
		Ready: func(context.Context) error {
			if err := s.ready.Load(); err != nil {
				return *err
			}
			return nil
		},
	}
	set := setup{database: migrated.SQLite(t), routes: Routes()}
	for _, o := range options {
		o(&config, &set)
	}
	config.Logger = slog.New(slog.NewTextHandler(s.logged, &slog.HandlerOptions{Level: set.level}))
	t.Cleanup(s.keptSecret)
	s.open(set)
	config.Discoverer = s.provider
	if config.Logouts == nil {
		config.Logouts = oidc.New(oidc.Config{})
	}
	config.Sessions, config.Accounts, config.Ring, config.Feed = s.sessions, s.accounts, s.ring, s.node
	config.Keys, config.Settings = s.node.Keys(), s.node.Settings()
	var err error
	s.registry = prometheus.NewRegistry()
	if s.metrics, err = metrics.New(s.registry); err != nil {
		t.Fatal(err)
	}
	config.Metrics = s.metrics
	if s.validator, err = s.node.Validator(issuer, s.metrics.Validation, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.validator.Close)
	config.Validator = s.validator
	if config.Clients == nil {
		config.Clients = s.accounts
	}
	if s.handler, err = newHandler(config, set.routes); err != nil {
		t.Fatal(err)
	}
	return s.at(t, s.handler)
}

// at returns the server with another handler in front of it.
func (s *server) at(t *testing.T, handler http.Handler) *server {
	web := httptest.NewServer(handler)
	t.Cleanup(web.Close)
	c := *s
	c.handler, c.url = handler, web.URL
	c.client = &http.Client{
		Transport:     &checker{t: t, next: web.Client().Transport},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return &c
}

// open opens the store and the services on it.
func (s *server) open(set setup) {
	s.Helper()
	ctx := context.Background()
	fatal := func(err error) {
		s.Helper()
		if err != nil {
			s.Fatal(err)
		}
	}
	var err error
	s.store, err = sqlstore.Open(ctx, sqlstore.Config{URL: set.database, Create: true})
	fatal(err)
	s.closing("store", s.store.Close)
	install := func(tx store.Tx) error {
		epoch, err := tx.Advance(ctx, time.Now())
		in := settings.InForce{Settings: settings.Default(), Epoch: epoch}
		return errors.Join(err,
			tx.PutInstallation(ctx, store.Installation{Issuer: issuer, Audience: []string{issuer, otherAudience}, Epoch: epoch}),
			tx.PutSettings(ctx, store.Settings{InForce: in, LongestMaximum: settings.Seconds(in.MaximumSessionDuration)}))
	}
	if !set.join {
		fatal(s.store.Update(ctx, install))
	}
	s.ring, err = keyring.Open(ctx, keyring.Config{Store: s.store, KEK: make([]byte, 32), Applied: func(ctx context.Context, epoch revocation.Epoch) error {
		if s.node == nil {
			return nil
		}
		return s.node.AppliedUpTo(ctx, epoch)
	}})
	fatal(err)
	fatal(s.ring.Init(ctx, trusted))
	s.node, err = feed.Open(ctx, feed.Config{Store: s.store, Name: "node", Lease: set.lease, OnKeys: s.ring.Sync})
	fatal(err)
	s.closing("node", s.node.Close)
	s.accounts, err = account.New(account.Config{Store: s.store, Sealer: func(context.Context) (*keyring.Sealer, error) { return s.ring.Sealer(), nil }, Applied: s.node.Applied, HashMemoryKiB: cheapHash, MaxQueue: set.maxQueue})
	fatal(err)
	s.sessions = session.New(session.Config{
		Store: s.store, Accounts: s.accounts, Ring: s.ring, View: s.node, Installation: s.node.Installation(),
	})
	s.Cleanup(s.sessions.Close)
	_, err = s.accounts.Bootstrap(ctx, password, nil)
	fatal(err)
	s.admin, err = s.accounts.FindUser(ctx, "admin")
	fatal(err)
}

// closing closes something at the end of the test.
func (s *server) closing(what string, end func() error) {
	s.Cleanup(func() {
		if err := end(); err != nil {
			s.Errorf("closing the %s: %v", what, err)
		}
	})
}

// user makes a user with permissions and without a password, which would take its
// time to be hashed.
func (s *server) user(name string, permissions ...string) store.User {
	s.Helper()
	u, err := s.accounts.CreateUser(context.Background(), trusted, account.UserChange{Name: &name, Permissions: &permissions})
	if err != nil {
		s.Fatal(err)
	}
	return u
}

// member makes a user with an email address and groups.
func (s *server) member(name, email string, groups ...string) store.User {
	s.Helper()
	u, err := s.accounts.CreateUser(context.Background(), trusted, account.UserChange{Name: &name, Email: &email, Groups: &groups})
	if err != nil {
		s.Fatal(err)
	}
	return u
}

// token begins a session for a user.
func (s *server) token(u store.User, rememberMe ...bool) string {
	s.Helper()
	issued, err := s.sessions.Issue(context.Background(), trusted, u.ID, slices.Contains(rememberMe, true), authz.Origin{Address: "192.0.2.1", Device: "test"})
	if err != nil {
		s.Fatal(err)
	}
	return issued.Token
}

// mint signs a session that no sign-in would yield, and writes its row as that of
// a sign-in.
func (s *server) mint(u store.User, change func(*token.Session)) string {
	s.Helper()
	epoch, err := s.store.Clock(context.Background())
	if err != nil {
		s.Fatal(err)
	}
	now := time.Now()
	sess := token.Session{
		Issuer: issuer, Audience: []string{issuer, otherAudience}, Subject: u.ID, ID: token.NewSessionID(),
		IssuedAt: token.UnixTime(now.Unix()), Epoch: epoch,
	}
	sess = sess.Refreshed(now, settings.Default()).WithIdentity(u.Name, u.Email, append([]string{}, u.Groups...))
	change(&sess)
	err = s.store.Update(context.Background(), func(tx store.Tx) error {
		return tx.InsertSession(context.Background(), store.Session{ID: sess.ID, UserID: sess.Subject, Epoch: sess.Epoch, BegunBy: store.ActorUser})
	})
	if err != nil && !errors.Is(err, store.ErrConflict) {
		s.Fatal(err)
	}
	key, err := s.ring.Signing(context.Background())
	if err != nil {
		s.Fatal(err)
	}
	raw, err := token.Mint(key, sess)
	if err != nil {
		s.Fatal(err)
	}
	return raw
}

// service makes a client and returns what it authenticates with.
func (s *server) service(name string, capabilities ...string) basic {
	s.Helper()
	c, secret, err := s.accounts.CreateClient(context.Background(), trusted, account.NewClient{Name: name, Capabilities: capabilities})
	if err != nil {
		s.Fatal(err)
	}
	s.keepSecret(secret)
	return basic{c.ID, secret}
}

// hostile makes the server trust the keys of an issuer of hostile tokens.
func (s *server) hostile() *tokentest.Issuer {
	s.Helper()
	i := tokentest.New(s)
	i.Name, i.Audience = issuer, issuer
	i.SetNow(time.Now())
	for _, alg := range []string{token.ES256, token.EdDSA, token.RS256} {
		key := i.Key(alg)
		der, err := x509.MarshalPKCS8PrivateKey(key.Private())
		if err != nil {
			s.Fatal(err)
		}
		if _, err := s.ring.Import(context.Background(), trusted, key.ID(), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})); err != nil {
			s.Fatal(err)
		}
	}
	return i
}

// A credential is put on a request.
type credential interface{ put(*http.Request) }

type bearerToken string

func (b bearerToken) put(r *http.Request) { r.Header.Set("Authorization", "Bearer "+string(b)) }

type basic struct{ id, secret string }

func (b basic) put(r *http.Request) { r.SetBasicAuth(b.id, b.secret) }

type cookie string

func (c cookie) put(r *http.Request) {
	r.Header.Add("Cookie", webcookie.Jar{}.Name()+"="+string(c))
}

// header is a header and its value.
type header [2]string

func (h header) put(r *http.Request) { r.Header.Add(h[0], h[1]) }

// answer is an answer that was read to its end.
type answer struct {
	*testing.T
	*http.Response
	what string
	body []byte
}

// do makes a request. body is JSON text, a form (url-encoded, without braces), or
// a value to be marshalled.
func (s *server) do(method, path string, body any, with ...credential) *answer {
	s.Helper()
	return s.doWith(s.client, method, path, body, with...)
}

func (s *server) doWith(client *http.Client, method, path string, body any, with ...credential) *answer {
	s.Helper()
	var reader io.Reader
	kind := "application/json"
	switch b := body.(type) {
	case nil:
		kind = ""
	case string:
		reader = strings.NewReader(b)
		if !strings.HasPrefix(b, "{") && strings.Contains(b, "=") {
			kind = "application/x-www-form-urlencoded"
		}
	case []byte:
		reader = bytes.NewReader(b)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			s.Fatal(err)
		}
		reader = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(context.Background(), method, s.url+path, reader)
	if err != nil {
		s.Fatal(err)
	}
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	for _, c := range with {
		c.put(r)
	}
	response, err := client.Do(r)
	if err != nil {
		s.Fatalf("%s %s: %v", method, path, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		s.Fatalf("%s %s: %v", method, path, err)
	}
	return &answer{s.T, response, method + " " + path, text}
}

// must fails the test unless the status is as given, and reads the body into v
// unless that is nil.
func (a *answer) must(status int, v any) *answer {
	a.Helper()
	if a.StatusCode != status {
		a.Fatalf("%s: %d %s, want %d", a.what, a.StatusCode, a.body, status)
	}
	if v != nil {
		if err := json.Unmarshal(a.body, v); err != nil {
			a.Fatalf("%s: %v in %s", a.what, err, a.body)
		}
	}
	return a
}

// problem fails the test unless the answer is the problem given.
func (a *answer) problem(status int, code string) wire.Problem {
	a.Helper()
	var p wire.Problem
	a.must(status, &p)
	if p.Code != code || p.Status != status {
		a.Fatalf("%s: problem %q (%d), want %q (%d): %s", a.what, p.Code, p.Status, code, status, a.body)
	}
	return p
}

// code is the code word of the answer's problem, "" if it is none.
func (a *answer) code() string {
	var p wire.Problem
	if a.StatusCode >= 400 {
		_ = json.Unmarshal(a.body, &p)
	}
	return p.Code
}

// syncBuffer is a buffer that many may write to.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func path(format string, args ...any) string { return fmt.Sprintf(format, args...) }

// form encodes one parameter.
func form(name, value string) string { return url.Values{name: {value}}.Encode() }

// try makes a request that net/http may refuse to send.
func (s *server) try(method, path, name, value string) (*answer, error) {
	s.Helper()
	r, err := http.NewRequestWithContext(context.Background(), method, s.url+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	r.Header[name] = []string{value}
	response, err := s.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return &answer{s.T, response, method + " " + path, text}, err
}
