package longpoll

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/curfew/internal/await"
	"example.com/curfew/internal/inbound"
)

// parkServer is a server that parks every request it can until it is let go.
type parkServer struct {
	*testing.T
	server  *httptest.Server
	parking *Parking
	log     bytes.Buffer
	logged  sync.Mutex
	parked  chan *Parked
	plain   atomic.Int32 // answered without being parked
	records chan inbound.Record
	idle    time.Duration // how long a connection may be idle
}

func (g *parkServer) Write(b []byte) (int, error) {
	g.logged.Lock()
	defer g.logged.Unlock()
	return g.log.Write(b)
}

func newParkServer(t *testing.T, begin func(*httptest.Server)) *parkServer {
	t.Helper()
	g := &parkServer{T: t, idle: await.Limit, parked: make(chan *Parked, 16), records: make(chan inbound.Record, 16)}
	logger := slog.New(slog.NewTextHandler(g, nil))
	g.server = httptest.NewUnstartedServer(inbound.Wrap(inbound.Config{Logger: logger, Observe: func(r inbound.Record) { g.records <- r }},
		http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if p := g.parking.Park(w, r); p != nil {
				g.parked <- p
				return
			}
			g.plain.Add(1)
			fmt.Fprint(w, "not parked")
		})))
	g.server.Listener = Idle(g.server.Listener)
	g.parking = New(Config{
		Address: g.server.Listener.Addr(), Idle: g.idle, Logger: logger,
		Of: func(r *http.Request) Request { return inbound.Of(r) },
	})
	begin(g.server)
	served := make(chan error, 1)
	go func() { served <- g.server.Config.Serve(g.parking) }()
	t.Cleanup(func() {
		_ = g.parking.Close() // it never fails
		g.server.Close()
		if err := <-served; err == nil {
			t.Error("the parking is served no more, and no error says why")
		}
	})
	return g
}

// inPark returns how many connections are parked.
func (g *parkServer) inPark() int {
	g.parking.mu.Lock()
	defer g.parking.mu.Unlock()
	return len(g.parking.pending)
}

// answerAll answers whatever is parked with its path.
func (g *parkServer) answerAll() {
	for p := range g.parked {
		p.Answer(await.Limit, func(w http.ResponseWriter, r *http.Request) {
			body := "parked " + r.URL.Path
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
			_, _ = io.WriteString(w, body)
		})
		p.Release()
	}
}

func (g *parkServer) dial() (net.Conn, *bufio.Reader) {
	g.Helper()
	conn, err := new(net.Dialer).DialContext(g.Context(), "tcp", g.server.Listener.Addr().String())
	if err != nil {
		g.Fatal(err)
	}
	g.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(await.Limit))
	return conn, bufio.NewReader(conn)
}

// encrypt encrypts a connection to a server with TLS.
func (g *parkServer) encrypt(conn net.Conn) net.Conn {
	transport, _ := g.server.Client().Transport.(*http.Transport)
	config := transport.TLSClientConfig.Clone()
	config.ServerName = "example.com"
	return tls.Client(conn, config)
}

// A connection that was parked goes on as any other: encrypted or not, again and
// again, each request with its line in the log.
func TestParkedConnectionGoesOn(t *testing.T) {
	for name, begin := range map[string]func(*httptest.Server){"plain": (*httptest.Server).Start, "encrypted": (*httptest.Server).StartTLS} {
		t.Run(name, func(t *testing.T) {
			g := newParkServer(t, begin)
			go g.answerAll()
			defer close(g.parked)
			client := g.server.Client()
			for i := range 5 {
				path := fmt.Sprintf("/%d", i)
				resp, err := client.Get(g.server.URL + path)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || string(body) != "parked "+path || resp.StatusCode != http.StatusOK {
					t.Fatalf("%d %s %v", resp.StatusCode, body, err)
				}
				if _, err := http.ParseTime(resp.Header.Get("Date")); err != nil || len(resp.Header.Get("X-Request-Id")) != 16 {
					t.Errorf("headers %v", resp.Header)
				}
				r := <-g.records
				if r.Status != http.StatusOK || r.Bytes != int64(len(body)) || r.ID != resp.Header.Get("X-Request-Id") {
					t.Errorf("recorded %+v", r)
				}
			}
			if n := strings.Count(g.log.String(), "msg=request"); n != 5 {
				t.Errorf("%d lines in the log for 5 requests", n)
			}
			if len(g.records) > 0 {
				t.Error("a request was counted twice")
			}
		})
	}
}

// It is the same connection, not a new one.
func TestParkedConnectionIsKept(t *testing.T) {
	g := newParkServer(t, (*httptest.Server).Start)
	go g.answerAll()
	defer close(g.parked)
	conn, in := g.dial()
	for i := range 3 {
		fmt.Fprintf(conn, "GET /%d HTTP/1.1\r\nHost: x\r\n\r\n", i)
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || string(body) != fmt.Sprintf("parked /%d", i) || resp.Close {
			t.Fatalf("%s %v", body, err)
		}
	}
}

// What cannot be parked is answered all the same.
func TestNotParked(t *testing.T) {
	for name, request := range map[string]string{
		"HTTP/1.0":    "GET / HTTP/1.0\r\nHost: x\r\n\r\n",
		"the last":    "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
		"HEAD":        "HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
		"POST":        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
		"with a body": "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx",
		"chunked":     "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			g := newParkServer(t, (*httptest.Server).Start)
			conn, in := g.dial()
			fmt.Fprint(conn, request)
			line, err := in.ReadString('\n')
			if err != nil || !strings.Contains(line, "200 OK") {
				t.Fatalf("%q, %v", line, err)
			}
			if g.plain.Load() != 1 || len(g.parked) != 0 {
				t.Error("it was parked")
			}
		})
	}
	t.Run("HTTP/2", func(t *testing.T) {
		g := newParkServer(t, func(s *httptest.Server) { s.EnableHTTP2 = true; s.StartTLS() })
		resp, err := g.server.Client().Get(g.server.URL)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.ProtoMajor != 2 || g.plain.Load() != 1 {
			t.Errorf("%s, %d answered without being parked", resp.Proto, g.plain.Load())
		}
	})
	t.Run("no parking", func(t *testing.T) {
		if (*Parking)(nil).Park(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", http.NoBody)) != nil {
			t.Error("parked nowhere")
		}
	})
}

// After what the connection cannot go on with, it ends, and says so.
func TestParkedConnectionEnds(t *testing.T) {
	const nothing = "no answer at all"
	sized := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "2")
		_, _ = io.WriteString(w, "ok")
	}
	for name, test := range map[string]struct {
		more   string // that the client has sent already
		handle http.HandlerFunc
		want   string
	}{
		"the next request was sent already": {"GET /2 HTTP/1.1\r\nHost: x\r\n\r\n", sized, "ok"},
		"the length is not said":            {"", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "as long as it is") }, "as long as it is"},
		"nothing is said":                   {"", func(http.ResponseWriter, *http.Request) {}, ""},
		"a panic":                           {"", func(http.ResponseWriter, *http.Request) { panic("oops") }, nothing},
	} {
		t.Run(name, func(t *testing.T) {
			g := newParkServer(t, (*httptest.Server).Start)
			conn, in := g.dial()
			fmt.Fprint(conn, "GET /1 HTTP/1.1\r\nHost: x\r\n\r\n"+test.more)
			p := <-g.parked
			p.Answer(await.Limit, test.handle)
			p.Release()
			if test.want != nothing {
				resp, err := http.ReadResponse(in, nil)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				if err != nil || string(body) != test.want || !resp.Close {
					t.Errorf("%s, %v; the connection goes on: %v", body, err, !resp.Close)
				}
			}
			if _, err := in.ReadByte(); err != io.EOF {
				t.Errorf("the connection is open: %v", err)
			}
			record := <-g.records
			if name == "a panic" && (record.Status != http.StatusInternalServerError || !strings.Contains(g.log.String(), "oops")) {
				t.Errorf("%+v\n%s", record, g.log.String())
			}
		})
	}
}

// A client that reads nothing delays the others by no more than the time given.
func TestParkedAndStuck(t *testing.T) {
	g := newParkServer(t, (*httptest.Server).Start)
	conn, _ := g.dial()
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	p := <-g.parked
	began := time.Now()
	p.Answer(100*time.Millisecond, func(w http.ResponseWriter, _ *http.Request) {
		const size = 64 << 20 // more than any buffer takes
		w.Header().Set("Content-Length", fmt.Sprint(size))
		block := make([]byte, 1<<20)
		for range size / len(block) {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	})
	if took := time.Since(began); took < 100*time.Millisecond { // without a deadline it would never return
		t.Errorf("it took %v", took)
	}
	p.Release()
	if _, err := p.conn.Write([]byte{0}); err == nil {
		t.Error("a connection with half an answer goes on")
	}
}

// A client that has hung up is noticed without being answered. A client that waits,
// or has sent more already, does not count as gone.
func TestParkedAndGone(t *testing.T) {
	for name, begin := range map[string]func(*httptest.Server){"plain": (*httptest.Server).Start, "encrypted": (*httptest.Server).StartTLS} {
		t.Run(name, func(t *testing.T) {
			g := newParkServer(t, begin)
			conn, _ := g.dial()
			if name == "encrypted" {
				conn = g.encrypt(conn)
			}
			fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			p := <-g.parked
			if p.Gone() || g.inPark() != 1 {
				t.Errorf("gone at once; %d parked", g.inPark())
			}
			fmt.Fprint(conn, "GET")
			time.Sleep(10 * time.Millisecond) // for the bytes to arrive, which no call shows without reading them
			if p.Gone() {
				t.Error("gone, and has sent something")
			}
			p.conn.Close()
			if !p.Gone() {
				t.Error("closed here, and not gone")
			}
			p.Release()
			if g.inPark() != 0 {
				t.Error("parked still")
			}
			again, _ := g.dial()
			if name == "encrypted" {
				return
			}
			fmt.Fprint(again, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			p = <-g.parked
			again.Close()
			await.Until(t, "closed there, and gone", p.Gone)
			p.Release()
		})
	}
}

// A request that is parked after an empty parking was drained leaves it like any
// other: the channel that Drain waits on is closed once.
func TestParkingAfterDrain(t *testing.T) {
	p := New(Config{Address: &net.TCPAddr{}, Idle: time.Minute})
	p.Drain(t.Context())
	late := &Parked{parking: p}
	p.enter(late)
	p.leave(late)
	if len(p.pending) != 0 {
		t.Errorf("%d requests are parked, want none", len(p.pending))
	}
}

// At the end all that is parked is waited for, and what takes too long is closed.
func TestParkingDrains(t *testing.T) {
	g := newParkServer(t, (*httptest.Server).Start)
	short := func() context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	g.parking.Drain(t.Context()) // nothing is parked
	conn, in := g.dial()
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	p := <-g.parked
	var answered atomic.Bool
	go func(p *Parked) {
		p.Answer(await.Limit, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "0")
			answered.Store(true)
		})
		p.Release()
	}(p)
	if g.parking.Drain(t.Context()); !answered.Load() {
		t.Error("it was not waited for")
	}
	if resp, err := http.ReadResponse(in, nil); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("%v %v", resp, err)
	}
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	p = <-g.parked
	g.parking.Drain(short())
	if _, err := in.ReadByte(); err == nil {
		t.Error("it is open still")
	}
	p.Answer(await.Limit, func(http.ResponseWriter, *http.Request) {})
	p.Release()
	if g.inPark() != 0 {
		t.Error("parked still")
	}
}

// When the server ends, parked requests are answered, and then closed.
func TestParkingCloses(t *testing.T) {
	g := newParkServer(t, (*httptest.Server).Start)
	conn, in := g.dial()
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	p := <-g.parked
	if err := g.parking.Close(); err != nil {
		t.Fatal(err)
	}
	p.Answer(await.Limit, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	p.Release()
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != http.StatusServiceUnavailable || !resp.Close {
		t.Fatalf("%v %v", resp, err)
	}
	if _, err := in.ReadByte(); err != io.EOF {
		t.Errorf("the connection is open: %v", err)
	}
	if _, err := g.parking.Accept(); err != net.ErrClosed {
		t.Errorf("Accept = %v", err)
	}
}
