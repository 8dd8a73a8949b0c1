package feed_test

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// proxy passes TCP connections on, as long as it is told to.
type proxy struct {
	url    string
	target string

	mu    sync.Mutex
	mode  proxyMode
	delay time.Duration
	conns map[*net.TCPConn]bool
	freed chan struct{} // closed when the mode changes
}

type proxyMode int

const (
	pass      proxyMode = iota
	blackHole           // takes everything, in both directions, and connections too
	halfOpen            // takes what the server sends; what the client sends arrives
	refuse              // ends every connection with a reset, new ones too
)

// newProxy starts a proxy in front of a URL.
func newProxy(tb testing.TB, target string) *proxy {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &proxy{url: "http://" + l.Addr().String(), target: target[len("http://"):], conns: map[*net.TCPConn]bool{}, freed: make(chan struct{})}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { p.serve(c.(*net.TCPConn)) })
		}
	})
	tb.Cleanup(func() {
		_ = l.Close()
		p.set(refuse)
		running.Wait()
	})
	return p
}

func (p *proxy) set(mode proxyMode) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mode = mode
	close(p.freed)
	p.freed = make(chan struct{})
	if mode == refuse {
		for c := range p.conns {
			reset(c)
		}
	}
}

func (p *proxy) setDelay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}

// wait waits until the mode lets bytes of the direction pass; false ends it.
func (p *proxy) wait(fromServer bool) bool {
	for {
		p.mu.Lock()
		mode, freed, delay := p.mode, p.freed, p.delay
		p.mu.Unlock()
		switch {
		case mode == refuse:
			return false
		case mode == pass || mode == halfOpen && !fromServer:
			time.Sleep(delay) // what the network takes
			return true
		}
		<-freed
	}
}

func (p *proxy) serve(client *net.TCPConn) {
	if !p.wait(false) {
		reset(client)
		return
	}
	c, err := net.Dial("tcp", p.target)
	if err != nil {
		reset(client)
		return
	}
	server := c.(*net.TCPConn)
	p.mu.Lock()
	p.conns[client], p.conns[server] = true, true
	p.mu.Unlock()
	var running sync.WaitGroup
	running.Go(func() { p.copy(server, client, false) })
	running.Go(func() { p.copy(client, server, true) })
	running.Wait()
	p.mu.Lock()
	delete(p.conns, client)
	delete(p.conns, server)
	p.mu.Unlock()
	_ = client.Close()
	_ = server.Close()
}

func (p *proxy) copy(to, from *net.TCPConn, fromServer bool) {
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		if n > 0 {
			if !p.wait(fromServer) {
				return
			}
			if _, err := to.Write(b[:n]); err != nil {
				_ = from.Close()
				return
			}
		}
		if err == io.EOF {
			_ = to.CloseWrite()
			return
		}
		if err != nil {
			_ = to.Close()
			return
		}
	}
}
