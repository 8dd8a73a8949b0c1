package app

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// exhausted is a listener of a process without file descriptors, until it has some
// again.
type exhausted struct {
	*pipes
	until time.Time
}

func (e *exhausted) Accept() (net.Conn, error) {
	if time.Now().Before(e.until) {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	return e.pipes.Accept()
}

// Out of file descriptors, the log says so at ERROR, once a minute, and the server
// goes on when there are some again.
func TestAcceptErrorsAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lockedBuffer
		logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelInfo}))
		inner := &exhausted{&pipes{conns: make(chan net.Conn), done: make(chan struct{})}, time.Now().Add(150 * time.Second)}
		server := newServer(http.NotFoundHandler(), newConnections(1, 1, 1), false, logger)
		var serving sync.WaitGroup
		serving.Go(func() { _ = serve(server, &listener{Listener: inner, log: logger}) })
		for _, want := range []int{1, 1, 2, 2, 3} { // at 0, 30, 60, 90 and 120 s, and a second
			time.Sleep(time.Second)
			synctest.Wait()
			if got := strings.Count(log.String(), "level=ERROR"); got != want || !strings.Contains(log.String(), "too many open files") {
				t.Errorf("%d errors in the log, want %d:\n%s", got, want, log.String())
			}
			time.Sleep(29 * time.Second)
		}
		conn := inner.dial()
		if _, err := io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n"); err != nil {
			t.Error(err)
		}
		if answer, err := io.ReadAll(conn); err != nil || !strings.HasPrefix(string(answer), "HTTP/1.0 404") {
			t.Errorf("afterwards: %q, %v", answer, err)
		}
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		serving.Wait()
		if got := strings.Count(log.String(), "level=ERROR"); got != 3 {
			t.Errorf("%d errors in the log at the end, want 3: that it is closed is none", got)
		}
	})
}
