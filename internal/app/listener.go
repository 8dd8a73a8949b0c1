package app

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"
)

// listener logs why connections cannot be accepted: as a rule, since the process
// has no file descriptors left. net/http retries, and tells nothing but its
// ErrorLog, which also has what clients do wrong.
type listener struct {
	net.Listener
	log *slog.Logger

	mu     sync.Mutex
	logged time.Time // guarded by mu
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil && !errors.Is(err, net.ErrClosed) && l.due(time.Now()) {
		l.log.ErrorContext(context.Background(), "accept connections: failed; if there are too many open files, raise the limit (ulimit -n, LimitNOFILE)",
			"address", l.Addr().String(), "error", cause(err))
	}
	return conn, err
}

// due reports whether an error may be logged: at most once a minute.
func (l *listener) due(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.logged.IsZero() && now.Sub(l.logged) < warnEvery {
		return false
	}
	l.logged = now
	return true
}
