package feed_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/curfew/internal/feed"
	"example.com/curfew/internal/upstream"
	"example.com/curfew/internal/wire"
)

// source is what a server needs to serve the feed: a node or an edge.
type source interface {
	Changes(context.Context, feed.Query) (feed.Answer, error)
	RevokedBefore(ctx context.Context, user, session string) (wire.RevokedBefore, error)
}

const secret = "s3cret"

// handler serves the feed to clients that know the secret, whatever their name.
func handler(up source) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/changes", func(w http.ResponseWriter, r *http.Request) {
		q, err := feed.ParseQuery(r.URL.Query())
		if err != nil {
			problem(w, err)
			return
		}
		q.FollowerName, _, _ = r.BasicAuth()
		a, err := up.Changes(r.Context(), q)
		if err != nil {
			problem(w, err)
			return
		}
		zip := a.Gzip() && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip")
		if zip {
			w.Header().Set("Content-Encoding", "gzip")
		}
		w.Header().Set("Content-Type", "application/json")
		_ = a.Write(w, zip) // the follower is gone
	})
	mux.HandleFunc("GET /v1/revoked-before", func(w http.ResponseWriter, r *http.Request) {
		a, err := up.RevokedBefore(r.Context(), r.URL.Query().Get("user"), r.URL.Query().Get("session"))
		if err != nil {
			problem(w, err)
			return
		}
		_ = json.NewEncoder(w).Encode(a)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch name, given, _ := r.BasicAuth(); {
		case given != secret:
			http.Error(w, `{"code":"bad_credentials"}`, http.StatusUnauthorized)
		case name == "stranger":
			http.Error(w, `{"code":"forbidden"}`, http.StatusForbidden)
		default:
			mux.ServeHTTP(w, r)
		}
	})
}

func problem(w http.ResponseWriter, err error) {
	p := wire.Problem{Status: http.StatusServiceUnavailable, Code: "unavailable", Detail: err.Error()}
	switch {
	case errors.Is(err, feed.ErrStartOver):
		p.Status, p.Code = http.StatusGone, wire.CodeStartOver
	case errors.Is(err, feed.ErrBadQuery):
		p.Status, p.Code = http.StatusBadRequest, wire.CodeInvalidRequest
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p)
}

// serve serves the feed on an address of its own and returns its URL.
func serve(tb testing.TB, up source) string {
	tb.Helper()
	return serveOn(tb, "127.0.0.1:0", handler(up))
}

func serveOn(tb testing.TB, address string, h http.Handler) string {
	tb.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		tb.Fatal(err)
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	tb.Cleanup(func() { _ = s.Close(); <-done })
	return "http://" + l.Addr().String()
}

// follow opens a follower.
func follow(tb testing.TB, config upstream.Config, servers ...string) *upstream.Follower {
	tb.Helper()
	f, err := upstream.Open(tb.Context(), followerConfig(config, servers...))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := f.Close(); err != nil {
			tb.Error(err)
		}
	})
	return f
}

func followerConfig(config upstream.Config, servers ...string) upstream.Config {
	config.Servers = servers
	if config.ClientID == "" {
		config.ClientID = "billing"
	}
	config.ClientSecret, config.Audience = secret, audience
	return config
}

// edge opens an edge and serves it.
func edge(tb testing.TB, name string, servers ...string) (*feed.Edge, string) {
	tb.Helper()
	e, err := feed.OpenEdge(tb.Context(), feed.EdgeConfig{Name: name, Upstream: followerConfig(upstream.Config{ClientID: name}, servers...)})
	if err != nil {
		tb.Fatal(err)
	}
	url := serve(tb, e)
	tb.Cleanup(func() {
		if err := e.Close(); err != nil {
			tb.Error(err)
		}
	})
	return e, url
}
