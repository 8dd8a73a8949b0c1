package app

import (
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// The service manager is asked again before the time is over for which it was asked,
// and no more when the start is done.
func TestLongStart(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	t.Setenv("NOTIFY_SOCKET", socket)
	synctest.Test(t, func(t *testing.T) {
		m := manager{slog.New(slog.DiscardHandler)}
		done := m.busy(t.Context(), "Migrating")
		for _, wait := range []time.Duration{0, extendInterval, extendInterval, extendInterval - 1} {
			time.Sleep(wait)
			synctest.Wait()
		}
		done()
		time.Sleep(10 * extendInterval)
		m.ready(t.Context())
	})
	// The socket kept what it was sent.
	var got []string
	for data := make([]byte, 4096); !slices.Contains(got, "READY=1\nSTATUS=Ready"); {
		n, err := conn.Read(data)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(data[:n]))
	}
	more := "EXTEND_TIMEOUT_USEC=15000000"
	want := []string{"STATUS=Migrating\n" + more, more, more, "READY=1\nSTATUS=Ready"}
	if !slices.Equal(got, want) {
		t.Errorf("the service manager was told %q, want %q", got, want)
	}
	if extension < 2*extendInterval {
		t.Errorf("an extension of %s does not outlast a message that is late by %s", extension, extendInterval)
	}
}
