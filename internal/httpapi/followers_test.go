package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/await"
	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
)

// registryOf is a store of one client, that counts the questions.
type registryOf struct {
	mu     sync.Mutex
	client store.Client
	secret string
	fail   error
	wait   chan struct{} // if not nil, an answer that was read waits for it
	asked  atomic.Int64
}

func (r *registryOf) ClientCaller(_ context.Context, id, secret string, from authz.Origin) (authz.Caller, error) {
	r.mu.Lock()
	client, good, fail, wait := r.client, id == r.client.ID && secret == r.secret, r.fail, r.wait
	r.mu.Unlock()
	r.asked.Add(1)
	if wait != nil {
		<-wait
	}
	if fail != nil {
		return authz.Caller{}, fail
	}
	if !good {
		return authz.Caller{}, authz.ErrBadClient
	}
	return authz.Caller{Client: &client, Actor: store.Actor{Kind: store.ActorClient, ID: id, Address: from.Address, RequestID: from.RequestID}}, nil
}

func (r *registryOf) set(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

type testFollowers struct {
	*testing.T
	*registryOf
	followers *followers
	epoch     atomic.Int64
	now       time.Time
}

func newTestFollowers(t *testing.T) *testFollowers {
	w := &testFollowers{
		T: t, registryOf: &registryOf{client: store.Client{ID: "billing", Capabilities: []string{store.Follow}}, secret: "right"},
		now: time.Unix(1_800_000_000, 0),
	}
	w.epoch.Store(7)
	w.followers = &followers{
		clients: w.registryOf, epoch: func() revocation.Epoch { return revocation.Epoch(w.epoch.Load()) },
		now: func() time.Time { return w.now }, timeout: time.Minute,
	}
	return w
}

// call identifies a client by its secret, and checks how many queries that took.
func (w *testFollowers) call(secret string, wantErr error, wantAsked int64) {
	w.Helper()
	before := w.asked.Load()
	caller, err := w.followers.caller(w.Context(), "billing", secret, authz.Origin{Address: "192.0.2.7", RequestID: "r1"})
	if !errors.Is(err, wantErr) {
		w.Errorf("error %v, want %v", err, wantErr)
	}
	if err == nil && (caller.Client.ID != "billing" || caller.Actor.Address != "192.0.2.7" || caller.Actor.RequestID != "r1") {
		w.Errorf("caller %+v", caller)
	}
	if n := w.asked.Load() - before; n != wantAsked {
		w.Errorf("%d questions to the store, want %d", n, wantAsked)
	}
}

func TestFollowersAreLookedUpOnceAnEpoch(t *testing.T) {
	w := newTestFollowers(t)
	w.call("right", nil, 1)
	w.call("right", nil, 0)
	w.call("wrong", authz.ErrBadClient, 1)
	w.call("wrong", authz.ErrBadClient, 1) // nothing is remembered of those
	w.call("right", nil, 0)
	w.epoch.Add(1)
	w.set(func() { w.secret = "new" })
	w.call("right", authz.ErrBadClient, 1)
	w.call("new", nil, 1)
	w.call("new", nil, 0)
}

func TestFollowersOriginIsThatOfTheCall(t *testing.T) {
	w := newTestFollowers(t)
	for i := range 2 {
		from := authz.Origin{Address: fmt.Sprintf("192.0.2.%d", i), RequestID: fmt.Sprint(i)}
		caller, err := w.followers.caller(t.Context(), "billing", "right", from)
		if err != nil || caller.Actor.Address != from.Address || caller.Actor.RequestID != from.RequestID {
			t.Errorf("call %d: %+v %v", i, caller.Actor, err)
		}
	}
}

func TestFollowersFailureIsNotRemembered(t *testing.T) {
	w := newTestFollowers(t)
	w.set(func() { w.fail = store.ErrUnavailable })
	w.call("right", store.ErrUnavailable, 1)
	w.set(func() { w.fail = nil })
	w.call("right", nil, 1)
}

func TestFollowersOldSecretEndsByItself(t *testing.T) {
	w := newTestFollowers(t)
	until := w.now.Add(time.Hour)
	w.set(func() { w.client.OldSecretUntil = until.UnixMicro() })
	w.call("right", nil, 1)
	for _, row := range []struct {
		at    time.Time
		asked int64
	}{{until.Add(-time.Microsecond), 0}, {until, 1}, {until.Add(time.Microsecond), 1}} {
		w.now = row.at
		w.call("right", nil, row.asked)
	}
}

func TestFollowersForget(t *testing.T) {
	w := newTestFollowers(t)
	w.call("right", nil, 1)
	w.followers.forget()
	w.call("right", nil, 1)
	var none *followers
	none.forget() // an edge has none
}

// inFlight starts a look-up that has read its answer and does not return yet.
func (w *testFollowers) inFlight() (land func()) {
	wait, done := make(chan struct{}), make(chan error, 1)
	w.set(func() { w.wait = wait })
	before := w.asked.Load()
	go func() {
		_, err := w.followers.caller(w.Context(), "billing", "right", authz.Origin{})
		done <- err
	}()
	await.Until(w, "the look-up has read its answer", func() bool { return w.asked.Load() > before })
	w.set(func() { w.wait = nil })
	return func() {
		close(wait)
		if err := <-done; err != nil {
			w.Errorf("the call under way: %v", err)
		}
	}
}

func TestFollowersOvertakenByTheView(t *testing.T) {
	w := newTestFollowers(t)
	land := w.inFlight()
	w.set(func() { w.secret = "new" })
	w.epoch.Add(1)
	w.call("right", authz.ErrBadClient, 1) // does not join the older question
	w.call("new", nil, 1)
	land()
	w.call("right", authz.ErrBadClient, 1) // nor is its answer kept
	w.call("new", nil, 0)
}

func TestFollowersOvertakenByAChangeHere(t *testing.T) {
	w := newTestFollowers(t)
	land := w.inFlight()
	w.set(func() { w.secret = "new" })
	w.followers.forget() // the view stands where it stood
	w.call("right", authz.ErrBadClient, 1)
	land()
	w.call("right", authz.ErrBadClient, 1)
}

func TestFollowersShareAQuestion(t *testing.T) {
	w := newTestFollowers(t)
	land := w.inFlight()
	before := w.asked.Load()
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			if _, err := w.followers.caller(t.Context(), "billing", "right", authz.Origin{}); err != nil {
				t.Error(err)
			}
		})
	}
	land()
	group.Wait()
	if n := w.asked.Load() - before; n != 0 {
		t.Errorf("%d more questions were put", n)
	}
}

func TestFollowersAreBounded(t *testing.T) {
	w := newTestFollowers(t)
	for i := range maxRemembered + 10 {
		w.followers.remember([32]byte{byte(i), byte(i >> 8)}, authz.Caller{}, 7, 0)
	}
	if n := len(w.followers.known); n > maxRemembered {
		t.Errorf("%d remembered, at most %d are allowed", n, maxRemembered)
	}
}

// A follower that is deleted is refused from the moment on at which the answer
// says so, whatever this node's view knows.
func TestDeletedFollowerIsRefusedAtOnce(t *testing.T) {
	s := start(t)
	for i := range 5 {
		c := s.service(fmt.Sprintf("follower-%d", i), store.Follow)
		ask := func(want int) {
			t.Helper()
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/v1/changes?after=0&wait=1", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.SetBasicAuth(c.id, c.secret)
			answer, err := s.client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			if answer.StatusCode != want {
				t.Errorf("status %d, want %d", answer.StatusCode, want)
			}
		}
		ask(http.StatusOK)
		ask(http.StatusOK)
		r, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, s.url+"/v1/clients/"+c.id, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+s.token(s.admin))
		answer, err := s.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusNoContent {
			t.Fatalf("deleting: %d", answer.StatusCode)
		}
		ask(http.StatusUnauthorized)
	}
}
