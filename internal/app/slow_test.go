package app

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener whose connections are pipes, so that time can pass in a
// bubble.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial() net.Conn {
	here, there := net.Pipe()
	p.conns <- there
	return here
}

// dribble writes text a byte every half second until that fails, and returns how
// long it took. A pipe holds nothing: an answer has to be read.
func dribble(conn net.Conn, text string) time.Duration {
	began := time.Now()
	go func() { _, _ = io.Copy(io.Discard, conn) }() // ends with the connection
	for i := 0; ; i = (i + 1) % len(text) {
		if _, err := io.WriteString(conn, text[i:i+1]); err != nil {
			return time.Since(began)
		}
		time.Sleep(500 * time.Millisecond) // in a bubble, as all that sleeps here
	}
}

// A client that sends or reads a byte at a time is cut off at the server's limit
// for the whole request: bytes that come in time do not extend it. Meanwhile all
// other clients are answered at once.
func TestSlowClientsAreCutOff(t *testing.T) {
	large := strings.Repeat("a large answer ", 100_000)
	tests := []struct {
		name  string
		after time.Duration // it is cut off; the step of the dribble is half a second
		do    func(conn net.Conn) time.Duration
	}{
		{"nothing at all", readHeaderTimeout, func(conn net.Conn) time.Duration {
			began := time.Now()
			_, _ = conn.Read(make([]byte, 1))
			return time.Since(began)
		}},
		{"the first line", readHeaderTimeout, func(conn net.Conn) time.Duration { return dribble(conn, "GET /"+strings.Repeat("a", 1000)) }},
		{"headers", readHeaderTimeout, func(conn net.Conn) time.Duration {
			_, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\n")
			return dribble(conn, "X: y\r\n")
		}},
		{"a body", readTimeout, func(conn net.Conn) time.Duration {
			_, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
			return dribble(conn, "{}")
		}},
		{"a body in chunks", readTimeout, func(conn net.Conn) time.Duration {
			_, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
			return dribble(conn, "1\r\na\r\n")
		}},
		{"a body that the handler does not read", readTimeout, func(conn net.Conn) time.Duration {
			_, _ = io.WriteString(conn, "POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
			return dribble(conn, "{}")
		}},
		{"reading an answer", writeTimeout, func(conn net.Conn) time.Duration {
			began := time.Now()
			_, _ = io.WriteString(conn, "GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
			for b := make([]byte, 1); ; time.Sleep(500 * time.Millisecond) { // the client is slow on purpose
				if _, err := conn.Read(b); err != nil {
					return time.Since(began)
				}
			}
		}},
		{"not reading an answer", writeTimeout, func(conn net.Conn) time.Duration {
			_, _ = io.WriteString(conn, "GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
			time.Sleep(writeTimeout + time.Second) // as above: only reading would show an event
			if all, _ := io.ReadAll(conn); len(all) >= len(large) {
				return 0
			}
			return writeTimeout
		}},
		{"between two requests", idleTimeout, func(conn net.Conn) time.Duration {
			_, _ = io.WriteString(conn, "GET /unread HTTP/1.1\r\nHost: x\r\n\r\n")
			began := time.Now()
			_, _ = io.Copy(io.Discard, conn)
			return time.Since(began)
		}},
		{"the headers of the second request", readHeaderTimeout, func(conn net.Conn) time.Duration {
			_, _ = io.WriteString(conn, "GET /unread HTTP/1.1\r\nHost: x\r\n\r\n")
			if resp, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || resp.StatusCode != http.StatusOK {
				return 0
			}
			_, _ = io.WriteString(conn, "GET / HT")
			return dribble(conn, "TP/1.1 ")
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				handler := http.NewServeMux()
				handler.HandleFunc("/", func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
				handler.HandleFunc("/unread", func(http.ResponseWriter, *http.Request) {})
				handler.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, large) })
				listener := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
				server := newServer(handler, newConnections(maxNewConns, maxFresh, maxIdle), true, NewLogger(io.Discard, "json", 0))
				var serving sync.WaitGroup
				serving.Go(func() { _ = serve(server, listener) })

				slow := listener.dial()
				cutOff := make(chan time.Duration, 1)
				go func() { cutOff <- test.do(slow) }()
				time.Sleep(2 * time.Second)
				other, began := listener.dial(), time.Now()
				_, _ = io.WriteString(other, "GET /unread HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
				if resp, err := http.ReadResponse(bufio.NewReader(other), nil); err != nil || resp.StatusCode != http.StatusOK || time.Since(began) != 0 {
					t.Errorf("another client is answered after %v, %v", time.Since(began), err)
				}
				_ = other.Close()
				if got := <-cutOff; got < test.after || got > test.after+time.Second {
					t.Errorf("cut off after %v, want %v", got, test.after)
				}
				_ = slow.Close()
				if err := server.Close(); err != nil {
					t.Error(err)
				}
				serving.Wait()
				// The bubble ends here: nothing of theirs is left.
			})
		})
	}
}
