package app

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// What a client of HTTP/2 sends at first, and types and flags of frames (RFC 9113,
// sections 3.4 and 6).
const (
	preface          = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	frameHeaders     = 0x1
	frameSettings    = 0x4
	frameWindow      = 0x8
	frameContinued   = 0x9
	flagEndStream    = 0x1
	flagEndHeaders   = 0x4
	getLarge         = "\x82\x86\x04\x06/large\x41\x01x" // GET /large of http://x (RFC 7541)
	largestIncrement = 1<<31 - 1 - 65535
)

func frame(kind, flags byte, stream uint32, payload string) string {
	header := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), kind, flags}
	return string(binary.BigEndian.AppendUint32(header, stream)) + payload
}

func window(stream uint32) string {
	return frame(frameWindow, 0, stream, string(binary.BigEndian.AppendUint32(nil, largestIncrement)))
}

// h2cClient speaks HTTP/2 without TLS, and nothing else.
func h2cClient(dial func(context.Context, string, string) (net.Conn, error)) *http.Client {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	return &http.Client{Transport: &http.Transport{Protocols: &protocols, DialContext: dial}}
}

// The limits of HTTP/1.1 hold for HTTP/2 without TLS: a slow client is cut off, other
// clients are answered meanwhile.
func TestSlowClientsOfH2CAreCutOff(t *testing.T) {
	// held writes text and waits for the end of the connection, reading what comes.
	held := func(conn net.Conn, text string) time.Duration {
		began := time.Now()
		go func() { _, _ = io.WriteString(conn, text) }()
		_, _ = io.Copy(io.Discard, conn)
		return time.Since(began)
	}
	begun := preface + frame(frameSettings, 0, 0, "")
	for _, test := range []struct {
		name  string
		after time.Duration
		do    func(conn net.Conn) time.Duration
	}{
		{"nothing at all", readHeaderTimeout, func(conn net.Conn) time.Duration { return held(conn, "") }},
		{"the preface", readHeaderTimeout, func(conn net.Conn) time.Duration { return dribble(conn, preface) }},
		{"half the preface", readHeaderTimeout, func(conn net.Conn) time.Duration { return held(conn, preface[:16]) }},
		{"HTTP/1.1", readHeaderTimeout, func(conn net.Conn) time.Duration { return dribble(conn, "GET /"+strings.Repeat("a", 1000)) }},
		{"headers that do not go on", pingAfter + pingTimeout, func(conn net.Conn) time.Duration {
			return held(conn, begun+frame(frameHeaders, flagEndStream, 1, getLarge))
		}},
		{"headers byte by byte", pingAfter + pingTimeout, func(conn net.Conn) time.Duration {
			long := frame(frameContinued, flagEndHeaders, 1, strings.Repeat("\x00\x01a\x01b", 3000))
			if _, err := io.WriteString(conn, begun+frame(frameHeaders, flagEndStream, 1, getLarge)+long[:9]); err != nil {
				return 0
			}
			return dribble(conn, long[9:])
		}},
		{"not reading an answer", writeTimeout, func(conn net.Conn) time.Duration {
			began := time.Now()
			_, _ = io.WriteString(conn, begun+window(0)+frame(frameHeaders, flagEndStream|flagEndHeaders, 1, getLarge)+window(1))
			for { // the pipe holds nothing: the server waits in a write, and only its end makes this one fail
				if _, err := io.WriteString(conn, frame(frameSettings, 1, 0, "")); err != nil {
					return time.Since(began)
				}
				time.Sleep(500 * time.Millisecond) // in a bubble
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := serveH2C(t)
				slow := h.listener.dial()
				cutOff := make(chan time.Duration, 1)
				go func() { cutOff <- test.do(slow) }()
				time.Sleep(2 * time.Second) // in a bubble
				h.answersAtOnce(t)
				if got := <-cutOff; got < test.after || got > test.after+time.Second {
					t.Errorf("cut off after %v, want %v", got, test.after)
				}
				_ = slow.Close()
				h.end(t)
			})
		})
	}
}

// bubble is a server of h2c on pipes.
type bubble struct {
	listener *pipes
	server   *http.Server
	conns    *connections
	serving  sync.WaitGroup
}

func serveH2C(t *testing.T) *bubble {
	t.Helper()
	handler := http.NewServeMux()
	handler.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, r.Proto)
	})
	handler.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat("a large answer ", 100_000))
	})
	b := &bubble{listener: &pipes{conns: make(chan net.Conn), done: make(chan struct{})}, conns: newConnections(maxNewConns, maxFresh, maxIdle)}
	b.server = newServer(handler, b.conns, true, NewLogger(io.Discard, "json", 0))
	b.serving.Go(func() { _ = serve(b.server, b.listener) })
	return b
}

func (b *bubble) client() *http.Client {
	return h2cClient(func(context.Context, string, string) (net.Conn, error) { return b.listener.dial(), nil })
}

func (b *bubble) answersAtOnce(t *testing.T) {
	t.Helper()
	other, began := b.client(), time.Now()
	a, err := other.Get("http://x/")
	if err != nil {
		t.Error(err)
		return
	}
	if text, err := io.ReadAll(a.Body); string(text) != "HTTP/2.0" || err != nil || time.Since(began) != 0 {
		t.Errorf("another client is answered with %q after %v, %v", text, time.Since(began), err)
	}
	_ = a.Body.Close()
	other.CloseIdleConnections()
}

func (b *bubble) end(t *testing.T) {
	t.Helper()
	if err := b.server.Close(); err != nil {
		t.Error(err)
	}
	b.serving.Wait()
	synctest.Wait()
	if open, _ := b.conns.counts(); open != 0 {
		t.Errorf("%d connections are counted as open, want none", open)
	}
}

// A slow body is given up at the limit for bodies, an idle connection at the limit
// for idle connections, and neither client is taken for gone.
func TestH2CBodiesAndIdleConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := serveH2C(t)
		client := h.client()
		body, slowly := io.Pipe()
		writing := make(chan struct{})
		go func() { // ends when the request has been given up
			defer close(writing)
			for {
				if _, err := io.WriteString(slowly, "a"); err != nil {
					return
				}
				time.Sleep(500 * time.Millisecond) // in a bubble
			}
		}()
		began := time.Now()
		a, err := client.Post("http://x/", "text/plain", body)
		if after := time.Since(began); after < readTimeout || after > readTimeout+time.Second {
			t.Errorf("the body was given up after %v, want %v", after, readTimeout)
		}
		if err == nil { // else the stream was reset before the handler had answered
			_ = a.Body.Close()
		}
		_ = body.Close()
		<-writing
		// The connection is idle now: the client answers pings, so it lives until it has
		// been idle for too long.
		open := func() int64 { synctest.Wait(); n, _ := h.conns.counts(); return n }
		time.Sleep(idleTimeout - time.Second)
		if open() != 1 {
			t.Errorf("%d connections before the limit, want 1", open())
		}
		time.Sleep(2 * time.Second)
		if open() != 0 {
			t.Errorf("%d connections after the limit, want none", open())
		}
		client.CloseIdleConnections()
		h.end(t)
	})
}

// With --h2c a whole server answers HTTP/2 and HTTP/1.1 at one port, with the same
// limits; without the flag it does not.
func TestH2C(t *testing.T) {
	for _, on := range []bool{true, false} {
		cfg := serverConfig(t)
		cfg.H2C = on
		a, stop := runApp(t, cfg, Options{})
		address := "http://" + a.Addr().String()
		client := h2cClient(nil)
		answer, err := client.Get(address + "/livez")
		switch {
		case !on && err == nil:
			t.Errorf("without the flag: %s", answer.Proto)
		case on && (err != nil || answer.ProtoMajor != 2 || answer.StatusCode != http.StatusOK):
			t.Errorf("HTTP/2: %v, %v", answer, err)
		}
		if err == nil {
			_ = answer.Body.Close()
		}
		if status, _ := get(t, address+"/livez", ""); status != http.StatusOK {
			t.Errorf("HTTP/1.1: %d", status)
		}
		if on {
			r, err := http.NewRequest(http.MethodGet, address+"/livez", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Cookie", strings.Repeat("a", maxHeaderBytes-4096))
			large, err := client.Do(r)
			if err != nil || large.StatusCode != http.StatusOK {
				t.Fatalf("headers below the limit: %v, %v", large, err)
			}
			_ = large.Body.Close()
			r.Header.Set("Cookie", strings.Repeat("a", 2*maxHeaderBytes))
			if large, err = client.Do(r); err == nil {
				_ = large.Body.Close()
				if large.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
					t.Errorf("headers above the limit: %d", large.StatusCode)
				}
			}
			var all sync.WaitGroup
			for range 50 { // many requests at a time on one connection
				all.Go(func() {
					a, err := client.Get(address + "/readyz")
					if err != nil || a.StatusCode != http.StatusOK {
						t.Errorf("%v, %v", a, err)
						return
					}
					_, _ = io.Copy(io.Discard, a.Body)
					_ = a.Body.Close()
				})
			}
			all.Wait()
		}
		client.CloseIdleConnections()
		if err := stop(); err != nil {
			t.Error(err)
		}
	}
}
