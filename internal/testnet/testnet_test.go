package testnet

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// echo returns the address of a server that sends back each byte that it gets.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() { // ends with the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { // ends with the connection
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}()
		}
	}()
	return l.Addr().String()
}

func dial(t *testing.T, p *Proxy) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func send(t *testing.T, c net.Conn, b byte) {
	t.Helper()
	if _, err := c.Write([]byte{b}); err != nil {
		t.Fatal(err)
	}
}

// receive reads one byte, within the time given.
func receive(t *testing.T, c net.Conn, within time.Duration) (byte, error) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(within)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1)
	_, err := io.ReadFull(c, b)
	return b[0], err
}

func TestProxy(t *testing.T) {
	p, err := NewProxy(echo(t))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	c := dial(t, p)
	send(t, c, 'a')
	if b, err := receive(t, c, time.Minute); b != 'a' || err != nil {
		t.Fatalf("%q, %v; want the byte sent", b, err)
	}
	if n := p.Open(); n != 1 {
		t.Errorf("%d connections are open, want 1", n)
	}

	for _, mode := range []Mode{BlackHole, HalfOpen, {HoldUp: true}} {
		p.Set(mode)
		send(t, c, 'b')
		if b, err := receive(t, c, 20*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%+v: %q, %v; want nothing", mode, b, err)
		}
		p.Set(Pass)
		if b, err := receive(t, c, time.Minute); b != 'b' || err != nil {
			t.Errorf("after %+v: %q, %v; want the byte that was held", mode, b, err)
		}
	}

	p.Set(Mode{Refuse: true})
	// The reset may come before Dial has returned.
	if refused, err := net.Dial("tcp", p.Addr()); err == nil {
		if _, err := receive(t, refused, time.Minute); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a new connection while refusing: %v, want a reset", err)
		}
		_ = refused.Close()
	} else if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a new connection while refusing: %v, want a reset", err)
	}
	send(t, c, 'c')
	if b, err := receive(t, c, time.Minute); b != 'c' || err != nil {
		t.Errorf("an open connection while refusing new ones: %q, %v", b, err)
	}
	p.Reset()
	if _, err := receive(t, c, time.Minute); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("an open connection after Reset: %v, want a reset", err)
	}

	p.Set(Mode{DropAt: 3})
	c = dial(t, p)
	for range 3 {
		send(t, c, 'd')
		if _, err := receive(t, c, time.Minute); err != nil {
			t.Fatalf("up to the limit: %v", err)
		}
	}
	send(t, c, 'd')
	if _, err := receive(t, c, time.Minute); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("beyond the limit: %v, want a reset", err)
	}
}

func TestAddressIsFree(t *testing.T) {
	l, err := net.Listen("tcp", Address(t))
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
}
