// Package longpoll holds the connections of requests that wait.
//
// A request that waits costs a server of package net/http two goroutines and two
// buffers, some thirty kilobytes. Ten thousand followers wait all day. So [Parking]
// takes their connections from the server while they wait, and gives them back for
// the next request: a pending poll then costs a socket and a few hundred bytes.
package longpoll

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strconv"
	"sync"
	"time"
)

// Request is what a server knows of a request beside its content.
type Request interface {
	// Park notes that the request goes on after its handler has returned.
	Park()
	// Finish notes that the request is over. It is called once, after Park.
	Finish(status int, bytes int64)
}

// Config configures a [Parking].
type Config struct {
	Address net.Addr      // of the server
	Idle    time.Duration // how long a connection that came back may be idle

	// Of returns the facts about a request. Required.
	Of func(*http.Request) Request
	// Back is called with each connection that comes back, before the server gets
	// it. Nil: nothing is called.
	Back func(net.Conn)

	Now    func() time.Time // nil means time.Now
	Logger *slog.Logger     // nil discards the log
}

// Parking holds connections whose requests wait. It is also the listener by which
// the server gets them back: let it serve that too. Close ends it.
//
// A connection that comes back is a new one to the server. It may be idle before
// its next request all the same: see [Idle].
type Parking struct {
	config Config
	back   chan net.Conn
	closed chan struct{}
	once   sync.Once

	mu      sync.Mutex
	pending map[*Parked]struct{}
	empty   chan struct{} // not nil while a caller waits for pending to be empty
}

// New returns a parking.
func New(config Config) *Parking {
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	return &Parking{config: config, back: make(chan net.Conn), closed: make(chan struct{}), pending: map[*Parked]struct{}{}}
}

// Accept implements net.Listener: it returns the next connection that goes on.
func (p *Parking) Accept() (net.Conn, error) {
	select {
	case c := <-p.back:
		if p.config.Back != nil {
			p.config.Back(c)
		}
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Addr implements net.Listener.
func (p *Parking) Addr() net.Addr { return p.config.Address }

// Close implements net.Listener. Connections that come back later are closed.
func (p *Parking) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

// Drain waits until nothing is parked any more, or ctx ends; then it closes what
// still is. Nothing must be parked after it.
func (p *Parking) Drain(ctx context.Context) {
	p.mu.Lock()
	if len(p.pending) == 0 {
		p.mu.Unlock()
		return
	}
	empty := make(chan struct{})
	p.empty = empty
	p.mu.Unlock()
	select {
	case <-empty:
		return
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for parked := range p.pending {
		_ = parked.conn.Close() // answering it then fails
	}
}

func (p *Parking) enter(parked *Parked) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pending[parked] = struct{}{}
}

func (p *Parking) leave(parked *Parked) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.pending, parked)
	if p.empty != nil && len(p.pending) == 0 {
		close(p.empty)
		p.empty = nil
	}
}

// Parked is a request that waits.
type Parked struct {
	parking *Parking
	request *http.Request
	about   Request
	header  http.Header
	conn    net.Conn
	ends    bool // the connection, with this request
	broken  bool // it has half an answer, or none
}

// Park takes the connection of a GET request without a body, and returns nil if
// that cannot be: HTTP/2 knows no connection of a single request, and HTTP/1.0 no
// next one. After it nothing may be written to w. A nil Parking parks nothing.
func (p *Parking) Park(w http.ResponseWriter, r *http.Request) *Parked {
	if p == nil || r.Method != http.MethodGet || r.ProtoMajor != 1 || r.ProtoMinor < 1 || r.Close || r.ContentLength != 0 || w.Header().Get("Connection") != "" {
		return nil
	}
	header := w.Header().Clone()
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil
	}
	about := p.config.Of(r)
	about.Park()
	r.Body = http.NoBody // what stands around it holds on to the server's buffers
	// A client that has already sent the next request gets no answer to it: the
	// request is in a buffer that is not read again. Clients send it once more.
	parked := &Parked{parking: p, request: r, about: about, header: header, conn: conn, ends: buffered.Reader.Buffered() > 0}
	p.enter(parked)
	return parked
}

// Gone reports whether the client has gone, as far as that can be told.
func (p *Parked) Gone() bool { return gone(p.conn) }

var writers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, 2<<10) }}

// Answer answers the request with what handle writes. If the client does not read,
// it gives up after the time given. It is called once.
func (p *Parked) Answer(within time.Duration, handle http.HandlerFunc) {
	out := &answer{header: p.header, now: p.parking.config.Now, ends: p.ends}
	select {
	case <-p.parking.closed:
		out.ends = true // the next request will not be read
	default:
	}
	out.w, _ = writers.Get().(*bufio.Writer)
	out.w.Reset(&limitedWriter{conn: p.conn, within: within})
	defer func() {
		if cause := recover(); cause != nil {
			p.parking.config.Logger.LogAttrs(p.request.Context(), slog.LevelError, "panic", slog.String("request_id", p.header.Get("X-Request-Id")),
				slog.Any("panic", cause), slog.String("stack", string(debug.Stack())))
			// Half an answer must not look like one: nothing more is sent.
			out.status, p.broken = http.StatusInternalServerError, true
		} else if out.WriteHeader(http.StatusOK); out.w.Flush() != nil {
			p.broken = true
		}
		out.w.Reset(nil)
		writers.Put(out.w)
		p.ends = out.ends
		p.about.Finish(out.status, out.bytes)
	}()
	handle(out, p.request)
}

// Release lets the server read the next request. It is called once, after Answer.
func (p *Parked) Release() {
	defer p.parking.leave(p)
	if !p.ends && !p.broken {
		_ = p.conn.SetWriteDeadline(time.Time{}) // the server sets its own
		resume(p.conn, p.parking.config.Idle)
		select {
		case p.parking.back <- p.conn:
			return
		case <-p.parking.closed:
		}
	}
	end, ok := p.conn.(interface{ CloseWrite() error })
	if p.broken || !ok || end.CloseWrite() != nil {
		_ = p.conn.Close() // nothing is to be lost
		return
	}
	// What the client has sent meanwhile would make the farewell a reset, which may
	// overtake the answer.
	time.AfterFunc(farewell, func() { _ = p.conn.Close() })
}

// farewell is how long an answer has to arrive before its connection is closed.
const farewell = 500 * time.Millisecond

// answer writes an answer as HTTP/1.1. One whose length is not said ends with the
// connection.
type answer struct {
	header http.Header
	w      *bufio.Writer
	now    func() time.Time
	status int
	bytes  int64
	ends   bool
}

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	if a.status != 0 {
		return
	}
	a.status = status
	if _, err := strconv.ParseUint(a.header.Get("Content-Length"), 10, 63); err != nil {
		a.ends = true
	}
	if a.ends {
		a.header.Set("Connection", "close")
	}
	a.header.Set("Date", a.now().UTC().Format(http.TimeFormat))
	// What goes wrong here goes wrong in Flush again.
	_, _ = fmt.Fprintf(a.w, "HTTP/1.1 %d %s\r\n", status, http.StatusText(status))
	_ = a.header.Write(a.w)
	_, _ = io.WriteString(a.w, "\r\n")
}

// Write implements http.ResponseWriter.
func (a *answer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	n, err := a.w.Write(b)
	a.bytes += int64(n)
	return n, err
}
