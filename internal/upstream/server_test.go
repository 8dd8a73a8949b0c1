package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"time"

	"example.com/curfew/internal/replica"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
	"example.com/curfew/settings"
	"example.com/curfew/token"
	"example.com/curfew/token/jwks"
	"example.com/curfew/token/tokentest"
)

// network is a network of pipes, which time in a synctest bubble can pass on.
type network struct {
	mu    sync.Mutex
	hosts map[string]chan net.Conn
	dead  map[string]bool // a black hole
}

func newNetwork() *network {
	return &network{hosts: map[string]chan net.Conn{}, dead: map[string]bool{}}
}

func (n *network) dial(ctx context.Context, _, address string) (net.Conn, error) {
	host, _, _ := net.SplitHostPort(address)
	n.mu.Lock()
	conns, dead := n.hosts[host], n.dead[host]
	n.mu.Unlock()
	if dead {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if conns == nil {
		return nil, errors.New("connection refused")
	}
	here, there := net.Pipe()
	select {
	case conns <- there:
		return here, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

type listener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}
func (l *listener) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *listener) Addr() net.Addr { return &net.TCPAddr{} }

// server is a Curfew server as far as followers can tell. Its methods are safe for
// concurrent use.
type server struct {
	t      testing.TB
	issuer *tokentest.Issuer
	lease  time.Duration

	mu       sync.Mutex
	changed  chan struct{}
	epoch    revocation.Epoch
	keys     revocation.Epoch // of the last change to keys
	settings revocation.Epoch
	revoked  []revocation.Revocation
	pageSize int
	asked    []url.Values
	lookups  int
	reports  []report
	// respond, if set, answers instead; false lets the server answer after all.
	respond func(w http.ResponseWriter, r *http.Request) bool
}

func newServer(t testing.TB, issuer *tokentest.Issuer) *server {
	return &server{t: t, issuer: issuer, lease: 15 * time.Second, changed: make(chan struct{}), epoch: 1000, keys: 1, settings: 1, pageSize: 10_000}
}

// start serves under the name of a host until the returned function is called.
func (s *server) start(n *network, host string) (stop func()) {
	l := &listener{conns: make(chan net.Conn), done: make(chan struct{})}
	n.mu.Lock()
	n.hosts[host] = l.conns
	n.mu.Unlock()
	h := &http.Server{Handler: s, ReadHeaderTimeout: time.Minute}
	var running sync.WaitGroup
	running.Go(func() { _ = h.Serve(l) })
	return func() {
		n.mu.Lock()
		delete(n.hosts, host)
		n.mu.Unlock()
		_ = h.Close()
		running.Wait()
	}
}

func (s *server) change(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch++
	do()
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *server) revoke(scopes ...revocation.Scope) revocation.Epoch {
	s.change(func() {
		for _, scope := range scopes {
			s.revoked = append(s.revoked, revocation.Revocation{Scope: scope, Epoch: s.epoch})
		}
	})
	return s.now()
}

func (s *server) now() revocation.Epoch {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.epoch
}

// instead makes the server answer differently; nil ends that.
func (s *server) instead(respond func(w http.ResponseWriter, r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.respond = respond
}

func (s *server) questions() []url.Values {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]url.Values(nil), s.asked...)
}

func fail(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(wire.Problem{Status: status, Code: code})
}

// report is a report of uses.
type report struct {
	at  time.Time
	age map[string]int64 // by session
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body wire.Uses
	// A connection that closes is noticed when the body has been read.
	_ = json.NewDecoder(r.Body).Decode(&body)
	_, _ = io.Copy(io.Discard, r.Body)
	s.mu.Lock()
	if r.URL.Path == "/v1/uses" {
		one := report{time.Now(), map[string]int64{}}
		for _, u := range body.Uses {
			one.age[u.Session] = *u.AgeSeconds
		}
		s.reports = append(s.reports, one)
	} else {
		s.asked = append(s.asked, r.URL.Query())
	}
	respond := s.respond
	s.mu.Unlock()
	if respond != nil && respond(w, r) {
		return
	}
	if id, secret, _ := r.BasicAuth(); id != "billing" || secret != "s3cret" {
		fail(w, http.StatusUnauthorized, wire.CodeBadCredentials)
		return
	}
	if r.URL.Path == "/v1/uses" {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if r.URL.Path == "/v1/revoked-before" {
		s.lookUp(w, r.URL.Query().Get("user"), r.URL.Query().Get("session"))
		return
	}
	after, err := strconv.ParseInt(r.URL.Query().Get("after"), 10, 64)
	if err != nil {
		fail(w, http.StatusBadRequest, wire.CodeInvalidRequest)
		return
	}
	wait, _ := strconv.Atoi(r.URL.Query().Get("wait"))
	began := time.Now()
	s.mu.Lock()
	for hold := time.NewTimer(min(s.lease/3, time.Duration(wait)*time.Second)); wait > 0 && int64(s.epoch) == after; {
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-hold.C:
			wait = 0
		case <-r.Context().Done():
			return
		}
		s.mu.Lock()
	}
	defer s.mu.Unlock()
	if int64(s.epoch) < after {
		fail(w, http.StatusGone, wire.CodeStartOver)
		return
	}
	_ = json.NewEncoder(w).Encode(s.answerLocked(revocation.Epoch(after), time.Since(began)))
}

func (s *server) answerLocked(after revocation.Epoch, held time.Duration) wire.Changes {
	a := wire.Changes{Epoch: int64(s.epoch), HeldMS: held.Milliseconds(), LeaseMS: s.lease.Milliseconds(), Now: time.Now(), Revocations: []wire.Revocation{}}
	if after == 0 {
		a.Issuer, a.Audience = s.issuer.Name, []string{s.issuer.Audience, "other"}
	}
	if s.settings > after {
		a.Settings = replica.SettingsToWire(s.issuer.Settings.Current())
	}
	if s.keys > after {
		keys, err := jwks.Marshal(s.issuer.Keys.Current().All()...)
		if err != nil {
			s.t.Error(err)
		}
		a.Keys = keys
	}
	for _, r := range s.revoked {
		if r.Epoch <= after {
			continue
		}
		if n := len(a.Revocations); n >= s.pageSize && a.Revocations[n-1].Epoch != int64(r.Epoch) {
			a.More, a.Epoch, a.LeaseMS = true, a.Revocations[n-1].Epoch, 0
			break
		}
		a.Revocations = append(a.Revocations, wire.Revocation{Scope: string(r.Scope.Kind), ID: r.Scope.ID, Epoch: int64(r.Epoch)})
	}
	return a
}

func (s *server) lookUp(w http.ResponseWriter, user, session string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lookups++
	a := wire.RevokedBefore{Epoch: int64(s.epoch), LeaseMS: s.lease.Milliseconds()}
	for _, r := range s.revoked {
		switch r.Scope {
		case revocation.User(user):
			a.User = int64(r.Epoch)
		case revocation.Session(session):
			a.Session = int64(r.Epoch)
		}
	}
	_ = json.NewEncoder(w).Encode(a)
}

// bench is what most tests need: a server and a network.
type bench struct {
	*server
	net    *network
	tb     testing.TB
	config Config
}

// newBench starts a server under the name localhost. It is to be called within
// the bubble, and closed there.
func newBench(t testing.TB) (b *bench, closeAll func()) {
	issuer := tokentest.New(t)
	issuer.SetNow(time.Now())
	b = &bench{server: newServer(t, issuer), net: newNetwork(), tb: t}
	stop := b.start(b.net, "localhost")
	transport := &http.Transport{DialContext: b.net.dial}
	b.config = Config{
		Server: "http://localhost:1", ClientID: "billing", ClientSecret: "s3cret", Audience: issuer.Audience,
		HTTPClient: &http.Client{Transport: transport},
	}
	return b, func() { stop(); transport.CloseIdleConnections() }
}

func (b *bench) open() *Follower {
	b.tb.Helper()
	f, err := Open(b.tb.Context(), b.config)
	if err != nil {
		b.tb.Fatal(err)
	}
	return f
}

// sign signs a user in now, at the server's epoch.
func (b *bench) sign(user string) string {
	b.issuer.SetNow(time.Now())
	e := b.now()
	return b.issuer.Token(user, func(s *token.Session) { s.Epoch = e })
}

func expect(tb testing.TB, f *Follower, raw string, want error) {
	tb.Helper()
	_, err := f.Validator().Validate(context.Background(), raw)
	if !errors.Is(err, want) || (want == nil) != (err == nil) {
		tb.Fatalf("Validate: %v, want %v", err, want)
	}
}

func closeFollower(tb testing.TB, f *Follower) {
	tb.Helper()
	if err := f.Close(); err != nil {
		tb.Error(err)
	}
}

func shorter(timeout time.Duration) settings.Settings {
	s := settings.Default()
	s.SessionTimeout = timeout
	return s
}
