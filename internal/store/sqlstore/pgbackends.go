package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// errNoBackend means that every backend of a pool is in use or has not ended.
var errNoBackend = errors.New("all database connections of this node are in use, or closed here and not yet ended on the server")

// backends limits the server processes of one pool. A PostgreSQL process outlives a
// connection that was cut: a commit that waits for a standby reads nothing and
// notices nothing. A pool that counted only connections would replace each of them,
// and fill max_connections. Here a slot is freed when the server has closed the
// connection, which it does when the process ends.
//
// If the network no longer answers, the slot is freed when TCP closes the
// connection, after deadPeer.
type backends struct {
	slots chan struct{} // one item for each slot in use

	mu     sync.Mutex
	closed bool
	conns  map[net.Conn]struct{} // close closes them
	ending sync.WaitGroup
}

func newBackends(n int) *backends {
	return &backends{slots: make(chan struct{}, n), conns: map[net.Conn]struct{}{}}
}

// take waits for a slot until ctx ends.
func (b *backends) take(ctx context.Context) error {
	select {
	case b.slots <- struct{}{}:
		return nil
	default:
	}
	select {
	case b.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w (%d)", errNoBackend, cap(b.slots))
	}
}

func (b *backends) free() { <-b.slots }

// track registers conn, so that close closes it. It returns false if close was
// already called.
func (b *backends) track(conn net.Conn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	b.conns[conn] = struct{}{}
	return true
}

func (b *backends) forget(conn net.Conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.conns, conn)
}

// end waits in the background until the server has closed an unused connection,
// then frees its slot. It calls first before it tells the server.
func (b *backends) end(conn net.Conn, first func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		_ = conn.Close()
		b.free()
		return
	}
	b.conns[conn] = struct{}{}
	b.ending.Go(func() { // ends with the server's process, with the network, or with close
		defer b.free()
		defer b.forget(conn)
		defer conn.Close()
		first()
		// The server process ends when it reads the end of the stream.
		if half, ok := conn.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
			return
		}
		if conn.SetReadDeadline(time.Time{}) == nil {
			_, _ = io.Copy(io.Discard, conn)
		}
	})
}

// close ends all waiting. Connections released later are closed at once.
func (b *backends) close() {
	b.mu.Lock()
	b.closed = true
	for conn := range b.conns {
		_ = conn.Close()
	}
	b.mu.Unlock()
	b.ending.Wait()
}
