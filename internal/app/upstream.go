package app

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
	"example.com/curfew/token"
)

// upstreamClients tells an edge who its callers are: it passes their credentials
// on to GET /v1/clients/me, and remembers a good answer for as long as its own
// lease had left when it asked, but not after the feed has said that clients have
// changed. It keeps no secret, only a hash to find the answer by.
type upstreamClients struct {
	servers []*url.URL
	client  *http.Client
	now     func() time.Time
	lease   func() time.Duration    // the rest of the edge's own lease
	changed func() revocation.Epoch // of the last change of a client, in the edge's view
	asking  chan struct{}           // one element for each question that may be under way

	mu      sync.Mutex
	at      revocation.Epoch // the last change of a client that known rests on
	known   map[[sha256.Size]byte]knownClient
	flights map[flightKey]*flight
}

type knownClient struct {
	client store.Client
	lease  token.Lease
}

// flightKey names a query. A query from before a change of clients is not shared
// after it.
type flightKey struct {
	proof   [sha256.Size]byte
	changed revocation.Epoch
}

// flight is a question under way, which those who ask the same share.
type flight struct {
	done   chan struct{}
	client store.Client
	err    error // set before done is closed
}

const (
	mostKnownClients = 10_000
	mostQuestions    = 16 // to the servers at a time: a flood of guesses reaches them slowly
	questionPatience = 2 * time.Second
)

func newUpstreamClients(servers []string, now func() time.Time, lease func() time.Duration, changed func() revocation.Epoch) (*upstreamClients, error) {
	u := &upstreamClients{
		now: now, lease: lease, changed: changed, asking: make(chan struct{}, mostQuestions),
		known: map[[sha256.Size]byte]knownClient{}, flights: map[flightKey]*flight{},
	}
	for _, text := range servers {
		server, err := url.Parse(text)
		if err != nil {
			return nil, err
		}
		u.servers = append(u.servers, server.JoinPath("/v1/clients/me"))
	}
	u.client = &http.Client{
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: mostQuestions, IdleConnTimeout: time.Minute, ResponseHeaderTimeout: questionPatience},
		// Credentials must not follow wherever an answer points.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return u, nil
}

func (u *upstreamClients) close() error {
	u.client.CloseIdleConnections()
	return nil
}

// ClientCaller implements httpapi.Clients. The error wraps account.ErrBadClient,
// or token.ErrUnavailable if no server could be asked.
func (u *upstreamClients) ClientCaller(ctx context.Context, id, secret string, from account.Origin) (account.Caller, error) {
	client, err := u.find(ctx, id, secret)
	if err != nil {
		return account.Caller{}, err
	}
	return account.Caller{
		Actor:  store.Actor{Kind: store.ActorClient, ID: client.ID, Name: client.Name, Address: from.Address, RequestID: from.RequestID},
		Client: &client,
	}, nil
}

func (u *upstreamClients) find(ctx context.Context, id, secret string) (store.Client, error) {
	key := flightKey{sha256.Sum256([]byte(id + "\x00" + secret)), u.changed()}
	u.mu.Lock()
	if key.changed != u.at {
		u.at = key.changed
		clear(u.known)
	}
	if k, ok := u.known[key.proof]; ok && k.lease.Running(u.now()) {
		u.mu.Unlock()
		return k.client, nil
	}
	f, ok := u.flights[key]
	if !ok {
		f = &flight{done: make(chan struct{})}
		u.flights[key] = f
		go u.fly(context.WithoutCancel(ctx), f, key, id, secret) // ends within the patience for each server
	}
	u.mu.Unlock()
	select {
	case <-f.done:
		return f.client, f.err
	case <-ctx.Done():
		return store.Client{}, fmt.Errorf("%w: %w", token.ErrUnavailable, ctx.Err())
	}
}

// fly asks the upstream once for all callers that wait for the same answer.
func (u *upstreamClients) fly(ctx context.Context, f *flight, key flightKey, id, secret string) {
	ctx, cancel := context.WithTimeout(ctx, questionPatience)
	defer cancel()
	lease := token.Lease{Start: u.now(), Length: u.lease()}
	f.client, f.err = u.ask(ctx, id, secret)
	u.mu.Lock()
	delete(u.flights, key)
	if key.changed == u.at {
		delete(u.known, key.proof)
		if f.err == nil && lease.Length > 0 {
			u.makeRoom()
			u.known[key.proof] = knownClient{f.client, lease}
		}
	}
	u.mu.Unlock()
	close(f.done)
}

// makeRoom forgets what has run out if too many are known, and if that is not
// enough, everything: it only has to be asked for again.
func (u *upstreamClients) makeRoom() {
	if len(u.known) < mostKnownClients {
		return
	}
	now := u.now()
	for key, k := range u.known {
		if !k.lease.Running(now) {
			delete(u.known, key)
		}
	}
	if len(u.known) >= mostKnownClients {
		clear(u.known)
	}
}

// ask asks one server after the other until one can tell.
func (u *upstreamClients) ask(ctx context.Context, id, secret string) (store.Client, error) {
	select {
	case u.asking <- struct{}{}:
		defer func() { <-u.asking }()
	case <-ctx.Done():
		return store.Client{}, fmt.Errorf("%w: too many clients authenticate at once", token.ErrUnavailable)
	}
	var errs []error
	for _, server := range u.servers {
		client, err := u.askServer(ctx, server, id, secret)
		if err == nil || errors.Is(err, account.ErrBadClient) {
			return client, err
		}
		errs = append(errs, err)
	}
	return store.Client{}, fmt.Errorf("%w: no upstream could authenticate the client: %w", token.ErrUnavailable, errors.Join(errs...))
}

func (u *upstreamClients) askServer(ctx context.Context, server *url.URL, id, secret string) (store.Client, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.String(), http.NoBody)
	if err != nil {
		return store.Client{}, err
	}
	r.SetBasicAuth(id, secret)
	answer, err := u.client.Do(r)
	if err != nil {
		return store.Client{}, err
	}
	defer answer.Body.Close()
	switch answer.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized:
		return store.Client{}, account.ErrBadClient
	default:
		return store.Client{}, fmt.Errorf("%s answered %s", server.Host, answer.Status)
	}
	var w wire.Client
	if err := json.NewDecoder(io.LimitReader(answer.Body, 64<<10)).Decode(&w); err != nil {
		return store.Client{}, fmt.Errorf("%s sent a response that is not a client: %w", server.Host, err)
	}
	if w.ID != id {
		return store.Client{}, fmt.Errorf("%s answered about another client", server.Host)
	}
	return store.Client{ID: w.ID, Name: w.Name, Capabilities: w.Capabilities, CreatedAt: w.CreatedAt.UnixMicro()}, nil
}
