package follower_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"example.com/curfew/token"
	"example.com/curfew/token/follower"
)

func TestOpenToClose(t *testing.T) {
	server, ann := startCurfew()
	defer server.Close()
	var mu sync.Mutex
	var kinds []follower.EventKind
	config := follower.Config{
		Server: server.URL, ClientID: "billing", ClientSecret: "s3cret", Audience: "billing",
		OnEvent: func(e follower.Event) {
			mu.Lock()
			defer mu.Unlock()
			kinds = append(kinds, e.Kind)
			if e.Kind == follower.EventAnswered && (e.Server == "" || e.Took <= 0) {
				t.Errorf("event %+v, want the server and the duration", e)
			}
		},
	}
	f, err := follower.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Validator().Validate(t.Context(), ann); err != nil {
		t.Error(err)
	}
	if s := f.Status(); !s.Trusted || s.Epoch == 0 || s.LeaseLeft <= 0 || s.LeaseLeft > 15*time.Second || s.Server == "" || s.Err != nil || !s.Cache.Complete {
		t.Errorf("status: %+v", s)
	}
	for range 2 { // the second call does nothing
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := f.Validator().Validate(context.Background(), ann); !errors.Is(err, token.ErrUnavailable) {
		t.Errorf("closed: Validate = %v, want %v", err, token.ErrUnavailable)
	}
	if s := f.Status(); s.Trusted || !errors.Is(s.Err, follower.ErrClosed) {
		t.Errorf("closed: %+v", s)
	}
	mu.Lock()
	defer mu.Unlock()
	if !slices.Contains(kinds, follower.EventAnswered) {
		t.Errorf("events %q, want an answer", kinds)
	}
}

func TestOpenRefused(t *testing.T) {
	server, _ := startCurfew()
	defer server.Close()
	good := follower.Config{Server: server.URL, ClientID: "billing", ClientSecret: "s3cret", Audience: "billing"}
	for _, test := range []struct {
		name   string
		change func(*follower.Config)
		want   error
	}{
		{"wrong secret", func(c *follower.Config) { c.ClientSecret = "wrong" }, follower.ErrCredentials},
		{"another audience", func(c *follower.Config) { c.Audience = "mail" }, follower.ErrAudience},
	} {
		config := good
		test.change(&config)
		if f, err := follower.Open(t.Context(), config); f != nil || !errors.Is(err, test.want) {
			t.Errorf("%s: Open = %v, %v; want %v", test.name, f, err, test.want)
		}
	}
}
