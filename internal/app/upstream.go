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

	"golang.org/x/sync/singleflight"

	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/trace"
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

	flights singleflight.Group // queries under way, shared by callers that ask the same

	mu    sync.Mutex
	at    revocation.Epoch // the last change of a client that known rests on
	known map[[sha256.Size]byte]knownClient
}

type knownClient struct {
	client store.Client
	lease  token.Lease
}

const (
	maxKnownClients = 10_000
	maxQuestions    = 16 // to the servers at a time: a flood of guesses reaches them slowly
	questionTimeout = 2 * time.Second
)

func newUpstreamClients(servers []string, now func() time.Time, lease func() time.Duration, changed func() revocation.Epoch) (*upstreamClients, error) {
	u := &upstreamClients{
		now: now, lease: lease, changed: changed, asking: make(chan struct{}, maxQuestions),
		known: map[[sha256.Size]byte]knownClient{},
	}
	for _, text := range servers {
		server, err := url.Parse(text)
		if err != nil {
			return nil, err
		}
		u.servers = append(u.servers, server.JoinPath("/v1/clients/me"))
	}
	u.client = &http.Client{
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: maxQuestions, IdleConnTimeout: time.Minute, ResponseHeaderTimeout: questionTimeout},
		// Credentials must not follow wherever an answer points.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return u, nil
}

func (u *upstreamClients) close() error {
	u.client.CloseIdleConnections()
	return nil
}

// ClientCaller implements httpapi.Clients. The error wraps authz.ErrBadClient,
// or token.ErrUnavailable if no server could be asked.
func (u *upstreamClients) ClientCaller(ctx context.Context, id, secret string, from authz.Origin) (authz.Caller, error) {
	client, err := u.find(ctx, id, secret)
	if err != nil {
		return authz.Caller{}, err
	}
	return authz.Caller{
		Actor:  store.Actor{Kind: store.ActorClient, ID: client.ID, Name: client.Name, Address: from.Address, RequestID: from.RequestID},
		Client: &client,
	}, nil
}

func (u *upstreamClients) find(ctx context.Context, id, secret string) (store.Client, error) {
	proof, changed := sha256.Sum256([]byte(id+"\x00"+secret)), u.changed()
	if client, ok := u.remembered(proof, changed); ok {
		return client, nil
	}
	// A query from before a change of clients is not shared after it.
	result := u.flights.DoChan(fmt.Sprintf("%x %d", proof, changed), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), questionTimeout)
		defer cancel()
		lease := token.Lease{Start: u.now(), Length: u.lease()}
		client, err := u.ask(ctx, id, secret)
		u.remember(proof, changed, knownClient{client, lease}, err)
		return client, err
	})
	select {
	case r := <-result:
		client, _ := r.Val.(store.Client) // the zero Client with an error
		return client, r.Err
	case <-ctx.Done():
		return store.Client{}, fmt.Errorf("%w: %w", token.ErrUnavailable, ctx.Err())
	}
}

// remembered returns a client that was authenticated since the last change of
// clients and whose lease is running.
func (u *upstreamClients) remembered(proof [sha256.Size]byte, changed revocation.Epoch) (store.Client, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if changed != u.at {
		u.at = changed
		clear(u.known)
	}
	k, ok := u.known[proof]
	return k.client, ok && k.lease.Running(u.now())
}

// remember stores the result of a query, unless clients have changed since it began.
func (u *upstreamClients) remember(proof [sha256.Size]byte, changed revocation.Epoch, k knownClient, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if changed != u.at {
		return
	}
	delete(u.known, proof)
	if err == nil && k.lease.Length > 0 {
		u.makeRoom()
		u.known[proof] = k
	}
}

// makeRoom drops expired answers if too many are cached, and if that is not enough,
// everything: it only has to be asked for again.
func (u *upstreamClients) makeRoom() {
	if len(u.known) < maxKnownClients {
		return
	}
	now := u.now()
	for key, k := range u.known {
		if !k.lease.Running(now) {
			delete(u.known, key)
		}
	}
	if len(u.known) >= maxKnownClients {
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
		if err == nil || errors.Is(err, authz.ErrBadClient) {
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
	trace.Pass(ctx, r.Header)
	answer, err := u.client.Do(r)
	if err != nil {
		return store.Client{}, err
	}
	defer answer.Body.Close()
	switch answer.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized:
		return store.Client{}, authz.ErrBadClient
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
