package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/await"
	"example.com/curfew/internal/config"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/store/migrated"
	"example.com/curfew/internal/wire"
	"example.com/curfew/token/follower"
)

// runEdge opens an edge of the servers and runs it until the end of the test.
func runEdge(t *testing.T, id, secret string, upstream ...string) *Edge {
	t.Helper()
	e, err := OpenEdge(t.Context(), config.Edge{
		Listener: config.Listener{Listen: "127.0.0.1:0", ShutdownTimeout: await.Limit},
		Upstream: upstream, ClientID: id, ClientSecret: secret,
	}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- errors.Join(e.Run(ctx), e.Close()) }() // ends with cancel
	t.Cleanup(func() {
		cancel()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return e
}

// service makes a client.
func service(t *testing.T, a *App, name string, capabilities ...string) (client store.Client, secret string) {
	t.Helper()
	client, secret, err := a.accounts.CreateClient(t.Context(), administrator, account.NewClient{Name: name, Capabilities: capabilities})
	if err != nil {
		t.Fatal(err)
	}
	return client, secret
}

var administrator = authz.Caller{Trusted: true, Actor: store.Actor{Kind: store.ActorCLI, Name: "test"}}

// as makes a request of a client and returns the status.
func as(t *testing.T, id, secret, method, url, form string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(form))
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth(id, secret)
	if form != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Error(err)
		return 0
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode
}

// poll follows as a client would until an answer reaches the epoch given, or is no
// answer: it returns the status, and the epoch of the last good answer.
func poll(t *testing.T, id, secret, url string, until int64) (status int, epoch int64) {
	for {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("%s/v1/changes?after=%d&confirmed=%d&wait=60&follower=%s", url, epoch, epoch, id), nil)
		if err != nil {
			t.Error(err)
			return 0, epoch
		}
		r.SetBasicAuth(id, secret)
		answer, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Error(err)
			return 0, epoch
		}
		var changes wire.Changes
		if answer.StatusCode == http.StatusOK {
			err = json.NewDecoder(answer.Body).Decode(&changes)
		}
		_ = answer.Body.Close()
		if err != nil || answer.StatusCode != http.StatusOK {
			return answer.StatusCode, epoch
		}
		if epoch = changes.Epoch; epoch >= until {
			return answer.StatusCode, epoch
		}
	}
}

// A client that is deleted, has its secret withdrawn or loses the capability gets
// nothing more: its pending polls end with the refusal, on the node that changed
// it, on the other, and at an edge, which has no database. So does its
// introspection. Another client's poll goes on.
func TestChangedClientIsRefusedEverywhere(t *testing.T) {
	cfg := serverConfig(t)
	cfg.Lease = time.Minute // a poll that is not ended would be pending for a third of that
	cfg.Issuer, cfg.KeyEncryptionKey = "http://curfew.test", make([]byte, 32)
	cfg.Store.Database = config.Database(migrated.Postgres(t))
	here, _ := runApp(t, cfg, Options{})
	there, _ := runApp(t, cfg, Options{})
	hereURL, thereURL := "http://"+here.Addr().String(), "http://"+there.Addr().String()
	_, edgeSecret := service(t, here, "edge", store.Follow)
	edge := runEdge(t, "edge", edgeSecret, thereURL)
	edgeURL := "http://" + edge.Addr().String()

	for _, change := range []struct {
		name   string
		status int
		change func(id string) error
	}{
		{"deleted", http.StatusUnauthorized, func(id string) error {
			return here.accounts.DeleteClient(t.Context(), administrator, id)
		}},
		{"secret withdrawn", http.StatusUnauthorized, func(id string) error {
			_, _, err := here.accounts.NewSecret(t.Context(), administrator, id, true)
			return err
		}},
		{"capabilities withdrawn", http.StatusForbidden, func(id string) error {
			return here.store.Update(t.Context(), func(tx store.Tx) error {
				epoch, err := tx.Advance(t.Context(), time.Now())
				if err != nil {
					return err
				}
				client, err := tx.Client(t.Context(), id)
				if err != nil {
					return err
				}
				client.Capabilities, client.Epoch = []string{store.Revoke}, epoch
				return tx.PutClient(t.Context(), client)
			})
		}},
	} {
		t.Run(change.name, func(t *testing.T) {
			client, secret := service(t, here, "billing "+change.name, store.Follow, store.Introspect)
			another, otherSecret := service(t, here, "another "+change.name, store.Follow)
			servers := []struct {
				name, url string
				pending   func() int64
				want      int64
			}{
				{"the node that changes it", hereURL, func() int64 { return here.node.Status().Polls.Pending }, 2},
				{"the other node", thereURL, func() int64 { return there.node.Status().Polls.Pending }, 3},
				{"the edge", edgeURL, func() int64 { return edge.feed.Status().Polls.Pending }, 2},
			}
			type ended struct {
				server string
				status int
				epoch  int64
			}
			refused, others := make(chan ended, len(servers)), make(chan ended, len(servers))
			const token = "token=nonsense"
			for _, s := range servers {
				// It is known here before.
				if got := as(t, client.ID, secret, http.MethodPost, s.url+"/oauth/introspect", token); got != http.StatusOK {
					t.Fatalf("%s: introspection answers %d", s.name, got)
				}
			}
			for _, s := range servers {
				go func() {
					status, epoch := poll(t, client.ID, secret, s.url, 1<<62)
					refused <- ended{s.name, status, epoch}
				}()
				go func() {
					status, epoch := poll(t, another.ID, otherSecret, s.url, int64(another.Epoch)+1)
					others <- ended{s.name, status, epoch}
				}()
			}
			for _, s := range servers {
				await.Until(t, s.name+" holds the polls", func() bool { return s.pending() == s.want })
			}
			if err := change.change(client.ID); err != nil {
				t.Fatal(err)
			}
			for range servers {
				if got := <-refused; got.status != change.status || got.epoch > int64(another.Epoch) {
					t.Errorf("at %s the pending poll ends with %d after an answer at %d, want %d and no answer since the change", got.server, got.status, got.epoch, change.status)
				}
				if got := <-others; got.status != http.StatusOK {
					t.Errorf("at %s another client's poll ends with %d", got.server, got.status)
				}
			}
			for _, s := range servers {
				if got := as(t, client.ID, secret, http.MethodPost, s.url+"/oauth/introspect", token); got != change.status {
					t.Errorf("%s: introspection answers %d, want %d", s.name, got, change.status)
				}
				if got := as(t, client.ID, secret, http.MethodGet, s.url+"/v1/changes?after=0&follower=new", ""); got != change.status {
					t.Errorf("%s: a new poll is answered with %d, want %d", s.name, got, change.status)
				}
			}
		})
	}
}

// A follower of the public package notices that its client was deleted, at a
// server and at an edge.
func TestFollowerOfDeletedClient(t *testing.T) {
	cfg := serverConfig(t)
	a, _ := runApp(t, cfg, Options{})
	url := "http://" + a.Addr().String()
	_, edgeSecret := service(t, a, "edge", store.Follow)
	edge := runEdge(t, "edge", edgeSecret, url)
	client, secret := service(t, a, "billing", store.Follow)
	var followers []*follower.Follower
	for _, server := range []string{url, "http://" + edge.Addr().String()} {
		f, err := follower.Open(t.Context(), follower.Config{Server: server, ClientID: client.ID, ClientSecret: secret, Audience: a.installed.Audience[0]})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		followers = append(followers, f)
	}
	if err := a.accounts.DeleteClient(t.Context(), administrator, client.ID); err != nil {
		t.Fatal(err)
	}
	for i, f := range followers {
		await.Until(t, "the follower is refused", func() bool { return errors.Is(f.Status().Err, follower.ErrCredentials) })
		await.Until(t, "its lease ends", func() bool { return !f.Status().Trusted })
		if s := f.Status(); !errors.Is(s.Err, follower.ErrCredentials) {
			t.Errorf("follower %d: %v", i, s.Err)
		}
	}
}
