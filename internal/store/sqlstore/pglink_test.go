package sqlstore

import (
	"context"
	"database/sql/driver"
	"errors"
	"net"
	"os"
	"testing"
	"time"
)

// healthy is a connection of lib/pq that has noticed nothing.
type healthy struct{ pqConn }

func (healthy) IsValid() bool                      { return true }
func (healthy) ResetSession(context.Context) error { return nil }

func newLink(t *testing.T) *link {
	here, there := net.Pipe()
	t.Cleanup(func() {
		_ = here.Close()
		_ = there.Close()
	})
	return &link{Conn: here}
}

// TestLinkIsCutOrNot: when disarm has returned, a link whose context ended is cut,
// known to be, and stays so; a link that was disarmed before is not cut.
func TestLinkIsCutOrNot(t *testing.T) {
	for _, c := range []struct {
		name string
		cut  bool
		do   func(ctx context.Context, cancel func(), arm func(context.Context) func())
	}{
		{"ends while armed", true, func(ctx context.Context, cancel func(), arm func(context.Context) func()) {
			disarm := arm(ctx)
			cancel()
			disarm()
			disarm()
		}},
		{"had ended before", true, func(ctx context.Context, cancel func(), arm func(context.Context) func()) {
			cancel()
			arm(ctx)()
		}},
		{"ends after it was disarmed", false, func(ctx context.Context, cancel func(), arm func(context.Context) func()) {
			arm(ctx)()
			cancel()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLink(t)
			ctx, cancel := context.WithCancel(t.Context())
			c.do(ctx, cancel, func(ctx context.Context) func() { return l.arm(ctx, nil) })
			conn := &pgConn{pqConn: healthy{}, link: l}
			if valid := conn.IsValid(); valid == c.cut {
				t.Errorf("valid: %v", valid)
			}
			if err := conn.ResetSession(t.Context()); errors.Is(err, driver.ErrBadConn) != c.cut {
				t.Errorf("used again: %v", err)
			}
			// lib/pq lifts the deadline when it has greeted the server.
			if err := l.SetDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			if _, err := l.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("read: %v", err)
			}
			if waited := time.Since(began) >= 40*time.Millisecond; waited == c.cut {
				t.Errorf("waited: %v", waited)
			}
		})
	}
}
