package console

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/feed"
	"example.com/curfew/internal/inbound"
	"example.com/curfew/internal/keyring"
	"example.com/curfew/internal/manual"
	"example.com/curfew/internal/oidc"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/store/migrated"
	"example.com/curfew/internal/store/sqlstore"
	"example.com/curfew/internal/webcookie"
	"example.com/curfew/revocation"
	"example.com/curfew/settings"
	"example.com/curfew/token"
)

const (
	issuer   = "http://console.test"
	password = "correct horse battery staple"
)

// lease is the node's: a machine that is slow does not use it up in a test.
const lease = 10 * time.Minute

var trusted = authz.Caller{Trusted: true, Actor: store.Actor{Kind: store.ActorCLI}}

// site is the console with everything behind it that a real one has, on a
// database of its own, and a clock that can be moved on.
type site struct {
	*testing.T
	handler   http.Handler
	config    Config
	store     store.Store
	file      string // of the store
	accounts  *account.Service
	ring      *keyring.Ring
	node      *feed.Node
	sessions  *session.Service
	validator *token.Validator
	ahead     atomic.Int64 // ns that the clock is ahead
	logged    logged
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

type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (s *site) now() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) }

// wait moves the clock on.
func (s *site) wait(d time.Duration) { s.ahead.Add(int64(d)) }

func open(t *testing.T) *site {
	t.Helper()
	return openAsking(t, 0)
}

// openAsking is open with a maximum age of the authentication for changes that end or
// grant much.
func openAsking(t *testing.T, within time.Duration) *site {
	t.Helper()
	s := &site{T: t, provider: &fakeProvider{}}
	ctx := context.Background()
	var err error
	database := migrated.SQLite(t)
	s.file = strings.TrimPrefix(database, "sqlite:")
	s.store, err = sqlstore.Open(ctx, sqlstore.Config{URL: database})
	s.must(err)
	t.Cleanup(func() { _ = s.store.Close() }) // a test may have closed it
	s.must(s.store.Update(ctx, func(tx store.Tx) error {
		epoch, err := tx.Advance(ctx, time.Now())
		in := settings.InForce{Settings: settings.Default(), Epoch: epoch}
		return errors.Join(err,
			tx.PutInstallation(ctx, store.Installation{Issuer: issuer, Audience: []string{issuer}, Epoch: epoch}),
			tx.PutSettings(ctx, store.Settings{InForce: in, LongestMaximum: settings.Seconds(in.MaximumSessionDuration)}))
	}))
	s.ring, err = keyring.Open(ctx, keyring.Config{Store: s.store, KEK: make([]byte, 32), Now: s.now, Applied: func(ctx context.Context, epoch revocation.Epoch) error {
		if s.node == nil {
			return nil
		}
		return s.node.AppliedUpTo(ctx, epoch)
	}})
	s.must(err)
	s.must(s.ring.Init(ctx, trusted))
	s.node, err = feed.Open(ctx, feed.Config{Store: s.store, Name: "node.test:1", Version: "1.2.3", OnKeys: s.ring.Sync, Now: s.now, Lease: lease})
	s.must(err)
	t.Cleanup(func() { _ = s.node.Close() }) // it cannot say goodbye to a store that is closed
	s.accounts, err = account.New(account.Config{Store: s.store, Applied: s.node.Applied, Now: s.now, HashMemoryKiB: 8, ReauthenticateWithin: within,
		Sealer: func(context.Context) (*keyring.Sealer, error) { return s.ring.Sealer(), nil }})
	s.must(err)
	s.sessions = session.New(session.Config{
		Store: s.store, Accounts: s.accounts, Ring: s.ring, View: s.node, Installation: s.node.Installation(), Now: s.now, ReauthenticateWithin: within,
	})
	t.Cleanup(s.sessions.Close)
	_, err = s.accounts.Bootstrap(ctx, password, nil)
	s.must(err)
	s.admin, err = s.accounts.FindUser(ctx, "admin")
	s.must(err)
	s.validator, err = s.node.Validator(issuer, nil, nil)
	s.must(err)
	docs, err := manual.New(fstest.MapFS{
		"index.md": &fstest.MapFile{Data: []byte("# Documentation\n\n- [Signing keys](keys.md)\n- [Help](help.md), [Applications](applications.md), [Proxies](forward-auth.md), [Providers](sign-in-providers.md)\n")},
		"keys.md":  &fstest.MapFile{Data: []byte("# Signing keys\n\n[Help](help.md), [all](index.md)\n")},
		"help.md":  &fstest.MapFile{Data: []byte("# Help\n\ntext\n")},

		"applications.md":      &fstest.MapFile{Data: []byte("# Protect a service\n\ntext\n")},
		"forward-auth.md":      &fstest.MapFile{Data: []byte("# Forward auth\n\ntext\n")},
		"sign-in-providers.md": &fstest.MapFile{Data: []byte("# Sign in with an identity provider\n\ntext\n")},
	})
	s.must(err)
	config := Config{
		Sessions: s.sessions, Accounts: s.accounts, Ring: s.ring, Node: s.node, Validator: s.validator,
		Issuer:         issuer,
		Discoverer:     s.provider,
		ReturnTo:       webcookie.Returns{Issuer: issuer, Hosts: []string{"app.test"}}.Allow,
		UnknownProxy:   func() netip.Addr { return netip.MustParseAddr("10.1.2.3") },
		UnknownReturns: func() []string { return []string{"app.example:8080"} },
		Refusals:       func() map[token.Reason]uint64 { return map[token.Reason]uint64{token.ErrRevoked: 12345} },
		Docs:           docs, Version: "1.2.3", Now: s.now, Logger: slog.New(slog.NewTextHandler(&s.logged, nil)),
	}
	handler, err := New(config)
	s.must(err)
	s.config = config
	s.handler = inbound.Wrap(inbound.Config{}, handler)
	t.Cleanup(func() {
		if strings.Contains(s.logged.String(), "level=ERROR") {
			t.Errorf("in the log:\n%s", s.logged.String())
		}
	})
	return s
}

func (s *site) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// user makes a user with permissions and without a password, which would take its
// time to be hashed.
func (s *site) user(name string, permissions ...string) store.User {
	s.Helper()
	u, err := s.accounts.CreateUser(context.Background(), trusted, account.UserChange{Name: &name, Permissions: &permissions})
	s.must(err)
	return u
}

// issue begins a session for a user and returns its token.
func (s *site) issue(u store.User, rememberMe bool) string {
	s.Helper()
	issued, err := s.sessions.Issue(context.Background(), trusted, u.ID, rememberMe, authz.Origin{Address: "192.0.2.1", Device: "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"})
	s.must(err)
	return issued.Token
}

// reason returns why a token is refused; "" if it is not.
func (s *site) reason(raw string) token.Reason {
	s.Helper()
	_, err := s.validator.Validate(context.Background(), raw)
	return token.ReasonOf(err)
}

// person is a browser without a screen: it keeps the cookie.
type person struct {
	*site
	user  store.User
	token string // in the cookie; "" for none
}

// as signs a user in.
func (s *site) as(u store.User) *person {
	s.Helper()
	return &person{s, u, s.issue(u, false)}
}

// signedOut returns a person who is not signed in.
func (s *site) signedOut() *person { return &person{site: s} }

// do makes a request as a browser would from a page of the console, and keeps
// the cookie that comes.
func (p *person) do(method, path string, form url.Values, header ...string) answer {
	p.Helper()
	a := p.send(p.token, method, path, form, header...)
	for _, c := range a.cookies {
		if c.Name != onceCookie {
			p.token = c.Value
		}
	}
	return a
}

// send makes a request with a token.
func (s *site) send(raw, method, path string, form url.Values, header ...string) answer {
	s.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	path, _, _ = strings.Cut(path, "#") // browsers keep it
	r := httptest.NewRequest(method, "http://console.test"+path, body)
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("Sec-Fetch-Dest", "document")
	r.RemoteAddr = "192.0.2.7:1234"
	if raw != "" {
		r.AddCookie(&http.Cookie{Name: "__Host-curfew_session", Value: raw}) // #nosec G124 -- of a request
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	result := w.Result()
	return answer{s.T, w.Code, result.Header, w.Body.String(), result.Header.Get("Location"), result.Cookies()}
}

func (p *person) get(path string, header ...string) answer {
	p.Helper()
	return p.do(http.MethodGet, path, nil, header...)
}

// post sends a form of names and values.
func (p *person) post(path string, fields ...string) answer {
	p.Helper()
	form := url.Values{}
	for i := 0; i+1 < len(fields); i += 2 {
		form.Add(fields[i], fields[i+1])
	}
	return p.do(http.MethodPost, path, form)
}

// audits returns the entries of an action, the latest first.
func (s *site) audits(action string) []store.Audit {
	s.Helper()
	entries, err := s.store.Audits(context.Background(), store.AuditFilter{Action: action}, 100)
	s.must(err)
	return entries
}

var trustedOrigin = authz.Origin{Address: "192.0.2.1"}
