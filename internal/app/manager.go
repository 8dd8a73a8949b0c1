package app

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// manager is the service manager that has started the process: it is told of the
// states of the service with the protocol of systemd (sd_notify(3)). Without
// NOTIFY_SOCKET in the environment there is none, and every call does nothing.
type manager struct {
	log *slog.Logger
}

func (m manager) tell(ctx context.Context, state ...string) {
	if _, err := daemon.SdNotify(false, strings.Join(state, "\n")); err != nil {
		m.log.WarnContext(ctx, "notify the service manager: failed", "error", err)
	}
}

// ready says that the service is up, or up again after reloading.
func (m manager) ready(ctx context.Context) { m.tell(ctx, daemon.SdNotifyReady, "STATUS=Ready") }

// reloading says that the configuration is read again; ready ends it.
func (m manager) reloading(ctx context.Context) {
	m.tell(ctx, daemon.SdNotifyReloading, strings.TrimSpace(daemon.SdNotifyMonotonicUsec()))
}

// stopping says that the service shuts down and may take up to limit, even if
// TimeoutStopSec= of the service is shorter.
func (m manager) stopping(ctx context.Context, limit time.Duration) {
	m.tell(ctx, daemon.SdNotifyStopping, "STATUS=Shutting down", extendTimeout(limit+extension))
}

// While a start takes its time, the service manager is told so every extendInterval,
// and each time that it is to wait for another extension.
const (
	extendInterval = 5 * time.Second
	extension      = 15 * time.Second
)

// busy makes the service manager wait for a start beyond TimeoutStartSec= of the
// service, until done is called. The status says what the start does.
func (m manager) busy(ctx context.Context, status string) (done func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	m.tell(ctx, "STATUS="+status, extendTimeout(extension))
	go func() { // ends with done
		defer close(ended)
		ticker := time.NewTicker(extendInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				m.tell(ctx, extendTimeout(extension))
			}
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}

// status says in one line what the service does.
func (m manager) status(ctx context.Context, text string) { m.tell(ctx, "STATUS="+text) }

// extendTimeout returns the state that asks for d before the next state.
func extendTimeout(d time.Duration) string {
	return "EXTEND_TIMEOUT_USEC=" + strconv.FormatInt(d.Microseconds(), 10)
}

// watchdog says at intervals that the server still answers, until ctx ends, if the
// service manager has set an interval (WatchdogSec=). It sends /livez through the
// server's own handler: a server that hangs falls silent and is restarted. A
// database that is away does not count, since a restart would not bring it back.
func (m manager) watchdog(handler http.Handler) func(context.Context) error {
	return func(ctx context.Context) error {
		interval, err := daemon.SdWatchdogEnabled(false)
		if err != nil {
			m.log.WarnContext(ctx, "read the interval of the service manager's watchdog: failed", "error", err)
		}
		if err != nil || interval == 0 {
			return nil
		}
		ticker := time.NewTicker(interval / 2)
		defer ticker.Stop()
		for {
			if alive(ctx, handler) {
				m.tell(ctx, daemon.SdNotifyWatchdog)
			}
			select {
			case <-ctx.Done():
				return nil
			case <-ticker.C:
			}
		}
	}
}

// alive reports whether the handler answers /livez with success.
func alive(ctx context.Context, handler http.Handler) bool {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "/livez", http.NoBody)
	if err != nil {
		return false
	}
	r.RemoteAddr, r.RequestURI, r.Host = "127.0.0.1:0", "/livez", "localhost"
	w := statusOnly{http.Header{}, new(int)}
	handler.ServeHTTP(w, r)
	return *w.status == http.StatusOK
}

// statusOnly keeps the status of an answer.
type statusOnly struct {
	header http.Header
	status *int
}

func (w statusOnly) Header() http.Header         { return w.header }
func (w statusOnly) WriteHeader(status int)      { *w.status = status }
func (w statusOnly) Write(b []byte) (int, error) { return len(b), nil }
