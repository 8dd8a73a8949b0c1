// Package testnet gives tests addresses of this machine, and a TCP proxy that delays,
// holds and resets connections.
package testnet

import (
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// Mode is how a proxy treats the bytes that pass through it.
type Mode struct {
	Delay    time.Duration // before each piece, both ways
	Jitter   time.Duration // up to so much more: pieces of different connections overtake each other
	HoldUp   bool          // what the client sends does not arrive
	HoldDown bool          // what the server sends does not arrive
	Refuse   bool          // new connections are reset
	DropAt   int64         // each connection is reset after so many bytes; 0 for never
}

// Black holes: both ways, and one way.
var (
	Pass      = Mode{}
	BlackHole = Mode{HoldUp: true, HoldDown: true}
	HalfOpen  = Mode{HoldDown: true}
)

// Proxy passes TCP connections between two processes. It is safe for concurrent use.
type Proxy struct {
	target   string
	listener net.Listener
	running  sync.WaitGroup

	mu      sync.Mutex
	mode    Mode
	changed chan struct{} // closed when the mode changes
	conns   map[net.Conn]bool
	clients int // connections that a client holds open
	closed  bool
}

// NewProxy listens on a free port and passes everything on to target.
func NewProxy(target string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{target: target, listener: l, changed: make(chan struct{}), conns: map[net.Conn]bool{}}
	p.running.Go(p.accept) // ends with Close
	return p, nil
}

// Addr returns the address to connect to.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Set changes the mode from now on, for open connections as well.
func (p *Proxy) Set(m Mode) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mode = m
	close(p.changed)
	p.changed = make(chan struct{})
}

// Reset resets every connection that is open.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		reset(c)
	}
}

// Open returns how many connections to the proxy its clients hold open.
func (p *Proxy) Open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.clients
}

// Close ends the proxy and all connections through it.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	close(p.changed)
	p.changed = make(chan struct{})
	for c := range p.conns {
		reset(c)
	}
	p.mu.Unlock()
	_ = p.listener.Close() // it was listening
	p.running.Wait()
}

func reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // a reset instead of a farewell
	}
	_ = c.Close() // it may be closed already
}

func (p *Proxy) now() (Mode, <-chan struct{}, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mode, p.changed, p.closed
}

func (p *Proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.conns[c] = true
	return true
}

func (p *Proxy) count(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clients += n
}

func (p *Proxy) drop(c net.Conn) {
	reset(c)
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		if mode, _, _ := p.now(); mode.Refuse || !p.keep(client) {
			reset(client)
			continue
		}
		p.running.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	defer p.drop(client)
	server, err := net.DialTimeout("tcp", p.target, 2*time.Second)
	if err != nil {
		return
	}
	if !p.keep(server) {
		reset(server)
		return
	}
	defer p.drop(server)
	var passed sync.WaitGroup
	passed.Go(func() {
		p.count(1)
		defer p.count(-1) // the client has ended; what the server does may take longer
		p.pipe(server, client, func(m Mode) bool { return m.HoldUp })
	})
	p.pipe(client, server, func(m Mode) bool { return m.HoldDown })
	reset(server)
	reset(client)
	passed.Wait()
}

// pipe passes on what it reads until one side ends, and holds it back as long as
// the mode says so.
func (p *Proxy) pipe(to, from net.Conn, held func(Mode) bool) {
	buf := make([]byte, 32<<10)
	var total int64
	for {
		n, err := from.Read(buf)
		mode, changed, closed := p.now()
		for held(mode) && !closed {
			<-changed
			mode, changed, closed = p.now()
		}
		if total += int64(n); closed || mode.DropAt > 0 && total > mode.DropAt {
			reset(from)
			reset(to)
			return
		}
		time.Sleep(mode.Delay)
		if mode.Jitter > 0 {
			time.Sleep(rand.N(mode.Jitter))
		}
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			if t, ok := to.(*net.TCPConn); ok {
				_ = t.CloseWrite() // the other side may have ended as well
			}
			return
		}
	}
}
