package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"example.com/curfew/internal/config"
	"example.com/curfew/internal/store/pgtest"
	"example.com/curfew/token"
	"example.com/curfew/token/bearer"
	"example.com/curfew/token/follower"
)

// openStreams are the contexts of the handlers that are waiting for their session's
// end, by user.
type openStreams struct {
	mu     sync.Mutex
	byUser map[string][]context.Context
}

func (o *openStreams) add(ctx context.Context, user string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.byUser == nil {
		o.byUser = map[string][]context.Context{}
	}
	o.byUser[user] = append(o.byUser[user], ctx)
}

// counts returns how many streams of users for which of returns true go on, and how
// many have been told.
func (o *openStreams) counts(t *testing.T, of func(user string) bool) (going, told int) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	for user, contexts := range o.byUser {
		if !of(user) {
			continue
		}
		for _, ctx := range contexts {
			if ctx.Err() == nil {
				going++
				continue
			}
			told++
			if cause := context.Cause(ctx); !errors.Is(cause, token.ErrRevoked) {
				t.Errorf("a stream of %s ended with %v, want %v", user, cause, token.ErrRevoked)
			}
		}
	}
	return going, told
}

// call makes a request of the API, which must be answered with the status given.
func call(t *testing.T, method, url string, authorize func(*http.Request), body string, status int, answer any) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewBufferString(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Prefer", "wait=30")
	authorize(r)
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	if got.StatusCode != status {
		t.Fatalf("%s %s: %d, want %d", method, url, got.StatusCode, status)
	}
	if answer != nil {
		if err := json.NewDecoder(got.Body).Decode(answer); err != nil {
			t.Fatal(err)
		}
	}
}

type issuedSession struct {
	Token string `json:"token"`
}

type newClient struct{ ID, Secret string }

type receipt struct {
	Enforcement struct {
		Validators  int  `json:"validators"`
		Everywhere  bool `json:"effective_everywhere"`
		ConfirmedBy int  `json:"confirmed"`
	} `json:"enforcement"`
}

// twoFollowers are two nodes on one PostgreSQL and a follower of each.
type twoFollowers struct {
	t          *testing.T
	urls       [2]string // of the nodes
	asAdmin    func(*http.Request)
	asClient   func(*http.Request)
	validators [2]*token.Validator // of the followers
}

func startTwoFollowers(t *testing.T) *twoFollowers {
	t.Helper()
	cfg := serverConfig(t)
	cfg.Database = config.Database(pgtest.DSN(t))
	cfg.KeyEncryptionKey = make([]byte, 32)
	cfg.Issuer = "https://curfew.test"
	cfg.AdminPassword = "correct horse battery staple"
	w := &twoFollowers{t: t}
	for i := range w.urls {
		node, _ := runApp(t, cfg, Options{})
		w.urls[i] = "http://" + node.Addr().String()
	}
	var admin issuedSession
	call(t, "POST", w.urls[0]+"/v1/sessions", func(*http.Request) {}, `{"username":"admin","password":"correct horse battery staple"}`, http.StatusCreated, &admin)
	w.asAdmin = func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+admin.Token) }
	var client newClient
	call(t, "POST", w.urls[0]+"/v1/clients", w.asAdmin, `{"name":"streams","capabilities":["follow","issue"]}`, http.StatusCreated, &client)
	w.asClient = func(r *http.Request) { r.SetBasicAuth(client.ID, client.Secret) }
	for i, url := range w.urls {
		f, err := follower.Open(t.Context(), follower.Config{Server: url, ClientID: client.ID, ClientSecret: client.Secret, Audience: cfg.Issuer})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		w.validators[i] = f.Validator()
	}
	return w
}

// begin begins a session of a user at a node.
func (w *twoFollowers) begin(node int, user string) (raw string) {
	w.t.Helper()
	var s issuedSession
	call(w.t, "POST", w.urls[node]+"/v1/users/"+user+"/sessions", w.asClient, `{"remember_me":false}`, http.StatusCreated, &s)
	return s.Token
}

// revoke revokes at a node; the receipt must say that it is effective everywhere.
func (w *twoFollowers) revoke(node int, path, body string) {
	w.t.Helper()
	var r receipt
	call(w.t, "POST", w.urls[node]+path, w.asAdmin, body, http.StatusCreated, &r)
	if !r.Enforcement.Everywhere || r.Enforcement.Validators != 4 {
		w.t.Fatalf("the receipt says %+v, want effective everywhere at 2 nodes and 2 followers", r.Enforcement)
	}
}

// check compares how many streams of users go on, and how many were told, with the
// numbers wanted.
func (o *openStreams) check(t *testing.T, what string, of func(string) bool, wantGoing, wantTold int) {
	t.Helper()
	if going, told := o.counts(t, of); going != wantGoing || told != wantTold {
		t.Errorf("%s: %d streams go on and %d were told, want %d and %d", what, going, told, wantGoing, wantTold)
	}
}

func anyUser(string) bool { return true }

// "Effective everywhere" also covers open connections: when the receipt says it,
// every handler whose session has ended has been told, on every follower, whichever
// node made the revocation; and no other handler has.
func TestOpenConnectionsEndBeforeTheReceipt(t *testing.T) {
	w := startTwoFollowers(t)
	var open openStreams
	var waiting sync.WaitGroup // for handlers to be open
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.Context().Err() // a handler that waits for its context
		open.add(r.Context(), bearer.Session(r.Context()).Subject)
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		waiting.Done()
		<-r.Context().Done()
	})
	var services []string
	for _, v := range w.validators {
		service := httptest.NewServer(bearer.Require(v)(handler))
		t.Cleanup(service.Close)
		services = append(services, service.URL)
	}

	const users, each = 12, 4
	user := func(i int) string { return fmt.Sprintf("user-%d", i) }
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	for i := range users {
		raw := w.begin(i%2, user(i))
		for n := range each {
			waiting.Add(1)
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, services[n%2], http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer "+raw)
			got, err := transport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { got.Body.Close() })
			if got.StatusCode != http.StatusOK {
				t.Fatalf("opening a stream: %d", got.StatusCode)
			}
		}
	}
	waiting.Wait()

	for node := range w.urls {
		w.revoke(node, "/v1/users/"+user(node)+"/revocations", `{"reason":"test"}`)
		open.check(t, "the revoked user", func(u string) bool { return u == user(node) }, 0, each)
	}
	open.check(t, "the others", func(u string) bool { return u != user(0) && u != user(1) }, (users-2)*each, 0)
	w.revoke(1, "/v1/revocations", `{"scope":"users","users":["user-2","user-3","user-4"],"reason":"test"}`)
	open.check(t, "all after three more", anyUser, (users-5)*each, 5*each)
	w.revoke(0, "/v1/revocations", `{"scope":"everyone","reason":"test"}`)
	open.check(t, "everyone", anyUser, 0, users*each)
}

// An edge answers the event stream too, and says at once that a session has ended,
// though it has no database.
func TestEventStreamAtAnEdge(t *testing.T) {
	cfg := serverConfig(t)
	cfg.AdminPassword = "correct horse battery staple"
	server, _ := runApp(t, cfg, Options{})
	url := "http://" + server.Addr().String()
	var admin issuedSession
	call(t, "POST", url+"/v1/sessions", func(*http.Request) {}, `{"username":"admin","password":"correct horse battery staple"}`, http.StatusCreated, &admin)
	asAdmin := func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+admin.Token) }
	var client newClient
	call(t, "POST", url+"/v1/clients", asAdmin, `{"name":"edge","capabilities":["follow"]}`, http.StatusCreated, &client)
	edge := runEdge(t, client.ID, client.Secret, url)

	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+edge.Addr().String()+"/v1/session/events", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	asAdmin(r)
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	if got.StatusCode != http.StatusOK {
		t.Fatalf("opening the stream: %d", got.StatusCode)
	}
	call(t, "DELETE", url+"/v1/session", asAdmin, "", http.StatusNoContent, nil)
	text, err := io.ReadAll(got.Body)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(string(text), "event: ended\ndata: {\"code\":\"revoked\"}\n\n") {
		t.Errorf("the stream says %q", text)
	}
}
