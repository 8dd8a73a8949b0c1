package bearer_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"example.com/curfew/revocation"
	"example.com/curfew/token"
	"example.com/curfew/token/bearer"
	"example.com/curfew/token/tokentest"
)

// run sends a request with raw through m to handler, and returns when it has
// returned.
func run(m bearer.Middleware, raw string, handler http.HandlerFunc) int {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Authorization", "Bearer "+raw)
	w := httptest.NewRecorder()
	m.Wrap(handler).ServeHTTP(w, r)
	return w.Code
}

func TestRequestContextEndsWithTheSession(t *testing.T) {
	issuer := tokentest.New(t)
	v := issuer.Validator()
	for name, guard := range map[string]func(http.Handler) http.Handler{
		"Require": bearer.Require(v), "RequireLive": bearer.RequireLive(v), "Optional": bearer.Optional(v),
		"Middleware": bearer.Middleware{Validator: v, EndWithSession: true}.Wrap,
	} {
		t.Run(name, func(t *testing.T) {
			issuer.Tick()
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.Header.Set("Authorization", "Bearer "+issuer.Token("ann"))
			var after context.Context
			guard(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				after = r.Context()
				if err := r.Context().Err(); err != nil {
					t.Errorf("it has ended already: %v", err)
				}
				if bearer.Session(r.Context()).Subject != "ann" {
					t.Error("the session is another's")
				}
				issuer.Revoke(revocation.User("ann"))
				<-r.Context().Done()
				if cause := context.Cause(r.Context()); !errors.Is(cause, token.ErrRevoked) {
					t.Errorf("the cause is %v, want %v", cause, token.ErrRevoked)
				}
			})).ServeHTTP(httptest.NewRecorder(), r)
			if after == nil {
				t.Fatal("the handler did not run")
			}
		})
	}
	t.Run("not asked for", func(t *testing.T) {
		issuer.Tick()
		run(bearer.Middleware{Validator: v}, issuer.Token("ann"), func(_ http.ResponseWriter, r *http.Request) {
			issuer.Revoke(revocation.User("ann"))
			if err := r.Context().Err(); err != nil {
				t.Errorf("the context has ended: %v", err)
			}
		})
	})
}

func TestWatchOfARefusedToken(t *testing.T) {
	issuer := tokentest.New(t)
	v := issuer.Validator()
	raw := issuer.Token("ann")
	issuer.Revoke(revocation.User("ann"))
	live, stop := bearer.Watch(t.Context(), v, raw)
	defer stop()
	if cause := context.Cause(live); live.Err() == nil || !errors.Is(cause, token.ErrRevoked) {
		t.Errorf("the context says %v, %v; want %v", live.Err(), cause, token.ErrRevoked)
	}
	if bearer.Session(live) != nil {
		t.Error("it has a session")
	}
	if code := run(bearer.Middleware{Validator: v, EndWithSession: true}, raw, nil); code != http.StatusUnauthorized {
		t.Errorf("the middleware answers %d, want 401", code)
	}
}

func TestRenewInAHandler(t *testing.T) {
	issuer := tokentest.New(t)
	v := issuer.Validator()
	first := issuer.Session("ann")
	live, stop := bearer.Watch(t.Context(), v, issuer.Mint(first))
	defer stop()
	issuer.Advance(10 * time.Minute)
	next := first.Refreshed(issuer.Now(), issuer.Settings.Current().Settings)
	if err := bearer.Renew(live, issuer.Mint(next)); err != nil {
		t.Errorf("Renew: %v", err)
	}
	if got := bearer.Session(live).LastRefresh; got != next.LastRefresh {
		t.Errorf("the session was refreshed at %d, want %d", got, next.LastRefresh)
	}
	if err := bearer.Renew(live, issuer.Token("ben")); !errors.Is(err, token.ErrOtherSession) {
		t.Errorf("Renew with another user's token: %v, want %v", err, token.ErrOtherSession)
	}
	if err := bearer.Renew(t.Context(), issuer.Mint(next)); !errors.Is(err, bearer.ErrNotWatched) {
		t.Errorf("Renew without a watch: %v, want %v", err, bearer.ErrNotWatched)
	}
}

func TestEndWithSessionNeedsAWatcher(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("Wrap with a validator that cannot watch did not panic")
		}
	}()
	bearer.Middleware{Validator: stub{}, EndWithSession: true}.Wrap(who)
}

// A client that would keep the connection alive sees the end of its event stream;
// other answers, and their connections, are left alone.
func TestEventStreamsConnectionIsClosed(t *testing.T) {
	issuer := tokentest.New(t)
	waits := make(chan struct{})
	server := httptest.NewServer(bearer.Require(issuer.Validator())(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", r.URL.Query().Get("type"))
		_, _ = io.WriteString(w, "data: 1\n\n")
		_ = http.NewResponseController(w).Flush()
		done := r.Context().Done()
		waits <- struct{}{}
		<-done
		_, _ = io.WriteString(w, "last\n")
	})))
	defer server.Close()
	for kind, closes := range map[string]bool{"text/event-stream": true, "text/plain": false} {
		issuer.Tick()
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "GET /?type="+kind+" HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+issuer.Token("ann")+"\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		<-waits
		issuer.Revoke(revocation.User("ann"))
		in := bufio.NewReader(conn)
		var text strings.Builder
		for !strings.HasSuffix(text.String(), "last\n\r\n") {
			b, err := in.ReadByte()
			if err != nil {
				t.Fatalf("%s: %v after %q", kind, err, text.String())
			}
			text.WriteByte(b)
		}
		if closes {
			if rest, err := io.ReadAll(in); err != nil || len(rest) > 0 {
				t.Errorf("%s: %q, %v after the last event; want the end", kind, rest, err)
			}
			continue
		}
		if last, err := in.Peek(5); err != nil || string(last) != "0\r\n\r\n" {
			t.Errorf("%s: %q, %v; want the last chunk", kind, last, err)
		}
	}
}

// over serves a handler over a protocol, and returns a client and the address.
func over(t *testing.T, protocol string, handler http.Handler) (*http.Client, string) {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	t.Cleanup(server.Close)
	switch protocol {
	case "HTTP/1.1":
		server.Start()
	case "HTTP/2":
		server.EnableHTTP2 = true
		server.StartTLS()
	case "h2c":
		both := new(http.Protocols)
		both.SetUnencryptedHTTP2(true)
		server.Config.Protocols = both
		server.Start()
		transport := &http.Transport{Protocols: both}
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{Transport: transport}, server.URL
	}
	return server.Client(), server.URL
}

var protocols = []string{"HTTP/1.1", "HTTP/2", "h2c"}

// An event stream ends with its session over each protocol, and the streams of
// other users on the same connection continue.
func TestEventStreamsEndOverEachProtocol(t *testing.T) {
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			issuer := tokentest.New(t)
			client, url := over(t, protocol, bearer.Require(issuer.Validator())(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				_, _ = io.WriteString(w, "data: "+bearer.Session(r.Context()).Subject+"\n\n")
				_ = http.NewResponseController(w).Flush()
				derived, cancel := context.WithTimeout(r.Context(), time.Hour)
				defer cancel()
				<-derived.Done()
			})))
			streams := map[string]*bufio.Reader{}
			for _, user := range []string{"ann", "ben"} {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Authorization", "Bearer "+issuer.Token(user))
				answer, err := client.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				defer answer.Body.Close()
				if want := protocol != "HTTP/1.1"; (answer.ProtoMajor == 2) != want {
					t.Fatalf("the answer came over %s", answer.Proto)
				}
				streams[user] = bufio.NewReader(answer.Body)
				if line, err := streams[user].ReadString('\n'); line != "data: "+user+"\n" {
					t.Fatalf("%q, %v", line, err)
				}
			}
			for _, user := range []string{"ann", "ben"} {
				issuer.Revoke(revocation.User(user))
				// A chunked HTTP/1.1 stream may lack its last chunk: the connection is closed.
				if rest, err := io.ReadAll(streams[user]); string(rest) != "\n" || err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("%s: %q, %v; want the end of the stream", user, rest, err)
				}
				if user == "ann" && streams["ben"].Buffered() != 1 {
					t.Error("the stream of another user has ended or gone on")
				}
			}
		})
	}
}

// A client that withholds the body of a request cannot have it read after the end of
// its session, whether or not the handler looks at its context.
func TestWithheldBodyEndsWithTheSession(t *testing.T) {
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			issuer := tokentest.New(t)
			began, read := make(chan struct{}), make(chan error, 1)
			client, url := over(t, protocol, bearer.Require(issuer.Validator())(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				close(began)
				body, err := io.ReadAll(r.Body)
				if len(body) > 0 {
					t.Errorf("%q was read", body)
				}
				read <- err
			})))
			body, write := io.Pipe()
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, body)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer "+issuer.Token("ann"))
			answered := make(chan error, 1)
			go func() { // ends with the answer
				answer, err := client.Do(r)
				if err == nil {
					err = answer.Body.Close()
				}
				answered <- err
			}()
			<-began
			issuer.Revoke(revocation.User("ann"))
			if _, err := io.WriteString(write, "transfer everything"); err != nil {
				t.Fatal(err)
			}
			_ = write.Close() // a pipe's never fails
			if err := <-read; !errors.Is(err, token.ErrRevoked) {
				t.Errorf("reading the body: %v, want %v", err, token.ErrRevoked)
			}
			if err := <-answered; err != nil && protocol != "HTTP/1.1" {
				t.Error(err)
			}
		})
	}
}

// counted counts the uses of a context's Done.
type counted struct {
	context.Context
	done int
}

func (c *counted) Done() <-chan struct{} {
	c.done++
	return c.Context.Done()
}

// A request that is answered at once is not watched: nothing registers with its
// context.
func TestPlainRequestIsNotWatched(t *testing.T) {
	issuer := tokentest.New(t)
	v, raw := issuer.Validator(), issuer.Token("ann")
	if _, err := v.Validate(t.Context(), raw); err != nil { // only the first check of a signature may wait
		t.Fatal(err)
	}
	for kind, watches := range map[string]bool{"": false, "application/json": false, "text/event-stream": true} {
		ctx := &counted{Context: context.Background()}
		r := httptest.NewRequest(http.MethodGet, "/", nil).WithContext(ctx)
		r.Header.Set("Authorization", "Bearer "+raw)
		bearer.Require(v)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", kind)
			_ = bearer.Session(r.Context())
		})).ServeHTTP(httptest.NewRecorder(), r)
		if (ctx.done > 0) != watches {
			t.Errorf("%q: Done of the request's context was used %d times, want watched: %v", kind, ctx.done, watches)
		}
	}
}
