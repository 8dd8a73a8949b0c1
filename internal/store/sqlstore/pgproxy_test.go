package sqlstore_test

import (
	"bytes"
	"net"
	"sync"
	"testing"
)

// proxy stands between a store and its server.
type proxy struct {
	listener net.Listener
	to       string
	running  sync.WaitGroup

	mu      sync.Mutex
	mended  chan struct{} // closed while bytes pass
	answers chan struct{} // the same, for what the server says
	conns   []net.Conn
	forgot  map[net.Conn]bool // clients that are reset when they say something
	asks    bool              // requests for a cancellation are lost
}

func startProxy(t *testing.T, to string) *proxy {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	noErr(t, err)
	p := &proxy{listener: listener, to: to}
	p.pass()
	p.running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", p.to)
			if err != nil {
				_ = client.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, client, server)
			p.mu.Unlock()
			p.running.Go(func() { p.copy(server, client, false) })
			p.running.Go(func() { p.copy(client, server, true) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		p.pass()
		p.mu.Lock()
		for _, c := range p.conns {
			_ = c.Close()
		}
		p.mu.Unlock()
		p.running.Wait()
	})
	return p
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

// copy hands on bytes while they may pass, and loses them otherwise: what a black
// hole took does not come out again.
func (p *proxy) copy(to, from net.Conn, answers bool) {
	defer to.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		p.mu.Lock()
		if tcp, ok := from.(*net.TCPConn); ok && p.forgot[from] {
			_ = tcp.SetLinger(0)
			_ = tcp.Close()
		}
		lost := p.asks && !answers && isCancelRequest(buffer[:n])
		gate := p.mended
		if answers {
			gate = p.answers
		}
		p.mu.Unlock()
		if lost {
			return
		}
		select {
		case <-gate:
		default:
			continue
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

func (p *proxy) set(pass, answers bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mended, p.answers = make(chan struct{}), make(chan struct{})
	if pass {
		close(p.mended)
	}
	if answers {
		close(p.answers)
	}
}

// isCancelRequest reports whether a client asks for a cancellation: the first, and
// only, message of a connection.
func isCancelRequest(message []byte) bool {
	return len(message) == 16 && bytes.Equal(message[:8], []byte{0, 0, 0, 16, 0x04, 0xd2, 0x16, 0x2e})
}

// loseCancels loses requests for a cancellation.
func (p *proxy) loseCancels() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asks = true
}

func (p *proxy) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forgot = map[net.Conn]bool{}
	for _, c := range p.conns {
		p.forgot[c] = true
	}
}

func (p *proxy) pass()           { p.set(true, true) }
func (p *proxy) swallow()        { p.set(false, false) }
func (p *proxy) swallowAnswers() { p.set(true, false) }
